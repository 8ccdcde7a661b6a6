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

  manifestOf =
    name:
    let
      host = evaluate [ ./examples/${name}.nix ];
    in
    assert lib.assertMsg (
      host.assertions == [ ]
    ) "nix/examples/${name}.nix: ${lib.concatStringsSep "\n" host.assertions}";
    (pkgs.formats.json { }).generate "${name}.json" host.manifest;

  checkManifest =
    name:
    pkgs.runCommand "manifest-${name}"
      {
        nativeBuildInputs = [
          package
          pkgs.check-jsonschema
        ];
      }
      ''
        check-jsonschema --schemafile ${../schema/backup-manifest.schema.json} ${manifestOf name}
        # Exit code 4: the loader accepted the manifest, and nothing has been backed up yet.
        atelier-backup --manifest ${manifestOf name} --state-dir $TMPDIR/state status --local --json > status.json || [ $? = 4 ]
        grep -q '"services"' status.json
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
