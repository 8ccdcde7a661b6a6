// Files: durable writes and renames, symbolic links resolved, access by descriptors of parent folders.
import { randomUUID } from 'node:crypto'
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, type Stats, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { Failure } from '../errors.ts'
import { type FileHandle, lstat, open, readdir, readlink, rename, rm, statfs } from '../fs.ts'

/** Replace a file's content so that a crash at any instant leaves either the old or the new one. Mode 0600. */
export async function writeDurably(file: string, text: string): Promise<void> {
  const fresh = join(dirname(file), `.${basename(file)}.${randomUUID()}.new`)
  try {
    const handle = await open(fresh, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(fresh, file)
  } catch (error) {
    await rm(fresh, { force: true })
    // The error of a failed write names no file.
    if (error instanceof Error && !('path' in error)) Object.assign(error, { path: file })
    throw error
  }
  await syncFolder(dirname(file))
}

/** Removes the temporary files that a killed `writeDurably` left. Its caller holds the lock of this file's writers: one may be writing now. */
export async function clearUnfinished(file: string): Promise<void> {
  const begins = `.${basename(file)}.`
  const isOf = (name: string) => name.startsWith(begins) && /^[0-9a-f-]{36}\.new$/.test(name.slice(begins.length))
  for (const name of await readdir(dirname(file)).catch(() => [])) if (isOf(name)) await rm(join(dirname(file), name), { force: true })
}

/**
 * Opens the folder at an absolute path. Symbolic links are followed only in folders that root alone can write to: in any other folder a link
 * could send root to a place that another user chooses. `inside` reaches the entries of the open folder, whatever happens to its path.
 * `from`: an open folder in which the path begins; then no link is followed.
 * @throws Failure `unsafe-path`; ENOENT and others as open(2) does
 */
export async function openDirNoFollow(folder: string, from?: FileHandle): Promise<FileHandle> {
  let held = await open(from ? inside(from, '.') : '/', constants.O_RDONLY | constants.O_DIRECTORY)
  let todo = names(folder)
  let links = 0
  let own = from === undefined
  try {
    for (let [name] = todo; name !== undefined; [name] = todo) {
      own &&= isRootOnly(await held.stat())
      todo = todo.slice(1)
      const stat = await lstat(inside(held, name))
      if (stat.isSymbolicLink()) {
        if (!own || ++links > 40)
          throw new Failure('unsafe-path', `${folder}: ${name} on its way is a link in a folder that isn't root's alone: root follows it nowhere`)
        const target = resolve(await readlink(inside(held, '.')), await readlink(inside(held, name)))
        todo = [...names(target), ...todo]
        await held.close()
        held = await open('/', constants.O_RDONLY | constants.O_DIRECTORY)
        continue
      }
      const next = await open(inside(held, name), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
      await held.close()
      held = next
    }
    return held
  } catch (error) {
    await held.close()
    throw error
  }
}

/**
 * Whether only root, and the user of this process, can add, rename and delete entries of a folder. `sticky`: others may add some
 * (as in /tmp), but can't replace those of root.
 */
export function isRootOnly({ uid, mode }: Pick<Stats, 'uid' | 'mode'>, { sticky = false } = {}): boolean {
  const isOurs = uid === 0 || uid === process.getuid?.()
  return isOurs && ((mode & 0o022) === 0 || (sticky && (mode & 0o1000) !== 0))
}

/** The path of an entry of an open folder. */
export function inside(held: FileHandle, name: string): string {
  return join(`/proc/self/fd/${held.fd}`, name)
}

/** The path, for a child process, of a name in the folder that it inherits as its descriptor 3: the first of `inheritFds`. */
export function insideFd3(name: string): string {
  return `/proc/self/fd/3/${name}`
}

/** Opens the parent folder of `path`, and calls `work` with the path of the entry through that descriptor. @throws as `openDirNoFollow` */
export async function withParentFd<T>(path: string, work: (at: string, folder: FileHandle) => Promise<T>): Promise<T> {
  const folder = await openDirNoFollow(dirname(path))
  try {
    return await work(inside(folder, basename(path)), folder)
  } finally {
    await folder.close()
  }
}

function names(path: string): string[] {
  return path.split('/').filter(Boolean)
}

/** Makes renames in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The path to which a damaged file is renamed. */
export function asideName(file: string): string {
  return `${file}.damaged-${Date.now()}`
}

/** The text of a small file, or null if there is none. @throws Failure `state-damaged` if something other than a file has its name */
export async function readIfThere(file: string): Promise<string | null> {
  try {
    // Most often the file is missing, several for each service: lstatSync reports that without the cost of an error. A synchronous read of a
    // small file is faster than one in Node's thread pool.
    const entry = lstatSync(file, { throwIfNoEntry: false })
    // A link that leads nowhere isn't nothing: the file that it stood for is gone.
    const there = entry?.isSymbolicLink() ? statSync(file, { throwIfNoEntry: false }) : entry
    // Reading from a pipe would wait for a writer forever.
    if (entry && !there?.isFile()) throw notOurs(file)
    return entry ? readFileSync(file, 'utf8') : null
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOOP') throw notOurs(file)
    return nullIfMissing(error as NodeJS.ErrnoException)
  }
}

/**
 * Opens a file of ours for writing at its end, and makes it if it is missing. Follows no link, and never waits for the reader of a pipe: no signal
 * would end that. @throws Failure `state-damaged` if something other than a file has its name
 */
export function openOwn(file: string, more = 0): number {
  try {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants
    const fd = openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | more, 0o600)
    if (fstatSync(fd).isFile()) return fd
    closeSync(fd)
  } catch (error) {
    if (!['ENXIO', 'EISDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
  throw notOurs(file)
}

export function notOurs(file: string): Failure {
  return new Failure('state-damaged', `${file} is not a regular file: move it away, then run this again`)
}

/** lstat, or null if nothing is there. */
export async function lstatIfThere(path: string): Promise<Stats | null> {
  return lstat(path).catch(nullIfMissing)
}

export async function isThere(path: string): Promise<boolean> {
  return (await lstatIfThere(path)) !== null
}

function nullIfMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
  throw error
}

/**
 * What the kernel says of an entry that is there and can't be looked at: a damaged disk (EIO, EUCLEAN, EBADMSG), a mount whose program or server is
 * gone (ENOTCONN, ESTALE, EHOSTDOWN), a path of more than 4,096 bytes (ENAMETOOLONG).
 */
const unseen = { EIO: 5, ENAMETOOLONG: 36, EBADMSG: 74, ENOTCONN: 107, EHOSTDOWN: 112, ESTALE: 116, EUCLEAN: 117 }

export function isUnseen(error: unknown): error is NodeJS.ErrnoException {
  // By numbers: Node has no names for EBADMSG and EUCLEAN.
  return Object.values(unseen).includes(-((error as NodeJS.ErrnoException | null)?.errno ?? 0))
}

/** Rethrows every other error. */
export function nullIfUnseen(error: unknown): null {
  if (isUnseen(error)) return null
  throw error
}

/** Where a path leads: every symbolic link on the way (each with a real parent), and the real path, null if nothing is there. */
export interface Resolved {
  links: string[]
  real: string | null
}

/** @throws Failure `link-loop` after 40 links, as the kernel does. */
export async function resolveLinks(path: string): Promise<Resolved> {
  return walkLinks(path, true)
}

/** `real` is null where nothing is there, and where a link isn't followed: `refused`, which is the last of `links` then. */
export interface SafelyResolved extends Resolved {
  refused: string | null
  /** The first folder on the way that isn't root's alone. Below it any name may lead elsewhere at any time. */
  foreign: string | null
}

/** As `resolveLinks`, but follows a link only where root alone could make it. @throws Failure `link-loop` */
export async function resolveOwnLinks(path: string): Promise<SafelyResolved> {
  return walkLinks(path, false)
}

async function walkLinks(path: string, all: boolean): Promise<SafelyResolved> {
  const links: string[] = []
  let done = '/'
  let todo = names(path)
  let foreign: string | null = null
  const result = (real: string | null, refused: string | null = null) => ({ links: [...new Set(links)], real, refused, foreign })
  for (let [name] = todo; name !== undefined; [name] = todo) {
    const next = join(done, name)
    const stat = await lstatIfThere(next).catch((error) => nullIfUnseen(error) ?? ('unseen' as const))
    if (foreign === null && !isOursIn(await lstat(done), stat === 'unseen' ? null : stat)) foreign = done
    // It is there: whoever reads it reports what is wrong with it.
    if (stat === 'unseen') return result(join(done, ...todo))
    if (!stat) return result(null)
    todo = todo.slice(1)
    if (!stat.isSymbolicLink()) {
      done = next
      continue
    }
    if (links.push(next) > 40) throw new Failure('link-loop', `${path} leads through more than 40 symbolic links`)
    if (!all && foreign !== null) return result(null, next)
    todo = [...names(resolve(done, await readlink(next))), ...todo]
    done = '/'
  }
  return result(done)
}

/** The first folder on the way to `path` in which others than root can replace the next part of the path, or null. */
export async function foreignFolder(path: string): Promise<string | null> {
  return (await resolveOwnLinks(path)).foreign
}

/** Whether others can neither replace nor make this entry. In a sticky folder they can replace none of root's, but make a missing one. */
function isOursIn(folder: Stats, entry: Stats | null): boolean {
  return isRootOnly(folder) || (isRootOnly(folder, { sticky: true }) && entry !== null && (entry.uid === 0 || entry.uid === process.getuid?.()))
}

/** The path with all symbolic links resolved in the part of it that exists. */
export async function realAsFarAsThere(path: string): Promise<string> {
  const { real } = await resolveLinks(path)
  return real ?? join(await realAsFarAsThere(dirname(path)), basename(path))
}

/** Whether `path` is `folder` or is below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`)
}

/** The paths without those that are below another of them. */
export function outermost(paths: string[]): string[] {
  const unique = [...new Set(paths)]
  return unique.filter((path) => !unique.some((other) => other !== path && isWithin(path, other)))
}

/** Free bytes of the filesystem that holds `folder`, for processes that aren't root's. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
