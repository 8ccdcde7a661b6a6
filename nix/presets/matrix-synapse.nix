{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.matrix-synapse;
  inherit (cfg.settings) database;
  args = database.args or { };
  media = cfg.settings.media_store_path;
  listeners = lib.filter (
    listener:
    listener.type or "" == "http"
    && listener.tls or null != true
    && listener.port or null != null
    && lib.isList (listener.bind_addresses or null)
    && listener.bind_addresses != [ ]
  ) cfg.settings.listeners;
  listener = lib.head listeners;
in
{
  description = "Whether to back up Synapse (`services.matrix-synapse`): `dataDir`, the signing key and the media store, and its database, SQLite or PostgreSQL on this host. Leaves out previews of links, which it makes anew. Media of other servers are saved: these may have deleted theirs.";
  database = {
    type = database.name;
    file = args.database;
    name = args.database or args.dbname or null;
    host = args.host or null;
    port = args.port or null;
  };
  backup = {
    paths = tools.outermost (
      [
        cfg.dataDir
        media
      ]
      ++ tools.stateful [ cfg.settings.signing_key_path ]
    );
    exclude = [
      "${media}/url_cache"
      "${media}/url_cache_thumbnails"
    ];
    units = [
      "matrix-synapse.service"
    ]
    ++ map (name: "matrix-synapse-worker-${name}.service") (lib.attrNames cfg.workers);
    healthCheck =
      if listeners == [ ] then
        null
      else
        tools.answers (tools.http (lib.head listener.bind_addresses) listener.port "/health");
  };
}
