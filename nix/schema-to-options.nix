# Turns the manifest's JSON Schema into NixOS options, with types, defaults, descriptions and examples.
# defaultOf: property -> the option's default. The documentation shows the property's own default.
{
  lib,
  schema,
  defaultOf ? property: property.default,
}:
let
  inherit (builtins) match;
  inherit (lib)
    attrNames
    elem
    head
    length
    mkOption
    optionalAttrs
    stringLength
    types
    ;

  # Only these keywords are translated. Without this list Nix would ignore an unknown one, and accept values that the CLI refuses.
  known = [
    "$schema"
    "$id"
    "$defs"
    "$ref"
    "title"
    "description"
    "default"
    "examples"
    "readOnly"
    "type"
    "const"
    "enum"
    "pattern"
    "format"
    "minLength"
    "maxLength"
    "minimum"
    "maximum"
    "items"
    "minItems"
    "maxItems"
    "uniqueItems"
    "properties"
    "required"
    "additionalProperties"
    "propertyNames"
  ];
  lint =
    at: s:
    let
      unknown = lib.subtractLists known (attrNames s);
    in
    if unknown == [ ] then
      s
    else
      throw "schema ${at}: no Nix counterpart for ${toString unknown}; add it to nix/schema-to-options.nix";

  # Replaces $ref ("#/$defs/x") with the schema that it names. Keywords next to $ref win.
  deref =
    s:
    if s ? "$ref" then
      deref (
        lib.attrByPath (lib.tail (
          lib.splitString "/" s."$ref"
        )) (throw "schema: $ref names ${s."$ref"}, which is missing") schema
      )
      // removeAttrs s [ "$ref" ]
    else
      s;

  # An ECMAScript pattern as a POSIX one for builtins.match, which always matches the whole string.
  regex =
    at: pattern:
    if match "\\^.*\\$" pattern == null then
      throw "schema ${at}: the pattern ${pattern} must begin with ^ and end with $"
    else if match ".*(\\\\[A-Za-z0-9]|[(][?]|[*+?}][?]).*" pattern != null then
      throw "schema ${at}: the pattern ${pattern} uses syntax that POSIX doesn't have; write classes as [0-9]"
    else
      "(${lib.removePrefix "^" (lib.removeSuffix "$" pattern)})";

  # description: what an error calls the type. Only strings are accepted, because Nix copies a path literal into the world-readable store.
  formats = {
    absolute-path = {
      description = "absolute path, as a string";
      check = lib.hasPrefix "/";
    };
    secret-path = {
      description = "absolute path outside the Nix store, as a string (Nix copies a path without quotes into the store, where every user can read it)";
      check =
        path: lib.hasPrefix "/" path && !lib.hasPrefix "${builtins.storeDir}/" "${normalised path}/";
    };
  };

  # Converting to a Nix path resolves `..` and doubled slashes.
  normalised = path: toString (/. + builtins.unsafeDiscardStringContext path);

  typeOf =
    at: schema:
    let
      s = lint at (deref schema);
      names = lib.remove "null" (lib.toList (s.type or [ ]));
      type =
        if s ? const then
          types.enum [ s.const ]
        else if s ? enum then
          types.enum s.enum
        # A text stands for a list of one.
        else if
          names == [
            "array"
            "string"
          ]
        then
          types.coercedTo types.str lib.singleton (ofType at s).array
        else if length names == 1 then
          (ofType at s).${head names} or (throw "schema ${at}: no Nix counterpart for the type ${head names}")
        else
          throw "schema ${at}: exactly one type besides null is needed";
    in
    if elem "null" (lib.toList (s.type or [ ])) then types.nullOr type else type;

  ofType = at: s: {
    boolean = types.bool;
    integer = types.ints.between s.minimum s.maximum;
    # Nix counts bytes and JSON Schema counts characters, so a string that passes maxLength here passes it in the CLI, too.
    string =
      # Modules can add lines to the commands of others.
      types.addCheck (if s.format or "" == "shell-commands" then types.lines else types.str) (
        text:
        (s ? pattern -> match (regex at s.pattern) text != null)
        && (formats.${s.format or ""} or { check = _: true; }).check text
        && stringLength text >= s.minLength or 0
        && (s ? maxLength -> stringLength text <= s.maxLength)
      )
      // {
        description =
          (
            if s.format or "" == "shell-commands" then
              "shell commands, which are joined by line breaks"
            else if s ? format then
              formats.${s.format}.description
            else if s ? pattern then
              "string matching the pattern ${lib.replaceStrings [ "\n" ] [ "\\n" ] s.pattern}"
            else
              "string"
          )
          + lib.optionalString (s ? maxLength) " of at most ${toString s.maxLength} bytes";
      };
    array = types.listOf (typeOf "${at}/items" s.items);
    object =
      let
        others = types.attrsOf (typeOf "${at}/*" s.additionalProperties);
      in
      if !s ? additionalProperties then
        throw "schema ${at}: additionalProperties must be set, because its default in JSON Schema differs from that in Nix"
      else if !s ? properties then
        others
      else
        types.submodule (
          {
            options = optionsOf at s;
          }
          // optionalAttrs (s.additionalProperties != false) { freeformType = others; }
        );
  };

  optionsOf =
    at: s: lib.mapAttrs (name: optionOf "${at}/${name}" (elem name (s.required or [ ]))) s.properties;

  optionOf =
    at: required: property:
    let
      p = deref property;
    in
    if !(required || p ? default) then
      throw "schema ${at}: must have a default or be required"
    else
      mkOption (
        {
          type = typeOf at property;
          description = p.description or (throw "schema ${at}: no description");
        }
        // optionalAttrs (p ? default) {
          default = defaultOf p;
          defaultText = text p.default;
        }
        // optionalAttrs (p ? examples) { example = text (head p.examples); }
        // optionalAttrs (p.readOnly or false) (
          { readOnly = true; } // optionalAttrs (p ? const) { default = p.const; }
        )
      );

  # `value` without what the schema doesn't know: other modules may add options of their own to these.
  declared =
    schema: value:
    let
      s = deref schema;
      others = s.additionalProperties or false;
      properties = s.properties or { };
      known = if others == false then builtins.intersectAttrs properties value else value;
    in
    if value == null then
      null
    else if lib.isAttrs value then
      lib.mapAttrs (name: declared (properties.${name} or others)) known
    else if s ? items then
      map (declared s.items) value
    else
      value;

  text = value: lib.literalExpression (lib.generators.toPretty { multiline = false; } value);
in
{
  inherit deref regex;
  options = optionsOf "#" schema;
  declared = declared schema;
}
