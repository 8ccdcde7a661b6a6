{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.vaultwarden;
  # Names of environment variables, which may also be written in camel case.
  setting = name: camel: cfg.config.${name} or cfg.config.${camel} or null;
  folder = setting "DATA_FOLDER" "dataFolder";
  data =
    if folder != null then
      folder
    else
      "/var/lib/${config.systemd.services.vaultwarden.serviceConfig.StateDirectory}";
  url = setting "DATABASE_URL" "databaseUrl";
  postgres = lib.optionals (cfg.dbBackend == "postgresql" && url != null) (tools.databaseOfUrl url);
  port = setting "ROCKET_PORT" "rocketPort";
  address = setting "ROCKET_ADDRESS" "rocketAddress";
in
{
  description = "Whether to back up Vaultwarden (`services.vaultwarden`): its folder with attachments, sends and keys, and its database, SQLite or PostgreSQL on this host. Leaves out icons of websites and temporary files, which it makes anew.";
  backup = {
    paths = [ data ];
    sqlite = lib.optional (cfg.dbBackend == "sqlite") (
      if url != null && lib.hasPrefix "/" url then url else "${data}/db.sqlite3"
    );
    inherit postgres;
    exclude = [
      "${data}/icon_cache"
      "${data}/tmp"
    ];
    units = [
      "vaultwarden.service"
    ]
    ++ lib.optionals (cfg.backupDir != null) [
      "backup-vaultwarden.service"
      "backup-vaultwarden.timer"
    ];
    healthCheck =
      if setting "ROCKET_TLS" "rocketTls" != null then
        null
      else
        tools.answers (
          tools.http (if address == null then "" else address) (if port == null then 8000 else port) "/alive"
        );
  };
  lacks = lib.optional (
    cfg.dbBackend != "sqlite" && postgres == [ ]
  ) "its ${cfg.dbBackend} database, which isn't a PostgreSQL database of this host that DATABASE_URL names";
}
