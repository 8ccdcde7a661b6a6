{
  description = "Declared restic backups for the services of a NixOS host: without downtime, proven restorable";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forAllSystems = f: lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAllSystems (pkgs: rec {
        atelier-backup = pkgs.callPackage ./nix/package.nix { };
        default = atelier-backup;
      });

      overlays.default = final: _: { atelier-backup = final.callPackage ./nix/package.nix { }; };

      nixosModules.default.imports = [ ./nix/module.nix ];

      apps = forAllSystems (pkgs: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          meta.description = "The command atelier-backup";
        };
        # It needs root, and npm's packages: it builds itself, in a folder of its own.
        demo = {
          type = "app";
          program = lib.getExe (pkgs.writeShellApplication {
            name = "atelier-backup-demo";
            runtimeInputs = with pkgs; [ nodejs restic sqlite util-linux ];
            text = ''
              folder=$(mktemp -d)
              cp -r --no-preserve=ownership ${self}/. "$folder"
              chmod -R u+w "$folder"
              exec "$folder/scripts/demo"
            '';
          });
          meta.description = "Real data backed up, damaged and brought back";
        };
      });

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShellNoCC { packages = with pkgs; [ nodejs restic sqlite attr nix ]; };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);

      checks = forAllSystems (pkgs: import ./nix/checks.nix { inherit pkgs lib; package = self.packages.${pkgs.stdenv.hostPlatform.system}.default; });
    };
}
