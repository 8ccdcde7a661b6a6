// PostgreSQL: dumps. Its programs run as the server's superuser, but only root can read the dumps.
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Path } from '../core.ts'
import { type Code, Failure } from '../errors.ts'
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

/**
 * Dumps databases into a folder that root owns: each in custom format, uncompressed (restic compresses and deduplicates), the server's
 * version, and the roles, memberships and tablespaces, which belong to no single database.
 * @throws Failure `postgres-missing`, `postgres-unreachable`, `postgres-failed`, `disk-full`, `interrupted`
 */
export async function dumpPostgres(server: PostgresServer, databases: string[], folder: string, options: PostgresOptions): Promise<void> {
  const version = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--dbname=postgres', '--command=SHOW server_version']
  await dump(server, version, 'the server', join(folder, dumpFiles.version), /\d/, options)
  const settings = withoutEventTriggers(await readFile(join(folder, dumpFiles.version), 'utf8'))
  await dump(server, ['pg_dumpall', '--globals-only', '--database=postgres'], 'the roles', join(folder, dumpFiles.globals), /^--/, options)
  const { bytes, folders } = await askServer(server, databases, options)
  const shared = await sharedWith(folder, folders)
  const full = async (cause?: unknown) => {
    const kept = shared === null ? '' : `, of which ${reserve >> 20} MiB are left to the server's data in ${shared}`
    const room = `the databases have ${bytes} bytes, and ${folder} has ${await freeBytes(folder)} free${kept}`
    return new Failure('disk-full', `PostgreSQL: no space is left for the dump; stagingDir names another place (${room})`, { cause })
  }
  const room = async () => (await freeBytes(folder)) - (shared === null ? 0 : reserve)
  if ((await room()) < bytes) throw await full()
  const all = async (signal: AbortSignal) => {
    for (const database of databases) {
      // Without this, pg_dump would wait forever for a table that another session has locked.
      const command = ['pg_dump', '--format=custom', '--compress=0', '--lock-wait-timeout=10min', `--dbname=${database}`]
      // A dump can be many times as large as its database, which compresses long values; and faster than we look.
      const call = { ...options, signal, settings, ...(shared === null ? {} : { maxBytes: Math.max(0, await room()) }) }
      await dump(server, command, `the database ${database}`, join(folder, dumpFiles.of(database)), /^PGDMP/, call)
    }
  }
  if (shared === null) return all(options.signal)
  const words = `no space is left for the dump; stagingDir names another place (less than ${reserve >> 20} MiB are free on the disk of the server's data, ${shared})`
  await whileSpaceLeft({ folder, reserve, full: (cause) => new Failure('disk-full', `PostgreSQL: ${words}`, { cause }) }, options.signal, all)
}

/**
 * Bytes that a dump leaves free on a disk that the server writes to. Where the server can't write its log, it shuts down. 256 MiB: what other
 * clients can write (16 of the log's segments) until a dump that is ended has been removed.
 */
const reserve = 256 * 1024 * 1024

/** The sizes of databases together, and the folders that the server writes to: empty if the role isn't told. */
export async function askServer(server: PostgresServer, databases: string[], options: PostgresOptions): Promise<{ bytes: number; folders: Path[] }> {
  const names = databases.map((name) => `'${name.replaceAll("'", "''")}'`).join(', ') || 'NULL'
  const state = `SELECT pg_catalog.json_build_object(
    'bytes', (SELECT coalesce(pg_catalog.sum(pg_catalog.pg_database_size(oid)), 0) FROM pg_catalog.pg_database WHERE datname IN (${names})),
    'data', CASE WHEN pg_catalog.current_setting('is_superuser') = 'on' THEN pg_catalog.current_setting('data_directory') END,
    'tablespaces', (SELECT pg_catalog.json_agg(pg_catalog.pg_tablespace_location(oid)) FROM pg_catalog.pg_tablespace))`
  const argv = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--dbname=postgres', `--command=${state}`]
  const { stdout } = await runPostgres(server, argv, 'a look at the server', 'the server', options)
  const { bytes, data, tablespaces } = JSON.parse(stdout)
  return { bytes, folders: [...(data === null ? [] : [data, join(data, 'pg_wal')]), ...tablespaces].filter(Boolean) }
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
  { signal, inheritFds, input, file = '', redirect, settings = {}, maxBytes }: Call,
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
  const attempt = () => run(argv, { signal, inheritFds, env, ...(input === undefined ? {} : { input }) })
  let finished = await attempt()
  for (let left = 600; left > 0 && recovers.test(finished.stderr); left--) {
    await sleep(1000, undefined, { signal }).catch(() => {})
    if (signal.aborted) throw interrupted()
    finished = await attempt()
  }
  if (finished.interrupted) throw interrupted()
  if (finished.exit !== 0) throw failureOf(what, finished.stderr, server, finished.exit)
  return finished
}

/** The server doesn't accept connections yet, but soon will: after a power cut it recovers while the boot goes on. */
const recovers = /connection to server .* failed: FATAL: +the database system is (starting up|in recovery mode|not (yet )?accepting connections)/

const causes: [pattern: RegExp, code: Code, cause: string][] = [
  [/failed to execute/, 'postgres-missing', "its programs aren't on PATH"],
  [/no such user/, 'postgres-failed', 'postgresql.user names no user of this host'],
  [/could not (extend|write to) file .*(No space left|Disk quota exceeded)/, 'disk-full', "no space is left for the server's data"],
  [/could not write init file/, 'disk-full', "the server can't write: is there space left for its data"],
  [/No space left|Disk quota exceeded|File too large/, 'disk-full', 'no space is left for the dump; stagingDir names another place'],
  [/database ".*" does not exist/, 'postgres-failed', 'there is no such database'],
  [/connection to server .* failed/, 'postgres-unreachable', 'it does not answer: does it run, and is its socket in SOCKET?'],
  [/could not (read from input file|find block ID)|unexpected end of file|corrupt tar|file is too short/, 'dump-damaged', 'its dump is damaged'],
]
function failureOf(what: string, stderr: string, { socketDir }: PostgresServer, exit: number): Failure {
  const said = stderr.trim().split('\n')
  const words = said.find((line) => /\b(error|ERROR|FATAL):/.test(line)) ?? said.at(-1) ?? ''
  const [, code, cause] = causes.find(([pattern]) => pattern.test(stderr)) ?? [null, 'postgres-failed', `exit code ${exit}`]
  return new Failure(code, `PostgreSQL, ${what}: ${cause.replace('SOCKET', socketDir)} (${words})`)
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
