# What this configuration mounts where, and what of it outlives a reboot.
{ lib, config }:
let
  inherit (builtins)
    any
    attrNames
    attrValues
    concatMap
    dirOf
    elem
    ;
  inherit (lib)
    filter
    filterAttrs
    hasPrefix
    listToAttrs
    nameValuePair
    optionals
    splitString
    ;

  # Without doubled and trailing slashes.
  clean =
    path:
    let
      parts = splitString "/" (builtins.unsafeDiscardStringContext path);
    in
    "/" + lib.concatStringsSep "/" (filter (part: part != "") parts);
  isWithin = path: folder: path == folder || hasPrefix "${folder}/" path;

  # source: the folder that is shown at this point in truth, or null.
  placeOf = point: type: options: device: {
    point = clean point;
    inherit type;
    source = if elem "bind" options || elem "rbind" options then clean device else null;
  };
  mounts =
    map (fs: placeOf fs.mountPoint (fs.fsType or null) (fs.options or [ ]) (fs.device or "")) (
      attrValues (config.boot.specialFileSystems or { }) ++ attrValues (config.fileSystems or { })
    )
    ++ map (
      {
        where,
        what,
        type ? null,
        options ? "",
        ...
      }:
      placeOf where type (splitString "," options) what
    ) (config.systemd.mounts or [ ]);

  # What impermanence and preservation keep: not all of it is in systemd.mounts (links, single files, what the initrd mounts).
  impermanence = filterAttrs (_: storage: storage.enable or true) (
    config.environment.persistence or { }
  );
  preservation = lib.optionalAttrs (config.preservation.enable or false
  ) config.preservation.preserveAt;
  kept = concatMap (
    storage:
    concatMap (
      one:
      map (path: {
        point = clean path;
        type = null;
        source = clean "${storage.persistentStoragePath}/${path}";
      }) (concatMap pathsIn (one.directories ++ one.files))
    ) ([ storage ] ++ attrValues (storage.users or { }))
  ) (attrValues impermanence ++ attrValues preservation);
  pathsIn =
    entry:
    optionals (entry.how or "" != "_intermediate") [
      (entry.dirPath or entry.filePath or entry.directory or entry.file)
    ];

  places = listToAttrs (map (place: nameValuePair place.point place) (mounts ++ kept));
  # The nearest place at or above the path; null: none is declared.
  placeAt =
    among: path: among.${path} or (if path == "/" then null else placeAt among (dirOf path));
  # The place that holds the path in truth.
  holderOf =
    among: path:
    let
      place = placeAt among path;
    in
    if place == null || place.source == null then
      place
    else
      holderOf (removeAttrs among [ place.point ]) (
        place.source + lib.removePrefix place.point path
      );
  isVolatile =
    path:
    elem (holderOf places (clean path)).type or null [
      "tmpfs"
      "ramfs"
    ];

  # Whether each boot begins with an empty root: a tmpfs, or a snapshot that is rolled back, as who keeps something of /var has.
  losesRoot = isVolatile "/" || any ({ point, ... }: isWithin point "/var") kept;

  # What to write so that files or folders outlive a reboot: they keep their paths, and so snapshots do. kind: files or directories.
  keep =
    kind: paths:
    let
      first = storages: lib.strings.escapeNixIdentifier (builtins.head (attrNames storages));
      entryOf =
        path:
        if kind == "files" && preservation != { } then
          ''{ file = "${path}"; inInitrd = true; }''
        else
          ''"${path}"'';
      list = "${kind} = [ ${lib.concatMapStringsSep " " entryOf paths} ];";
    in
    if preservation != { } then
      "add preservation.preserveAt.${first preservation}.${list}"
    else if impermanence != { } then
      "add environment.persistence.${first impermanence}.${list}"
    else
      "have a disk mounted there";
in
{
  inherit clean isVolatile keep;

  # Mount points above, at or inside of these paths.
  around =
    paths:
    let
      concerns =
        point: point != "/" && any (path: isWithin point path || isWithin path point) (map clean paths);
    in
    lib.unique (filter concerns (map (mount: mount.point) mounts));

  # For each of these files and folders ([ { kind, path } ]) that a reboot empties: what to write.
  lost =
    let
      lasts = path: !isVolatile path && !(losesRoot && (placeAt places path).point or "/" == "/");
    in
    concatMap ({ kind, path }: optionals (!lasts path) [ { inherit path; remedy = keep kind [ path ]; } ]);
}
