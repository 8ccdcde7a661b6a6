{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.paperless;
  inherit (cfg) settings dataDir;
  engine = settings.PAPERLESS_DBENGINE or (if settings ? PAPERLESS_DBHOST then "postgresql" else "sqlite");
  postgres = lib.optionals (engine == "postgresql") (
    tools.database {
      name = settings.PAPERLESS_DBNAME or "paperless";
      host = settings.PAPERLESS_DBHOST or null;
      port = settings.PAPERLESS_DBPORT or null;
    }
  );
  exporter = cfg.exporter or { enable = false; };
in
{
  description = "Whether to back up Paperless (`services.paperless`): its folders with documents, with those that aren't consumed yet, and with keys and the search index, and its database, SQLite or PostgreSQL on this host. Leaves out logs, and what the exporter writes: a second copy of all that.";
  enabled = config.services.paperless.enable or false;
  backup = {
    paths = tools.outermost [
      dataDir
      cfg.mediaDir
      cfg.consumptionDir
    ];
    sqlite = lib.optional (engine == "sqlite") "${dataDir}/db.sqlite3";
    inherit postgres;
    exclude = [ "${dataDir}/log" ] ++ lib.optional exporter.enable exporter.directory;
    units = [
      "paperless-scheduler.service"
      "paperless-task-queue.service"
      "paperless-consumer.service"
      "paperless-web.service"
    ]
    ++ lib.optional exporter.enable "paperless-exporter.service"
    ++ lib.optional (exporter.enable && exporter.onCalendar != null) "paperless-exporter.timer";
  };
  lacks = lib.optional (
    engine != "sqlite" && postgres == [ ]
  ) "its database (${engine}), which isn't on this host's PostgreSQL server";
}
