// PostgreSQL: dumps. Its programs run as the server's superuser, but only root can read the dumps.
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Code, Failure } from '../errors.ts'
import { type ProcessResult, run } from './shell.ts'

/** How to connect to the server: through its socket, as the system user `user` and the role of the same name (peer authentication). */
export interface PostgresServer {
  user: string
  socketDir: string
  port: number
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
  await dump(server, ['pg_dumpall', '--globals-only', '--database=postgres'], 'the roles', join(folder, dumpFiles.globals), /^--/, options)
  for (const database of databases) {
    // Without this, pg_dump would wait forever for a table that another session has locked.
    const command = ['pg_dump', '--format=custom', '--compress=0', '--lock-wait-timeout=10min', `--dbname=${database}`]
    await dump(server, command, `the database ${database}`, join(folder, dumpFiles.of(database)), /^PGDMP/, options)
  }
}

/** File names in a folder of dumps. */
export const dumpFiles = { version: 'server-version', globals: 'globals.sql', of: (database: string) => `${database}.dump` }

/** `begins`: how the dump must begin. Through some wrappers pg_dump exits 0 with an empty dump. */
async function dump(server: PostgresServer, command: string[], what: string, to: string, begins: RegExp, options: PostgresOptions): Promise<void> {
  await runPostgres(server, command, `the dump of ${what}`, what, { ...options, redirect: `>"$0"`, file: to })
  if (!begins.test(await beginning(to)))
    throw new Failure('postgres-failed', `PostgreSQL, ${what}: ${command[0]} exited 0, but its dump is empty or no dump`)
}

interface Call extends PostgresOptions {
  /** Standard input: a text, or a file that root opens before the user changes, so that its folder stays closed to everybody else. */
  input?: string
  file?: string
  redirect?: '>"$0"' | '<"$0"'
  /** Settings of the session. They override those of the database and of the role. */
  settings?: Record<string, string>
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
  { signal, inheritFds, input, file = '', redirect, settings = {} }: Call,
): Promise<ProcessResult> {
  const { PATH = '/usr/bin:/bin' } = process.env
  const { user, socketDir, port } = server
  // A change of user clears the parent-death signal that was set before.
  const script = `umask 077; user=$1; shift; group=$(id -g -- "$user") && exec setpriv --pdeathsig=TERM --reuid="$user" --regid="$group" --init-groups -- "$@" ${redirect ?? ''}`
  const argv = ['bash', '-c', script, file, user, program, '--no-password', `--host=${socketDir}`, `--port=${port}`, `--username=${user}`, ...args]
  const env = {
    ...{ PATH, LANG: 'C.UTF-8', PGCONNECT_TIMEOUT: '20' },
    PGOPTIONS: Object.entries(settings)
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
  [/No space left|Disk quota exceeded/, 'disk-full', 'no space is left for the dump; stagingDir names another place'],
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
