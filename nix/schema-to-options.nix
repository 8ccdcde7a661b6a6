# JSON Schema (the keywords that our manifest uses) -> NixOS options: types, defaults, descriptions, examples. Nothing is declared twice.
# `defaultOf` may put another default in place of a property's own, which stays in the documentation.
{
  lib,
  schema,
  defaultOf ? property: property.default,
}:
let
  inherit (lib) mkOption optionalAttrs types;
  inherit (builtins) attrNames elem head match stringLength;

  # A keyword that isn't here would be ignored silently, and what Nix accepts the CLI would then refuse.
  known = [
    "$schema" "$id" "$defs" "$ref" "title" "description" "default" "examples" "readOnly" "type" "const" "enum"
    "pattern" "format" "minLength" "maxLength" "minimum" "maximum" "items" "minItems" "maxItems" "uniqueItems"
    "properties" "required" "additionalProperties" "propertyNames"
  ];
  lint = at: s:
    let unknown = lib.subtractLists known (attrNames s); in
    if unknown == [ ] then s else throw "schema ${at}: no Nix counterpart for ${toString unknown}; add it to nix/schema-to-options.nix";

  # "#/$defs/x" -> what it names; keywords beside $ref win, as 2020-12 has it.
  deref = s:
    if s ? "$ref" then
      deref (lib.attrByPath (lib.tail (lib.splitString "/" s."$ref")) (throw "schema: nothing at ${s."$ref"}") schema) // removeAttrs s [ "$ref" ]
    else s;

  # ECMAScript's pattern -> the POSIX one of builtins.match, which is anchored by itself.
  regex = at: pattern:
    if match "\\^.*\\$" pattern == null then throw "schema ${at}: the pattern ${pattern} must begin with ^ and end with $"
    else if match ".*(\\\\[A-Za-z0-9]|[(][?]|[*+?}][?]).*" pattern != null
    then throw "schema ${at}: the pattern ${pattern} uses what POSIX doesn't know; write classes as [0-9]"
    else "(${lib.removePrefix "^" (lib.removeSuffix "$" pattern)})";

  # Each with the words that an error shows. Strings alone pass: a path literal would be copied into the world-readable store.
  formats = {
    absolute-path = { words = "absolute path, as a string"; check = lib.hasPrefix "/"; };
    secret-path = {
      words = "absolute path outside the Nix store, as a string (a path without quotes would be copied there, readable by everyone)";
      check = path: lib.hasPrefix "/" path && !lib.hasPrefix "${builtins.storeDir}/" "${normalised path}/";
    };
  };

  # A Nix path knows neither `..` nor doubled slashes.
  normalised = path: toString (/. + builtins.unsafeDiscardStringContext path);

  typeOf = at: s0:
    let
      s = lint at (deref s0);
      names = lib.remove "null" (lib.toList (s.type or [ ]));
      type =
        if s ? const then types.enum [ s.const ]
        else if s ? enum then types.enum s.enum
        else if builtins.length names == 1 then (ofType at s).${head names} or (throw "schema ${at}: no Nix counterpart for the type ${head names}")
        else throw "schema ${at}: exactly one type besides null is needed";
    in
    if elem "null" (lib.toList (s.type or [ ])) then types.nullOr type else type;

  ofType = at: s: {
    boolean = types.bool;
    integer = types.ints.between s.minimum s.maximum;
    # Lengths count bytes here and characters in JSON Schema: nothing that passes here is refused there.
    string = types.addCheck types.str (text:
      (s ? pattern -> match (regex at s.pattern) text != null) && (s ? format -> formats.${s.format}.check text)
      && stringLength text >= s.minLength or 0 && (s ? maxLength -> stringLength text <= s.maxLength)) // {
      description =
        (if s ? format then formats.${s.format}.words
        else if s ? pattern then "string matching the pattern ${lib.replaceStrings [ "\n" ] [ "\\n" ] s.pattern}"
        else "string")
        + lib.optionalString (s ? maxLength) " of at most ${toString s.maxLength} bytes";
    };
    array = types.listOf (typeOf "${at}/items" s.items);
    object =
      let others = types.attrsOf (typeOf "${at}/*" s.additionalProperties); in
      if !s ? additionalProperties then throw "schema ${at}: additionalProperties must be written: JSON Schema and Nix differ on its default"
      else if !s ? properties then others
      else types.submodule ({ options = optionsOf at s; } // optionalAttrs (s.additionalProperties != false) { freeformType = others; });
  };

  optionsOf = at: s: lib.mapAttrs (name: optionOf "${at}/${name}" (elem name (s.required or [ ]))) s.properties;

  optionOf = at: required: p0:
    let p = deref p0; in
    if !(required || p ? default) then throw "schema ${at}: needs a default, or must be required"
    else mkOption ({
      type = typeOf at p0;
      description = p.description or (throw "schema ${at}: no description");
    }
    // optionalAttrs (p ? default) { default = defaultOf p; defaultText = text p.default; }
    // optionalAttrs (p ? examples) { example = text (head p.examples); }
    // optionalAttrs (p.readOnly or false) ({ readOnly = true; } // optionalAttrs (p ? const) { default = p.const; }));

  text = value: lib.literalExpression (lib.generators.toPretty { multiline = false; } value);
in
{
  inherit deref regex;
  options = optionsOf "#" schema;
}
