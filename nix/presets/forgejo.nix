{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.forgejo;
  inherit (cfg) database settings stateDir;
  postgres = lib.optionals (database.type == "postgres") (
    tools.database {
      inherit (database) name port;
      host = if database.socket != null then database.socket else database.host;
    }
  );
in
{
  description = "Whether to back up Forgejo (`services.forgejo`): repositories, LFS, attachments, packages, keys and search indexes, and its database, SQLite or PostgreSQL on this host. Leaves out logs, temporary files, and what `forgejo dump` writes: a second copy of all that.";
  enabled = config.services.forgejo.enable or false;
  backup = {
    paths = tools.outermost (
      [
        stateDir
        cfg.customDir
        cfg.repositoryRoot
      ]
      ++ lib.optional cfg.lfs.enable cfg.lfs.contentDir
    );
    sqlite = lib.optional (database.type == "sqlite3") database.path;
    inherit postgres;
    exclude = [
      cfg.dump.backupDir
      settings.log.ROOT_PATH
      "${stateDir}/tmp"
      "${stateDir}/data/tmp"
    ];
    units = [
      "forgejo.service"
    ]
    ++ tools.existing [ "forgejo-secrets.service" ]
    ++ lib.optionals cfg.dump.enable [
      "forgejo-dump.service"
      "forgejo-dump.timer"
    ];
    healthCheck =
      if settings.server.PROTOCOL == "http" then
        tools.answers (tools.http settings.server.HTTP_ADDR settings.server.HTTP_PORT "/api/healthz")
      else
        null;
  };
  lacks = lib.optional (
    database.type != "sqlite3" && postgres == [ ]
  ) "its database (${database.type}), which isn't on this host's PostgreSQL server";
}
