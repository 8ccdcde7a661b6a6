# Our module among all of NixOS's own.
# nixpkgs: a complete tree
# modules: the configuration
{ nixpkgs, modules }:
let
  nixos = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    modules = [
      ./base.nix
      ../../../nix/module.nix
    ]
    ++ modules;
  };
  inherit (nixos) config lib;
  written = config.environment.etc."atelier/backup-manifest.json".source.value;
in
{
  inherit (nixos)
    config
    options
    pkgs
    lib
    ;
  inherit (config) warnings;
  failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  # The texts of our units, as they stand in /etc/systemd/system.
  units = lib.mapAttrs (_: unit: unit.text) (
    lib.filterAttrs (
      name: _: lib.hasPrefix "restic-" name || lib.hasPrefix "atelier-" name
    ) config.systemd.units
  );
  # Until NixOS 25.05 the derivation holds its text.
  manifest = if lib.isString written then builtins.fromJSON written else written;
  toplevel = config.system.build.toplevel.drvPath;
}
