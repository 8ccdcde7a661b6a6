# The option reference in Markdown, from the options themselves.
{ lib, options }:
let
  # `main` has the fields of every other repository.
  isTold = o: o.visible && !o.internal && !lib.hasPrefix "atelier.backup.repositories.main." o.name;
  line = label: value: lib.optionalString (value != null) "- ${label}: `${value.text}`\n";
  entry = o: ''
    ## `${o.name}`

    ${lib.replaceStrings [ "{manpage}`" ] [ "`" ] o.description}

    - Type: `${o.type}`
  '' + lib.optionalString o.readOnly "- Set by the module\n" + line "Default" (o.default or null) + line "Example" (o.example or null);

  head = ''
    # Options

    Written by scripts/docs/options from schema/backup-manifest.schema.json and nix/module.nix; edit those.

    Services that other modules declare as `atelier.services.NAME` with
    `data = { sqlite, postgres, files, exclude, stopForBackup, stopUnits }` are backed up without being declared again: the folders of
    their SQLite databases, the databases, and the files. `stopUnits` become `units`. A `stopForBackup` for a SQLite database alone isn't
    taken over, as it is saved while it runs. What is declared under `atelier.backup.services` wins, field by field.
  '';
in
lib.concatStringsSep "\n" ([ head ] ++ map entry (lib.filter isTold (lib.optionAttrSetToDocList { atelier.backup = options.atelier.backup; })))
