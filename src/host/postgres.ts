// PostgreSQL: dumps as the server's own superuser, written where only root can read them.
import { open, stat } from 'node:fs/promises'
import { Failure } from '../errors.ts'
import { run } from './shell.ts'

/** How to reach the server: by its socket, as the system user `user` and the role of the same name (peer authentication). */
export interface PostgresServer {
  user: string
  socketDir: string
  port: number
}

interface DumpOptions {
  signal: AbortSignal
  hold: number[]
}

/**
 * Dumps one database in custom format, uncompressed (restic compresses, and finds what hasn't changed).
 * @throws Failure `postgres-missing`, `postgres-unreachable`, `postgres-failed`, `disk-full`, `interrupted`
 */
export async function dumpDatabase(server: PostgresServer, database: string, to: string, options: DumpOptions): Promise<void> {
  await dump(server, ['pg_dump', '--format=custom', '--compress=0', `--dbname=${database}`], database, to, options)
  // A dump that was cut off at the start still exits 0 through some wrappers: the archive's magic must be there.
  if ((await firstBytes(to, 5)) !== 'PGDMP') throw new Failure('postgres-failed', `the dump of the database ${database} is empty or no archive`)
}

/** Roles, memberships and tablespaces, which belong to no single database. */
export async function dumpGlobals(server: PostgresServer, to: string, options: DumpOptions): Promise<void> {
  await dump(server, ['pg_dumpall', '--globals-only', '--database=postgres'], 'globals', to, options)
  if ((await stat(to)).size === 0) throw new Failure('postgres-failed', 'the dump of the roles is empty')
}

/** The server's version, as "17.2". */
export async function serverVersion(server: PostgresServer, signal: AbortSignal): Promise<string> {
  const { exit, stdout, stderr } = await asServerUser(
    server,
    ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--dbname=postgres', '--command=SHOW server_version'],
    { signal },
  )
  if (exit !== 0) throw failureOf('postgres', stderr, exit)
  return stdout.trim().split(' ')[0] ?? ''
}

async function dump(server: PostgresServer, [program = '', ...args]: string[], what: string, to: string, options: DumpOptions): Promise<void> {
  // Root opens the file, then the user changes: the folder stays closed to everybody else.
  const redirected = ['bash', '-c', 'umask 077; exec "$@" >"$0"', to]
  const { exit, stderr, interrupted } = await run([...redirected, ...command(server, program, args)], { ...options, env: environment() })
  if (interrupted) throw new Failure('interrupted', `the dump of ${what} was interrupted`)
  if (exit !== 0) throw failureOf(what, stderr, exit)
}

function asServerUser(server: PostgresServer, [program = '', ...args]: string[], options: { signal: AbortSignal }) {
  return run(command(server, program, args), { ...options, env: environment() })
}

function command({ user, socketDir, port }: PostgresServer, program: string, args: string[]): string[] {
  return [
    'setpriv',
    `--reuid=${user}`,
    `--regid=${user}`,
    '--init-groups',
    '--',
    program,
    '--no-password',
    `--host=${socketDir}`,
    `--port=${port}`,
    `--username=${user}`,
    ...args,
  ]
}

function environment(): Record<string, string> {
  const { PATH = '/usr/bin:/bin' } = process.env
  return { PATH, LANG: 'C.UTF-8', PGCONNECT_TIMEOUT: '20' }
}

const causes: [RegExp, string, string][] = [
  [/failed to execute|not found/, 'postgres-missing', "PostgreSQL's programs aren't on PATH"],
  [/could not connect|connection to server .* failed/, 'postgres-unreachable', 'the server does not answer'],
  [/No space left/, 'disk-full', 'no space is left for the dump'],
]
function failureOf(what: string, stderr: string, exit: number): Failure {
  const words = stderr.trim().split('\n').at(-1) ?? ''
  const [, code, cause] = causes.find(([pattern]) => pattern.test(stderr)) ?? [null, 'postgres-failed', `exit code ${exit}`]
  return new Failure(code, `PostgreSQL, ${what}: ${cause}: ${words}`)
}

async function firstBytes(file: string, count: number): Promise<string> {
  const handle = await open(file, 'r')
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(count), 0, count, 0)
    return buffer.subarray(0, bytesRead).toString('latin1')
  } finally {
    await handle.close()
  }
}
