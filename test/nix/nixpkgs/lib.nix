# A stand-in for the part of nixpkgs' lib that the module uses, so that the tests can evaluate the module without nixpkgs. In these tests
# it must behave as the real lib does, error texts included: if NIXPKGS_LIB names the real lib, the tests run with both.
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    genList
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    match
    replaceStrings
    split
    stringLength
    substring
    tail
    toJSON
    typeOf
    ;
  inherit (lib)
    optional
    optionals
    optionalAttrs
    unique
    ;

  showOption =
    loc:
    concatStringsSep "." (
      map (part: if match "[a-zA-Z_*<][a-zA-Z0-9_'*>-]*" part != null then part else toJSON part) loc
    );
  showDefs =
    defs:
    "Definition values:"
    + lib.concatMapStrings (def: "\n- In `${def.file}': ${showValue def.value}") defs;
  showValue =
    v:
    if isPath v then
      toString v
    else if isAttrs v || isList v || isFunction v then
      "(a ${typeOf v})"
    else
      toJSON v;

  # ---- Modules ----
  # A definition is { file, value }. The values of mkIf, mkMerge and mkOverride carry a _type.

  isWrapped =
    v:
    isAttrs v
    && elem (v._type or "") [
      "if"
      "merge"
      "override"
    ];
  # The attribute names in the definition of a set. They don't depend on conditions, so that these are evaluated lazily.
  namesIn =
    v:
    if v._type or "" == "merge" then
      concatMap namesIn v.contents
    else if isWrapped v then
      namesIn v.content
    else
      attrNames v;
  pick =
    name: v:
    if v._type or "" == "merge" then
      concatMap (pick name) v.contents
    else if isWrapped v then
      map (content: v // { inherit content; }) (pick name v.content)
    else
      optional (v ? ${name}) v.${name};
  below = name: concatMap (def: map (value: def // { inherit value; }) (pick name def.value));

  discharge =
    v:
    if v._type or "" == "if" then
      optionals v.condition (discharge v.content)
    else if v._type or "" == "merge" then
      concatMap discharge v.contents
    else
      [ v ];
  # The definitions with the best priority; the others are ignored.
  effective =
    defs:
    let
      given = concatMap (def: map (value: def // { inherit value; }) (discharge def.value)) defs;
      priority = def: def.value.priority or 100;
      isOverride = v: v._type or "" == "override";
      priorityOf = def: if isOverride def.value then priority def else 100;
      best = foldl' lib.min 10000 (map priorityOf given);
    in
    map (def: def // { value = if isOverride def.value then def.value.content else def.value; }) (
      filter (def: priorityOf def == best) given
    );

  mergeOption =
    loc: option: defs:
    let
      given = effective defs;
    in
    if option.readOnly or false && length defs + length (optional (option ? default) null) > 1 then
      throw "The option `${showOption loc}' is read-only, but it's set multiple times. ${showDefs given}"
    else if given == [ ] && !option ? default && !option.type ? empty then
      throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option."
    else
      (option.apply or (value: value)) (
        mergeType loc option.type (
          if given == [ ] && option ? default then
            [
              {
                file = "the option's default";
                value = option.default;
              }
            ]
          else
            given
        )
      );

  mergeType =
    loc: type: defs:
    let
      wrong = filter (def: !type.check def.value) defs;
    in
    if wrong != [ ] then
      throw "A definition for option `${showOption loc}' is not of type `${type.description}'. ${showDefs wrong}"
    else if defs == [ ] then
      type.empty
    else
      type.merge loc defs;

  # free: the type of attributes without an option, or null if they are errors.
  build =
    loc: free: options: defs:
    let
      unknown = filter (name: !options ? ${name}) (unique (concatMap (def: namesIn def.value) defs));
      extra =
        if unknown == [ ] then
          { }
        else if free == null then
          throw "The option `${
            showOption (loc ++ [ (head unknown) ])
          }' does not exist. ${showDefs (below (head unknown) defs)}"
        else
          mergeType loc free (map (def: def // { value = removeAttrs def.value (attrNames options); }) defs);
    in
    extra
    // mapAttrs (
      name: option:
      (
        if option._type or "" == "option" then
          mergeOption (loc ++ [ name ])
        else
          build (loc ++ [ name ]) null
      )
        option
        (below name defs)
    ) options;

  # A path, a function or a set -> { file, imports, options, config }
  normal =
    given: module:
    let
      content = if isPath module then import module else module;
      set = if isFunction content then content given else content;
    in
    {
      file = set._file or (if isPath module then toString module else "<unknown-file>");
      imports = set.imports or [ ];
      options = set.options or { };
      config = removeAttrs (set.config or (
        if set ? options then
          { }
        else
          removeAttrs set [
            "_file"
            "imports"
          ]
      )
      ) [ "_module" ];
    };

  # ---- Types ----

  mkType =
    type:
    {
      descriptionClass = "noun";
      merge = equal;
      getSubOptions = _: { };
    }
    // type;
  equal =
    loc: defs:
    if all (def: def.value == (head defs).value) defs then
      (head defs).value
    else
      throw "The option `${showOption loc}' has conflicting definition values: ${showDefs defs}";
  phrase =
    classes: type:
    if elem type.descriptionClass classes then type.description else "(${type.description})";

  types = {
    str = mkType {
      description = "string";
      check = isString;
    };
    bool = mkType {
      description = "boolean";
      check = isBool;
    };
    package = mkType {
      description = "package";
      check = v: isAttrs v && v.type or "" == "derivation";
    };
    ints.between =
      low: high:
      mkType {
        description = "integer between ${toString low} and ${toString high} (both inclusive)";
        check = v: isInt v && v >= low && v <= high;
      };
    enum =
      values:
      mkType {
        description =
          if length values == 1 then
            "value ${showValue (head values)} (singular enum)"
          else
            "one of ${lib.concatMapStringsSep ", " showValue values}";
        descriptionClass = "conjunction";
        check = v: elem v values;
      };
    lines = types.str // {
      description = "strings concatenated with \"\\n\"";
      merge = _: defs: concatStringsSep "\n" (map (def: def.value) defs);
    };
    coercedTo =
      from: coerce: type:
      mkType {
        description = "${phrase [ "noun" ] type} or ${phrase [ "noun" ] from} convertible to it";
        check = v: type.check v || (from.check v && type.check (coerce v));
        merge =
          loc: defs:
          type.merge loc (
            map (def: def // { value = if from.check def.value then coerce def.value else def.value; }) defs
          );
        inherit (type) getSubOptions;
      };
    addCheck = type: check: type // { check = v: type.check v && check v; };
    nullOr =
      type:
      mkType {
        description = "null or ${phrase [ "noun" "conjunction" ] type}";
        descriptionClass = "conjunction";
        check = v: v == null || type.check v;
        merge = loc: defs: if all (def: def.value == null) defs then null else mergeType loc type defs;
        inherit (type) getSubOptions;
      };
    listOf =
      type:
      mkType {
        description = "list of ${phrase [ "noun" "composite" ] type}";
        descriptionClass = "composite";
        check = isList;
        empty = [ ];
        merge =
          loc:
          let
            entry =
              def: n: m: value:
              mergeType (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) type [
                (def // { inherit value; })
              ];
          in
          defs: concatLists (lib.imap1 (n: def: lib.imap1 (entry def n) def.value) defs);
        getSubOptions = prefix: type.getSubOptions (prefix ++ [ "*" ]);
      };
    attrsOf =
      type:
      mkType {
        description = "attribute set of ${phrase [ "noun" "composite" ] type}";
        descriptionClass = "composite";
        check = isAttrs;
        empty = { };
        merge =
          loc: defs:
          let
            byName = lib.genAttrs (unique (concatMap (def: namesIn def.value) defs)) (
              name: effective (below name defs)
            );
          in
          mapAttrs (name: mergeType (loc ++ [ name ]) type) (lib.filterAttrs (_: given: given != [ ]) byName);
        getSubOptions = prefix: type.getSubOptions (prefix ++ [ "<name>" ]);
      };
    lazyAttrsOf =
      type:
      types.attrsOf type
      // {
        merge =
          loc: defs:
          lib.genAttrs (unique (concatMap (def: namesIn def.value) defs)) (
            name: mergeType (loc ++ [ name ]) type (effective (below name defs))
          );
      };
    submodule =
      {
        options,
        freeformType ? null,
      }:
      mkType {
        description =
          if freeformType == null then
            "submodule"
          else
            "open submodule of ${phrase [ "noun" "composite" ] freeformType}";
        descriptionClass = null;
        check = isAttrs;
        empty = build [ ] freeformType options [ ];
        merge = loc: build loc freeformType options;
        getSubOptions =
          prefix:
          located prefix options
          // optionalAttrs (freeformType != null) { _freeformOptions = freeformType.getSubOptions prefix; };
      };
    anything = mkType {
      description = "anything";
      check = _: true;
      merge =
        loc: defs:
        if all (def: isList def.value) defs then
          concatMap (def: def.value) defs
        else if all (def: isAttrs def.value && !def.value ? outPath) defs then
          (types.lazyAttrsOf types.anything).merge loc defs
        else
          equal loc defs;
    };
  };

  # ---- Documentation ----

  located =
    prefix:
    mapAttrs (
      name: option:
      let
        loc = prefix ++ [ name ];
      in
      if option._type or "" == "option" then option // { inherit loc; } else located loc option
    );

  pretty =
    v:
    if isList v then
      (if v == [ ] then "[ ]" else "[ ${lib.concatMapStringsSep " " pretty v} ]")
    else if isAttrs v then
      (if v == { } then "{ }" else "{ ${concatStringsSep " " (lib.mapAttrsToList prettyAttr v)} }")
    else
      toJSON v;
  prettyAttr = name: v: "${lib.strings.escapeNixIdentifier name} = ${pretty v};";

  docOf =
    option:
    let
      render = v: if v._type or "" == "literalExpression" then v else lib.literalExpression (pretty v);
    in
    {
      name = showOption option.loc;
      inherit (option) loc description;
      type = option.type.description;
      readOnly = option.readOnly or false;
      visible = true;
      internal = false;
    }
    // optionalAttrs (option ? default) { default = render (option.defaultText or option.default); }
    // optionalAttrs (option ? example) { example = render option.example; };

  lib = {
    singleton = x: [ x ];
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      filter
      functionArgs
      head
      isAttrs
      isFunction
      isList
      length
      listToAttrs
      mapAttrs
      replaceStrings
      stringLength
      tail
      ;
    inherit types;
    fetchers.proxyImpureEnvVars = [ ];
    fileset = {
      unions = files: files;
      toSource =
        { root, fileset }:
        assert all builtins.pathExists fileset;
        root;
    };
    licenses.mit = { };
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    lists.findFirstIndex =
      p: default: l:
      head (filter (i: p (elemAt l i)) (genList (i: i) (length l)) ++ [ default ]);
    strings.escapeNixIdentifier = s: if match "[a-zA-Z_][a-zA-Z0-9_'-]*" s != null then s else toJSON s;
    generators.toPretty = _: pretty;
    attrByPath =
      p: d: s:
      if p == [ ] then
        s
      else if s ? ${head p} then
        lib.attrByPath (tail p) d s.${head p}
      else
        d;
    concatStrings = concatStringsSep "";
    concatMapStrings = f: l: concatStringsSep "" (map f l);
    concatMapStringsSep =
      sep: f: l:
      concatStringsSep sep (map f l);
    count = p: l: length (filter p l);
    assertMsg = condition: message: condition || throw message;
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    makeBinPath = lib.concatMapStringsSep ":" (p: "${p}/bin");
    drop = n: l: genList (i: elemAt l (i + n)) (lib.max 0 (length l - n));
    escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] text}'";
    filterAttrs = p: s: removeAttrs s (filter (n: !p n s.${n}) (attrNames s));
    genAttrs = names: f: listToAttrs (map (n: lib.nameValuePair n (f n)) names);
    getAttrs = names: s: lib.genAttrs names (n: s.${n});
    getExe = p: "${p}/bin/${p.meta.mainProgram}";
    getName = p: p.pname;
    hasInfix = infix: s: length (lib.splitString infix s) > 1;
    toLower = replaceStrings (lib.stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (
      lib.stringToCharacters "abcdefghijklmnopqrstuvwxyz"
    );
    stringToCharacters = s: genList (n: substring n 1 s) (stringLength s);
    hasPrefix = p: s: substring 0 (stringLength p) s == p;
    hasSuffix =
      p: s:
      let
        n = stringLength s - stringLength p;
      in
      n >= 0 && substring n (stringLength p) s == p;
    imap0 = f: l: genList (i: f i (elemAt l i)) (length l);
    imap1 = f: lib.imap0 (i: f (i + 1));
    last = l: elemAt l (length l - 1);
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
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
    recursiveUpdate =
      a: b:
      a
      // mapAttrs (
        n: v: if isAttrs v && isAttrs (a.${n} or null) then lib.recursiveUpdate a.${n} v else v
      ) b;
    remove = x: filter (y: y != x);
    removePrefix = p: s: if lib.hasPrefix p s then substring (stringLength p) (stringLength s) s else s;
    removeSuffix =
      p: s: if lib.hasSuffix p s then substring 0 (stringLength s - stringLength p) s else s;
    splitString = sep: s: filter isString (split (replaceStrings [ "." ] [ "\\." ] sep) s);
    subtractLists = a: filter (x: !elem x a);
    toList = x: if isList x then x else [ x ];
    unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
    zipAttrs =
      sets:
      lib.genAttrs (unique (concatMap attrNames sets)) (n: map (s: s.${n}) (filter (s: s ? ${n}) sets));

    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;
    mkOption = o: o // { _type = "option"; };
    mkPackageOption =
      pkgs: name:
      { extraDescription }:
      lib.mkOption {
        type = types.package;
        default = pkgs.${name};
        defaultText = lib.literalExpression "pkgs.${name}";
        description = "The ${name} package to use. ${extraDescription}";
      };
    mkEnableOption =
      what:
      lib.mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };

    evalModules =
      { modules }:
      let
        withImports = module: [ module ] ++ concatMap withImports (load module).imports;
        load = normal {
          inherit lib config;
          inherit (arguments) pkgs utils;
        };
        # A file that is imported twice is evaluated once.
        once = foldl' (
          seen: module: if isPath module && elem module seen then seen else seen ++ [ module ]
        ) [ ];
        called = map load (once (concatMap withImports modules));
        arguments = foldl' (given: module: given // module._module.args or { }) { } (
          filter isAttrs modules
        );
        options = foldl' lib.recursiveUpdate { } (map (module: module.options) called);
        config = build [ ] null options (
          map ({ file, config, ... }: {
            inherit file;
            value = config;
          }) called
        );
      in
      {
        inherit config;
        options = located [ ] options;
      };

    optionAttrSetToDocList =
      options:
      concatMap (
        option:
        if option._type or "" == "option" then
          [ (docOf option) ] ++ lib.optionAttrSetToDocList (option.type.getSubOptions option.loc)
        else
          lib.optionAttrSetToDocList option
      ) (filter isAttrs (attrValues options));
  };
in
lib
