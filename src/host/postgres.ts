// PostgreSQL: dumps. Its programs run as the server's superuser, but only root can read the dumps.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Path } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { open, stat, writeFile } from '../fs.ts'
import { freeBytes } from './files.ts'
import { nearestFolder } from './folders.ts'
import { type ProcessResult, run } from './shell.ts'
import { whileSpaceLeft } from './space.ts'

/** How to connect to the server: through its socket, as the system user `user` and the role of the same name (peer authentication). */
export interface PostgresServer {
  user: string
  socketDir: string
  port: number
  /** Another role than `user`, and its password: of a session with fewer rights (postgres-restricted.ts). */
  login?: { role: string; password: string }
}

export interface PostgresOptions {
  signal: AbortSignal
  /** Descriptors that children inherit. */
  inheritFds: number[]
}

/** What a restore in place will lack on this server: the backup says so. */
export type Lacking = string

/**
 * Dumps databases into a folder that root owns: each in custom format, uncompressed (restic compresses and deduplicates), the server's
 * version, and the roles, memberships and tablespaces, which belong to no single database. Gives back what a restore in place would lack.
 * @throws Failure `postgres-missing`, `postgres-unreachable`, `postgres-client`, `postgres-failed`, `disk-full`, `interrupted`
 */
export async function dumpPostgres(server: PostgresServer, databases: string[], folder: string, options: PostgresOptions): Promise<Lacking[]> {
  const asked = await askServer(server, databases, options)
  const { version, bytes, folders } = asked
  await requireClient('pg_dump', server, version, options)
  const absent = databases.find((database) => !asked.databases.includes(database))
  if (absent !== undefined)
    throw new Failure('postgres-failed', `PostgreSQL, the database ${absent}: there is no such database ("${absent}") on the server`)
  await writeFile(join(folder, dumpFiles.version), `${version}\n`, { mode: 0o600, flag: 'wx' })
  const settings = { ...withoutEventTriggers(version), ...(asked.superuser ? english : {}) }
  const globals = ['pg_dumpall', '--globals-only', '--encoding=SQL_ASCII', '--database=postgres']
  await dump(server, globals, 'the roles', join(folder, dumpFiles.globals), /^--/, { ...options, settings })
  const shared = await sharedWith(folder, folders)
  const full = async (cause?: unknown) => {
    const kept = shared === null ? '' : `, of which ${reserve >> 20} MiB are left to the server's data in ${shared}`
    const room = `the databases have ${bytes} bytes, and ${folder} has ${await freeBytes(folder)} free${kept}`
    return new Failure('disk-full', `PostgreSQL: no space is left for the dump; stagingDir names another place (${room})`, { cause })
  }
  const room = async () => (await freeBytes(folder)) - (shared === null ? 0 : reserve)
  if ((await room()) < bytes) throw await full()
  const lacking: Lacking[] = []
  const all = async (signal: AbortSignal) => {
    for (const database of databases) {
      // Without this, pg_dump would wait forever for a table that another session has locked.
      const command = ['pg_dump', '--format=custom', '--compress=0', '--lock-wait-timeout=10min', `--dbname=${database}`]
      // A dump can be many times as large as its database, which compresses long values; and faster than we look.
      const call = { ...options, signal, settings, ...(shared === null ? {} : { maxBytes: Math.max(0, await room()) }) }
      await dump(server, command, `the database ${database}`, join(folder, dumpFiles.of(database)), /^PGDMP/, call)
      const list = await listDump(server, database, join(folder, dumpFiles.of(database)), { ...options, signal })
      lacking.push(...lackingFor(database, list, asked))
    }
  }
  if (shared === null) await all(options.signal)
  else {
    const words = `no space is left for the dump; stagingDir names another place (less than ${reserve >> 20} MiB are free on the disk of the server's data, ${shared})`
    const watched = { folders: [folder], reserve, full: (_: Path, cause: unknown) => new Failure('disk-full', `PostgreSQL: ${words}`, { cause }) }
    await whileSpaceLeft(watched, options.signal, all)
  }
  return lacking
}

/**
 * Bytes that a dump leaves free on a disk that the server writes to. Where the server can't write its log, it shuts down. 256 MiB: what other
 * clients can write (16 of the log's segments) until a dump that is ended has been removed.
 */
const reserve = 256 * 1024 * 1024

/** What anybody may ask of a server. */
export interface Asked {
  version: string
  superuser: boolean
  /** Those of the databases that exist, and their sizes together. */
  databases: string[]
  bytes: number
  /** The folders that the server writes to: empty if the role isn't told. */
  folders: Path[]
  /** Its log of changes can grow to about this size between two checkpoints. */
  logBytes: number
  /** Extensions that can be made on the server, and those that can be made in the database of one name alone. */
  extensions: string[]
  bound: Record<string, string>
}

export async function askServer(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<Asked> {
  const names = databases.map((name) => `'${name.replaceAll("'", "''")}'`).join(', ') || 'NULL'
  const state = `SELECT pg_catalog.json_build_object(
    'version', pg_catalog.current_setting('server_version'),
    'superuser', pg_catalog.current_setting('is_superuser') = 'on',
    'databases', (SELECT coalesce(pg_catalog.json_agg(datname), '[]') FROM pg_catalog.pg_database WHERE datname IN (${names})),
    'bytes', (SELECT coalesce(pg_catalog.sum(pg_catalog.pg_database_size(oid)), 0) FROM pg_catalog.pg_database WHERE datname IN (${names})),
    'data', CASE WHEN pg_catalog.current_setting('is_superuser') = 'on' THEN pg_catalog.current_setting('data_directory') END,
    'tablespaces', (SELECT pg_catalog.json_agg(pg_catalog.pg_tablespace_location(oid)) FROM pg_catalog.pg_tablespace),
    'logBytes', pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')),
    'extensions', (SELECT coalesce(pg_catalog.json_agg(name), '[]') FROM pg_catalog.pg_available_extensions),
    'bound', pg_catalog.json_build_object('pg_cron', coalesce(pg_catalog.current_setting('cron.database_name', true), 'postgres')))`
  const argv = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--dbname=postgres', `--command=${state}`]
  const { stdout } = await runPostgres(server, argv, 'a look at the server', 'the server', { ...options, settings: unconverted })
  const { data, tablespaces, ...asked } = JSON.parse(stdout)
  return { ...asked, folders: [...(data === null ? [] : [data, join(data, 'pg_wal')]), ...tablespaces].filter(Boolean) }
}

/** What a restore in place of this dump would lack on the server. It loads a dump into a new database before that one gets the name. */
export function lackingFor(database: string, list: string, asked: Pick<Asked, 'extensions' | 'bound'>): Lacking[] {
  const { missing, tied } = unmakeable(list, asked)
  return [
    ...tied.map(
      (extension) =>
        `the database ${database} holds the extension ${extension}, which can only be made in a database called ${asked.bound[extension]}: a restore in place can't bring ${database} back, which it loads under another name first. Let ${extension} live in another database (cron.database_name), or drop this one before a restore by hand (pg_restore --create)`,
    ),
    ...missing.map(
      (extension) =>
        `the database ${database} holds the extension ${extension}, which isn't installed on this host any more: install its package before a restore`,
    ),
  ]
}

/** The extensions of a dump that can't be made in a new database: they are `missing` on the server, or `tied` to a database of one name. */
export function unmakeable(list: string, { extensions, bound }: Pick<Asked, 'extensions' | 'bound'>): { missing: string[]; tied: string[] } {
  const made = extensionsIn(list)
  return {
    missing: made.filter((extension) => !extensions.includes(extension)),
    tied: made.filter((extension) => Object.hasOwn(bound, extension)),
  }
}

/** What a restore in place of these databases, as they are now, would lack on the server that was `asked` of them, but for the programs. @throws Failure */
export async function restoreLacks(server: PostgresServer, asked: Asked, databases: string[], options: PostgresOptions): Promise<Lacking[]> {
  const absent = databases.filter((database) => !asked.databases.includes(database))
  const lacking = [
    ...(asked.superuser ? [] : [`the role ${server.user} is no superuser, as which databases are restored in place: see postgresql.user`]),
    ...absent.map((database) => `there is no database ${database} on the server`),
  ]
  for (const database of asked.databases) {
    // As a dump's list names them. Those with a smaller number are in each new database.
    const made = `SELECT '0; 3079 0 EXTENSION - ' || extname FROM pg_catalog.pg_extension WHERE oid >= 16384`
    const argv = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', `--dbname=${database}`, `--command=${made}`]
    const { stdout } = await runPostgres(server, argv, `a look at the database ${database}`, `the database ${database}`, options)
    lacking.push(...lackingFor(database, stdout, asked))
  }
  return lacking
}

/** The extensions that a dump makes. `list`: what `pg_restore --list` prints. */
export function extensionsIn(list: string): string[] {
  return list.split('\n').flatMap((line) => /^\d+; 3079 \d+ EXTENSION - (.*?) *$/.exec(line)?.[1] ?? [])
}

/** What is in a dump, as `pg_restore --list` prints it, in the encoding of the dump. @throws Failure `dump-damaged` */
export async function listDump(server: PostgresServer, database: string, dump: Path, options: PostgresOptions): Promise<string> {
  const what = `the database ${database}`
  return (await runPostgres(server, ['pg_restore', '--list'], `a look at the dump of ${what}`, what, { ...options, file: dump, redirect: '<"$0"' }))
    .stdout
}

/** A newer client sets what an older server doesn't know, so that its dumps can't be loaded there. @throws Failure `postgres-client` */
export async function requireClient(
  program: string,
  { socketDir }: PostgresServer,
  version: string,
  { signal, inheritFds }: PostgresOptions,
): Promise<void> {
  const { PATH = '/usr/bin:/bin' } = process.env
  // Debian's wrappers choose a version by the host.
  const { stdout } = await run([program, '--version', `--host=${socketDir}`], { signal, inheritFds, env: { PATH, LANG: 'C.UTF-8' } }).catch(
    (error) => {
      throw asFailure(error).code === 'missing-tool'
        ? new Failure('postgres-missing', `PostgreSQL: its programs aren't on PATH (${program})`, { cause: error })
        : error
    },
  )
  const client = /\d+(\.\d+)*/.exec(stdout)?.[0] ?? ''
  if (Number.parseInt(client, 10) > Number.parseInt(version, 10))
    throw new Failure(
      'postgres-client',
      `PostgreSQL: ${program} on PATH is of version ${client}, and the server of ${version}, which doesn't know all that a newer one asks of it: put the programs of PostgreSQL ${Number.parseInt(version, 10)} on PATH`,
    )
}

/** The first of the server's folders that is on the filesystem of `folder`; null if none is, or if they aren't on this host. */
export async function sharedWith(folder: Path, folders: Path[]): Promise<Path | null> {
  const { dev } = await stat(await nearestFolder(folder))
  for (const other of folders) {
    const there = await stat(other).catch(() => null)
    if (there?.dev === dev) return other
  }
  return null
}

/** File names in a folder of dumps. */
export const dumpFiles = { version: 'server-version', globals: 'globals.sql', of: (database: string) => `${database}.dump` }

/** `begins`: how the dump must begin. Through some wrappers pg_dump exits 0 with an empty dump. */
async function dump(server: PostgresServer, command: string[], what: string, to: string, begins: RegExp, options: Call): Promise<void> {
  await runPostgres(server, command, `the dump of ${what}`, what, { ...options, redirect: `>"$0"`, file: to })
  if (!begins.test(await beginning(to)))
    throw new Failure('postgres-failed', `PostgreSQL, ${what}: ${command[0]} exited 0, but its dump is empty or no dump`)
}

interface Call extends PostgresOptions {
  /** Standard input: a text, or a file that root opens before the user changes, so that its folder stays closed to everybody else. */
  input?: string
  file?: string
  redirect?: '>"$0"' | '<"$0"'
  /** Settings of the session, beside `fixed`. They override those of the database and of the role. */
  settings?: Record<string, string>
  /** The size that the program can give a file. */
  maxBytes?: number
  /** Input and output are bytes, a character each. */
  bytes?: boolean
}

/**
 * Settings of every session. The owner of a database decides on its settings, and creates functions and operators in it: with another
 * search_path, statements of the superuser would call these (CVE-2018-1058).
 */
const fixed = {
  search_path: 'pg_catalog',
  role: 'none',
  row_security: 'off',
  local_preload_libraries: '',
  standard_conforming_strings: 'on',
  default_transaction_read_only: 'off',
}

/** The server converts nothing. Of names that all databases share (roles, databases), each has the same bytes, whatever the encoding of a database. */
export const unconverted = { client_encoding: 'SQL_ASCII' }

/** Whatever language the server speaks: words of its messages are looked for below. Only a superuser may set it. */
export const english = { lc_messages: 'C' }

/** For sessions of a superuser in databases of others. Servers before 17 don't know it: it would be an error there. */
export function withoutEventTriggers(version: string): Record<string, string> {
  return Number.parseInt(version, 10) >= 17 ? { event_triggers: 'off' } : {}
}

/**
 * Runs one of PostgreSQL's programs on the server. `work` (`the dump of …`) and `what` (`the database …`) are for error messages. Waits up
 * to ten minutes while the server recovers from a crash.
 * @throws Failure `postgres-missing`, `postgres-unreachable`, `postgres-failed`, `disk-full`, `interrupted`
 */
export async function runPostgres(
  server: PostgresServer,
  [program = '', ...args]: string[],
  work: string,
  what: string,
  { signal, inheritFds, input, file = '', redirect, settings = {}, maxBytes, bytes = false }: Call,
): Promise<ProcessResult> {
  const { PATH = '/usr/bin:/bin' } = process.env
  const { user, socketDir, port, login } = server
  // A change of user clears the parent-death signal that was set before.
  // Without the signal, a write beyond the limit is an error.
  const limit = maxBytes === undefined ? '' : `trap '' XFSZ; ulimit -f ${Math.floor(maxBytes / 1024)} && `
  const script = `umask 077; user=$1; shift; group=$(id -g -- "$user") && ${limit}exec setpriv --pdeathsig=TERM --reuid="$user" --regid="$group" --init-groups -- "$@" ${redirect ?? ''}`
  const argv = [
    'bash',
    '-c',
    script,
    file,
    user,
    program,
    '--no-password',
    `--host=${socketDir}`,
    `--port=${port}`,
    `--username=${login?.role ?? user}`,
    ...args,
  ]
  const env = {
    ...{ PATH, LANG: 'C.UTF-8', PGCONNECT_TIMEOUT: '20' },
    ...(login && { PGPASSWORD: login.password }),
    PGOPTIONS: Object.entries({ ...fixed, ...settings })
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
  }
  const interrupted = () => new Failure('interrupted', `${work} was interrupted`)
  const attempt = () => run(argv, { signal, inheritFds, env, bytes, ...(input === undefined ? {} : { input }) })
  let finished = await attempt()
  for (let left = 600, isUp = false; left > 0 && !isUp && isRefused.test(finished.stderr); left--) {
    const answer = await readiness(server, { signal, inheritFds })
    if (answer === 'none') break
    // It may have come up since we asked: once more.
    isUp = answer === 'up'
    if (!isUp) await sleep(1000, undefined, { signal }).catch(() => {})
    if (signal.aborted) throw interrupted()
    finished = await attempt()
  }
  if (finished.interrupted) throw interrupted()
  if (finished.exit !== 0) throw failureOf(what, finished.stderr, server, finished.exit)
  return finished
}

/** The words of the client, which speaks English by our LANG, and not what the server says of others. */
const isRefused = /^\w+: error: (connection to (server|database) .* failed|could not connect to server: )/m

/** Whether the server doesn't accept connections yet, but soon will: after a power cut it recovers while the boot goes on. By its SQLSTATE. */
async function readiness({ socketDir, port }: PostgresServer, { signal, inheritFds }: PostgresOptions): Promise<'up' | 'soon' | 'none'> {
  const argv = ['pg_isready', '--quiet', `--host=${socketDir}`, `--port=${port}`]
  const { PATH = '/usr/bin:/bin' } = process.env
  const { exit } = await run(argv, { signal, inheritFds, env: { PATH, LANG: 'C.UTF-8' } }).catch(() => ({ exit: 2 }))
  return exit === 0 ? 'up' : exit === 1 ? 'soon' : 'none'
}

const causes: [pattern: RegExp, code: Code, cause: string][] = [
  [/failed to execute/, 'postgres-missing', "its programs aren't on PATH"],
  [/no such user/, 'postgres-failed', 'postgresql.user names no user of this host'],
  [/could not (extend|write to) file .*(No space left|Disk quota exceeded)/, 'disk-full', "no space is left for the server's data"],
  [/could not write init file/, 'disk-full', "the server can't write: is there space left for its data"],
  [/No space left|Disk quota exceeded|File too large/, 'disk-full', 'no space is left for the dump; stagingDir names another place'],
  [/database ".*" does not exist/, 'postgres-failed', 'there is no such database'],
  [isRefused, 'postgres-unreachable', 'it does not answer: does it run, and is its socket in SOCKET?'],
  [/could not (read from input file|find block ID)|unexpected end of file|corrupt tar|file is too short/, 'dump-damaged', 'its dump is damaged'],
]
function failureOf(what: string, stderr: string, { socketDir }: PostgresServer, exit: number): Failure {
  const said = stderr.trim().split('\n')
  const words = said.find((line) => /\b(error|ERROR|FATAL):/.test(line)) ?? said.at(-1) ?? ''
  const [, code, cause] = causes.find(([pattern]) => pattern.test(stderr)) ?? [null, 'postgres-failed', `exit code ${exit}`]
  return new Failure(code, `PostgreSQL, ${what}: ${cause.replace('SOCKET', socketDir)} (${words})`, { cause: stderr })
}

async function beginning(file: string): Promise<string> {
  const handle = await open(file, 'r')
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(16), 0, 16, 0)
    return buffer.toString('latin1', 0, bytesRead)
  } finally {
    await handle.close()
  }
}
