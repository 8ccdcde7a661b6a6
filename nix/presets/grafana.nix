{ config, tools, ... }:
let
  cfg = config.services.grafana;
  inherit (cfg.settings) database server;
in
{
  description = "Whether to back up Grafana (`services.grafana`): dashboards, users and plugins in `dataDir`, and its database, SQLite or PostgreSQL on this host. Leaves out logs, and pictures and tables that it made to send them. The data that it shows belongs to its sources.";
  database = {
    inherit (database) type name host;
    file = database.path;
  };
  backup = {
    paths = [ cfg.dataDir ];
    exclude = map (folder: "${cfg.dataDir}/data/${folder}") [
      "csv"
      "log"
      "pdf"
      "png"
    ];
    healthCheck =
      if server.protocol == "http" then
        tools.answers (tools.http server.http_addr server.http_port "/api/health")
      else
        null;
  };
}
