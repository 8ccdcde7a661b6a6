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
in
lib.concatStringsSep "\n" ([ "# Options\n\nWritten by scripts/docs/options from schema/backup-manifest.schema.json and nix/module.nix; edit those.\n" ]
  ++ map entry (lib.filter isTold (lib.optionAttrSetToDocList { atelier.backup = options.atelier.backup; })))
