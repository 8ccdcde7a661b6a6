# Checks what option types can't: constraints on merged lists and on attribute names.
# path -> value -> assertions. The schema is walked only once, however many services there are.
{
  lib,
  schema,
  deref,
  regex,
}:
let
  inherit (builtins) match;
  inherit (lib)
    attrNames
    concatLists
    concatMap
    filter
    imap0
    isAttrs
    length
    mapAttrs
    mapAttrsToList
    optional
    unique
    ;
  inherit (lib.strings) escapeNixIdentifier;

  # schema -> (path of the value -> value -> messages), or null if the schema has nothing to check
  checkerOf =
    at: schema:
    let
      s = deref schema;
      checkers = filter (check: check != null) (
        itemsOf s ++ namesOf at s ++ propertiesOf at s ++ elementsOf at s
      );
    in
    if checkers == [ ] then
      null
    else
      where: value: if value == null then [ ] else concatMap (check: check where value) checkers;

  itemsOf =
    s:
    optional (s ? minItems) (
      where: list:
      optional (length list < s.minItems) "${where}: needs at least ${toString s.minItems} entries"
    )
    ++ optional (s ? maxItems) (
      where: list:
      optional (length list > s.maxItems) "${where}: takes at most ${toString s.maxItems} entries"
    )
    ++ optional (s.uniqueItems or false) (
      where: list:
      let
        duplicates = unique (filter (x: lib.count (y: y == x) list > 1) list);
      in
      optional (duplicates != [ ]) "${where}: listed more than once: ${toString duplicates}"
    );

  namesOf =
    at: s:
    optional (s ? propertyNames) (
      where: set:
      map (name: "${where}.${escapeNixIdentifier name}: the name must match ${s.propertyNames.pattern}") (
        filter (name: match (regex at s.propertyNames.pattern) name == null) (attrNames set)
      )
    );

  elementsOf =
    at: s:
    optional (s ? items) (
      under (checkerOf "${at}/items" s.items) (
        check: where: list:
        concatLists (imap0 (i: check "${where}[${toString i}]") list)
      )
    );

  propertiesOf =
    at: s:
    let
      declared = lib.filterAttrs (_: check: check != null) (
        mapAttrs (name: checkerOf "${at}/${name}") (s.properties or { })
      );
      other =
        if isAttrs (s.additionalProperties or false) then
          checkerOf "${at}/*" s.additionalProperties
        else
          null;
    in
    optional (declared != { }) (
      where: set:
      concatLists (mapAttrsToList (name: check: check "${where}.${name}" set.${name}) declared)
    )
    ++ [
      (under other (
        check: where: set:
        concatLists (
          mapAttrsToList (name: check "${where}.${escapeNixIdentifier name}") (
            removeAttrs set (attrNames (s.properties or { }))
          )
        )
      ))
    ];

  under = checker: f: if checker == null then null else f checker;
in
where: value:
map (message: {
  assertion = false;
  inherit message;
}) (checkerOf "#" schema where value)
