// SQLite: makes a consistent copy of a live database, and checks copies.
import { constants } from 'node:fs'
import { chown, mkdir, open, readdir, readlink, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Code, Failure } from '../errors.ts'
import { isRootOnly, lstatIfThere } from './files.ts'
import { type ProcessResult, run } from './shell.ts'
import { type Watch, whileGrowing } from './stall.ts'

/**
 * Files beside a database that belong to it. A copy needs none of them, and beside another database they corrupt it.
 * Source: sqlite.org/tempfiles.html; -wal2: the wal2 branch.
 */
export const sidecarSuffixes = ['-wal', '-shm', '-journal', '-wal2'] as const

/** The sidecars of a database that exist now, super-journals (-mj…) included. */
export async function sidecarsOf(database: string): Promise<string[]> {
  const folder = dirname(database)
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  // A folder with such a name is data, no sidecar.
  return entries.flatMap((entry) => (entry.isDirectory() ? [] : join(folder, entry.name))).filter((path) => isSidecarOf(path, database))
}

export function isSidecarOf(path: string, database: string): boolean {
  return sidecarSuffixes.some((suffix) => path === database + suffix) || path.startsWith(`${database}-mj`)
}

/**
 * Copies a live database into `to` (a new file in a private folder). The copy is made inside one read transaction: a plain .backup
 * restarts at every commit of another process and may never end. Owner, mode and attributes are those of the original. The modification time
 * isn't: size and time of a WAL database don't change when its rows do.
 * @returns how the copy was checked; `unknown` is worth a warning
 * @throws Failure `sqlite-locked`, `sqlite-not-a-database`, `sqlite-corrupt`, `disk-full`, `sqlite-failed`, `stalled`
 */
export async function copyDatabase(from: string, to: string, options: CopyOptions): Promise<DatabaseCheck> {
  const { busySeconds = 20, stall, ...running } = options
  // If the application isn't running, its -wal stays as it is: by default the last connection to close would checkpoint it into the database.
  const keepWal = (await lstatIfThere(`${from}-wal`)) === null ? [] : ['.dbconfig no_ckpt_on_close on']
  // No statement contains a file name: the database is an argument of the shell, and `copy` is a name in its working directory.
  const script = [
    '.bail on',
    ...keepWal,
    `.timeout ${busySeconds * 1000}`,
    'BEGIN;',
    'SELECT count(*) FROM sqlite_schema;',
    '.backup main copy',
    'COMMIT;',
    '',
  ]
  const there = await stat(from).catch(() => null)
  if (!there) throw new Failure('sqlite-failed', `the database ${from} has vanished`)
  await requireFiles(from)
  const { uid, gid } = there
  const isRoot = process.getuid?.() === 0
  const copy = (mode: Mode, owner: { uid: number; gid: number } | null) => {
    const watch = { ...stall, what: `the copy of ${from}`, signal: running.signal }
    return whileGrowing(dirname(to), watch, (signal) => copyAs(owner, mode, from, to, script.join('\n'), { ...running, signal }))
  }
  const reading = async () => {
    // If no process uses the database, `immutable` reads it without creating files beside it. If one did meanwhile, `atRest` has changed.
    const before = await atRest(from)
    const copied = before === null ? null : await copy('ro&immutable=1', null)
    return copied !== null && before === (await atRest(from)) ? copied : copy('ro', null)
  }
  // If another user can create a journal beside the database, root only reads: SQLite rolls no journal back then.
  const asRoot = async () => (!isRoot || (await isOursAlone(dirname(from))) ? copy('rw', null) : reading())
  let copied = await (isRoot && uid !== 0 ? copy('rw', { uid, gid }) : asRoot())
  // The owner may not write to the folder of the database.
  if (isRoot && uid !== 0 && /readonly database|unable to open/.test(copied.stderr)) copied = await reading()
  if (copied.interrupted) throw new Failure('interrupted', `the copy of ${from} was interrupted`)
  // In some versions the shell exits 0 although .backup printed "Error: …".
  if (copied.exit !== 0 || /\bError\b/.test(copied.stderr) || !(await lstatIfThere(to))) throw sqliteFailure(from, copied, busySeconds)
  const check = await checkDatabase(to, running)
  if (check.state === 'corrupt') throw new Failure('sqlite-corrupt', `the database ${from} is corrupt: ${check.message}`)
  const like = await run(['cp', '--attributes-only', '--preserve=mode,ownership,xattr', '--', from, to], running)
  if (like.exit !== 0) throw new Failure('sqlite-failed', `owner and mode of ${from} can't be kept: ${like.stderr.trim()}`)
  return check
}

/** A pipe in place of one of these files would block SQLite forever. */
async function requireFiles(database: string): Promise<void> {
  for (const path of [database, `${database}-journal`, `${database}-wal`]) {
    const there = await stat(path).catch(() => null)
    if (there && !there.isFile())
      throw new Failure('sqlite-not-a-database', `${path} is no file: no database is read from it; remove what stands there`)
  }
}

export interface CopyOptions {
  signal: AbortSignal
  /** Descriptors that children inherit. */
  inheritFds: number[]
  /** When a copy that grows no more is ended. */
  stall: Pick<Watch, 'seconds' | 'onGrowth'>
  /** How long to wait for the locks of other processes. */
  busySeconds?: number
}

type Mode = 'rw' | 'ro' | 'ro&immutable=1'

/** Identifies the content of a database that no process uses (inode, size, time); null while it has sidecars. */
async function atRest(database: string): Promise<string | null> {
  const there = await stat(database, { bigint: true }).catch(() => null)
  return there && (await sidecarsOf(database)).length === 0 ? `${there.ino} ${there.size} ${there.mtimeNs}` : null
}

/** Runs the sqlite3 shell on the database. Mode `rw`, not `rwc`: a database that has just been deleted must not be created. */
async function copyAs(
  owner: { uid: number; gid: number } | null,
  mode: Mode,
  from: string,
  to: string,
  script: string,
  options: Omit<CopyOptions, 'stall'>,
) {
  const folder = `${to}.making`
  await mkdir(folder, { mode: 0o700 })
  if (owner) await chown(folder, owner.uid, owner.gid)
  const shell = ['sqlite3', '-batch', '-init', '/dev/null', `${pathToFileURL(from).href}?mode=${mode}`]
  const copied = await run([...(owner ? await as(owner) : []), ...shell], { ...options, cwd: folder, input: script })
  // From here on the owner can't change the copy. It must be a plain file without other links.
  if (owner) await chown(folder, 0, 0)
  const made = await lstatIfThere(join(folder, 'copy'))
  if (made?.isFile() && made.nlink === 1) await rename(join(folder, 'copy'), to)
  await rm(folder, { recursive: true })
  return copied
}

/**
 * Command prefix that runs the copy as the database's owner. SQLite deletes the file that a hot journal names as its super-journal, and the
 * owner can write such a journal: as root, the copy would delete any file. The capability lets it read what root can read.
 */
async function as({ uid, gid }: { uid: number; gid: number }): Promise<string[]> {
  // `id` knows no groups of a user without a name.
  const { exit, stdout } = await run(['id', '--groups', String(uid)])
  const groups = exit === 0 ? `--groups=${stdout.trim().replaceAll(' ', ',')}` : '--clear-groups'
  const capabilities = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
  return ['setpriv', '--pdeathsig=TERM', `--reuid=${uid}`, `--regid=${gid}`, groups, ...capabilities, '--']
}

/** Whether only we (and root) can create files in a folder, or replace the folder itself. */
async function isOursAlone(folder: string): Promise<boolean> {
  return isRootOnly(await stat(folder), { sticky: true }) && (folder === '/' || isOursAlone(dirname(folder)))
}

const sqliteErrors: [RegExp, Code, string][] = [
  [/database is locked|database is busy/, 'sqlite-locked', 'stayed locked for SECONDS s: something holds a long transaction open'],
  [
    /file is not a database|file is encrypted/,
    'sqlite-not-a-database',
    'is no SQLite database, or is encrypted: take it out of `sqlite`; under `paths` it is saved as the file that it is',
  ],
  [/malformed|corrupt/, 'sqlite-corrupt', 'is corrupt'],
  [
    /readonly database/,
    'sqlite-failed',
    'was left in the middle of a transaction, and others than root can write to its folder: start its application once, which ends that',
  ],
  [/disk is full|No space left/, 'disk-full', "can't be copied: no space is left for the copy"],
]
function sqliteFailure(database: string, { exit, stderr }: ProcessResult, busySeconds: number): Failure {
  const [, code, message] = sqliteErrors.find(([pattern]) => pattern.test(stderr)) ?? [
    null,
    'sqlite-failed',
    `can't be copied: ${stderr.trim().split('\n')[0] || `sqlite3 ended with exit code ${exit}`}`,
  ]
  return new Failure(code, `the database ${database} ${message.replace('SECONDS', String(busySeconds))}`)
}

/** `unknown`: the check needs collations or functions that the application defines. That is no sign of damage. */
export interface DatabaseCheck {
  state: 'ok' | 'corrupt' | 'unknown'
  message: string
}

/** Checks a database that no process uses (a copy), without creating files beside it. */
export async function checkDatabase(file: string, options: { signal?: AbortSignal; inheritFds?: number[] } = {}): Promise<DatabaseCheck> {
  const uri = `${pathToFileURL(file).href}?mode=ro&immutable=1`
  const argv = ['sqlite3', '-batch', '-init', '/dev/null', '-readonly', uri]
  const { exit, stdout, stderr, interrupted } = await run(argv, { ...options, input: 'PRAGMA quick_check(5);\n' })
  if (interrupted) throw new Failure('interrupted', `the check of ${file} was interrupted`)
  const answer = stdout.trim()
  if (exit === 0 && answer === 'ok') return { state: 'ok', message: 'ok' }
  const message = (answer || stderr.trim()).split('\n').slice(0, 3).join('; ')
  return { state: /no such (collation|function|module)|unknown (function|collation)/.test(message) ? 'unknown' : 'corrupt', message }
}

/**
 * Why a copy of this database could miss rows, or null: opened by another name it has another -wal, which the copy doesn't include.
 * Checks the link count and every process that has the file open.
 */
export async function otherName(database: string): Promise<string | null> {
  const self = await stat(database, { bigint: true })
  if (self.nlink > 1n) return `it has ${self.nlink} names (hard links)`
  const home = await stat(dirname(database), { bigint: true })
  for (const pid of (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))) {
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const open = await stat(`/proc/${pid}/fd/${fd}`, { bigint: true }).catch(() => null)
      if (open?.ino !== self.ino || open.dev !== self.dev) continue
      const name = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
      if (!name.startsWith('/')) continue
      // The same folder under another name (a container's bind mount of the folder) is fine: it contains the same -wal.
      const folder = await stat(`/proc/${pid}/root${dirname(name)}`, { bigint: true }).catch(() => null)
      if (folder?.ino === home.ino && folder.dev === home.dev && basename(name) === basename(database)) continue
      return `process ${pid} has it open as ${name}`
    }
  }
  return null
}

/** Whether a file begins with the header of a SQLite database. Source: sqlite.org/fileformat.html. */
export async function isDatabase(path: string | null): Promise<boolean> {
  if (path === null || !(await lstatIfThere(path))?.isFile()) return false
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const { buffer } = await handle.read({ buffer: Buffer.alloc(16) })
    return buffer.toString('latin1') === 'SQLite format 3\0'
  } finally {
    await handle.close()
  }
}
