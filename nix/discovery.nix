# Services that other modules declare as atelier.services.NAME, with `enable` and
# `data = { sqlite, postgres, files, exclude, stopForBackup, stopUnits }`, as definitions of atelier.backup.services that a user's own
# override field by field.
{ lib, services }:
let
  # One or several, or none.
  listOf = value: if value == null then [ ] else lib.toList value;

  unitOf = name: if builtins.match ".*[.](service|socket|timer|target|path|mount)" name == null then "${name}.service" else name;

  definitionOf = service:
    let
      data = lib.mapAttrs (_: listOf) (lib.getAttrs fields (none // service.data));
      # A disabled one stays known, so that it can be restored.
      enable = service.enable or true;
    in
    lib.mapAttrs (_: lib.mkDefault) ({
      inherit enable;
      inherit (data) sqlite postgres exclude;
      # The database's folder: what else stands there belongs to the service.
      paths = lib.unique (map dirOf data.sqlite ++ data.files);
    }
    // lib.optionalAttrs (data.stopUnits != [ ]) { units = map unitOf data.stopUnits; }
    # A SQLite database alone is saved while it runs.
    // lib.optionalAttrs ((service.data.stopForBackup or false) && data.postgres ++ data.files != [ ]) { stopForBackup = true; });

  fields = [ "sqlite" "postgres" "files" "exclude" "stopUnits" ];
  none = lib.genAttrs fields (_: [ ]);
  hasData = service: lib.any (field: listOf (service.data.${field} or null) != [ ]) [ "sqlite" "postgres" "files" ];
in
lib.mapAttrs (_: definitionOf) (lib.filterAttrs (_: hasData) services)
