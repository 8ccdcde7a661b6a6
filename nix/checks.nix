# What `nix flake check` builds: the package, the examples' manifests (checked by the schema and by the CLI's loader), the option
# reference and a virtual machine.
{
  pkgs,
  lib,
  package,
}:
let
  # Light stand-ins for NixOS's own modules are enough for the manifest.
  evaluate = modules: import ../test/nix/nixos.nix { inherit lib modules; };
  examples = [
    "small"
    "twenty-services"
  ];

  checkManifest =
    name:
    let
      host = evaluate [ ./examples/${name}.nix ];
      manifest = (pkgs.formats.json { }).generate "${name}.json" host.manifest;
    in
    assert lib.assertMsg (
      host.assertions == [ ]
    ) "nix/examples/${name}.nix: ${lib.concatStringsSep "\n" host.assertions}";
    pkgs.runCommand "manifest-${name}"
      {
        nativeBuildInputs = [ pkgs.check-jsonschema ];
        loaded = pkgs.callPackage ./check.nix { } {
          inherit package manifest;
          inherit (host.units) timers;
        };
      }
      ''
        check-jsonschema --schemafile ${../schema/backup-manifest.schema.json} ${manifest}
        touch $out
      '';

  reference = pkgs.writeText "options.md" (
    import ./options-doc.nix {
      inherit lib;
      inherit (evaluate [ ]) options;
    }
  );
in
{
  inherit package;
  options = pkgs.runCommand "options-are-fresh" { } ''
    diff -u ${./options.md} ${reference} || { echo 'nix/options.md is stale: run scripts/docs/options'; exit 1; }
    touch $out
  '';
}
// lib.listToAttrs (map (name: lib.nameValuePair "manifest-${name}" (checkManifest name)) examples)
// package.tests
