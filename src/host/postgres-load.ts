// PostgreSQL: restores. Loads roles and dumps into a server, renames and drops databases. SQL goes through standard input.
import { join } from 'node:path'
import { asFailure, Failure } from '../errors.ts'
import { chown, readFile, rm, writeFile } from '../fs.ts'
import {
  askServer,
  english,
  listDump,
  type PostgresOptions,
  type PostgresServer,
  requireClient,
  runPostgres,
  unconverted,
  unmakeable,
  withoutEventTriggers,
} from './postgres.ts'
import { apart, type LoadedAs, nobody, type Part, partsOf, superuser } from './postgres-entries.ts'
import { cleared, withRestricted } from './postgres-restricted.ts'
import type { ProcessResult } from './shell.ts'

/** State of a server. `databases`: those of the requested ones that exist, with their object ids; sizes in bytes. */
export interface ServerState {
  version: string
  dataFolder: string
  databases: Record<string, { id: string; bytes: number }>
  roles: string[]
  tablespaces: string[]
  /** Logical replication slots of the requested databases: they go along with the old one. */
  slots: { name: string; database: string }[]
  subscriptions: { name: string; database: string }[]
}

/** @throws Failure `postgres-rights` if the server's user is no superuser, and those of `runPostgres` */
export async function gatherServerState(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<ServerState> {
  const state = `SELECT json_build_object(
    'version', current_setting('server_version'),
    'dataFolder', CASE WHEN current_setting('is_superuser') = 'on' THEN current_setting('data_directory') END,
    'databases', (SELECT coalesce(json_object_agg(datname, json_build_object('id', oid::text, 'bytes', pg_database_size(oid))), '{}')
                  FROM pg_database WHERE datname IN (${literals(databases)}) AND current_setting('is_superuser') = 'on'),
    'roles', (SELECT json_agg(rolname) FROM pg_roles),
    'tablespaces', (SELECT json_agg(spcname) FROM pg_tablespace),
    'slots', (${slotsIn(databases)}),
    'subscriptions', (SELECT coalesce(json_agg(json_build_object('name', subname, 'database', datname)), '[]')
                      FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname IN (${literals(databases)})));`
  const found = JSON.parse(await sql(server, 'postgres', state, 'the server', options))
  if (found.dataFolder === null)
    throw new Failure('postgres-rights', `PostgreSQL: the role ${server.user} must be a superuser to bring databases back; see postgresql.user`)
  await requireClient('pg_restore', server, found.version, options)
  return found
}

/** The object ids of those databases that exist, by name. */
export async function databaseIds(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<Map<string, string>> {
  if (databases.length === 0) return new Map()
  const ids = `SELECT coalesce(json_object_agg(datname, oid::text), '{}') FROM pg_database WHERE datname IN (${literals(databases)});`
  return new Map(Object.entries(JSON.parse(await sql(server, 'postgres', ids, 'the server', options))))
}

/** Whether any of these databases contains a table. */
export async function holdTables(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<boolean> {
  const tables = `SELECT pg_catalog.count(*) FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema');`
  const settings = withoutEventTriggers(await sql(server, 'postgres', 'SHOW server_version;', 'the server', options))
  for (const database of (await databaseIds(server, databases, options)).keys())
    if ((await sql(server, database, tables, `the database ${database}`, { ...options, settings })) !== '0') return true
  return false
}

/** The roles and tablespaces that a globals file creates. */
export function globalsOf(globals: string): { roles: string[]; tablespaces: string[] } {
  const made = (what: string) =>
    statementsOf(globals).flatMap((statement) => {
      const [, name] = match(statement, `^CREATE ${what} (ID)`)
      return name === undefined ? [] : [unquoted(name)]
    })
  return { roles: made('ROLE'), tablespaces: made('TABLESPACE') }
}

/**
 * Creates the roles of a globals file that the server lacks, with their passwords, settings and memberships: all or none. A role that exists
 * stays as it is, with its memberships: its rights are decided on this host.
 */
export async function createRoles(server: PostgresServer, globals: string, options: PostgresOptions): Promise<void> {
  const text = await readFile(globals, 'latin1')
  const statements = statementsOf(text)
  const names = globalsOf(statements.map(ended).join('\n')).roles
  // First each role's own statements. Memberships follow when all roles exist.
  const owned = statements.flatMap((statement) => {
    const role =
      match(statement, '^(?:CREATE|ALTER) ROLE (ID)')[1] ??
      match(statement, '^(?:COMMENT|SECURITY LABEL)\\b.*? ON ROLE (ID) IS')[1] ??
      match(statement, '^GRANT .* ON PARAMETER .* TO (ID)')[1]
    return role === undefined ? [] : [{ role: unquoted(role), statement }]
  })
  const memberships = statements.flatMap((statement) => {
    const [, grant = '', member] = match(statement, '^(GRANT ID TO (ID).*?)(?: GRANTED BY ID)?$')
    // The role that granted it may no longer have the right to.
    return member === undefined ? [] : [{ role: unquoted(member), statement: grant }]
  })
  const lines = [...owned, ...memberships].map(
    ({ role, statement }) => `IF ${literal(role)} = ANY (made) THEN EXECUTE ${literal(statement)}; END IF;`,
  )
  const body = `DECLARE made text[] := ARRAY(SELECT unnest(ARRAY[${literals(names)}]) EXCEPT SELECT rolname::text FROM pg_roles);
BEGIN ${lines.join('\n')} END`
  // With the advisory lock a second restore waits.
  await sql(
    server,
    'postgres',
    `${unlogged}BEGIN;
DO 'BEGIN PERFORM pg_advisory_xact_lock(6841123); END';
DO ${literal(body)};
COMMIT;`,
    'the roles',
    { ...options, bytes: true, settings: { client_encoding: /^SET client_encoding = '(\w+)';$/m.exec(text)?.[1] ?? 'UTF8' } },
  )
}

export interface Load {
  /** The database in the dump, and the new database that the dump is loaded into. */
  database: string
  fresh: string
  /** Path of the dump, which root opens. */
  dump: string
  /** Whether the server has the tablespaces of the dump; otherwise everything goes to the default one. */
  tablespaces: boolean
}

/** `unready`: what could not be made again, though no data is missing: statistics of tables, rows of materialized views. */
export interface Loaded {
  tables: number
  rows: number
  unready: string[]
}

/**
 * Loads a dump into a new database, with the properties and grants of the database itself.
 * @throws Failure `dump-damaged`, `disk-full`, `postgres-failed` …; what is loaded so far stays, and the caller must drop it
 */
export async function loadDatabase(server: PostgresServer, { database, fresh, dump, tablespaces }: Load, options: PostgresOptions): Promise<Loaded> {
  const what = `the database ${database}`
  const asked = await askServer(server, [], options)
  const settings = { ...steady, ...english, ...withoutEventTriggers(asked.version) }
  const list = await listDump(server, database, dump, options)
  const { missing, tied } = unmakeable(list, asked)
  if (missing.length > 0)
    throw new Failure('postgres-failed', `PostgreSQL, ${what}: this server lacks the extensions ${missing.join(', ')}: install their packages first`)
  if (tied[0] !== undefined)
    throw new Failure(
      'postgres-failed',
      `PostgreSQL, ${what}: its extension ${tied[0]} can only be made in a database called ${asked.bound[tied[0]]}, and a restore in place loads into another one first: restore the dump without --in-place, then load it by hand (pg_restore --create)`,
    )
  // No schema has this name: only the statements about the database itself remain, which no selection excludes. They are in the encoding of the
  // database, but for its own name, and names of roles: of such names all databases know the bytes alone.
  const argv = ['pg_restore', '--exit-on-error', '--create', '--schema-only', '--schema=pg_none', '--file=-']
  const from = { ...options, file: dump, redirect: '<"$0"', settings } as const
  const { stdout } = await runPostgres(server, argv, `the loading of ${what}`, what, { ...from, bytes: true })
  const statements = statementsOf(stdout).map((statement) => renamed(statement, characterPerByte(database), characterPerByte(fresh)))
  const [creation, ...properties] = statements.filter((statement) => /^(CREATE|ALTER|COMMENT|SECURITY LABEL|GRANT|REVOKE) /.test(statement))
  if (!creation?.startsWith('CREATE DATABASE ')) throw new Failure('dump-damaged', `PostgreSQL, ${what}: its dump doesn't say how to make it`)
  // --no-tablespaces of pg_restore doesn't cover the tablespace of the database itself.
  const placed = tablespaces ? creation : creation.replace(new RegExp(` TABLESPACE = ${id}$`), '')
  const asBytes = { ...options, bytes: true, settings }
  const isEarly = (statement: string) => /^ALTER DATABASE .* OWNER TO |^ALTER (DATABASE|ROLE) .* SET search_path /.test(statement)
  await sql(server, 'postgres', ended(placed), what, asBytes)
  const ofItself = (chosen: string[]) => sql(server, fresh, chosen.map(ended).join('\n'), what, asBytes)
  await ofItself(properties.filter(isEarly))
  const { counts, unready } = await loadContents(server, { fresh, dump, tablespaces, list, what }, { ...options, settings })
  // Last, because properties such as read-only or a time limit would hinder the loading.
  await ofItself(properties.filter((statement) => !isEarly(statement)))
  return { tables: counts.length, rows: counts.reduce((sum, count) => sum + count, 0), unready }
}

type Contents = Pick<Load, 'fresh' | 'dump' | 'tablespaces'> & { list: string; what: string }

/**
 * Loads what is in a database, and returns the numbers of rows of its tables. The code in a dump (checks, index expressions, generated columns,
 * views' queries …) runs as the owner of what it belongs to, in a session that can't become a superuser's (postgres-restricted.ts). In a
 * superuser's session are made: what needs one and evaluates nothing (postgres-entries.ts), and what belongs to a superuser, but for its rows.
 */
async function loadContents(
  server: PostgresServer,
  { fresh, dump, tablespaces, list, what }: Contents,
  options: PostgresOptions & { settings: Record<string, string> },
): Promise<{ counts: number[]; unready: string[] }> {
  const manage = (statements: string) => sql(server, 'postgres', `${unlogged}${statements}`, what, options)
  const asSuperuser = options
  const asRole = { ...options, settings: {} }
  const inFresh = (statements: string) => sql(server, fresh, statements, what, asSuperuser)
  const unready: string[] = []
  const found = await manage(
    `SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', rolname, 'superuser', rolsuper)) FROM pg_catalog.pg_roles;`,
  )
  const parts = partsOf(list, JSON.parse(found))
  if (parts === null) throw new Failure('postgres-failed', `PostgreSQL, ${what}: its dump has objects of a role that the server lacks`)
  const login = (restricted: PostgresServer) => sql(restricted, fresh, 'SELECT 1;', what, asRole)
  return withRestricted(server, manage, login, options, async ({ role, server: restricted, folder, uid }) => {
    const file = join(folder, 'entries')
    const loadLines = async ({ as, lines }: Part, flags: string[]) => {
      await rm(file, { force: true })
      await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o400 })
      await chown(file, uid, 0)
      const given = [`--use-list=${file}`, `--dbname=${connection(fresh)}`, ...(tablespaces ? [] : ['--no-tablespaces'])]
      const settings = as === superuser ? options.settings : steady
      const call = { ...options, file: dump, redirect: '<"$0"', settings } as const
      // With --verbose it names the entry at which it ends.
      const argv = ['pg_restore', '--exit-on-error', '--verbose', ...given, ...flags]
      await runPostgres(as === superuser ? server : restricted, argv, `the loading of ${what}`, what, call)
    }
    /** Functions name others without a schema, and pg_restore has an empty search_path: an entry that fails is tried with a path for all of them. */
    const load = async ({ as, lines }: Part, flags: string[]) => {
      for (let left = lines; left.length > 0; ) {
        try {
          return await loadLines({ as, lines: left }, flags)
        } catch (error) {
          const at = failedEntry(error, left)
          if (at < 0) throw error
          await inFresh(withPaths(as === superuser || as === nobody ? server.user : as, as === superuser))
          try {
            await loadLines({ as, lines: left.slice(at, at + 1) }, flags)
          } catch (again) {
            throw asFailure(again).code === 'postgres-failed' ? error : again
          } finally {
            await inFresh(withoutPaths)
          }
          left = left.slice(at + 1)
        }
      }
    }
    let held: Acting = { as: superuser, rights: null, revoke: '' }
    /** From now on the restricted role acts for this owner, and for nobody else. What it needs depends on what is there: on the kind of rights. */
    const act = async (as: LoadedAs, rights: Rights) => {
      if (as === superuser || (held.as === as && held.rights === rights)) return
      const { grant, revoke } = rights(as, role)
      const member = as === nobody ? '' : `GRANT ${identifier(as)} TO ${identifier(role)};`
      const change = held.as === as ? '' : `${unlogged}${cleared(role, restricted.login?.password ?? '')}\n${member}`
      await inFresh([held.revoke, change, grant].join('\n'))
      held = { as, rights, revoke }
    }
    const loadAll = async (all: Part[], rights: Rights) => {
      for (const part of all) {
        await act(part.as, rights)
        await load(part, rights === fillRights ? [] : acting(part.as))
      }
    }
    const isOwner = (as: LoadedAs) => as !== superuser && as !== nobody
    const counts: string[] = []
    const inOwn = (statements: string) => sql(restricted, fresh, statements, what, asRole)
    /** Without statistics the first queries are slow, and no row is missing. Index expressions are evaluated, and foreign servers asked. */
    const analyze = async (as: LoadedAs) => {
      const each = `${tolerant}${analyzing(as === superuser ? isSuperuser : `= ${literal(as)}`)}`
      const tried = () => (as === superuser ? said(server, fresh, each, what, asSuperuser) : said(restricted, fresh, each, what, asRole))
      if ((await tried()).length === 0) return
      await inFresh(withPaths(as === superuser ? server.user : as, as === superuser))
      unready.push(...(await tried()).map((line) => `a table has no statistics: ${line}`))
      await inFresh(withoutPaths)
    }
    try {
      await loadAll(parts.definitions, ownerRights())
      const ofExtensions = (await inFresh(extensionTables)).split('\n').filter(Boolean)
      for (const part of parts.rows.flatMap((part) => apart(part, ofExtensions))) {
        await loadAll([part], part.as === nobody ? rowRights : ownerRights())
        // Before there are indexes: planning a query evaluates their immutable functions.
        if (isOwner(part.as)) counts.push(await inOwn(`SET ROLE ${identifier(part.as)};\n${counting(`= ${literal(part.as)}`)}`))
      }
      counts.push(await inFresh(counting(isSuperuser)))
      await loadAll(parts.built, ownerRights())
      // Before the dump's own grants, which may be the same.
      await inFresh(held.revoke)
      held = { ...held, rights: null, revoke: '' }
      await loadAll(parts.rights, ownerRights())
      // Their queries may ask another server, and can be run again: they hold no data of their own.
      const fill = async (part: Part) => {
        await act(part.as, fillRights)
        // As its application refreshes it: with row security off, what is under a policy would be an error. No policy runs as a superuser.
        const flags = isOwner(part.as) ? ['--enable-row-security'] : []
        for (const line of part.lines)
          await load({ as: part.as, lines: [line] }, flags).catch((error: unknown) => {
            if (failedEntry(error, [line]) < 0) throw error
            unready.push(
              `a materialized view is empty until REFRESH MATERIALIZED VIEW (${line.replace(/^.* VIEW DATA /, '')}): ${asFailure(error).message}`,
            )
          })
      }
      for (const as of new Set([...parts.rows, ...parts.views].map(({ as }) => as))) {
        for (const part of parts.views.filter((part) => part.as === as)) await fill(part)
        if (!isOwner(as)) continue
        await act(as, fillRights)
        await analyze(as)
      }
      await analyze(superuser)
    } finally {
      await inFresh(`DROP OWNED BY ${identifier(role)};`).catch(() => {})
    }
    // They would fire in our own sessions.
    for (const part of parts.eventTriggers) await load(part, [])
    return { counts: counts.flatMap((lines) => lines.split('\n').filter(Boolean).map(Number)), unready }
  })
}

/** Statements that give the restricted role, or the owner that it acts for, what the loading needs, and that take it back. */
type Rights = (as: LoadedAs, role: string) => { grant: string; revoke: string }
interface Acting {
  as: LoadedAs
  rights: Rights | null
  revoke: string
}

function acting(as: LoadedAs): string[] {
  return as === superuser || as === nobody ? [] : [`--role=${as}`]
}

/** Which of the entries pg_restore ended at, by its number; -1: it ended for another reason than a statement. */
function failedEntry(error: unknown, lines: string[]): number {
  const { code, cause } = asFailure(error)
  const [, entry] = (code === 'postgres-failed' && /^pg_restore: from TOC entry (\d+);/m.exec(String(cause))) || []
  return entry === undefined ? -1 : lines.findIndex((line) => line.startsWith(`${entry}; `))
}

const ownSchemas = `nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'`

/** `SCHEMA NAME` of each table that belongs to an extension. */
const extensionTables = `SELECT nspname || ' ' || relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objid = c.oid AND deptype = 'e' WHERE ${ownSchemas};`

/** The last schema of each path that is ours. There is none of this name. */
const mark = '"atelier-backup"'
const isMarked = `EXISTS (SELECT FROM pg_catalog.unnest(proconfig) s WHERE s LIKE 'search_path=%${mark}')`

/**
 * Gives each function that has no search_path of its own one for the moment: that of `role` in this database if one is set; the function's own schema;
 * the default path; schemas with extensions. `trusted`: only of schemas in which everything belongs to superusers, for a session of one.
 */
function withPaths(role: string, trusted: boolean): string {
  const isTrusted = `EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE nspname = name AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o' JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
      WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid AND NOT rolsuper
        AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())))`
  return `WITH setting AS (SELECT pg_catalog.substr(s, 13) AS path
  FROM pg_catalog.pg_db_role_setting c, pg_catalog.unnest(setconfig) s
  WHERE s LIKE 'search_path=%' AND (setdatabase = 0 OR setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
    AND (setrole = 0 OR setrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ${literal(role)}))
  ORDER BY setrole = 0, setdatabase = 0 LIMIT 1),
set_names AS (SELECT CASE WHEN m[1] LIKE '"%' THEN pg_catalog.replace(pg_catalog.btrim(m[1], '"'), '""', '"') ELSE pg_catalog.lower(m[1]) END AS name, n AS rank
  FROM setting, pg_catalog.regexp_matches(path, '("(?:[^"]|"")*"|[^s,"]+)', 'g') WITH ORDINALITY AS all_names (m, n)),
extension_names AS (SELECT nspname AS name FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace n ON n.oid = extnamespace)
SELECT pg_catalog.format('ALTER ROUTINE %s SET search_path = %s', p.oid::pg_catalog.regprocedure,
    (SELECT coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(name) || ', ', '' ORDER BY rank), '') || '${mark}' FROM (
      SELECT name, pg_catalog.min(rank) AS rank FROM (
        SELECT name, rank FROM set_names
        UNION ALL SELECT own.nspname, CASE WHEN EXISTS (SELECT FROM set_names) THEN 10000 ELSE 0 END
        UNION ALL VALUES ('$user', 10001), ('public', 10002)
        UNION ALL SELECT name, 10003 FROM extension_names) AS every GROUP BY name) AS once
      ${trusted ? `WHERE ${isTrusted}` : ''}))
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = prolang JOIN pg_catalog.pg_namespace own ON own.oid = pronamespace
  WHERE lanname NOT IN ('internal', 'c') AND prokind <> 'a' AND ${ownSchemas}
    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(proconfig) s WHERE s LIKE 'search_path=%') \\gexec`
}

const withoutPaths = `SELECT pg_catalog.format('ALTER ROUTINE %s RESET search_path', oid::pg_catalog.regprocedure) FROM pg_catalog.pg_proc WHERE ${isMarked} \\gexec`

/**
 * The rights of an owner to make what is his, where a superuser made it for him, until the dump's own grants are there. Each value is one of its own:
 * schemas and tables have come since the last one.
 */
function ownerRights(): Rights {
  return (owner) => {
    const isOthers = (column: string) => `pg_catalog.pg_get_userbyid(${column}) <> ${literal(owner)}`
    const both = (
      verb: string,
      whom: string,
    ) => `SELECT pg_catalog.format('${verb} USAGE, CREATE ON SCHEMA %I ${whom} %I', nspname, ${literal(owner)})
  FROM pg_catalog.pg_namespace WHERE ${ownSchemas} AND ${isOthers('nspowner')} \\gexec
SELECT pg_catalog.format('${verb} REFERENCES ON %I.%I ${whom} %I', nspname, relname, ${literal(owner)})
  FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND ${ownSchemas} AND ${isOthers('relowner')} \\gexec`
    return { grant: both('GRANT', 'TO'), revoke: both('REVOKE', 'FROM') }
  }
}

/** The rights to fill the tables of superusers. */
const rowRights: Rights = (as, role) => {
  const grant = `${fillRights(as, role).grant}
SELECT pg_catalog.format('GRANT SELECT, INSERT ON %I.%I TO "${role}"', nspname, relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace JOIN pg_catalog.pg_roles r ON r.oid = relowner
  WHERE relkind IN ('r', 'p') AND rolsuper AND ${ownSchemas} \\gexec`
  return { grant, revoke: `DROP OWNED BY "${role}";` }
}

/** The rights to find what it fills as a member of the owner. */
const fillRights: Rights = (_, role) => ({
  grant: `SELECT pg_catalog.format('GRANT USAGE ON SCHEMA %I TO "${role}"', nspname) FROM pg_catalog.pg_namespace WHERE ${ownSchemas} \\gexec`,
  revoke: `DROP OWNED BY "${role}";`,
})

/**
 * Renames databases, all or none; a new name may be the old name of another. Their sessions are ended, and a renamed database accepts no
 * connections until it has its own name again: `opened` lists those that accept them from now on.
 */
export async function renameDatabases(
  server: PostgresServer,
  renames: { from: string; to: string }[],
  opened: string[],
  options: PostgresOptions,
): Promise<void> {
  const open = opened.map((name) => `ALTER DATABASE ${identifier(name)} ALLOW_CONNECTIONS true;`)
  const script = [
    ...ending(renames.map(({ from }) => from)),
    'BEGIN;',
    ...renames.map(({ from, to }) => `ALTER DATABASE ${identifier(from)} RENAME TO ${identifier(to)};`),
    ...open,
    'COMMIT;',
  ].join('\n')
  for (let patience = 12; ; patience--) {
    try {
      await sql(server, 'postgres', script, renames.map(({ from }) => from).join(', '), options)
      return
    } catch (error) {
      // The server itself waits for 5 s until the terminated sessions have ended.
      if (patience === 0 || !(error instanceof Failure) || !/\b55006\b/.test(error.message)) throw error
    }
  }
}

/** Logical replication slots that belong to these databases. */
export async function slotsOf(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<{ name: string; database: string }[]> {
  if (databases.length === 0) return []
  return JSON.parse(await sql(server, 'postgres', `${slotsIn(databases)};`, 'the server', options))
}

function slotsIn(databases: string[]): string {
  return `SELECT coalesce(json_agg(json_build_object('name', slot_name, 'database', database)), '[]')
    FROM pg_replication_slots WHERE database IN (${literals(databases)})`
}

/** Drops databases and ends their sessions; a missing database is no error. Each is tried, also after one that can't be dropped. */
export async function dropDatabases(server: PostgresServer, names: string[], options: PostgresOptions): Promise<void> {
  const failures: unknown[] = []
  for (const name of (await databaseIds(server, names, options)).keys())
    await dropDatabase(server, name, options).catch((error) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}

async function dropDatabase(server: PostgresServer, name: string, options: PostgresOptions): Promise<void> {
  const what = `the database ${name}`
  // A database whose drop was interrupted (by a full disk) is invalid: it can be dropped, but not altered.
  const changes = ['IS_TEMPLATE', 'ALLOW_CONNECTIONS'].map((what) => `('ALTER DATABASE %I ${what} false')`).join(', ')
  const closing = `SELECT format(statement, datname) FROM pg_database, (VALUES ${changes}) AS c (statement) WHERE datname = ${literals([name])} AND datconnlimit <> -2 \\gexec
${terminating([name])}`
  const subscribed = `SELECT count(*) FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = ${literals([name])} AND datconnlimit <> -2;`
  if ((await sql(server, 'postgres', subscribed, what, options)) !== '0') {
    await sql(server, 'postgres', `ALTER DATABASE ${identifier(name)} ALLOW_CONNECTIONS true;`, what, options)
    await sql(server, name, detaching, what, options)
  }
  await sql(server, 'postgres', `${closing}\nDROP DATABASE ${identifier(name)};`, what, options)
}

/**
 * A subscription keeps its database from being dropped. The publisher isn't asked, who may be gone, or serve a subscription of the same name in another
 * database: a slot there stays. Event triggers would fire, and nobody needs them any more.
 */
const detaching = `SELECT pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_catalog.pg_event_trigger \\gexec
SELECT pg_catalog.format('ALTER SUBSCRIPTION %I DISABLE', subname), pg_catalog.format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname),
    pg_catalog.format('DROP SUBSCRIPTION %I', subname)
  FROM pg_catalog.pg_subscription JOIN pg_catalog.pg_database d ON d.oid = subdbid WHERE datname = pg_catalog.current_database() \\gexec`

/**
 * Does `work`, while the server makes a checkpoint each time that `bytes` of its log were written since the last one, and then uses the log's files
 * again: by itself it does that at max_wal_size.
 */
export async function withShortLog(
  server: PostgresServer,
  bytes: number,
  options: PostgresOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const done = new AbortController()
  const looking = `\\o /dev/null
DO $$ BEGIN
  IF pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), (SELECT redo_lsn FROM pg_catalog.pg_control_checkpoint())) > ${bytes} THEN CHECKPOINT; END IF;
END $$ \\watch 0.1`
  const signal = AbortSignal.any([options.signal, done.signal])
  // Without it the watch on the disk ends the work sooner.
  const checkpoints = sql(server, 'postgres', looking, 'the log of the server', { ...options, signal }).catch(() => {})
  try {
    await work(options.signal)
  } finally {
    done.abort()
    await checkpoints
  }
}

function ending(names: string[]): string[] {
  return [...names.map((name) => `ALTER DATABASE ${identifier(name)} ALLOW_CONNECTIONS false;`), terminating(names)]
}

function terminating(names: string[]): string {
  return `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (${literals(names)}) AND pid <> pg_backend_pid();`
}

/** Counts the rows of each local table whose owner's name is as given; foreign tables are left out. */
function counting(owner: string): string {
  return `SELECT pg_catalog.format('SELECT pg_catalog.count(*) FROM ONLY %I.%I', nspname, relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
  WHERE relkind = 'r' AND relpersistence <> 't' AND nspname NOT IN ('pg_catalog', 'information_schema') AND pg_catalog.pg_get_userbyid(relowner) ${owner} \\gexec`
}

function analyzing(owner: string): string {
  return `SELECT pg_catalog.format('ANALYZE %I.%I', nspname, relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'p', 'm') AND relpersistence <> 't' AND nspname <> 'information_schema' AND pg_catalog.pg_get_userbyid(relowner) ${owner} \\gexec`
}

const isSuperuser = 'IN (SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper)'

/** Independent of the server's configuration: no name is converted, commits are on disk, and no time limit applies. */
const steady = {
  ...unconverted,
  synchronous_commit: 'on',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
}

/** Keeps passwords out of the server's log. */
const unlogged = 'SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;\n'

/** A time limit that servers before 17 don't know, and what only a superuser may set: elsewhere setting it would be an error. */
const unlimited = `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout' \\g /dev/null
SELECT pg_catalog.set_config('lc_messages', 'C', false) WHERE pg_catalog.current_setting('is_superuser') = 'on' \\g /dev/null\n`

interface SqlOptions extends PostgresOptions {
  settings?: Record<string, string>
  /** Statements and output are bytes, a character each. */
  bytes?: boolean
}

/** Runs statements and returns what they print. Stops at the first error. */
async function sql(server: PostgresServer, database: string, statements: string, what: string, options: SqlOptions): Promise<string> {
  return (await psql(server, database, statements, what, options)).stdout.trim()
}

/** What each statement that fails says; the others go on. */
async function said(server: PostgresServer, database: string, statements: string, what: string, options: SqlOptions): Promise<string[]> {
  const { stderr } = await psql(server, database, statements, what, options)
  return [...stderr.matchAll(/ERROR: +\w{5}: +(.*)[\s\S]*?STATEMENT: +(.*)/g)].map(([, why, statement]) => `${statement}: ${why}`)
}
/** The first line of statements that go on after an error. */
const tolerant = '\\set ON_ERROR_STOP 0\n\\set ECHO errors\n'

async function psql(
  server: PostgresServer,
  database: string,
  statements: string,
  what: string,
  { settings = {}, bytes = false, ...options }: SqlOptions,
): Promise<ProcessResult> {
  const quiet = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1', '--set=VERBOSITY=verbose', '--file=-']
  const argv = ['psql', ...quiet, `--dbname=${connection(database)}`]
  return runPostgres(server, argv, `work on ${what}`, what, {
    ...options,
    bytes,
    input: `${unlimited}${statements}\n`,
    settings: { ...steady, ...settings },
  })
}

/** Text as its bytes in UTF-8, a character each. */
function characterPerByte(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** A connection string for the database: psql would take a name with `=` for a connection string. */
function connection(database: string): string {
  return `dbname='${database.replaceAll(/[\\']/g, '\\$&')}'`
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function literals(texts: string[]): string {
  return texts.length === 0 ? 'NULL' : texts.map(literal).join(', ')
}

const quoted = `"(?:[^"]|"")*"`
const text = "'(?:[^']|'')*'"
const id = `(?:${quoted}|[A-Za-z_][\\w$]*)`

/**
 * Splits the output of pg_dump, pg_dumpall and pg_restore about roles and databases into statements, without comments and psql's own commands.
 * These statements use no dollar-quoting.
 */
function statementsOf(script: string): string[] {
  const tokens = script.match(new RegExp(`--[^\\n]*|\\\\[^\\n]*|${text}|${quoted}|;|[^-\\\\'";]+|-`, 'g')) ?? []
  const statements = ['']
  for (const token of tokens) {
    if (token === ';') statements.push('')
    else if (!/^(--|\\)/.test(token)) statements.push(`${statements.pop()}${token}`)
  }
  return statements.map((statement) => statement.trim()).filter(Boolean)
}

/** `ID` in a pattern matches an identifier. */
function match(statement: string, pattern: string): (string | undefined)[] {
  return new RegExp(pattern.replaceAll('ID', id), 's').exec(statement) ?? []
}

function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name
}

/** The statement with the database `from` replaced by `to`. */
function renamed(statement: string, from: string, to: string): string {
  return statement.replaceAll(new RegExp(`${text}|\\bDATABASE (${id})|${quoted}`, 'g'), (part, name?: string) =>
    name !== undefined && unquoted(name) === from ? `DATABASE ${identifier(to)}` : part,
  )
}

function ended(statement: string): string {
  return `${statement};`
}
