# The NixOS module: options made from the schema, the manifest in /etc, services and timers. Needs NixOS 24.11 or later (restic ≥ 0.17).
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  cfg = config.atelier.backup;
  schema = lib.importJSON ../schema/backup-manifest.schema.json;
  derived = import ./schema-to-options.nix { inherit lib schema defaultOf; };
  schemaAssertions = import ./schema-assertions.nix {
    inherit lib schema;
    inherit (derived) deref regex;
  };
  mounts = import ./mounts.nix { inherit lib config; };
  semantics = import ./semantics.nix { inherit lib config mounts; };
  units = import ./units.nix {
    inherit
      lib
      config
      utils
      mounts
      ;
  };
  presets = import ./presets.nix { inherit lib config; };

  # pkgs has the package only with the flake's overlay.
  packages.atelier-backup = pkgs.atelier-backup or (pkgs.callPackage ./package.nix { });

  # The schema's default /run/agenix/NAME means agenix's secret NAME. The host can tell agenix to use another folder.
  secrets = config.age.secrets or { };
  defaultOf =
    property:
    if property.format or "" != "secret-path" || property.default == null then
      property.default
    else
      secrets.${lib.removePrefix "/run/agenix/" property.default}.path or property.default;

  # The options of the schema have the manifest's shape; `enable`, `package`, `presets` and what other modules add are not part of it.
  manifest = derived.declared cfg;
  written = (pkgs.formats.json { }).generate "backup-manifest.json" manifest;

  # Of the host's own PostgreSQL server. Weaker than mkDefault.
  server = config.services.postgresql or { };
  socketDirs = lib.filter (lib.hasPrefix "/") (
    lib.splitString "," (
      lib.replaceStrings [ " " ] [ "" ] (server.settings.unix_socket_directories or "")
    )
  );
in
{
  options.atelier.backup = derived.options // {
    presets = presets.options;
    enable = lib.mkEnableOption "backups of the services declared under `atelier.backup` and of the `data` declared under `atelier.services`";
    package = lib.mkPackageOption packages "atelier-backup" {
      extraDescription = "It is built from this flake's sources where `pkgs` has none.";
    };
  };

  config = lib.mkIf cfg.enable {
    atelier.backup = {
      host = config.networking.hostName;
      services = lib.mkMerge [
        (import ./discovery.nix {
          inherit lib;
          services = config.atelier.services or { };
        })
        presets.services
      ];
      postgresql = lib.mkIf (server.enable or false) {
        port = lib.mkOverride 1100 (server.settings.port or 5432);
        socketDir = lib.mkIf (socketDirs != [ ]) (lib.mkOverride 1100 (lib.head socketDirs));
      };
    };
    assertions = schemaAssertions "atelier.backup" manifest ++ semantics.assertions;
    warnings = semantics.warnings ++ presets.warnings ++ import ./warnings.nix { inherit lib config; };
    environment = {
      etc."atelier/backup-manifest.json".source = written;
      systemPackages = [ cfg.package ];
    };
    systemd = { inherit (units) services timers; };
    # Built for another platform, the command can't run here.
    system.checks = lib.optional (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) (
      pkgs.callPackage ./check.nix { systemd = config.systemd.package; } {
        inherit (cfg) package;
        manifest = written;
        timers = builtins.intersectAttrs units.timers config.systemd.timers;
      }
    );
  };
}
