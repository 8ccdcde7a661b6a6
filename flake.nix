{
  description = "Declarative restic backups for the services of a NixOS host, without downtime and tested for restorability";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forAllSystems =
        f: lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAllSystems (
        pkgs:
        let
          atelier-backup = pkgs.callPackage ./nix/package.nix { };
        in
        {
          inherit atelier-backup;
          default = atelier-backup;
        }
      );

      overlays.default = final: _prev: { atelier-backup = final.callPackage ./nix/package.nix { }; };

      nixosModules = {
        default.imports = [ ./nix/module.nix ];
        # With selfhostblocks and in a clan, beside the default.
        shb.imports = [ ./nix/shb.nix ];
        clan.imports = [ ./nix/clan.nix ];
      };

      apps = forAllSystems (pkgs: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          meta.description = "The command atelier-backup";
        };
        # The demo needs root and a writable tree, in which it installs npm packages and builds the command.
        demo = {
          type = "app";
          program = lib.getExe (
            pkgs.writeShellApplication {
              name = "atelier-backup-demo";
              runtimeInputs = [
                pkgs.nodejs
                pkgs.restic
                pkgs.sqlite
                pkgs.util-linux
              ];
              text = ''
                folder=$(mktemp -d)
                cp -r --no-preserve=ownership ${self}/. "$folder"
                chmod -R u+w "$folder"
                exec "$folder/scripts/demo"
              '';
            }
          );
          meta.description = "A demonstration that backs up, damages and restores real data";
        };
      });

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShellNoCC {
          packages = [
            pkgs.attr
            pkgs.nix
            pkgs.nodejs
            pkgs.restic
            pkgs.sqlite
          ];
        };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      checks = forAllSystems (
        pkgs:
        import ./nix/checks.nix {
          inherit pkgs lib;
          package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        }
      );
    };
}
