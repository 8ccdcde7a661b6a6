# Ready-made declarations for services of nixpkgs: { options, services, warnings }. Each file in nix/presets is one, and its name that of
# the service here. It gives:
# description: what is saved, what is left out, and why
# enabled: whether this host has the service; services.NAME.enable by default
# backup: fields of atelier.backup.services.NAME, read from the service's own options; `units` are NAME.service by default
# database: of a service with one database, in SQLite or on a server: { type, file, name, host, port }, as its options call them; only
#   what the type needs is read. It becomes `sqlite` or `postgres`, or is lacking.
# lacks: what of its state isn't saved, as it would be said in "the preset doesn't save …"
{ lib, config }:
let
  inherit (lib)
    any
    attrNames
    concatLists
    elem
    elemAt
    filter
    filterAttrs
    hasPrefix
    hasSuffix
    listToAttrs
    mapAttrs
    mapAttrsToList
    nameValuePair
    optional
    optionals
    removeSuffix
    unique
    ;
  inherit (builtins) match;

  cfg = config.atelier.backup;
  postgresql = config.services.postgresql or { };

  tools = {
    # Without those that lie inside another one.
    outermost =
      paths:
      let
        all = unique (map (removeSuffix "/") paths);
      in
      filter (path: !any (other: hasPrefix "${other}/" path) all) all;

    # Of the folders that `StateDirectory=` names: systemd keeps those of a unit without a user of its own in /var/lib/private.
    stateDir =
      unit: name:
      "/var/lib/${
        lib.optionalString (config.systemd.services.${unit}.serviceConfig.DynamicUser or false) "private/"
      }${name}";

    # Files that something else makes at boot, or at build, aren't state.
    stateful = filter (path: !hasPrefix "/run/" path && !hasPrefix "${builtins.storeDir}/" path);

    # Units that only some versions or settings of the service's module declare.
    existing = filter (
      unit:
      hasSuffix ".service" unit && config.systemd.services ? ${removeSuffix ".service" unit}
      || hasSuffix ".timer" unit && config.systemd.timers ? ${removeSuffix ".timer" unit}
    );

    # [ the database ] on this host's own server, else [ ].
    # host: as the service names it: null, a socket's folder, a name or address, with a port or without
    database =
      {
        name,
        host ? null,
        port ? null,
      }:
      let
        parts = match "([^:/]*)(:([0-9]+))?" (if host == null then "" else host);
        named = if parts == null then null else elemAt parts 2;
        wanted = if named != null then named else if port == null then null else toString port;
        isLocal =
          host != null && hasPrefix "/" host
          ||
            elem host [
              null
              "[::1]"
              "::1"
            ]
          ||
            parts != null
            && elem (elemAt parts 0) [
              ""
              "localhost"
              "127.0.0.1"
            ];
      in
      optional (
        postgresql.enable or false
        && name != null
        && isLocal
        && (wanted == null || wanted == toString (postgresql.settings.port or 5432))
      ) name;

    # The same by a URL (postgresql://user@host:port/name?host=/run/postgresql).
    databaseOfUrl =
      url:
      let
        parts =
          match "postgres(ql)?([+][a-z0-9]+)?://([^@/?]*@)?([^/?:]*)(:([0-9]+))?/([^?]+)([?].*)?"
            url;
        part = elemAt parts;
        query = if part 7 == null then null else match ".*[?&]host=([^&]*).*" (part 7);
      in
      optionals (parts != null) (
        tools.database {
          name = part 6;
          host =
            if query == null then
              part 3
            else
              lib.replaceStrings [ "%2F" "%2f" ] [ "/" "/" ] (elemAt query 0);
          port = part 5;
        }
      );

    # A health check: an address that answers with success, in two minutes at most.
    answers =
      url: "curl -fsS -o /dev/null -m 10 --retry 60 --retry-delay 2 --retry-connrefused '${url}'";

    # The URL of what listens at an address and a port.
    http =
      address: port: path:
      let
        host =
          if
            elem address [
              ""
              "*"
              "0.0.0.0"
            ]
          then
            "127.0.0.1"
          else if address == "::" then
            "[::1]"
          else if lib.hasInfix ":" address && !hasPrefix "[" address then
            "[${address}]"
          else
            address;
      in
      "http://${host}:${toString port}${path}";
  };

  presets = listToAttrs (
    map (
      file:
      nameValuePair (removeSuffix ".nix" file) (
        complete (removeSuffix ".nix" file) (
          import (./presets + "/${file}") {
            inherit lib config tools;
            presets = active;
          }
        )
      )
    ) (attrNames (builtins.readDir ./presets))
  );
  complete =
    name: preset:
    let
      inherit (preset) database;
      isSqlite = hasPrefix "sqlite" database.type;
      isPostgres = elem database.type [
        "pgsql"
        "postgres"
        "postgresql"
        "psycopg2"
      ];
      postgres = optionals isPostgres (
        tools.database (
          removeAttrs database [
            "type"
            "file"
          ]
        )
      );
    in
    {
      enabled = config.services.${name}.enable or false;
    }
    // preset
    // {
      backup = {
        units = [ "${name}.service" ];
      }
      // lib.optionalAttrs (preset ? database) {
        sqlite = optional isSqlite database.file;
        inherit postgres;
      }
      // preset.backup;
      lacks =
        optional (preset ? database && !isSqlite && postgres == [ ])
          "its database${lib.optionalString (!isPostgres) " (${database.type})"}, which isn't on this host's PostgreSQL server"
        ++ preset.lacks or [ ];
    };
  chosen = filterAttrs (name: _: cfg.presets.${name}.enable) presets;
  # What nixpkgs has removed throws when it is read.
  active = filterAttrs (_: preset: (builtins.tryEval preset.enabled).value) chosen;
  # A service can keep all its state elsewhere.
  saving = filterAttrs (
    _: { backup, ... }: backup.paths or [ ] ++ backup.sqlite or [ ] ++ backup.postgres or [ ] != [ ]
  ) active;
in
{
  options = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether to back up each service of nixpkgs that is enabled on this host and has a preset here. What you set under `services.NAME` wins, field by field.";
      example = true;
    };
  }
  // mapAttrs (_: preset: {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = cfg.presets.enable;
      defaultText = lib.literalExpression "config.atelier.backup.presets.enable";
      inherit (preset) description;
    };
  }) presets;

  # Weaker than mkDefault: whatever anybody else defines wins.
  services = mapAttrs (_: preset: mapAttrs (_: lib.mkOverride 1100) preset.backup) saving;

  warnings =
    map (
      name: "atelier.backup.presets.${name}.enable: this host doesn't have that service; enable it, or remove the line"
    ) (optionals (!cfg.presets.enable) (attrNames (removeAttrs chosen (attrNames active))))
    ++ concatLists (
      mapAttrsToList (
        name: preset:
        map (
          part:
          "atelier.backup.presets.${name}: the preset doesn't save ${part}; "
          + "write it to a file below atelier.backup.services.${name}.paths in preBackup, or set atelier.backup.presets.${name}.enable = false and save it another way"
        ) (optionals (cfg.services.${name}.preBackup or null == null) preset.lacks)
      ) active
    );
}
