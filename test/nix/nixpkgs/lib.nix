# Our own stand-in for the part of nixpkgs' lib that the module uses, so that the tests evaluate it where nixpkgs can't be had. It says what the real one
# says, texts of errors included, for what our tests do; where NIXPKGS_LIB names the real one, the tests hold them against each other.
let
  inherit (builtins) all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl' genList head isAttrs isBool isFloat isFunction
    isInt isList isPath isString length listToAttrs mapAttrs match replaceStrings split stringLength substring tail toJSON typeOf;
  inherit (lib) optional optionals optionalAttrs optionalString unique;

  showOption = loc: concatStringsSep "." (map (part: if match "[a-zA-Z_*<][a-zA-Z0-9_'*>-]*" part != null then part else toJSON part) loc);
  showValue = v: if isPath v then toString v else if isFunction v then "<function>" else if isAttrs v || isList v then "(a ${typeOf v})" else toJSON v;
  showDefs = defs: "Definition values:" + lib.concatMapStrings (def: "\n- In `${def.file}': ${showValue def.value}") defs;

  # ---- modules -----------------------------------------------------------------------------------------------------------------------------------------
  # Definitions are { file, value }. mkIf, mkMerge and mkOverride are values that carry a _type.
  discharge = v:
    if v._type or "" == "if" then optionals v.condition (discharge v.content)
    else if v._type or "" == "merge" then concatMap discharge v.contents
    else [ v ];
  # What a definition of a set says of one attribute, without asking for conditions before that attribute is asked for.
  isWrapped = v: isAttrs v && elem (v._type or "") [ "if" "merge" "override" ];
  namesIn = v: if v._type or "" == "merge" then concatMap namesIn v.contents else if isWrapped v then namesIn v.content else attrNames v;
  pick = name: v:
    if v._type or "" == "merge" then concatMap (pick name) v.contents
    else if isWrapped v then map (content: v // { inherit content; }) (pick name v.content)
    else optional (v ? ${name}) v.${name};
  below = name: concatMap (def: map (value: { inherit (def) file; inherit value; }) (pick name def.value));

  priorityOf = v: if v._type or "" == "override" then v.priority else 100;
  effective = defs:
    let
      found = concatMap (def: map (value: { inherit (def) file; inherit value; }) (if isWrapped def.value then discharge def.value else [ def.value ])) defs;
      best = foldl' lib.min 10000 (map (def: priorityOf def.value) found);
      bare = v: if v._type or "" == "override" then v.content else v;
    in
    map (def: { inherit (def) file; value = bare def.value; }) (filter (def: priorityOf def.value == best) found);

  mergeOption = loc: option: defs0:
    let
      given = effective defs0;
      count = length (concatMap (def: discharge def.value) defs0) + (if option ? default then 1 else 0);
      defs = if given != [ ] then given else optional (option ? default) { file = "the option's default"; value = option.default; };
    in
    if option.readOnly or false && count > 1 then throw "The option `${showOption loc}' is read-only, but it's set multiple times. ${showDefs given}"
    else if defs == [ ] && !option.type ? empty then throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option."
    else (option.apply or (value: value)) (mergeType loc option.type defs);
  mergeType = loc: type: defs:
    let wrong = filter (def: !type.check def.value) defs; in
    if wrong != [ ] then throw "A definition for option `${showOption loc}' is not of type `${type.description}'. ${showDefs wrong}"
    else if defs == [ ] then type.empty
    else type.merge loc defs;

  build = loc: free: options: defs:
    let
      unknown = filter (name: !options ? ${name}) (unique (concatMap (def: namesIn def.value) defs));
      extra = if unknown == [ ] then { } else if free != null then mergeType loc free (map (def: def // { value = removeAttrs def.value (attrNames options); }) defs)
        else throw "The option `${showOption (loc ++ [ (head unknown) ])}' does not exist. ${showDefs (below (head unknown) defs)}";
    in
    extra // mapAttrs (name: option: let at = loc ++ [ name ]; in
      if option._type or "" == "option" then mergeOption at option (below name defs) else build at null option (below name defs)) options;

  normal = module:
    { options = { }; } // (if module ? config || module ? options then { config = { }; } // module else { config = removeAttrs module [ "_file" "imports" ]; imports = module.imports or [ ]; })
    // optionalAttrs (module ? _file) { file = module._file; };

  # ---- types -------------------------------------------------------------------------------------------------------------------------------------------
  equal = loc: defs: if all (def: def.value == (head defs).value) defs then (head defs).value
    else throw "The option `${showOption loc}' has conflicting definition values: ${showDefs defs}";
  mkType = t: { descriptionClass = "noun"; merge = equal; getSubOptions = _: { }; } // t;
  phrase = classes: t: if elem t.descriptionClass classes then t.description else "(${t.description})";

  types = {
    anything = mkType { description = "anything"; check = _: true; merge = loc: defs:
      if all (def: isList def.value) defs then concatMap (def: def.value) defs
      else if all (def: isAttrs def.value && !def.value ? outPath) defs then (types.attrsOf types.anything).merge loc defs else equal loc defs; };
    str = mkType { description = "string"; check = isString; };
    bool = mkType { description = "boolean"; check = isBool; };
    package = mkType { description = "package"; check = v: isAttrs v && v.type or "" == "derivation"; };
    enum = values: mkType { description = if length values == 1 then "value ${showValue (head values)} (singular enum)" else "one of ${lib.concatMapStringsSep ", " showValue values}"; descriptionClass = "conjunction"; check = v: elem v values; };
    ints.between = low: high: mkType { description = "integer between ${toString low} and ${toString high} (both inclusive)"; check = v: isInt v && v >= low && v <= high; };
    addCheck = t: check: t // { check = v: t.check v && check v; };
    nullOr = t: mkType { description = "null or ${phrase [ "noun" "conjunction" ] t}"; descriptionClass = "conjunction"; check = v: v == null || t.check v;
      merge = loc: defs: if all (def: def.value == null) defs then null else mergeType loc t defs; inherit (t) getSubOptions; };
    listOf = t: mkType { description = "list of ${phrase [ "noun" "composite" ] t}"; descriptionClass = "composite"; check = isList; empty = [ ];
      merge = loc: defs: concatLists (lib.imap1 (n: def: lib.imap1 (m: value: mergeType (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) t [ (def // { inherit value; }) ]) def.value) defs);
      getSubOptions = prefix: t.getSubOptions (prefix ++ [ "*" ]); };
    attrsOf = t: mkType { description = "attribute set of ${phrase [ "noun" "composite" ] t}"; descriptionClass = "composite"; check = isAttrs; empty = { };
      merge = loc: defs: mapAttrs (name: values: mergeType (loc ++ [ name ]) t (effective values))
        (lib.filterAttrs (_: values: effective values != [ ]) (lib.genAttrs (unique (concatMap (def: namesIn def.value) defs)) (name: below name defs)));
      getSubOptions = prefix: t.getSubOptions (prefix ++ [ "<name>" ]); };
    lazyAttrsOf = types.attrsOf;
    submodule = { options, freeformType ? null }: mkType { description = if freeformType == null then "submodule" else "open submodule of ${phrase [ "noun" "composite" ] freeformType}";
      descriptionClass = null; check = isAttrs; empty = build [ ] freeformType options [ ]; merge = loc: build loc freeformType options;
      getSubOptions = prefix: named prefix options // optionalAttrs (freeformType != null) { _freeformOptions = freeformType.getSubOptions prefix; }; };
  };

  # ---- documentation -----------------------------------------------------------------------------------------------------------------------------------
  named = prefix: mapAttrs (name: o: if o._type or "" == "option" then o // { loc = prefix ++ [ name ]; } else named (prefix ++ [ name ]) o);
  pretty = v:
    if isString v then toJSON v else if v == null then "null" else if isBool v then (if v then "true" else "false") else if isInt v || isFloat v then toString v
    else if isList v then (if v == [ ] then "[ ]" else "[ ${lib.concatMapStringsSep " " pretty v} ]")
    else if v == { } then "{ }" else "{ ${lib.concatMapStringsSep " " (n: "${lib.strings.escapeNixIdentifier n} = ${pretty v.${n}};") (attrNames v)} }";

  lib = {
    inherit (builtins) all any attrNames attrValues concatLists concatMap elem filter getAttr hasAttr head length listToAttrs mapAttrs stringLength tail;
    inherit types;
    options = { inherit showOption; };
    fetchers.proxyImpureEnvVars = [ ];
    fileset = { unions = files: files; toSource = { root, fileset }: assert all builtins.pathExists fileset; root; };
    licenses.mit = { };
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
    lists.findFirstIndex = p: default: l: (foldl' (acc: x: if acc.found || p x then acc // { found = true; } else { found = false; i = acc.i + 1; }) { found = false; i = 0; } l).i;
    strings.escapeNixIdentifier = s: if match "[a-zA-Z_][a-zA-Z0-9_'-]*" s != null then s else toJSON s;
    generators.toPretty = _: pretty;
    attrByPath = p: d: s: if p == [ ] then s else if s ? ${head p} then lib.attrByPath (tail p) d s.${head p} else d;
    concatMapStrings = f: l: concatStringsSep "" (map f l);
    concatMapStringsSep = sep: f: l: concatStringsSep sep (map f l);
    concatStringsSep = concatStringsSep;
    count = p: l: length (filter p l);
    assertMsg = condition: message: condition || throw message;
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    makeBinPath = lib.concatMapStringsSep ":" (p: "${p}/bin");
    drop = n: l: genList (i: elemAt l (i + n)) (lib.max 0 (length l - n));
    filterAttrs = p: s: removeAttrs s (filter (n: !p n s.${n}) (attrNames s));
    genAttrs = names: f: listToAttrs (map (n: lib.nameValuePair n (f n)) names);
    getAttrs = names: s: lib.genAttrs names (n: s.${n});
    getExe = p: "${p}/bin/${p.meta.mainProgram}";
    hasPrefix = p: s: substring 0 (stringLength p) s == p;
    hasSuffix = p: s: let n = stringLength s - stringLength p; in n >= 0 && substring n (stringLength p) s == p;
    imap0 = f: l: genList (i: f i (elemAt l i)) (length l);
    imap1 = f: lib.imap0 (i: f (i + 1));
    last = l: elemAt l (length l - 1);
    literalExpression = text: { _type = "literalExpression"; inherit text; };
    mapAttrs' = f: s: listToAttrs (map (n: f n s.${n}) (attrNames s));
    mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s);
    max = a: b: if a > b then a else b;
    min = a: b: if a < b then a else b;
    nameValuePair = name: value: { inherit name value; };
    optional = c: x: optionals c [ x ];
    optionals = c: l: if c then l else [ ];
    optionalAttrs = c: s: if c then s else { };
    optionalString = c: s: if c then s else "";
    range = a: b: genList (i: a + i) (lib.max 0 (b - a + 1));
    recursiveUpdate = a: b: a // mapAttrs (n: v: if isAttrs v && isAttrs (a.${n} or null) then lib.recursiveUpdate a.${n} v else v) b;
    remove = x: filter (y: y != x);
    removePrefix = p: s: if lib.hasPrefix p s then substring (stringLength p) (stringLength s) s else s;
    removeSuffix = p: s: if lib.hasSuffix p s then substring 0 (stringLength s - stringLength p) s else s;
    replaceStrings = replaceStrings;
    splitString = sep: s: filter isString (split (replaceStrings [ "." ] [ "\\." ] sep) s);
    subtractLists = a: filter (x: !elem x a);
    toList = x: if isList x then x else [ x ];
    trim = s: head (match "[ \n]*(.*[^ \n])[ \n]*" s);
    unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
    zipAttrs = sets: lib.genAttrs (unique (concatMap attrNames sets)) (n: map (s: s.${n}) (filter (s: s ? ${n}) sets));

    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkOverride = priority: content: { _type = "override"; inherit priority content; };
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;
    mkOption = o: o // { _type = "option"; };
    mkEnableOption = what: lib.mkOption { type = types.bool; default = false; example = true; description = "Whether to enable ${what}."; };

    evalModules = { modules }:
      let
        load = module:
          let
            content = if isPath module then import module else module;
            loaded = { file = if isPath module then toString module else "<unknown-file>"; } // normal (if isFunction content then content { inherit lib config; inherit (arguments) pkgs; } else content);
          in
          [ loaded ] ++ concatMap load (loaded.imports or [ ]);
        # A file that is imported twice counts once.
        called = foldl' (acc: module: if any (other: other.file == module.file && module.file != "<unknown-file>" && !module ? _file) acc then acc else acc ++ [ module ]) [ ] (concatMap load modules);
        arguments = foldl' (acc: module: acc // module._module.args or { } // module.config._module.args or { }) { } (filter isAttrs modules);
        options = foldl' lib.recursiveUpdate { } (map (module: module.options) called);
        config = build [ ] null options (map (module: { inherit (module) file; value = if module.config ? _module then removeAttrs module.config [ "_module" ] else module.config; }) called);
      in
      { inherit config; options = named [ ] options; };

    optionAttrSetToDocList = options: concatMap (o:
      if o._type or "" != "option" then lib.optionAttrSetToDocList o
      else
        let render = v: if v._type or "" == "literalExpression" then v else lib.literalExpression (pretty v); in
        [ ({ name = showOption o.loc; inherit (o) loc description; type = o.type.description; readOnly = o.readOnly or false; visible = true; internal = false; }
          // optionalAttrs (o ? default) { default = render (o.defaultText or o.default); } // optionalAttrs (o ? example) { example = render o.example; }) ]
        ++ lib.optionAttrSetToDocList (removeAttrs (o.type.getSubOptions o.loc) [ "_module" ])) (filter isAttrs (attrValues options));
  };
in
lib
