# What a declaration says beyond its types: { assertions, warnings }, each telling what to write. What src/manifest/meaning.ts refuses is
# refused here, at the rebuild (a test holds the two against each other); the rest only Nix can see.
{ lib, config }:
let
  inherit (builtins) attrNames concatMap elem filter head match;
  inherit (lib) concatLists concatMapStringsSep concatStringsSep mapAttrsToList optional;

  cfg = config.atelier.backup;
  services = cfg.services;
  enabled = lib.filterAttrs (_: service: service.enable) services;
  at = name: "atelier.backup.services.${lib.strings.escapeNixIdentifier name}";
  each = check: set: concatLists (mapAttrsToList check set);
  owned = names: "the services ${ticked names}: a restore of one would replace the others' data; ${leave}";
  leave = "leave it to one of them";
  ticked = concatMapStringsSep ", " (name: "`${name}`");

  # The fields that name databases, and what these are called: those of src/manifest/engines.ts.
  engines = { postgres = "PostgreSQL"; };
  dumped = service: concatMap (engine: service.${engine}) (attrNames engines);

  # All data of all services: { name, path, field }. Paths without doubled and trailing slashes.
  data = each (name: service: dataOf name "paths" service.paths ++ dataOf name "sqlite" service.sqlite) services;
  dataOf = name: field: map (path: { inherit name field; path = clean path; });
  clean = path: "/" + concatStringsSep "/" (filter (part: part != "") (lib.splitString "/" (builtins.unsafeDiscardStringContext path)));
  ancestors = path: let above = dirOf path; in if above == "/" then [ ] else [ above ] ++ ancestors above;
  # thing -> names of all that have it
  ownersOf = things: lib.zipAttrs (map ({ name, thing }: { ${thing} = name; }) things);

  refused = {
    names = each (name: _: optional (match ".*[.][.].*" name != null) "${at name}: a service's name must not contain \"..\"") services;

    openSecrets = each (name: { repository, ... }: optional (repository != null && match ".*://[^/@]*:[^/]*@.*" repository != null)
      ("atelier.backup.repositories.${name}.repository: holds a password that everyone on this host can read; "
      + "put the location into a file and name that as repositoryFile")) cfg.repositories;

    repositories = each (name: service: optional (!cfg.repositories ? ${service.repository})
      ("${at name}.repository: no repository `${service.repository}` is declared; write atelier.backup.repositories.${service.repository}, "
      + "or name one of ${ticked (attrNames cfg.repositories)}")) services;

    predecessors = each (name: service: map (other:
      "${at name}.restoreAfter: no service `${other}` is declared; declare ${at other}, or take the name out")
      (filter (other: !services ? ${other}) service.restoreAfter)) services;

    circles =
      let
        # Take out whoever waits for nobody that is left, until only circles are left, and who waits for them.
        stuckOf = waiting:
          let left = lib.filterAttrs (_: service: lib.any (other: waiting ? ${other}) service.restoreAfter) waiting; in
          if attrNames left == attrNames waiting then waiting else stuckOf left;
        stuck = stuckOf services;
        follow = trail: name:
          if elem name trail then "${concatStringsSep " after " (lib.drop (lib.lists.findFirstIndex (x: x == name) 0 trail) trail)} after ${name}"
          else follow (trail ++ [ name ]) (head (filter (other: stuck ? ${other}) services.${name}.restoreAfter));
      in
      optional (stuck != { })
        "atelier.backup.services: restoreAfter goes round in a circle: ${follow [ ] (head (attrNames stuck))}; take one of them out";

    nothing = each (name: service: optional (service.paths ++ service.sqlite ++ dumped service == [ ])
      "${at name}: nothing to back up; write paths, sqlite or ${concatStringsSep " or " (attrNames engines)}, or enable = false") enabled;

    places = concatMap ({ name, path, field }:
      if path == "/" then [ "${at name}.${field}: \"/\" is the whole host, not the data of a service" ]
      else optional (match ".*/[.][.]?(/.*)?" path != null) "${at name}.${field}: `${path}` must not go through \".\" or \"..\"") data;

    # A restore of one service replaces all its paths, so nobody else's data may be there.
    owners =
      let
        owners = ownersOf (map ({ name, path, ... }: { inherit name; thing = path; }) data);
        others = name: path: filter (other: other != name) (owners.${path} or [ ]);
        twice = each (path: names: optional (lib.length (lib.unique names) > 1)
          "${path} belongs to ${owned (lib.unique names)}") owners;
        inside = concatMap ({ name, path, field }: concatMap (above: map (other:
          "${at name}.${field}: `${path}` is inside `${above}` of the service `${other}`, whose restore would replace ${name}'s data; ${leave}")
          (others name above)) (ancestors path)) data;
      in
      twice ++ lib.unique inside;

    databases = each (engine: title: each (database: names: optional (lib.length names > 1)
      "the ${title} database `${database}` belongs to ${owned names}")
      (ownersOf (each (name: service: map (thing: { inherit name thing; }) (lib.unique service.${engine})) services))) engines;

    tags = each (name: service: map (tag: "${at name}.tags: `${tag}` is a tag that atelier-backup sets itself; take it out")
      (filter (tag: match "((service|install|atelier):.*|unadopted|partial|failed)" tag != null) service.tags)) services;

    formerNames = each (former: names: optional (lib.length names > 1)
      "atelier.backup.services: `${former}` is a name or former name of ${ticked names}; ${leave}")
      (ownersOf (each (name: service: map (thing: { inherit name thing; }) (lib.unique ([ name ] ++ service.formerNames))) services));

    # Two definitions of one unit merge without a word: it would run both programs.
    twins = map (name: "${at name} and services.restic.backups.${name} both make restic-backups-${name}.service; "
      + "remove services.restic.backups.${name} (its snapshots stay restorable), or rename one")
      (attrNames (builtins.intersectAttrs (config.services.restic.backups or { }) enabled));

    host = optional (config.networking.hostName == "") "networking.hostName is empty: snapshots are kept under the host's name; set it";
  };

  # Of these kinds a configuration knows what it declares; packages may bring more, hence a warning.
  declared = {
    service = config.systemd.services;
    socket = config.systemd.sockets;
    timer = config.systemd.timers;
    target = config.systemd.targets;
    path = config.systemd.paths;
  };
  isKnown = unit:
    let
      kind = lib.last (lib.splitString "." unit);
      name = lib.removeSuffix ".${kind}" unit;
      template = match "([^@]+@).*" name;
    in
    !declared ? ${kind} || declared.${kind} ? ${name} || template != null && declared.${kind} ? ${head template};
  strangers = each (name: service:
    let unknown = filter (unit: !isKnown unit) (if service.units == null then [ "${name}.service" ] else service.units); in
    optional (unknown != [ ]) ("${at name}.units: this configuration declares no ${ticked unknown}; "
      + "write the units that use the data (an empty list if none does), or restores in place are refused")) enabled;

  # The filesystem that a path lies on, as far as it is declared: the mount point nearest above it.
  filesystems = lib.listToAttrs (map (fs: lib.nameValuePair fs.mountPoint fs.fsType)
    (lib.attrValues (config.boot.specialFileSystems or { }) ++ lib.attrValues (config.fileSystems or { })));
  filesystemOf = path: filesystems.${path} or (if path == "/" then null else filesystemOf (dirOf path));
  isLost = path: elem (filesystemOf (clean path)) [ "tmpfs" "ramfs" ];
  lost = each (name: service:
    let gone = filter isLost (lib.unique (service.paths ++ service.sqlite)); in
    optional (gone != [ ])
      "${at name}: ${concatStringsSep ", " gone} lies on a tmpfs and is gone after a reboot; name the folder where the data is kept") enabled;
in
{
  assertions = map (message: { assertion = false; inherit message; }) (concatLists (lib.attrValues refused));
  warnings = strangers ++ lost;
}
