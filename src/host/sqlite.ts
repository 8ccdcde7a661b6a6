// SQLite: makes a consistent copy of a live database, and checks copies.
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileUri } from '../bytes.ts'
import { type Code, Failure } from '../errors.ts'
import { chown, type FileHandle, lstat, mkdir, open, readdir, readEntries, readlink, rename, rm, stat } from '../fs.ts'
import { isRootOnly, lstatIfThere, withParentFd } from './files.ts'
import { sealedMounts, withPrivateMounts } from './mounts.ts'
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
  const entries = await readEntries(folder).catch(() => [])
  // A folder with such a name is data, no sidecar.
  return entries.flatMap((entry) => (entry.isDirectory() ? [] : join(folder, entry.name))).filter((path) => isSidecarOf(path, database))
}

export function isSidecarOf(path: string, database: string): boolean {
  return sidecarSuffixes.some((suffix) => path === database + suffix) || path.startsWith(`${database}-mj`)
}

/**
 * Opens a database's file without following a link, and whatever happens to its path later. What stands in its place and is no file is refused.
 * @throws Failure `sqlite-not-a-database`, `sqlite-failed`, `unsafe-path`
 */
export async function holdDatabase(database: string): Promise<FileHandle> {
  const refuse = (what: string) =>
    new Failure('sqlite-not-a-database', `${database} is ${what}: no database is read from it; remove what stands there`)
  // A pipe without a writer would block open(2).
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const held = await withParentFd(database, (at) => open(at, flags)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') throw new Failure('sqlite-failed', `the database ${database} has vanished`)
    // ENXIO: a socket.
    throw error.code === 'ELOOP' ? refuse('a link') : error.code === 'ENXIO' ? refuse('no file') : error
  })
  if ((await held.stat()).isFile()) return held
  await held.close()
  throw refuse('no file')
}

/**
 * Whether the path leads to the held file still, without a link below the first folder that isn't root's alone. While the file is open, its
 * filesystem gives its inode number to no other.
 */
export async function isAtPath(held: FileHandle, path: string): Promise<boolean> {
  const there = await withParentFd(path, (at) => lstat(at, { bigint: true })).catch(() => null)
  const { dev, ino } = await held.stat({ bigint: true })
  return there?.dev === dev && there.ino === ino
}

/**
 * Copies a live database into `to` (a new file in a private folder). The copy is made inside one read transaction: a plain .backup
 * restarts at every commit of another process and may never end. Owner, mode and attributes are those of the original. The modification time
 * isn't: size and time of a WAL database don't change when its rows do.
 *
 * No schema of the database may call what reads or writes files (`-safe`, `trusted_schema`), and SQLite follows no link (`-nofollow`, which
 * leaves a race, and the sealed mounts, which leave none).
 * @param held the database's file, open
 * @param from its real path
 * @returns how the copy was checked; it is made whatever the answer
 * @throws Failure `sqlite-locked`, `sqlite-not-a-database`, `sqlite-corrupt`, `sqlite-replaced`, `disk-full`, `sqlite-failed`,
 * `stalled`
 */
export async function copyDatabase(held: FileHandle, from: string, to: string, options: CopyOptions): Promise<DatabaseCheck> {
  return withParentFd(from, (at) => copyHeld(held, { from, at, to }, options))
}

/** `at`: the database's path through its open folder. SQLite itself must get `from`: it resolves /proc/self/fd to a path. */
async function copyHeld(held: FileHandle, { from, at, to }: Record<'from' | 'at' | 'to', string>, options: CopyOptions): Promise<DatabaseCheck> {
  const { busySeconds = 20, stall, ...running } = options
  // If the application isn't running, its -wal stays as it is: by default the last connection to close would checkpoint it into the database.
  const keepWal = (await lstatIfThere(`${at}-wal`)) === null ? [] : ['.dbconfig no_ckpt_on_close on']
  // No statement contains a file name: the database is an argument of the shell, and `copy` is a name in its working directory.
  const nonce = randomUUID()
  const script = [
    '.bail on',
    'PRAGMA trusted_schema=OFF;',
    ...keepWal,
    `.timeout ${busySeconds * 1000}`,
    'BEGIN;',
    // Begins to read. A SELECT would need a schema that this sqlite3 understands.
    'PRAGMA user_version;',
    // Safe mode refuses .backup, but for the command after the nonce.
    `.nonce ${nonce}`,
    '.backup main copy',
    'COMMIT;',
    '',
  ]
  await requireFiles(from, at)
  const { uid, gid } = await held.stat()
  const isRoot = process.getuid?.() === 0
  const owner = isRoot && uid !== 0 ? { uid, gid } : null
  const prefix = isRoot ? withPrivateMounts({}, await sealedMounts([from])) : []
  const copy = (mode: Mode, as: Owner | null) => {
    const watch = { ...stall, what: `the copy of ${from}`, signal: running.signal }
    const what = { from, to, nonce, prefix, script: script.join('\n') }
    return whileGrowing(dirname(to), watch, (signal) => copyAs(as, mode, what, { ...running, signal }))
  }
  const reading = async (as: Owner | null) => {
    // If no process uses the database, `immutable` reads it without creating files beside it. If one did meanwhile, `atRest` has changed.
    const before = await atRest(at)
    const copied = before === null ? null : await copy('ro&immutable=1', as)
    return copied !== null && before === (await atRest(at)) ? copied : copy('ro', as)
  }
  // If somebody else can create a journal beside the database, it is only read: SQLite rolls no journal back then.
  let copied = await (!isRoot || (await isAloneAt(dirname(from), uid)) ? copy('rw', owner) : reading(owner))
  // Nobody can write to a folder that is mounted read-only, and its owner may not.
  if (/readonly database|unable to open/.test(copied.stderr)) copied = await reading(null)
  if (copied.interrupted) throw new Failure('interrupted', `the copy of ${from} was interrupted`)
  // In some versions the shell exits 0 although .backup printed "Error: …".
  if (copied.exit !== 0 || /\bError\b/.test(copied.stderr) || !(await lstatIfThere(to))) throw sqliteFailure(from, copied, busySeconds)
  if (!(await isAtPath(held, from))) throw new Failure('sqlite-replaced', `the database ${from} was replaced by another file while it was copied`)
  const check = await checkDatabase(to, { ...running, owner })
  const argv = ['cp', '--attributes-only', '--preserve=mode,ownership,xattr', '--', '/proc/self/fd/3', to]
  const like = await run(argv, { ...running, inheritFds: [held.fd, ...running.inheritFds] })
  if (like.exit !== 0) throw new Failure('sqlite-failed', `owner and mode of ${from} can't be kept: ${like.stderr.trim()}`)
  return check
}

/** A pipe in place of one of these files would block SQLite forever. */
async function requireFiles(database: string, at: string): Promise<void> {
  for (const suffix of ['-journal', '-wal']) {
    const there = await lstatIfThere(at + suffix)
    if (there && !there.isFile())
      throw new Failure('sqlite-not-a-database', `${database}${suffix} is no file: no database is read from it; remove what stands there`)
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

interface Owner {
  uid: number
  gid: number
}

type Mode = 'rw' | 'ro' | 'ro&immutable=1'

/** Identifies the content of a database that no process uses (inode, size, time); null while it has sidecars. */
async function atRest(database: string): Promise<string | null> {
  const there = await lstat(database, { bigint: true }).catch(() => null)
  return there && (await sidecarsOf(database)).length === 0 ? `${there.ino} ${there.size} ${there.mtimeNs}` : null
}

/** Runs the sqlite3 shell on the database. Mode `rw`, not `rwc`: a database that has just been deleted must not be created. */
async function copyAs(
  owner: Owner | null,
  mode: Mode,
  { from, to, nonce, prefix, script }: { from: string; to: string; nonce: string; prefix: string[]; script: string },
  options: Omit<CopyOptions, 'stall'>,
) {
  const folder = `${to}.making`
  await mkdir(folder, { mode: 0o700 })
  if (owner) await chown(folder, owner.uid, owner.gid)
  const shell = [...sqlite3, '-nofollow', '-nonce', nonce, `${fileUri(from)}?mode=${mode}`]
  const copied = await run([...prefix, ...(owner ? await as(owner) : []), ...shell], { ...options, cwd: folder, input: script })
  // From here on the owner can't change the copy. It must be a plain file without other links.
  if (owner) await chown(folder, 0, 0)
  const made = await lstatIfThere(join(folder, 'copy'))
  if (made?.isFile() && made.nlink === 1) await rename(join(folder, 'copy'), to)
  await rm(folder, { recursive: true })
  return copied
}

const sqlite3 = ['sqlite3', '-batch', '-init', '/dev/null', '-safe']

/**
 * Command prefix that runs the copy as the database's owner. SQLite deletes the file that a hot journal names as its super-journal, and the
 * owner can write such a journal: as root, the copy would delete any file. The capability lets it read what root can read.
 */
async function as({ uid, gid }: Owner): Promise<string[]> {
  // `id` knows no groups of a user without a name.
  const { exit, stdout } = await run(['id', '--groups', String(uid)])
  const groups = exit === 0 ? `--groups=${stdout.trim().replaceAll(' ', ',')}` : '--clear-groups'
  const capabilities = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
  return ['setpriv', '--pdeathsig=TERM', `--reuid=${uid}`, `--regid=${gid}`, groups, ...capabilities, '--']
}

/**
 * Whether only root and this user can create files in a folder, or replace the folder itself. In a sticky folder everybody can create some,
 * but can't replace the folders of others.
 */
async function isAloneAt(folder: string, uid: number, sticky = false): Promise<boolean> {
  const { uid: owner, mode } = await lstat(folder)
  return isRootOnly({ uid: owner === uid ? 0 : owner, mode }, { sticky }) && (folder === '/' || isAloneAt(dirname(folder), uid, true))
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

/**
 * `corrupt`: SQLite says that the file is damaged. `unknown`: the check couldn't end (it needs collations, functions or tokenizers that the
 * application defines, or a newer sqlite3), or it complained of content alone. That is no sign of damage.
 */
export interface DatabaseCheck {
  state: 'ok' | 'corrupt' | 'unknown'
  message: string
}

export interface CheckOptions {
  signal?: AbortSignal
  inheritFds?: number[]
  /** Of the database: the check evaluates expressions of his. Null: it runs as this process. */
  owner?: { uid: number; gid: number } | null
}

/** Checks a database that no process uses (a copy), without creating files beside it. */
export async function checkDatabase(file: string, given: CheckOptions = {}): Promise<DatabaseCheck> {
  const { owner = null, ...options } = given
  const uri = `${fileUri(file)}?mode=ro&immutable=1`
  const argv = [...(owner ? await as(owner) : []), ...sqlite3, '-readonly', uri]
  // Many rows: complaints about content must not hide damage behind them.
  const input = 'PRAGMA trusted_schema=OFF;\nPRAGMA quick_check(1000);\n'
  const { exit, stdout, stderr, interrupted } = await run(argv, { ...options, input })
  if (interrupted) throw new Failure('interrupted', `the check of ${file} was interrupted`)
  const rows = stdout.split('\n').filter((row) => row.trim() !== '')
  const error = stderr.trim().split('\n')[0] ?? ''
  if (exit === 0 && error === '' && rows.join() === 'ok') return { state: 'ok', message: 'ok' }
  const damage = [...rows.filter((row) => row !== 'ok' && !contentRow.test(row)), ...(damageError.test(error) ? [error] : [])]
  const told = damage.length > 0 ? damage : [...new Set(rows), ...(error ? [error] : [])]
  const message = told.slice(0, 3).join('; ').slice(0, 300) || `sqlite3 ended with exit code ${exit}`
  return { state: damage.length > 0 ? 'corrupt' : 'unknown', message }
}

/**
 * What `quick_check` says of databases that are whole: rows that a constraint or a type which was added later doesn't allow, and a full-text
 * index that the application brings up to date by itself. Source: SQLite's pragma.c, fts3.c and fts5_main.c.
 */
const contentRow = /^(NULL|TEXT|NUMERIC|non-[A-Z]+) value in |^CHECK constraint failed in |^(malformed|unable to validate the) inverted index for FTS/

/** Of a schema in a newer language than this sqlite3 knows it says "malformed", too. */
const damageError =
  /file is not a database|(?<!malformed database schema .*)\(11\)|image is malformed|malformed database schema .*(invalid rootpage|orphan index)/

/**
 * Why a copy of this database could miss rows, or null: opened by another name it has another -wal, which the copy doesn't include.
 * Checks the link count and every process that has the file open.
 */
export async function otherName(database: string): Promise<string | null> {
  const self = await lstat(database, { bigint: true })
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
  return withParentFd(path, async (at) => {
    const handle = await open(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const { buffer } = await handle.read({ buffer: Buffer.alloc(16) })
      return buffer.toString('latin1') === 'SQLite format 3\0'
    } finally {
      await handle.close()
    }
  })
}
