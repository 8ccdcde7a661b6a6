{ config, tools, ... }:
let
  cfg = config.services.uptime-kuma;
  inherit (cfg) settings;
  folder = tools.stateDir "uptime-kuma" "uptime-kuma";
in
{
  description = "Whether to back up Uptime Kuma (`services.uptime-kuma`): its folder with uploads, and its SQLite database with monitors and history. Leaves out nothing.";
  database = {
    type = settings.UPTIME_KUMA_DB_TYPE or "sqlite";
    file = "${folder}/kuma.db";
  };
  backup = {
    paths = [ folder ];
    healthCheck =
      if settings ? UPTIME_KUMA_SSL_KEY || settings ? SSL_KEY then
        null
      else
        tools.answers (tools.http settings.HOST settings.PORT "/");
  };
}
