{ lib, config, ... }:
let
  cfg = config.services.freshrss;
  inherit (cfg) dataDir database;
in
{
  description = "Whether to back up FreshRSS (`services.freshrss`): users, settings and favicons in `dataDir`, and its database, SQLite or PostgreSQL on this host. With SQLite each user has a database, which only FreshRSS knows: its units stop while they are read. Leaves out the cache of feeds.";
  database = {
    inherit (database)
      type
      name
      host
      port
      ;
    file = "${dataDir}/users/${cfg.defaultUser}/db.sqlite";
  };
  backup = {
    paths = [ dataDir ];
    exclude = [ "${dataDir}/cache" ];
    stopForBackup = database.type == "sqlite";
    units = [
      "freshrss-config.service"
      "freshrss-updater.service"
      "freshrss-updater.timer"
    ]
    ++ lib.optional (cfg.pool != null) "phpfpm-${cfg.pool}.service";
  };
}
