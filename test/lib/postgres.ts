// A PostgreSQL server of a test's own: on a socket in a scratch folder, run by the user that the distribution's package makes.
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isRoot } from './needs.ts'

const releases = '/usr/lib/postgresql'
const bin = newest()
export const canPostgres = isRoot && bin !== null

export interface Server {
  /** As the manifest declares it. */
  declared: { user: string; socketDir: string; port: number }
  /** A PATH on which its programs come first. */
  path: string
  /** Statements, one psql; gives what it prints, unaligned. */
  sql(database: string, statements: string): string
  /** A program of PostgreSQL's on this server, with `input`, as its superuser. */
  run(program: string, args: string[], input?: Buffer): string
  stop(): void
  start(): void
  /** The end: nothing is left. */
  remove(): void
}

/**
 * `disk`: its data (not its log of changes, without which it can't go on) stands on a filesystem of its own of this size; `log`: its log does.
 * `settings`: further ones, for the command line.
 */
export function makeServer({ disk, log, settings = 'wal_level=replica' }: { disk?: string; log?: string; settings?: string } = {}): Server {
  const root = mkdtempSync(join(tmpdir(), 'atelier-postgres-'))
  const { uid, gid } = owner()
  chownSync(root, uid, gid)
  chmodSync(root, 0o755)
  const declared = { user: 'postgres', socketDir: root, port: 5432 }
  const as = (program: string, args: string[], input?: Buffer) =>
    execFileSync('setpriv', [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--', join(bin ?? '', program), ...args], {
      cwd: root,
      env: { PATH: process.env.PATH ?? '', LANG: 'C.UTF-8', PGHOST: root, PGPORT: '5432' },
      encoding: 'utf8',
      maxBuffer: 1 << 26,
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(input ? { input } : {}),
    })
  const control = (...args: string[]) => as('pg_ctl', ['--pgdata=data', '--wait', '--silent', '--log=log', ...args])
  const own = [...(disk === undefined ? [] : [['data', disk] as const]), ...(log === undefined ? [] : [['wal', log] as const])]
  for (const [folder, size] of own) {
    mkdirSync(join(root, folder))
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700,uid=${uid},gid=${gid}`, 'none', join(root, folder)])
  }
  as('initdb', [
    '--pgdata=data',
    ...(own.length === 0 ? [] : [`--waldir=${join(root, 'wal')}`]),
    '--auth=peer',
    '--no-sync',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
  ])
  const start = () => void control('--options', `-c listen_addresses= -c unix_socket_directories=${root} -c fsync=off -c ${settings}`, 'start')
  const stop = () => void control('--mode=immediate', 'stop')
  start()
  return {
    declared,
    path: `${bin}:${process.env.PATH}`,
    sql: (database, statements) => as('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', statements]).trim(),
    run: as,
    start,
    stop,
    remove() {
      try {
        stop()
      } catch {
        // It is stopped already.
      }
      for (const [folder] of own) execFileSync('umount', [join(root, folder)])
      rmSync(root, { recursive: true, force: true })
    },
  }
}

function owner(): { uid: number; gid: number } {
  const of = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: of('-u'), gid: of('-g') }
}

function newest(): string | null {
  const found = statSync(releases, { throwIfNoEntry: false }) ? readdirSync(releases) : []
  const [release] = found.sort((a, b) => Number(b) - Number(a))
  return release === undefined ? null : join(releases, release, 'bin')
}
