{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.navidrome;
  inherit (cfg) settings;
  folder = settings.DataFolder or "/var/lib/navidrome";
in
{
  description = "Whether to back up Navidrome (`services.navidrome`): its data folder, with users, playlists, ratings and pictures, and its SQLite database. Leaves out the cache of transcoded music and pictures, and its own backups: copies of the same database. Music in another folder isn't its own: declare it where you want it saved.";
  backup = {
    paths = [ folder ];
    # Options of the connection may follow the file's name.
    sqlite = [
      (builtins.head (builtins.match "([^?]*).*" (settings.DbPath or "${folder}/navidrome.db")))
    ];
    exclude = [
      (settings.CacheFolder or "${folder}/cache")
    ]
    ++ lib.optional (settings ? Backup.Path) settings.Backup.Path;
    healthCheck =
      if builtins.match "unix:.*" settings.Address != null || settings ? TLSCert then
        null
      else
        tools.answers (tools.http settings.Address settings.Port "/ping");
  };
}
