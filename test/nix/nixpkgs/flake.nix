# A stand-in for the flake nixpkgs, so that `nix flake check --no-build` needs no network. Its packages have names and no content.
{
  outputs =
    { self }:
    let
      lib = import ./lib.nix;
      packagesOf =
        system:
        let
          # The arguments of a package are evaluated, but nothing is built.
          make =
            recipe:
            let
              given = if lib.isFunction recipe then recipe made else recipe;
              made = given // {
                finalPackage = derivationOf given;
              };
            in
            derivationOf given;
          derivationOf =
            given:
            derivation {
              inherit system;
              name = given.name or "${given.pname}-${given.version}";
              builder = "/bin/sh";
              args = map toString (lib.attrValues (removeAttrs given [
                "meta"
                "passthru"
              ]));
            }
            // given.passthru or { }
            // {
              meta = given.meta or { mainProgram = given.name; };
            };
        in
        lib.genAttrs [
          "attr"
          "bash"
          "btrfs-progs"
          "cacert"
          "check-jsonschema"
          "coreutils"
          "esbuild"
          "findutils"
          "installShellFiles"
          "makeWrapper"
          "nix"
          "nix-update-script"
          "nixfmt-tree"
          "nodejs"
          "openssh"
          "rclone"
          "restic"
          "sqlite"
          "systemd"
          "tzdata"
          "util-linux"
          "versionCheckHook"
        ] (name: make { inherit name; })
        // {
          inherit lib;
          stdenv.hostPlatform = { inherit system; };
          stdenvNoCC.mkDerivation = make;
          mkShellNoCC =
            { packages }:
            make {
              name = "shell";
              inherit packages;
            };
          writeShellApplication = make;
          writeText = name: text: make { inherit name text; };
          formats.json = _: {
            generate =
              name: value:
              make {
                inherit name;
                text = builtins.toJSON value;
              };
          };
          runCommand =
            name: given: script:
            make (given // { inherit name script; });
          testers.runNixOSTest = test: make { inherit (test) name testScript; };
          callPackage =
            file: given:
            let
              package = import file;
            in
            package (builtins.intersectAttrs (builtins.functionArgs package) (packagesOf system) // given);
        };
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packagesOf;
    };
}
