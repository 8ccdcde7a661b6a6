{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.miniflux;
  url = toString (cfg.config.DATABASE_URL or "");
  # key=value pairs, as lib/pq takes them.
  value =
    key:
    let
      found = builtins.match "(.* )?${key}=([^ ]*).*" url;
    in
    if found == null then null else lib.elemAt found 1;
  postgres =
    if lib.hasInfix "://" url then
      tools.databaseOfUrl url
    else
      tools.database {
        name = value "dbname";
        host = value "host";
        port = value "port";
      };
  address = cfg.config.LISTEN_ADDR;
in
{
  description = "Whether to back up Miniflux (`services.miniflux`): its database, where PostgreSQL runs on this host. It has no files.";
  backup = {
    inherit postgres;
    units = [ "miniflux.service" ] ++ tools.existing [ "miniflux-dbsetup.service" ];
    healthCheck =
      if
        builtins.match "(localhost|127[.]0[.]0[.]1|\\[::1]):[0-9]+" address != null
        && !(cfg.config ? BASE_URL)
      then
        tools.answers "http://${address}/healthcheck"
      else
        null;
  };
  lacks = lib.optional (
    postgres == [ ]
  ) "its database, which isn't one of this host's PostgreSQL server that DATABASE_URL names";
}
