{ config, tools, ... }:
let
  cfg = config.services.audiobookshelf;
  folder = "/var/lib/${cfg.dataDir}";
in
{
  description = "Whether to back up Audiobookshelf (`services.audiobookshelf`): users, progress, covers and metadata in its folder, and its SQLite database. Leaves out caches, logs, streams, and its own backups: copies of the same database. Books and podcasts in other folders aren't its own: declare them where you want them saved.";
  backup = {
    paths = [ folder ];
    sqlite = [ "${folder}/config/absdatabase.sqlite" ];
    exclude = map (part: "${folder}/metadata/${part}") [
      "backups"
      "cache"
      "logs"
      "streams"
    ];
    healthCheck = tools.answers (tools.http cfg.host cfg.port "/healthcheck");
  };
}
