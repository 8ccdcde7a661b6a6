{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.immich;
  media = cfg.mediaLocation;
in
{
  description = "Whether to back up Immich (`services.immich`): photos, videos and thumbnails in `mediaLocation`, and its database where PostgreSQL runs on this host. Leaves out transcoded videos, which its jobs make anew, and its own dumps of the same database; models and queues of jobs are caches.";
  database = {
    type = "postgresql";
    inherit (cfg.database) name host port;
  };
  backup = {
    paths = [ media ];
    # It refuses to start where one of its folders lacks the file `.immich`.
    exclude = [
      "${media}/encoded-video/*"
      "${media}/backups/*"
      "!${media}/encoded-video/.immich"
      "!${media}/backups/.immich"
    ];
    units = [
      "immich-server.service"
    ]
    ++ lib.optional cfg.machine-learning.enable "immich-machine-learning.service";
    healthCheck = tools.answers (tools.http cfg.host cfg.port "/api/server/ping");
  };
}
