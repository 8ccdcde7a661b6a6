# The least that makes a NixOS of a configuration.
{ lib, ... }:
{
  boot.loader.grub.device = "nodev";
  fileSystems."/" = lib.mkDefault {
    device = "/dev/disk/by-label/root";
    fsType = "ext4";
  };
  networking.hostName = lib.mkDefault "terebithia";
  system.stateVersion = lib.mkDefault lib.trivial.release;

  # Written in Haskell, whose package set is slow to evaluate, and missing in snapshots of nixpkgs that leave out its largest files.
  nixpkgs.overlays = [
    (final: _prev: {
      pandoc = final.hello;
      shellcheck = final.hello // {
        unwrapped = final.hello;
        compiler.bootstrapAvailable = false;
      };
      shellcheck-minimal = final.shellcheck;
    })
  ];
}
