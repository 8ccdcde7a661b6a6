# What option types can't check: { assertions, warnings }. Each message says what to write instead.
# Every manifest that src/manifest/semantics.ts refuses fails here already, at evaluation; test/nix/errors.test.ts compares the two.
# The other checks need what only the NixOS configuration knows.
{
  lib,
  config,
  mounts,
}:
let
  inherit (builtins) dirOf match;
  inherit (lib)
    attrNames
    concatLists
    concatMap
    concatMapStringsSep
    concatStringsSep
    elem
    filter
    filterAttrs
    head
    length
    mapAttrsToList
    optional
    unique
    ;
  inherit (lib.strings) escapeNixIdentifier;

  cfg = config.atelier.backup;
  inherit (cfg) services;
  enabled = filterAttrs (_: service: service.enable) services;

  # (name -> value -> list) -> set -> one list
  concatMapAttrsToList = f: set: concatLists (mapAttrsToList f set);
  optionOf = name: "atelier.backup.services.${escapeNixIdentifier name}";
  quoted = concatMapStringsSep ", " (name: "`${name}`");
  sharedBy =
    names:
    "belongs to the services ${quoted names}: restoring one would overwrite the data of the others; ${declareOnce}";
  declareOnce = "declare it in only one of them";

  # As in src/manifest/location.ts.
  holdsPassword =
    location:
    if lib.hasPrefix "rclone:" location then
      match ".*[,:]([a-z0-9_]*(pass|password|secret|token|_key)[0-9]*|key)=([^\"'/]|[\"'][^/]).*" (
        lib.toLower location
      ) != null
    else
      match ".*://[^/?#]*:[^/?#]*@.*" location != null;

  # The fields that list databases, and the engines' names, as in src/manifest/engines.ts.
  engines = {
    postgres = "PostgreSQL";
  };
  databasesOf = service: concatMap (engine: service.${engine}) (attrNames engines);
  unitsOf = name: service: if service.units == null then [ "${name}.service" ] else service.units;

  # Every path of every service: { name, field, path }.
  data = concatMapAttrsToList (
    name: service: dataIn name "paths" service.paths ++ dataIn name "sqlite" service.sqlite
  ) services;
  dataIn =
    name: field:
    map (path: {
      inherit name field;
      path = mounts.clean path;
    });
  ancestors =
    path:
    let
      parent = dirOf path;
    in
    if parent == "/" then [ ] else [ parent ] ++ ancestors parent;

  # [ { owner, thing } ] -> { thing = [ owner … ]; }
  ownersOf = things: lib.zipAttrs (map ({ owner, thing }: { ${thing} = owner; }) things);
  # The same for the things that `thingsOf` finds in each service.
  servicesByThing =
    thingsOf:
    ownersOf (
      concatMapAttrsToList (
        owner: service: map (thing: { inherit owner thing; }) (unique (thingsOf owner service))
      ) services
    );

  errors = {
    names = concatMapAttrsToList (
      name: _:
      optional (lib.hasInfix ".." name) ''${optionOf name}: a service's name must not contain ".."''
    ) services;

    repositories = concatMapAttrsToList (
      name:
      { repository, ... }:
      optional (repository != null && holdsPassword repository) (
        "atelier.backup.repositories.${name}.repository: contains a password, and every user of this host can read it; "
        + "write the location to a file and set repositoryFile to its path"
      )
    ) cfg.repositories;

    references = concatMapAttrsToList (
      name: service:
      optional (!cfg.repositories ? ${service.repository}) (
        "${optionOf name}.repository: no repository `${service.repository}` is declared; "
        + "declare atelier.backup.repositories.${service.repository}, or use one of ${quoted (attrNames cfg.repositories)}"
      )
      ++ map (
        other:
        "${optionOf name}.restoreAfter: no service `${other}` is declared; declare ${optionOf other}, or remove the name"
      ) (filter (other: !services ? ${other}) service.restoreAfter)
    ) services;

    cycles =
      let
        # Removes services that wait for no remaining service, until only cycles and the services that wait for them remain.
        withoutFree =
          remaining:
          let
            waiting = filterAttrs (
              _: service: lib.any (other: remaining ? ${other}) service.restoreAfter
            ) remaining;
          in
          if attrNames waiting == attrNames remaining then remaining else withoutFree waiting;
        stuck = withoutFree services;
        # The names from the first repeated one on.
        follow =
          trail: name:
          if elem name trail then
            lib.drop (lib.lists.findFirstIndex (x: x == name) 0 trail) trail ++ [ name ]
          else
            follow (trail ++ [ name ]) (head (filter (other: stuck ? ${other}) services.${name}.restoreAfter));
        cycle = concatStringsSep " after " (follow [ ] (head (attrNames stuck)));
      in
      optional (
        stuck != { }
      ) "atelier.backup.services: restoreAfter has a cycle: ${cycle}; remove one of these names";

    emptiness =
      let
        fields = "paths, sqlite or ${concatStringsSep " or " (attrNames engines)}";
      in
      concatMapAttrsToList (
        name: service:
        optional (
          service.paths ++ service.sqlite ++ databasesOf service == [ ]
        ) "${optionOf name}: nothing to back up; set ${fields}, or enable = false"
      ) enabled;

    paths = concatMap (
      {
        name,
        field,
        path,
      }:
      if path == "/" then
        [ ''${optionOf name}.${field}: "/" is the whole host, not the data of a service'' ]
      else
        optional (
          match ".*/[.][.]?(/.*)?" path != null
        ) ''${optionOf name}.${field}: `${path}` must not go through "." or ".."''
    ) data;

    # Restoring a service replaces all its paths, so they must not contain data of another service.
    owners =
      let
        owners = lib.mapAttrs (_: unique) (
          ownersOf (
            map (
              { name, path, ... }:
              {
                owner = name;
                thing = path;
              }
            ) data
          )
        );
        shared = concatMapAttrsToList (
          path: names: optional (length names > 1) "${path} ${sharedBy names}"
        ) owners;
        nested = concatMap (
          {
            name,
            field,
            path,
          }:
          concatMap (
            parent:
            map (
              other:
              "${optionOf name}.${field}: `${path}` is inside `${parent}` of the service `${other}`; "
              + "restoring ${other} would overwrite the data of ${name}; ${declareOnce}"
            ) (lib.remove name (owners.${parent} or [ ]))
          ) (ancestors path)
        ) data;
      in
      shared ++ unique nested;

    databases = concatMapAttrsToList (
      engine: title:
      concatMapAttrsToList (
        database: names: optional (length names > 1) "the ${title} database `${database}` ${sharedBy names}"
      ) (servicesByThing (_: service: service.${engine}))
    ) engines;

    tags = concatMapAttrsToList (
      name: service:
      map (tag: "${optionOf name}.tags: atelier-backup sets the tag `${tag}` itself; remove it") (
        filter (
          tag: match "((service|install|atelier):.*|unadopted|partial|failed)" tag != null
        ) service.tags
      )
    ) services;

    formerNames = concatMapAttrsToList (
      former: names:
      optional (
        length names > 1
      ) "atelier.backup.services: `${former}` is a name or former name of ${quoted names}; ${declareOnce}"
    ) (servicesByThing (name: service: [ name ] ++ service.formerNames));

    # NixOS would merge the two definitions into one unit that runs both programs.
    units = map (
      name:
      "${optionOf name} and services.restic.backups.${name} both define restic-backups-${name}.service; "
      + "remove services.restic.backups.${name} (its snapshots stay restorable), or rename one of them"
    ) (attrNames (builtins.intersectAttrs (config.services.restic.backups or { }) enabled));

    host = optional (
      config.networking.hostName == ""
    ) "networking.hostName is empty; set it, because snapshots are stored under the host's name";
  };

  # A package can bring more units of these kinds than the configuration declares, so an unknown unit is only a warning.
  declaredUnits = {
    service = config.systemd.services;
    socket = config.systemd.sockets;
    timer = config.systemd.timers;
    target = config.systemd.targets;
    path = config.systemd.paths;
  };
  isDeclared =
    unit:
    let
      kind = lib.last (lib.splitString "." unit);
      name = lib.removeSuffix ".${kind}" unit;
      template = match "([^@]+@).*" name;
      declared = declaredUnits.${kind};
      aliases = concatMap (one: one.aliases or [ ]) (lib.attrValues declared);
    in
    !declaredUnits ? ${kind}
    || declared ? ${name}
    || template != null && declared ? ${head template}
    || elem unit aliases
    || lib.any (isNamedLike name) (config.systemd.packages or [ ]);
  # Which units a package brings is known once it is built. Most are called as it is: tailscaled.service of tailscale.
  isNamedLike =
    name: package:
    let
      unit = lib.toLower name;
      its = lib.toLower (lib.getName package);
    in
    lib.hasPrefix its unit || lib.hasPrefix unit its;
  unknownUnits = concatMapAttrsToList (
    name: service:
    let
      unknown = filter (unit: !isDeclared unit) (unitsOf name service);
    in
    optional (unknown != [ ]) (
      "${optionOf name}.units: this configuration declares no ${quoted unknown}; "
      + "list the units that use the data (an empty list if none does), otherwise restores in place are refused"
    )
  ) enabled;

  volatileData = concatMapAttrsToList (
    name: service:
    let
      volatile = filter mounts.isVolatile;
      paths = unique (volatile service.paths ++ volatile service.sqlite);
      # What lies beside a database belongs to it.
      folders = unique (volatile service.paths ++ map dirOf (volatile service.sqlite));
    in
    optional (paths != [ ]) (
      "${optionOf name}: on a tmpfs, which is empty after a reboot: ${concatStringsSep ", " paths}; "
      + mounts.keep "directories" folders
    )
  ) enabled;

  lostState =
    concatMap
      (
        { path, remedy }:
        [
          "atelier.backup: ${path} doesn't outlive a reboot, so this host would pass for another one after each, and its backups not count; ${remedy}"
        ]
      )
      (
        mounts.lost (
          [
            {
              kind = "directories";
              path = "/var/lib/atelier-backup";
            }
          ]
          # The state is bound to it.
          ++ optional (!config.environment.etc ? machine-id) {
            kind = "files";
            path = "/etc/machine-id";
          }
        )
      );
in
{
  assertions = map (message: {
    assertion = false;
    inherit message;
  }) (concatLists (lib.attrValues errors));
  warnings = unknownUnits ++ volatileData ++ lostState;
}
