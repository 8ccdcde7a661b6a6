// PostgreSQL: dumps as the server's own superuser, written where only root can read them.
import { open } from 'node:fs/promises'
import { join } from 'node:path'
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
  /** Descriptors that children keep open. */
  hold: number[]
}

/**
 * Dumps databases into a folder of root's: each in custom format, uncompressed (restic compresses, and finds what hasn't changed), the
 * server's version, and the roles, memberships and tablespaces, which belong to no single database.
 * @throws Failure `postgres-missing`, `postgres-unreachable`, `postgres-failed`, `disk-full`, `interrupted`
 */
export async function dumpPostgres(server: PostgresServer, databases: string[], folder: string, options: DumpOptions): Promise<void> {
  const version = ['psql', '--no-psqlrc', '--tuples-only', '--no-align', '--dbname=postgres', '--command=SHOW server_version']
  await dump(server, version, 'the server', join(folder, 'server-version'), /\d/, options)
  await dump(server, ['pg_dumpall', '--globals-only', '--database=postgres'], 'the roles', join(folder, 'globals.sql'), /^--/, options)
  for (const database of databases) {
    // Behind somebody's exclusive lock it would wait for ever.
    const command = ['pg_dump', '--format=custom', '--compress=0', '--lock-wait-timeout=10min', `--dbname=${database}`]
    await dump(server, command, `the database ${database}`, join(folder, `${database}.dump`), /^PGDMP/, options)
  }
}

/** `begins`: what a dump looks like; one that is empty exits 0 through some wrappers. */
async function dump(server: PostgresServer, command: string[], what: string, to: string, begins: RegExp, options: DumpOptions): Promise<void> {
  const { PATH = '/usr/bin:/bin' } = process.env
  const { user, socketDir, port } = server
  const [program = '', ...args] = command
  // Root opens the file, then the user changes: the folder stays closed to everybody else. With the user goes what pdeathsig was set before.
  const script =
    'umask 077; user=$1; shift; group=$(id -g -- "$user") && exec setpriv --pdeathsig=TERM --reuid="$user" --regid="$group" --init-groups -- "$@" >"$0"'
  const { exit, stderr, interrupted } = await run(
    ['bash', '-c', script, to, user, program, '--no-password', `--host=${socketDir}`, `--port=${port}`, `--username=${user}`, ...args],
    { ...options, env: { PATH, LANG: 'C.UTF-8', PGCONNECT_TIMEOUT: '20' } },
  )
  if (interrupted) throw new Failure('interrupted', `the dump of ${what} was interrupted`)
  if (exit !== 0) throw failureOf(what, stderr, server, exit)
  if (!begins.test(await beginning(to)))
    throw new Failure('postgres-failed', `PostgreSQL, ${what}: ${program} exited 0, but its dump is empty or no dump`)
}

const causes: [pattern: RegExp, code: string, cause: string][] = [
  [/failed to execute/, 'postgres-missing', "its programs aren't on PATH"],
  [/no such user/, 'postgres-failed', 'postgresql.user names no user of this host'],
  [/No space left|Disk quota exceeded/, 'disk-full', 'no space is left for the dump; stagingDir names another place'],
  [/database ".*" does not exist/, 'postgres-failed', 'there is no such database'],
  [/connection to server .* failed/, 'postgres-unreachable', 'it does not answer: does it run, and is its socket in SOCKET?'],
]
function failureOf(what: string, stderr: string, { socketDir }: PostgresServer, exit: number): Failure {
  const said = stderr.trim().split('\n')
  const words = said.find((line) => /\b(error|FATAL):/.test(line)) ?? said.at(-1) ?? ''
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
