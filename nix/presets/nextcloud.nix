{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.nextcloud;
  inherit (cfg.config) dbtype dbname;
  data = cfg.settings.datadirectory or "${cfg.datadir}/data";
in
{
  description = "Whether to back up Nextcloud (`services.nextcloud`): its home with configuration and installed apps, the users' files, and its database, SQLite or PostgreSQL on this host. Leaves out nothing: previews, too, are listed in the database. Redis holds caches and locks alone.";
  database = {
    type = toString dbtype;
    file = "${data}/${if dbname == null then "owncloud" else dbname}.db";
    name = dbname;
    host = cfg.config.dbhost;
  };
  backup = {
    paths = tools.outermost [
      cfg.home
      cfg.datadir
      data
    ];
    units = [
      "phpfpm-nextcloud.service"
      "nextcloud-setup.service"
      "nextcloud-cron.service"
      "nextcloud-cron.timer"
    ]
    ++ tools.existing [
      "nextcloud-update-db.service"
      "nextcloud-update-plugins.service"
      "nextcloud-update-plugins.timer"
      "nextcloud-notify_push.service"
    ];
  };
  lacks = lib.optional (cfg.config.objectstore.s3.enable or false
  ) "the users' files, which are in an object store";
}
