{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.paperless;
  inherit (cfg) settings dataDir;
  exporter = cfg.exporter or { enable = false; };
in
{
  description = "Whether to back up Paperless (`services.paperless`): its folders with documents, with those that aren't consumed yet, and with keys and the search index, and its database, SQLite or PostgreSQL on this host. Leaves out logs, and what the exporter writes: a second copy of all that.";
  database = {
    type =
      settings.PAPERLESS_DBENGINE or (if settings ? PAPERLESS_DBHOST then "postgresql" else "sqlite");
    file = "${dataDir}/db.sqlite3";
    name = settings.PAPERLESS_DBNAME or "paperless";
    host = settings.PAPERLESS_DBHOST or null;
    port = settings.PAPERLESS_DBPORT or null;
  };
  backup = {
    paths = tools.outermost [
      dataDir
      cfg.mediaDir
      cfg.consumptionDir
    ];
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
}
