# Writes the option reference (nix/options.md) from the options.
{ lib, options }:
let
  # `main` has the same fields as `repositories.<name>`.
  isDocumented =
    o: o.visible && !o.internal && !lib.hasPrefix "atelier.backup.repositories.main." o.name;
  line = label: value: lib.optionalString (value != null) "- ${label}: `${value.text}`\n";
  entry =
    o:
    ''
      ## `${o.name}`

      ${lib.replaceStrings [ "{manpage}`" ] [ "`" ] o.description}

      - Type: `${o.type}`
    ''
    + lib.optionalString o.readOnly "- Set by the module\n"
    + line "Default" (o.default or null)
    + line "Example" (o.example or null);

  head = ''
    # Options

    Written by scripts/docs/options from schema/backup-manifest.schema.json and nix/module.nix, nix/presets; edit those.

    Services that other modules declare as `atelier.services.NAME` with
    `data = { sqlite, postgres, files, exclude, stopForBackup, stopUnits }` are backed up without a second declaration: the folders of
    their SQLite databases, the databases and the files. `stopUnits` become `units`. `stopForBackup` is ignored for a service that has
    only SQLite databases, because these are copied while the service runs. Each field that you set under `atelier.backup.services`
    replaces the one derived from `atelier.services`.

    `presets` do the same for services of nixpkgs, from their own options. They save nothing until `presets.enable` or one of them is set;
    whatever you or `atelier.services` declare for a field wins.
  '';
in
lib.concatStringsSep "\n" (
  [ head ]
  ++ map entry (
    lib.filter isDocumented (lib.optionAttrSetToDocList { atelier.backup = options.atelier.backup; })
  )
)
