{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.mastodon;
  folder = "/var/lib/mastodon";
in
{
  description = "Whether to back up Mastodon (`services.mastodon`): keys and what users uploaded in /var/lib/mastodon, and its database where PostgreSQL runs on this host. Leaves out copies of other servers' media (`public-system/cache`): `mastodon-tootctl media refresh` and `accounts refresh` fetch them. Redis isn't saved: home feeds are made anew by `mastodon-tootctl feeds build`, jobs that waited are lost.";
  database = {
    type = "postgresql";
    inherit (cfg.database) name host port;
  };
  backup = {
    paths = [ folder ];
    exclude = [ "${folder}/public-system/cache" ];
    units = [
      "mastodon-web.service"
      "mastodon-init-dirs.service"
    ]
    ++ map (name: "mastodon-sidekiq-${name}.service") (lib.attrNames cfg.sidekiqProcesses)
    ++ map (i: "mastodon-streaming-${toString i}.service") (lib.range 1 cfg.streamingProcesses)
    ++ lib.optional cfg.automaticMigrations "mastodon-init-db.service"
    ++ lib.optionals cfg.mediaAutoRemove.enable [
      "mastodon-media-auto-remove.service"
      "mastodon-media-auto-remove.timer"
    ];
    healthCheck =
      if cfg.enableUnixSocket then
        "${tools.answers "http://localhost/health"} --unix-socket /run/mastodon-web/web.socket"
      else
        tools.answers (tools.http "127.0.0.1" cfg.webPort "/health");
  };
}
