{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.uptime-kuma;
  inherit (cfg) settings;
  folder = tools.stateDir "uptime-kuma" "uptime-kuma";
  isSqlite = settings.UPTIME_KUMA_DB_TYPE or "sqlite" == "sqlite";
in
{
  description = "Whether to back up Uptime Kuma (`services.uptime-kuma`): its folder with uploads, and its SQLite database with monitors and history. Leaves out nothing.";
  enabled = config.services.uptime-kuma.enable or false;
  backup = {
    paths = [ folder ];
    sqlite = lib.optional isSqlite "${folder}/kuma.db";
    units = [ "uptime-kuma.service" ];
    healthCheck =
      if settings ? UPTIME_KUMA_SSL_KEY || settings ? SSL_KEY then
        null
      else
        tools.answers (tools.http settings.HOST settings.PORT "/");
  };
  lacks = lib.optional (!isSqlite) "its database (${settings.UPTIME_KUMA_DB_TYPE})";
}
