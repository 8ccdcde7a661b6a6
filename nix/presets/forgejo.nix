# Gitea, too: the options of the two modules are the same.
{
  lib,
  config,
  tools,
  name ? "forgejo",
  title ? "Forgejo",
  ...
}:
let
  cfg = config.services.${name};
  inherit (cfg) settings stateDir;
in
{
  description = "Whether to back up ${title} (`services.${name}`): repositories, LFS, attachments, packages, keys and search indexes, and its database, SQLite or PostgreSQL on this host. Leaves out logs, temporary files, and what `${name} dump` writes: a second copy of all that.";
  database = {
    inherit (cfg.database) type name port;
    file = cfg.database.path;
    host = if cfg.database.socket != null then cfg.database.socket else cfg.database.host;
  };
  backup = {
    paths = tools.outermost (
      [
        stateDir
        cfg.customDir
        cfg.repositoryRoot
      ]
      ++ lib.optional cfg.lfs.enable cfg.lfs.contentDir
    );
    exclude = [
      cfg.dump.backupDir
      settings.log.ROOT_PATH
      "${stateDir}/tmp"
      "${stateDir}/data/tmp"
    ];
    units = [
      "${name}.service"
    ]
    ++ tools.existing [ "${name}-secrets.service" ]
    ++ lib.optionals cfg.dump.enable [
      "${name}-dump.service"
      "${name}-dump.timer"
    ];
    healthCheck =
      if settings.server.PROTOCOL == "http" then
        tools.answers (tools.http settings.server.HTTP_ADDR settings.server.HTTP_PORT "/api/healthz")
      else
        null;
  };
}
