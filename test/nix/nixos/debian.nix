# nixpkgs with this machine's programs in place of its own, which would all have to be built first: its functions, hooks and wrappers are
# the real ones.
# npm: the program, where it isn't the machine's own
{
  nixpkgs,
  esbuild,
  npm ? "npm",
}:
let
  # In the order of nixpkgs' names. What the machine lacks is left out.
  programs = {
    attr = [ "getfattr" ];
    bash = [
      "bash"
      "sh"
    ];
    btrfs-progs = [ "btrfs" ];
    coreutils = [
      "cat"
      "cp"
      "du"
      "env"
      "id"
      "ls"
      "mkdir"
      "mv"
      "rm"
      "sync"
      "touch"
    ];
    esbuild = [ esbuild ];
    findutils = [
      "find"
      "xargs"
    ];
    jq = [ "jq" ];
    nodejs = [
      "node"
      npm
    ];
    openssh = [ "ssh" ];
    rclone = [ "rclone" ];
    restic = [ "restic" ];
    sqlite = [ "sqlite3" ];
    systemd = [
      "systemd-analyze"
      "journalctl"
      "systemctl"
      "systemd-run"
      "timedatectl"
    ];
    util-linux = [
      "flock"
      "exch"
      "mount"
      "nsenter"
      "setpriv"
      "unshare"
    ];
  };

  overlay =
    final: _prev:
    let
      link =
        pname: programs:
        final.stdenvNoCC.mkDerivation {
          name = "${pname}-of-this-machine";
          buildCommand = ''
            mkdir -p $out/bin
            for program in ${toString programs}; do
              ! place=$(type -P $program) || ln -s "$place" $out/bin/
            done
          '';
          meta.mainProgram = baseNameOf (builtins.head programs);
        };
      bash = link "bash" programs.bash // {
        shellPath = "/bin/bash";
      };
    in
    builtins.mapAttrs link programs
    // {
      inherit bash;
      bashInteractive = bash;
      bashNonInteractive = bash;
      runtimeShell = "/bin/bash";
      runtimeShellPackage = bash;
      tzdata = final.runCommand "tzdata-of-this-machine" { } ''
        mkdir -p $out/share
        ln -s /usr/share/zoneinfo $out/share/
      '';
      cacert = final.writeTextDir "nix-support/setup-hook" ''
        export NIX_SSL_CERT_FILE="''${NIX_SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
      '';
    };
in
import nixpkgs {
  overlays = [ overlay ];
  stdenvStages =
    { localSystem, config, overlays, ... }:
    [
      (_: {
        inherit config overlays;
        stdenv = import (nixpkgs + "/pkgs/stdenv/generic") { defaultConfig = config; } {
          name = "stdenv-of-this-machine";
          buildPlatform = localSystem;
          hostPlatform = localSystem;
          targetPlatform = localSystem;
          cc = null;
          hasCC = false;
          initialPath = [
            "/usr"
            "/usr/local"
          ];
          shell = "/bin/bash";
          fetchurlBoot = throw "stdenv-of-this-machine fetches nothing";
          inherit config;
          preHook = "export NIX_ENFORCE_PURITY=0";
        };
      })
    ];
}
