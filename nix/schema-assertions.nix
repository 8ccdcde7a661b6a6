# What option types can't see: constraints on merged lists and on attribute names. The schema is walked once, whatever the number of services.
{ lib, schema, deref, regex }:
let
  inherit (builtins) concatMap filter length match;
  inherit (lib) concatLists mapAttrs mapAttrsToList optional;

  # schema -> (where the value stands -> the value -> messages), or null where nothing needs a look
  checkerOf = at: s0:
    let
      s = deref s0;
      checkers = filter (check: check != null) (itemsOf s ++ namesOf at s ++ propertiesOf at s ++ elementsOf at s);
    in
    if checkers == [ ] then null else where: value: if value == null then [ ] else concatMap (check: check where value) checkers;

  itemsOf = s:
    optional (s ? minItems) (where: list: optional (length list < s.minItems) "${where}: needs at least ${toString s.minItems}")
    ++ optional (s ? maxItems) (where: list: optional (length list > s.maxItems) "${where}: takes at most ${toString s.maxItems}")
    ++ optional (s.uniqueItems or false) (where: list:
      let twice = lib.unique (filter (x: lib.count (y: y == x) list > 1) list); in
      optional (twice != [ ]) "${where}: stands there more than once: ${toString twice}");

  namesOf = at: s: optional (s ? propertyNames) (where: set:
    map (name: "${where}.${lib.strings.escapeNixIdentifier name}: the name must match ${s.propertyNames.pattern}")
      (filter (name: match (regex at s.propertyNames.pattern) name == null) (builtins.attrNames set)));

  elementsOf = at: s: optional (s ? items) (under (checkerOf "${at}/items" s.items) (check: where: list:
    concatLists (lib.imap0 (i: check "${where}[${toString i}]") list)));

  propertiesOf = at: s:
    let
      own = lib.filterAttrs (_: check: check != null) (mapAttrs (name: checkerOf "${at}/${name}") (s.properties or { }));
      other = if builtins.isAttrs (s.additionalProperties or false) then checkerOf "${at}/*" s.additionalProperties else null;
    in
    optional (own != { }) (where: set: concatLists (mapAttrsToList (name: check: check "${where}.${name}" set.${name}) own))
    ++ [ (under other (check: where: set: concatLists (mapAttrsToList (name: check "${where}.${lib.strings.escapeNixIdentifier name}")
      (removeAttrs set (builtins.attrNames (s.properties or { })))))) ];

  under = checker: f: if checker == null then null else f checker;
in
where: value: map (message: { assertion = false; inherit message; }) (checkerOf "#" schema where value)
