// PostgreSQL: restores. Loads roles and dumps into a server, renames and drops databases. SQL goes through standard input.
import { chown, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure } from '../errors.ts'
import { type PostgresOptions, type PostgresServer, runPostgres, withoutEventTriggers } from './postgres.ts'
import { apart, type LoadedAs, nobody, type Part, partsOf, superuser } from './postgres-entries.ts'
import { cleared, withRestricted } from './postgres-restricted.ts'

/** State of a server. `databases`: those of the requested ones that exist, with their object ids; sizes in bytes. */
export interface ServerState {
  version: string
  dataFolder: string
  databases: Record<string, { id: string; bytes: number }>
  roles: string[]
  tablespaces: string[]
}

/** @throws Failure `postgres-rights` if the server's user is no superuser, and those of `runPostgres` */
export async function gatherServerState(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<ServerState> {
  const state = `SELECT json_build_object(
    'version', current_setting('server_version'),
    'dataFolder', CASE WHEN current_setting('is_superuser') = 'on' THEN current_setting('data_directory') END,
    'databases', (SELECT coalesce(json_object_agg(datname, json_build_object('id', oid::text, 'bytes', pg_database_size(oid))), '{}')
                  FROM pg_database WHERE datname IN (${literals(databases)}) AND current_setting('is_superuser') = 'on'),
    'roles', (SELECT json_agg(rolname) FROM pg_roles),
    'tablespaces', (SELECT json_agg(spcname) FROM pg_tablespace));`
  const found = JSON.parse(await sql(server, 'postgres', state, 'the server', options))
  if (found.dataFolder === null)
    throw new Failure('postgres-rights', `PostgreSQL: the role ${server.user} must be a superuser to bring databases back; see postgresql.user`)
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
  const statements = statementsOf(await readFile(globals, 'utf8'))
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
    options,
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

/**
 * Loads a dump into a new database, with the properties and grants of the database itself. Returns its numbers of tables and rows.
 * @throws Failure `dump-damaged`, `disk-full`, `postgres-failed` …; what is loaded so far stays, and the caller must drop it
 */
export async function loadDatabase(
  server: PostgresServer,
  { database, fresh, dump, tablespaces }: Load,
  options: PostgresOptions,
): Promise<{ tables: number; rows: number }> {
  const what = `the database ${database}`
  const settings = { ...steady, ...withoutEventTriggers(await sql(server, 'postgres', 'SHOW server_version;', what, options)) }
  const from = { ...options, file: dump, redirect: '<"$0"', settings } as const
  const restore = (args: string[]) => runPostgres(server, ['pg_restore', '--exit-on-error', ...args], `the loading of ${what}`, what, from)
  // No schema has this name: only the statements about the database itself remain, which no selection excludes.
  const { stdout } = await restore(['--create', '--schema-only', '--schema=pg_none', '--file=-'])
  const statements = statementsOf(stdout).map((statement) => renamed(statement, database, fresh))
  const [creation, ...properties] = statements.filter((statement) => /^(CREATE|ALTER|COMMENT|SECURITY LABEL|GRANT|REVOKE) /.test(statement))
  if (!creation?.startsWith('CREATE DATABASE ')) throw new Failure('dump-damaged', `PostgreSQL, ${what}: its dump doesn't say how to make it`)
  const isOwner = (statement: string) => /^ALTER DATABASE .* OWNER TO /.test(statement)
  // --no-tablespaces of pg_restore doesn't cover the tablespace of the database itself.
  const placed = tablespaces ? creation : creation.replace(new RegExp(` TABLESPACE = ${id}$`), '')
  await sql(server, 'postgres', [placed, ...properties.filter(isOwner)].map(ended).join('\n'), what, options)
  const list = (await restore(['--list'])).stdout
  const counts = await loadContents(server, { fresh, dump, tablespaces, list, what }, { ...options, settings })
  // Last, because properties such as read-only or a time limit would hinder the loading.
  const others = properties.filter((statement) => !isOwner(statement))
  await sql(server, 'postgres', others.map(ended).join('\n'), what, options)
  return { tables: counts.length, rows: counts.reduce((sum, count) => sum + count, 0) }
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
): Promise<number[]> {
  const manage = (statements: string) => sql(server, 'postgres', `${unlogged}${statements}`, what, options)
  const inFresh = (statements: string) => sql(server, fresh, statements, what, options)
  const found = await manage(
    `SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', rolname, 'superuser', rolsuper)) FROM pg_catalog.pg_roles;`,
  )
  const parts = partsOf(list, JSON.parse(found))
  if (parts === null) throw new Failure('postgres-failed', `PostgreSQL, ${what}: its dump has objects of a role that the server lacks`)
  const login = (restricted: PostgresServer) => sql(restricted, fresh, 'SELECT 1;', what, options)
  return withRestricted(server, manage, login, options, async ({ role, server: restricted, folder, uid }) => {
    const file = join(folder, 'entries')
    const load = async ({ as, lines }: Part, flags: string[]) => {
      await rm(file, { force: true })
      await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o400 })
      await chown(file, uid, 0)
      const given = [`--use-list=${file}`, `--dbname=${connection(fresh)}`, ...(tablespaces ? [] : ['--no-tablespaces'])]
      const settings = as === superuser ? options.settings : steady
      const call = { ...options, file: dump, redirect: '<"$0"', settings } as const
      const argv = ['pg_restore', '--exit-on-error', ...given, ...flags]
      await runPostgres(as === superuser ? server : restricted, argv, `the loading of ${what}`, what, call)
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
    try {
      await loadAll(parts.definitions, ownerRights())
      const ofExtensions = (await inFresh(extensionTables)).split('\n').filter(Boolean)
      for (const part of parts.rows.flatMap((part) => apart(part, ofExtensions))) {
        await loadAll([part], part.as === nobody ? rowRights : ownerRights())
        // Before there are indexes: planning a query evaluates their immutable functions.
        if (isOwner(part.as))
          counts.push(await sql(restricted, fresh, `SET ROLE ${identifier(part.as)};\n${counting(`= ${literal(part.as)}`)}`, what, options))
      }
      counts.push(await inFresh(counting(isSuperuser)))
      await loadAll(parts.built, ownerRights())
      // Before the dump's own grants, which may be the same.
      await inFresh(held.revoke)
      held = { ...held, rights: null, revoke: '' }
      await loadAll(parts.rights, ownerRights())
      // Without statistics the first queries would be slow. Index expressions are evaluated, as are the queries of materialized views.
      for (const as of new Set([...parts.rows, ...parts.views].map(({ as }) => as))) {
        await loadAll(
          parts.views.filter((part) => part.as === as),
          fillRights,
        )
        if (!isOwner(as)) continue
        await act(as, fillRights)
        await sql(restricted, fresh, analyzing(`= ${literal(as)}`), what, options)
      }
      await inFresh(analyzing(isSuperuser))
    } finally {
      await inFresh(`DROP OWNED BY ${identifier(role)};`).catch(() => {})
    }
    // They would fire in our own sessions.
    for (const part of parts.eventTriggers) await load(part, [])
    return counts.flatMap((lines) => lines.split('\n').filter(Boolean).map(Number))
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

const ownSchemas = `nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'`

/** `SCHEMA NAME` of each table that belongs to an extension. */
const extensionTables = `SELECT nspname || ' ' || relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objid = c.oid AND deptype = 'e' WHERE ${ownSchemas};`

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
      if (patience === 0 || !(error instanceof Failure) || !error.message.includes('is being accessed by other users')) throw error
    }
  }
}

/** Drops databases and ends their sessions; a missing database is no error. */
export async function dropDatabases(server: PostgresServer, names: string[], options: PostgresOptions): Promise<void> {
  for (const name of (await databaseIds(server, names, options)).keys()) {
    // A database whose drop was interrupted (by a full disk) is invalid: it can be dropped, but not altered.
    const changes = ['IS_TEMPLATE', 'ALLOW_CONNECTIONS'].map((what) => `('ALTER DATABASE %I ${what} false')`).join(', ')
    const script = [
      `SELECT format(statement, datname) FROM pg_database, (VALUES ${changes}) AS c (statement) WHERE datname = ${literals([name])} AND datconnlimit <> -2 \\gexec`,
      terminating([name]),
      `DROP DATABASE ${identifier(name)};`,
    ]
    await sql(server, 'postgres', script.join('\n'), `the database ${name}`, options)
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

/** Independent of the server's configuration: names are UTF-8, commits are on disk, and no time limit applies. */
const steady = {
  client_encoding: 'UTF8',
  synchronous_commit: 'on',
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
}

/** Keeps passwords out of the server's log. */
const unlogged = 'SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;\n'

/** A time limit that servers before 17 don't know: setting it there would be an error. */
const unlimited = `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout' \\g /dev/null\n`

/** Runs statements and returns what they print. Stops at the first error. */
async function sql(
  server: PostgresServer,
  database: string,
  statements: string,
  what: string,
  { settings = {}, ...options }: PostgresOptions & { settings?: Record<string, string> },
): Promise<string> {
  const quiet = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1', '--set=VERBOSITY=terse', '--file=-']
  const argv = ['psql', ...quiet, `--dbname=${connection(database)}`]
  const { stdout } = await runPostgres(server, argv, `work on ${what}`, what, {
    ...options,
    input: `${unlimited}${statements}\n`,
    settings: { ...steady, ...(server.login ? {} : settings) },
  })
  return stdout.trim()
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
