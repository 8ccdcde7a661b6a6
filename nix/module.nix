# The NixOS module: options from the schema, the manifest in /etc, units and timers. Needs NixOS 24.11 or later (restic ≥ 0.17).
{ config, lib, pkgs, ... }:
let
  cfg = config.atelier.backup;
  schema = builtins.fromJSON (builtins.readFile ../schema/backup-manifest.schema.json);
  derived = import ./schema-to-options.nix { inherit lib schema defaultOf; };
  schemaAssertions = import ./schema-assertions.nix { inherit lib schema; inherit (derived) deref regex; };
  semantics = import ./semantics.nix { inherit lib config; };
  units = import ./units.nix { inherit lib config; };

  # /run/agenix/NAME is agenix's secret NAME, wherever the host has agenix put it.
  secrets = config.age.secrets or { };
  defaultOf = property:
    if property.format or "" != "secret-path" then property.default
    else secrets.${lib.removePrefix "/run/agenix/" property.default}.path or property.default;

  # Declared and written in the same shape.
  manifest = builtins.intersectAttrs derived.options cfg;
in
{
  options.atelier.backup = derived.options // {
    enable = lib.mkEnableOption "backups of what is declared under `atelier.backup` and as `data` of `atelier.services`";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.atelier-backup or (pkgs.callPackage ./package.nix { });
      defaultText = lib.literalExpression "the package of this flake";
      description = "The package that provides the command `atelier-backup`.";
    };
  };

  config = lib.mkIf cfg.enable {
    atelier.backup.host = config.networking.hostName;
    atelier.backup.services = import ./discovery.nix { inherit lib; services = config.atelier.services or { }; };
    assertions = schemaAssertions "atelier.backup" manifest ++ semantics.assertions;
    inherit (semantics) warnings;
    environment.etc."atelier/backup-manifest.json".text = builtins.toJSON manifest;
    environment.systemPackages = [ cfg.package ];
    systemd = { inherit (units) services timers; };
  };
}
