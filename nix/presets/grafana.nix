{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.grafana;
  inherit (cfg.settings) database server;
  postgres = lib.optionals (database.type == "postgres") (
    tools.database { inherit (database) name host; }
  );
in
{
  description = "Whether to back up Grafana (`services.grafana`): dashboards, users and plugins in `dataDir`, and its database, SQLite or PostgreSQL on this host. Leaves out logs, and pictures and tables that it made to send them. The data that it shows belongs to its sources.";
  enabled = config.services.grafana.enable or false;
  backup = {
    paths = [ cfg.dataDir ];
    sqlite = lib.optional (database.type == "sqlite3") database.path;
    inherit postgres;
    exclude = map (folder: "${cfg.dataDir}/data/${folder}") [
      "csv"
      "log"
      "pdf"
      "png"
    ];
    units = [ "grafana.service" ];
    healthCheck =
      if server.protocol == "http" then
        tools.answers (tools.http server.http_addr server.http_port "/api/health")
      else
        null;
  };
  lacks = lib.optional (
    database.type != "sqlite3" && postgres == [ ]
  ) "its database (${database.type}), which isn't on this host's PostgreSQL server";
}
