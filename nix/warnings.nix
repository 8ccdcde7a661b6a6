# What is allowed, and fails at the first backup or saves something else than was meant: a list of warnings, each with what to write.
{ lib, config }:
let
  inherit (lib)
    attrNames
    attrValues
    concatLists
    concatMap
    concatMapStringsSep
    elem
    filter
    filterAttrs
    hasPrefix
    mapAttrsToList
    optional
    ;
  inherit (lib.strings) escapeNixIdentifier;

  cfg = config.atelier.backup;
  enabled = filterAttrs (_: service: service.enable) cfg.services;
  concatMapAttrsToList = f: set: concatLists (mapAttrsToList f set);
  optionOf = name: "atelier.backup.services.${escapeNixIdentifier name}";

  hostName =
    optional (config.networking.hostName == "nixos")
      "networking.hostName is `nixos`, as on every NixOS that wasn't given a name: two such hosts that share a repository would pass for one; set it";

  # ---- Secrets ----
  # These folders are empty after a boot. What stands elsewhere may have been put there by hand.
  isMade = path: !hasPrefix "/run/agenix/" path && !hasPrefix "/run/secrets/" path || elem path made;
  made =
    map (secret: toString (secret.path or null)) (
      concatMap attrValues [
        (config.age.secrets or { })
        (config.sops.secrets or { })
        (config.sops.templates or { })
      ]
    )
    ++ concatMap (rule: lib.splitString " " rule) (config.systemd.tmpfiles.rules or [ ])
    ++ concatMap attrNames (attrValues (config.systemd.tmpfiles.settings or { }));
  used = filterAttrs (
    name: _: lib.any (service: service.repository == name) (attrValues enabled)
  ) cfg.repositories;
  secrets = concatMapAttrsToList (
    name: repository:
    let
      files =
        optional (repository.repository == null) "repositoryFile"
        ++ [ "passwordFile" ]
        ++ filter (file: repository.${file} != null) [
          "environmentFile"
          "rcloneConfigFile"
        ];
      missing = filter (file: !isMade repository.${file}) files;
      secretOf =
        file:
        escapeNixIdentifier (
          lib.removePrefix "/run/secrets/" (lib.removePrefix "/run/agenix/" repository.${file})
        );
    in
    optional (missing != [ ]) (
      "atelier.backup.repositories.${escapeNixIdentifier name}: nothing in this configuration makes "
      + concatMapStringsSep ", " (file: "${file} (`${repository.${file}}`)") missing
      + ", so each backup would fail; declare "
      + concatMapStringsSep ", " (file: "age.secrets.${secretOf file}") missing
      + " (agenix), or set "
      + concatMapStringsSep ", " (file: "${file} = config.sops.secrets.${secretOf file}.path") missing
      + " (sops-nix), or name files that exist"
      + lib.optionalString (elem "repositoryFile" missing) "; a location that is no secret goes into `repository`"
      + lib.optionalString (elem "environmentFile" missing) "; environmentFile = null if the storage needs no credentials"
    )
  ) used;

  # ---- Database servers ----
  services = config.services or { };
  postgresql = services.postgresql or { };
  # The socket's folder is another server's.
  isElsewhere = cfg.postgresql.socketDir != "/run/postgresql";
  noServer = concatMapAttrsToList (
    name: service:
    optional (service.postgres != [ ] && !(postgresql.enable or false) && !isElsewhere) (
      "${optionOf name}.postgres: services.postgresql isn't enabled on this host, so no dump can be made; enable it, "
      + "or set atelier.backup.postgresql.socketDir to the folder of another server's socket and add its programs (pg_dump) to environment.systemPackages"
    )
  ) enabled;

  # What nixpkgs has removed throws when it is read.
  orElse =
    default: value:
    let
      read = builtins.tryEval value;
    in
    if read.success then read.value else default;
  server =
    enable: title: folder: unit: instead:
    optional (orElse false enable) {
      inherit
        title
        folder
        unit
        instead
        ;
    };
  dump =
    command: "dump it in preBackup (${command}) to a folder under `paths`, and leave its files out";
  servers =
    server (postgresql.enable or false) "PostgreSQL" (postgresql.dataDir or "") "postgresql.service"
      "name its databases under `postgres`, and leave its files out"
    ++ server (services.mysql.enable or false) "MySQL" (services.mysql.dataDir or "") "mysql.service" (
      dump "mysqldump --single-transaction --all-databases"
    )
    ++ concatMapAttrsToList (
      name: redis:
      let
        unit = if name == "" then "redis" else "redis-${name}";
      in
      server (redis.enable or false) "Redis" (redis.settings.dir or "/var/lib/${unit}") "${unit}.service"
        (
          dump "redis-cli ${
            if redis.unixSocket or null != null then
              "-s ${redis.unixSocket}"
            else
              "-p ${toString (redis.port or 6379)}"
          } --rdb FILE"
        )
    ) (orElse { } (services.redis.servers or { }))
    ++ server (services.influxdb.enable or false) "InfluxDB" (services.influxdb.dataDir or ""
    ) "influxdb.service" (dump "influxd backup -portable FOLDER")
    ++
      server (services.influxdb2.enable or false) "InfluxDB" "/var/lib/influxdb2" "influxdb2.service"
        (dump "influx backup FOLDER")
    ++ server (services.mongodb.enable or false) "MongoDB" (services.mongodb.dbpath or ""
    ) "mongodb.service" (dump "mongodump --out FOLDER")
    ++ server (services.etcd.enable or false) "etcd" (services.etcd.dataDir or "") "etcd.service" (
      dump "etcdctl snapshot save FILE"
    )
    ++
      server (services.clickhouse.enable or false) "ClickHouse" "/var/lib/clickhouse" "clickhouse.service"
        (dump "clickhouse-client --query 'BACKUP ALL TO File(…)'")
    ++
      concatMap
        (
          name:
          server (services.${name}.enable or false) name (services.${name}.dataDir or "") "${name}.service"
            "save snapshots that it makes itself (path.repo), and leave its files out"
        )
        [
          "elasticsearch"
          "opensearch"
        ];

  within = folder: path: path == folder || hasPrefix "${lib.removeSuffix "/" folder}/" path;
  liveFiles = concatMapAttrsToList (
    name: service:
    let
      holds =
        { folder, unit, ... }:
        lib.any (path: within path folder || within folder path) service.paths
        && !lib.any (pattern: within pattern folder) service.exclude
        && !(service.stopForBackup && service.units != null && elem unit service.units);
    in
    map (
      {
        title,
        folder,
        unit,
        instead,
      }:
      "${optionOf name}.paths: ${folder} holds the files of a running server (${title}), and a copy of them is no backup; "
      + "${instead} (exclude = [ \"${folder}\" ]); or stop it meanwhile (stopForBackup = true, with ${unit} among units)"
    ) (filter holds servers)
  ) enabled;
in
hostName ++ secrets ++ noServer ++ liveFiles
