# What a declaration says beyond its types: { assertions, warnings }, each telling what to write.
{ lib, config }:
let
  inherit (builtins) attrNames concatMap elem filter head match;
  inherit (lib) concatMapStringsSep concatStringsSep mapAttrsToList optional;

  cfg = config.atelier.backup;
  enabled = lib.filterAttrs (_: service: service.enable) cfg.services;
  at = name: "atelier.backup.services.${lib.strings.escapeNixIdentifier name}";
  each = check: set: lib.concatLists (mapAttrsToList check set);
  ticked = concatMapStringsSep ", " (name: "`${name}`");

  unknownRepositories = each (name: service: optional (!cfg.repositories ? ${service.repository})
    "${at name}.repository: no repository `${service.repository}` is declared; write atelier.backup.repositories.${service.repository}, or name one of ${ticked (attrNames cfg.repositories)}") cfg.services;

  unknownPredecessors = each (name: service: map (other:
    "${at name}.restoreAfter: no service `${other}` is declared; declare ${at other}, or take the name out")
    (filter (other: !cfg.services ? ${other}) service.restoreAfter)) cfg.services;

  circles =
    let
      after = lib.mapAttrs (_: service: filter (other: cfg.services ? ${other}) service.restoreAfter) cfg.services;
      # Take out whoever waits for nobody that is left; those who stay stand in a circle, or behind one.
      stuckOf = waiting:
        let left = lib.filterAttrs (_: lib.any (other: waiting ? ${other})) waiting; in
        if attrNames left == attrNames waiting then waiting else stuckOf left;
      stuck = stuckOf after;
      follow = seen: name: if elem name seen then lib.drop (lib.lists.findFirstIndex (x: x == name) 0 seen) seen ++ [ name ]
        else follow (seen ++ [ name ]) (head (filter (other: stuck ? ${other}) after.${name}));
    in
    optional (stuck != { }) "atelier.backup.services: restoreAfter goes round in a circle: ${concatStringsSep " after " (follow [ ] (head (attrNames stuck)))}; take one of them out";

  nothing = each (name: service: optional (service.paths ++ service.sqlite ++ service.postgres == [ ])
    "${at name}: nothing to back up; write paths, sqlite or postgres, or enable = false") enabled;

  # Two definitions of one unit merge without a word: it would run both programs.
  twins = map (name: "${at name} and services.restic.backups.${name} both make restic-backups-${name}.service; remove services.restic.backups.${name} (its snapshots stay restorable), or give one another name")
    (attrNames (builtins.intersectAttrs (config.services.restic.backups or { }) enabled));

  openSecrets = each (name: repository: optional (repository.repository != null && match "[^/]*://[^/]*:[^/]*@.*" repository.repository != null)
    "atelier.backup.repositories.${name}.repository: holds a password, and everyone on the host can read it; put it into a file and name that as repositoryFile") cfg.repositories;

  noName = optional (config.networking.hostName == "") "networking.hostName is empty: snapshots are kept under the host's name; set it";

  # Kinds of units that this configuration can be asked for; packages may bring others, hence a warning.
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
    optional (unknown != [ ]) "${at name}.units: this configuration declares no ${ticked unknown}; write the units that use the data (an empty list if none does), or restores in place are refused") enabled;

  shared =
    let
      owners = lib.zipAttrs (mapAttrsToList (name: service: lib.genAttrs service.paths (_: name)) enabled);
    in
    each (path: names: optional (lib.length names > 1)
      "${path} belongs to several services (${ticked names}): restoring one takes the others' data back too; leave it to one of them") owners;

  # The filesystem that a path lies on, as far as it is declared: the mount point nearest above it.
  types = lib.listToAttrs (map (fs: lib.nameValuePair fs.mountPoint fs.fsType)
    (lib.attrValues (config.boot.specialFileSystems or { }) ++ lib.attrValues (config.fileSystems or { })));
  typeAt = path: types.${path} or (if path == "/" then null else typeAt (dirOf path));
  isLost = path: elem (typeAt path) [ "tmpfs" "ramfs" ];
  lost = each (name: service:
    let gone = filter isLost (lib.unique (service.paths ++ service.sqlite)); in
    optional (gone != [ ]) "${at name}: ${concatStringsSep ", " gone} lies on a tmpfs and is gone after a reboot; name the folder where the data is kept") enabled;
in
{
  assertions = map (message: { assertion = false; inherit message; }) (unknownRepositories ++ unknownPredecessors ++ circles ++ nothing ++ twins ++ openSecrets ++ noName);
  warnings = strangers ++ shared ++ lost;
}
