# Evaluates a configuration with light stand-ins for the parts of NixOS that the module reads and writes.
# lib: nixpkgs' own, or nixpkgs/lib.nix
# modules: the configuration
{
  lib,
  modules ? [ ],
}:
let
  inherit (lib) mkOption types;
  any = mkOption {
    type = types.lazyAttrsOf types.anything;
    default = { };
  };
  nixos = {
    options = {
      assertions = mkOption {
        type = types.listOf types.anything;
        default = [ ];
      };
      warnings = mkOption {
        type = types.listOf types.str;
        default = [ ];
      };
      boot = any;
      preservation = any;
      environment = {
        persistence = any;
        etc = any;
        systemPackages = mkOption {
          type = types.listOf types.anything;
          default = [ ];
        };
      };
      systemd = {
        services = any;
        sockets = any;
        timers = any;
        targets = any;
        paths = any;
        tmpfiles = any;
        packages = mkOption {
          type = types.listOf types.anything;
          default = [ ];
        };
        mounts = mkOption {
          type = types.listOf types.anything;
          default = [ ];
        };
      };
      fileSystems = any // {
        apply = lib.mapAttrs (name: fs: { mountPoint = name; } // fs);
      };
      # The module warns of secrets that nobody makes, and of NixOS's own default name of a host.
      age.secrets = any // {
        default = lib.genAttrs [ "restic/repo" "restic/password" "restic/env" ] (name: {
          path = "/run/agenix/${name}";
        });
      };
      sops = any;
      system.checks = mkOption {
        type = types.listOf types.anything;
        default = [ ];
      };
      services.postgresql = any;
      services.restic.backups = any;
      atelier.services = any;
      networking.hostName = mkOption {
        type = types.str;
        default = "cellar";
      };
    };
  };
  package = {
    type = "derivation";
    outPath = "/nix/store/00000000000000000000000000000000-atelier-backup";
    meta.mainProgram = "atelier-backup";
  };
  pkgs = {
    atelier-backup = package;
    # Where the test host has it.
    sqlite = package // {
      outPath = "/nix/store/sqlite";
    };
    # As in nixpkgs, the derivation has the value as an attribute.
    formats.json = _: {
      generate = name: value: {
        type = "derivation";
        outPath = "/nix/store/00000000000000000000000000000000-${name}";
        inherit name value;
      };
    };
  };
  # NixOS's own escapes more.
  utils.escapeSystemdPath =
    path: lib.replaceStrings [ "-" "/" ] [ "\\x2d" "-" ] (lib.removePrefix "/" path);
  evaluated = lib.evalModules {
    modules = [
      nixos
      ../../nix/module.nix
      { _module.args = { inherit pkgs utils; }; }
    ]
    ++ modules;
  };
in
{
  inherit (evaluated) options config;
  manifest = evaluated.config.environment.etc."atelier/backup-manifest.json".source.value;
  # Files of /etc by their text.
  etc = lib.mapAttrs (_: file: file.text) (
    lib.filterAttrs (_: file: file ? text) evaluated.config.environment.etc
  );
  assertions = map (a: a.message) (lib.filter (a: !a.assertion) evaluated.config.assertions);
  inherit (evaluated.config) warnings;
  units = {
    inherit (evaluated.config.systemd)
      services
      timers
      sockets
      paths
      targets
      mounts
      ;
  };
}
