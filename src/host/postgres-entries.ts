// PostgreSQL: the entries of a dump, and as whom each is loaded. Pure.

/** A superuser of the server; the restricted role alone; else the name of a role that the restricted role acts for. */
export type LoadedAs = typeof superuser | typeof nobody | string
/** No role has an empty name, or one with a NUL. */
export const superuser = '\0'
export const nobody = ''

/** Entries that are loaded in one session: lines of `pg_restore --list`. */
export interface Part {
  as: LoadedAs
  lines: string[]
}

/** In the order in which they are loaded. Grants come late, and views are filled after them: their queries may need the grants. */
export interface Parts {
  definitions: Part[]
  rows: Part[]
  /** What is built on rows: indexes, constraints, triggers. */
  built: Part[]
  /** Comments and grants. */
  rights: Part[]
  views: Part[]
  eventTriggers: Part[]
}

/**
 * What a superuser makes and gives to its owner: of these no expression is evaluated, and an owner may lack the right to make them (functions in
 * untrusted languages, base types, foreign servers). Everything else can run the owner's code when it is made: even CREATE TABLE evaluates immutable
 * functions in the key of a partitioned table, and CREATE AGGREGATE the checks of a domain.
 */
const definitional =
  /^\d+; \d+ \d+ (SCHEMA|EXTENSION|PROCEDURAL LANGUAGE|TRANSFORM|CAST|SHELL TYPE|TYPE|FUNCTION|PROCEDURE|OPERATOR CLASS|OPERATOR FAMILY|ACCESS METHOD|FOREIGN DATA WRAPPER|SERVER|FOREIGN TABLE|USER MAPPING|PUBLICATION|SUBSCRIPTION|BLOBS?|BLOB METADATA|TEXT SEARCH PARSER|TEXT SEARCH TEMPLATE) /
/** 826 is pg_default_acl: a schema may be called "ACL" and hold a table with a DEFAULT. */
const isRights = /^\d+; (826 \d+ DEFAULT ACL|0 0 (ACL|COMMENT|SECURITY LABEL)) /
const isEventTrigger = /^\d+; (\d+ \d+ EVENT TRIGGER - |0 0 (COMMENT|SECURITY LABEL) - EVENT TRIGGER )/
const isView = /^\d+; 0 \d+ MATERIALIZED VIEW DATA /
const isRows = /^\d+; 0 \d+ (TABLE DATA|BLOBS|SEQUENCE SET) /
/** Since PostgreSQL 17 these stand among the rows, and may follow some; the content of large objects (`BLOBS`) can't be loaded without them. */
const isLargeObject = /^\d+; 2613 \d+ BLOB METADATA /
const isTable = /^\d+; 0 \d+ TABLE DATA /

/**
 * @param list what `pg_restore --list` prints: `ID; CATALOG OID KIND SCHEMA NAME OWNER`
 * @param roles the server's roles, and whether they are superusers
 * @returns null if an entry belongs to a role that the server lacks
 */
export function partsOf(list: string, roles: { name: string; superuser: boolean }[]): Parts | null {
  const lines = list.split('\n').filter((line) => /^\d+; /.test(line))
  const owners = lines.map((line) => ownerOf(line, roles))
  if (lines.some((line, i) => owners[i] === null && !definitional.test(line))) return null
  const entries = lines.map((line, i) => ({ line, as: isMadeBySuperuser(line) ? superuser : (owners[i] ?? superuser) }))
  const of = (kind: RegExp) => entries.filter(({ line }) => kind.test(line))
  const others = entries.filter(({ line }) => ![isEventTrigger, isRights, isView, isRows].some((kind) => kind.test(line)))
  const firstRow = entries.findIndex(({ line }) => isRows.test(line))
  const isBefore = (entry: (typeof entries)[number]) => firstRow < 0 || isLargeObject.test(entry.line) || entries.indexOf(entry) < firstRow
  const rows = of(isRows).map(({ line, as }) => ({ line, as: as === superuser && isTable.test(line) ? nobody : as }))
  return {
    definitions: inTurn(others.filter(isBefore)),
    rows: inTurn([...rows].sort((a, b) => (a.as < b.as ? -1 : a.as > b.as ? 1 : 0))),
    built: inTurn(others.filter((entry) => !isBefore(entry))),
    rights: inTurn(of(isRights).filter(({ line }) => !isEventTrigger.test(line))),
    views: inTurn(of(isView)),
    eventTriggers: inTurn(of(isEventTrigger)),
  }
}

function isMadeBySuperuser(line: string): boolean {
  return [definitional, isRights, isEventTrigger].some((kind) => kind.test(line))
}

/**
 * Names may have spaces. Where a line ends with the names of several roles, one that is no superuser counts. Null: with the name of none.
 */
function ownerOf(line: string, roles: { name: string; superuser: boolean }[]): LoadedAs | null {
  if (line.endsWith(' ')) return superuser
  // As pg_restore prints names.
  const possible = roles.filter(({ name }) => line.endsWith(` ${name.replaceAll(/[\n\r]/g, ' ')}`))
  const [longest] = possible.filter((role) => !role.superuser).sort((a, b) => b.name.length - a.name.length)
  return longest?.name ?? (possible.length > 0 ? superuser : null)
}

/** Entries that follow each other and are loaded as the same role become one part. */
function inTurn(entries: { line: string; as: LoadedAs }[]): Part[] {
  const parts: Part[] = []
  for (const { line, as } of entries) {
    const last = parts.at(-1)
    if (last?.as === as) last.lines.push(line)
    else parts.push({ as, lines: [line] })
  }
  return parts
}

/** The rows of a superuser's tables that belong to an extension, apart from those of others. `tables`: `SCHEMA NAME` of an extension's tables. */
export function apart({ as, lines }: Part, tables: string[]): Part[] {
  if (as !== nobody) return [{ as, lines }]
  const isOfExtension = (line: string) => tables.some((table) => line.includes(` TABLE DATA ${table} `))
  return inTurn([
    ...lines.filter(isOfExtension).map((line) => ({ line, as: superuser })),
    ...lines.filter((line) => !isOfExtension(line)).map((line) => ({ line, as: nobody })),
  ])
}
