{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.freshrss;
  inherit (cfg) dataDir database;
  isSqlite = database.type == "sqlite";
  postgres = lib.optionals (database.type == "pgsql") (
    tools.database { inherit (database) name host port; }
  );
in
{
  description = "Whether to back up FreshRSS (`services.freshrss`): users, settings and favicons in `dataDir`, and its database, SQLite or PostgreSQL on this host. With SQLite each user has a database, which only FreshRSS knows: its units stop while they are read. Leaves out the cache of feeds.";
  enabled = config.services.freshrss.enable or false;
  backup = {
    paths = [ dataDir ];
    sqlite = lib.optional isSqlite "${dataDir}/users/${cfg.defaultUser}/db.sqlite";
    inherit postgres;
    exclude = [ "${dataDir}/cache" ];
    stopForBackup = isSqlite;
    units = [
      "freshrss-config.service"
      "freshrss-updater.service"
      "freshrss-updater.timer"
    ]
    ++ lib.optional (cfg.pool != null) "phpfpm-${cfg.pool}.service";
  };
  lacks = lib.optional (
    !isSqlite && postgres == [ ]
  ) "its database (${database.type}), which isn't on this host's PostgreSQL server";
}
