// SQLite: a consistent copy of a live database, and the proof that a copy is whole.
import { constants } from 'node:fs'
import { chown, mkdir, open, readdir, readlink, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Code, Failure } from '../errors.ts'
import { isRootOnly, lstatIfThere } from './files.ts'
import { type ProcessResult, run } from './shell.ts'

/** Files beside a database that belong to it. A copy needs none of them; beside another database they are poison. Source: sqlite.org/tempfiles.html; -wal2: the wal2 branch. */
export const sidecarSuffixes = ['-wal', '-shm', '-journal', '-wal2'] as const

/** A database's sidecars that exist now, super-journals (-mj…) too. */
export async function sidecarsOf(database: string): Promise<string[]> {
  const folder = dirname(database)
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  // A folder that is called so is somebody's data.
  return entries.flatMap((entry) => (entry.isDirectory() ? [] : join(folder, entry.name))).filter((path) => isSidecarOf(path, database))
}

export function isSidecarOf(path: string, database: string): boolean {
  return sidecarSuffixes.some((suffix) => path === database + suffix) || path.startsWith(`${database}-mj`)
}

/**
 * Copies a live database into `to` (a new file in a private folder). The copy is taken inside one read transaction: a plain .backup
 * restarts at every commit from elsewhere and may never end. Owner, mode and attributes are the original's; its time isn't:
 * size and time of a WAL database don't change when its rows do.
 * @returns how the copy was checked; `unknown` is worth a warning
 * @throws Failure `sqlite-locked`, `sqlite-not-a-database`, `sqlite-corrupt`, `disk-full`, `sqlite-failed`
 */
export async function copyDatabase(from: string, to: string, options: CopyOptions): Promise<DatabaseCheck> {
  const { busySeconds = 20, ...running } = options
  // What an application that isn't running has left in its -wal stays there: the last to close a database would move it into it.
  const keepWal = (await lstatIfThere(`${from}-wal`)) === null ? [] : ['.dbconfig no_ckpt_on_close on']
  // The names stand in no statement: the shell takes the first as an argument, and the copy by its name in the working folder.
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
  const copy = (mode: Mode, owner: { uid: number; gid: number } | null) => copyAs(owner, mode, from, to, script.join('\n'), running)
  const reading = async () => {
    // Where nobody is at work nothing is made beside it; what was at work meanwhile shows.
    const before = await atRest(from)
    const copied = before === null ? null : await copy('ro&immutable=1', null)
    return copied !== null && before === (await atRest(from)) ? copied : copy('ro', null)
  }
  // As root only reading, where somebody else could put a journal beside the database: nothing is rolled back then.
  const asRoot = async () => (!isRoot || (await isOursAlone(dirname(from))) ? copy('rw', null) : reading())
  let copied = await (isRoot && uid !== 0 ? copy('rw', { uid, gid }) : asRoot())
  // Its owner has no right to the folder around it.
  if (isRoot && uid !== 0 && /readonly database|unable to open/.test(copied.stderr)) copied = await reading()
  if (copied.interrupted) throw new Failure('interrupted', `the copy of ${from} was interrupted`)
  // .backup prints "Error: …" and the shell still exits 0 in some versions: the copy must be there.
  if (copied.exit !== 0 || /\bError\b/.test(copied.stderr) || !(await lstatIfThere(to))) throw sqliteFailure(from, copied, busySeconds)
  const check = await checkDatabase(to, running)
  if (check.state === 'corrupt') throw new Failure('sqlite-corrupt', `the database ${from} is corrupt: ${check.message}`)
  const like = await run(['cp', '--attributes-only', '--preserve=mode,ownership,xattr', '--', from, to], running)
  if (like.exit !== 0) throw new Failure('sqlite-failed', `owner and mode of ${from} can't be kept: ${like.stderr.trim()}`)
  return check
}

/** Whoever opens a pipe to read from it waits for a writer, for ever. */
async function requireFiles(database: string): Promise<void> {
  for (const path of [database, `${database}-journal`, `${database}-wal`]) {
    const there = await stat(path).catch(() => null)
    if (there && !there.isFile())
      throw new Failure('sqlite-not-a-database', `${path} is no file: no database is read from it; remove what stands there`)
  }
}

export interface CopyOptions {
  signal: AbortSignal
  /** Descriptors that children keep open. */
  inheritFds: number[]
  /** How long to wait for others' locks. */
  busySeconds?: number
}

type Mode = 'rw' | 'ro' | 'ro&immutable=1'

/** How a database stands that nobody is at work with, or null. */
async function atRest(database: string): Promise<string | null> {
  const there = await stat(database, { bigint: true }).catch(() => null)
  return there && (await sidecarsOf(database)).length === 0 ? `${there.ino} ${there.size} ${there.mtimeNs}` : null
}

/** Runs SQLite's shell on the database. rw, not rwc: one that has just vanished isn't made anew. */
async function copyAs(owner: { uid: number; gid: number } | null, mode: Mode, from: string, to: string, script: string, options: CopyOptions) {
  const folder = `${to}.making`
  await mkdir(folder, { mode: 0o700 })
  if (owner) await chown(folder, owner.uid, owner.gid)
  const shell = ['sqlite3', '-batch', '-init', '/dev/null', `${pathToFileURL(from).href}?mode=${mode}`]
  const copied = await run([...(owner ? await as(owner) : []), ...shell], { ...options, cwd: folder, input: script })
  // Nobody reaches the copy any more; nothing but a plain file is taken.
  if (owner) await chown(folder, 0, 0)
  const made = await lstatIfThere(join(folder, 'copy'))
  if (made?.isFile() && made.nlink === 1) await rename(join(folder, 'copy'), to)
  await rm(folder, { recursive: true })
  return copied
}

/**
 * SQLite deletes the file that a hot journal names as its super-journal. Who owns the database can write such a journal: as root, the copy
 * would delete any file for him. So it is taken as the owner, who may read all the same what root may, and write what is his.
 */
async function as({ uid, gid }: { uid: number; gid: number }): Promise<string[]> {
  // A user without a name has no groups.
  const { exit, stdout } = await run(['id', '--groups', String(uid)])
  const groups = exit === 0 ? `--groups=${stdout.trim().replaceAll(' ', ',')}` : '--clear-groups'
  const capabilities = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
  return ['setpriv', '--pdeathsig=TERM', `--reuid=${uid}`, `--regid=${gid}`, groups, ...capabilities, '--']
}

/** Whether nobody but us (and root) can put a file into a folder, or another in place of it. */
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

/** `unknown`: it can't be checked here (application-defined collations or functions), which is no proof of damage. */
export interface DatabaseCheck {
  state: 'ok' | 'corrupt' | 'unknown'
  message: string
}

/** Checks a database that nobody uses (a copy), without writing beside it. */
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
 * Why a copy of this database could miss rows, or null: another name for it means another -wal, which we would not see.
 * Looks at the link count and at every process that has the file open.
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
      // The same folder under another name (a container's bind mount of the folder) is fine: the -wal stands there too.
      const folder = await stat(`/proc/${pid}/root${dirname(name)}`, { bigint: true }).catch(() => null)
      if (folder?.ino === home.ino && folder.dev === home.dev && basename(name) === basename(database)) continue
      return `process ${pid} has it open as ${name}`
    }
  }
  return null
}

/** Whether a file begins as every SQLite database does. Source: sqlite.org/fileformat.html. */
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
