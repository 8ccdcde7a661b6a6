{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.jellyfin;
in
{
  description = "Whether to back up Jellyfin (`services.jellyfin`): users, libraries, what was watched, pictures and plugins in `dataDir` and `configDir`, and its SQLite databases. Databases of plugins it doesn't know: list them with Jellyfin's own under `services.jellyfin.sqlite`. Leaves out `cacheDir`, where it keeps what it can make anew, and logs. The films and music themselves aren't its own: declare them where you want them saved.";
  backup = {
    paths = tools.outermost [
      cfg.dataDir
      cfg.configDir
    ];
    # 10.11 has one database.
    sqlite = [
      "${cfg.dataDir}/data/jellyfin.db"
    ]
    ++ lib.optional (lib.versionOlder cfg.package.version "10.11") "${cfg.dataDir}/data/library.db";
    exclude = [
      cfg.cacheDir
      cfg.logDir
    ];
  };
}
