# Turns atelier.services.NAME, which other modules declare with `enable` and
# `data = { sqlite, postgres, files, exclude, stopForBackup, stopUnits }`, into definitions of atelier.backup.services. They have the
# priority of mkDefault, so a user's definition of a field wins.
{ lib, services }:
let
  # A value, a list or null.
  listOf = value: if value == null then [ ] else lib.toList value;

  unitOf =
    name:
    if builtins.match ".*[.](service|socket|timer|target|path|mount)" name == null then
      "${name}.service"
    else
      name;

  definitionOf =
    service:
    let
      data = lib.mapAttrs (_: listOf) (lib.getAttrs fields (none // service.data));
      # A disabled service stays in the manifest, so that it can be restored.
      enable = service.enable or true;
    in
    lib.mapAttrs (_: lib.mkDefault) (
      {
        inherit enable;
        inherit (data) sqlite postgres exclude;
        # The whole folder of a database is backed up: the other files in it belong to the service, too.
        paths = lib.unique (map dirOf data.sqlite ++ data.files);
      }
      // lib.optionalAttrs (data.stopUnits != [ ]) { units = map unitOf data.stopUnits; }
      # A SQLite database needs no stop: its copy is consistent while the service runs.
      // lib.optionalAttrs ((service.data.stopForBackup or false) && data.postgres ++ data.files != [ ]) {
        stopForBackup = true;
      }
    );

  fields = [
    "sqlite"
    "postgres"
    "files"
    "exclude"
    "stopUnits"
  ];
  none = lib.genAttrs fields (_: [ ]);
  hasData =
    service:
    lib.any (field: listOf (service.data.${field} or null) != [ ]) [
      "sqlite"
      "postgres"
      "files"
    ];
in
lib.mapAttrs (_: definitionOf) (lib.filterAttrs (_: hasData) services)
