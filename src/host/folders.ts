// Folders, made and removed durably, with owner, mode and time.
import { randomUUID } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { type FileHandle, lstat, mkdir, rename, rmdir } from '../fs.ts'
import { insideFd3, isRootOnly, isThere, isWithin, lstatIfThere, openDirNoFollow, withParentFd } from './files.ts'
import { mountsWithin } from './mounts.ts'
import { run } from './shell.ts'

/** Owner, permission bits and time of a folder. `mtime` as touch(1) takes a date; null: it is left alone. */
export interface Attributes {
  uid: number
  gid: number
  mode: number
  mtime: string | null
}

/** Removes a folder with all that is in it, btrfs subvolumes too, but nothing on another filesystem. @throws Failure `remove-failed` */
export async function removeFolder(folder: Path): Promise<void> {
  if (!(await isThere(folder))) return
  const argv = ['rm', '--recursive', '--force', '--one-file-system', '--', insideFd3(basename(folder))]
  const remove = () => withParentFd(folder, (_, parent) => run(argv, { inheritFds: [parent.fd] }))
  let { exit, stderr } = await remove()
  // rm(1) takes a subvolume for another filesystem.
  if (exit !== 0 && (await removeSubvolumes(folder, folder))) ({ exit, stderr } = await remove())
  if (exit !== 0)
    throw new Failure(
      'remove-failed',
      `${folder} can't be removed: ${stderr
        .trim()
        .split('\n')[0]
        ?.replaceAll(insideFd3(''), `${dirname(folder)}/`)}`,
    )
}

/**
 * Deletes the subvolumes in a folder, each as one. btrfs(8) takes a path, in which the owner of what is around the subvolume could put a link: it is
 * moved into the folder `ours` first, which is root's alone. Returns whether there were any.
 */
async function removeSubvolumes(folder: Path, ours: Path): Promise<boolean> {
  if (!isRootOnly(await lstat(ours))) return false
  const start = insideFd3(basename(folder))
  const argv = ['find', start, '-xdev', '-mindepth', '1', '-type', 'd', '-inum', '256', '-print0']
  const { stdout } = await withParentFd(folder, (_, parent) => run(argv, { inheritFds: [parent.fd] }))
  const mounted = await mountsWithin(folder)
  const found = stdout.split('\0').flatMap((path) => (path ? [folder + path.slice(start.length)] : []))
  let removed = false
  for (const path of found.filter((path) => !mounted.some((point) => isWithin(point, path)))) {
    const moved = join(ours, `subvolume-${randomUUID()}`)
    const move = () => withParentFd(path, (from) => withParentFd(moved, (to) => rename(from, to)))
    // One that is read-only, as snapshots are, can't be moved.
    await move()
      .catch(() => makeWritable(path).then(move))
      .catch(() => {})
    if (!(await isThere(moved))) continue
    removed = true
    await removeSubvolumes(moved, ours)
    const deleted = await run(['btrfs', 'subvolume', 'delete', '--', moved]).catch(() => null)
    if (deleted?.exit !== 0) await removeFolder(moved)
  }
  return removed
}

/** A subvolume, by its descriptor. */
async function makeWritable(path: Path): Promise<void> {
  const held = await openDirNoFollow(path)
  try {
    await run(['btrfs', 'property', 'set', '-f', '-t', 'subvol', '/proc/self/fd/3', 'ro', 'false'], { inheritFds: [held.fd] })
  } finally {
    await held.close()
  }
}

/**
 * What would keep `removeFolder` from removing all of a folder: mounts in it, and what not even root can write to, being immutable, append-only or on
 * a read-only filesystem. A subvolume goes as one, whatever is in it.
 */
export async function unremovable(folder: Path): Promise<Path[]> {
  if (!(await isThere(folder))) return []
  const start = insideFd3(basename(folder))
  const files: Path[] = []
  const found = (path: string) => void (files.length < 6 && files.push(folder + path.slice(start.length)))
  const each = ['find', start, '-xdev', '(', '-type', 'd', '-o', '-type', 'f', ')', '!', '-inum', '256']
  // What is append-only counts as writable. The kernel says so of an attribute that isn't there, too, and nothing is changed.
  const look = [...each, '(', '!', '-writable', '-print', '-o', '-exec', 'setfattr', '-h', '--remove=user.atelier-backup', '--', '{}', '+', ')']
  const onErrorLine = (line: string) => {
    const [, path] = /^setfattr: (.*): Operation not permitted$/s.exec(line) ?? []
    if (path !== undefined) found(path)
  }
  // Other users may remove what they can't write to.
  if (process.getuid?.() === 0) await withParentFd(folder, (_, parent) => run(look, { inheritFds: [parent.fd], onLine: found, onErrorLine }))
  return [...(await mountsWithin(folder)), ...files]
}

/** Removes `folder` and the folders above it, up to `stop` (which stays), as long as they are empty. */
export async function removeEmpty(folder: Path, stop: Path): Promise<void> {
  for (let at = folder; at !== stop && isWithin(at, stop); at = dirname(at)) {
    try {
      await withParentFd(at, (held) => rmdir(held))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTEMPTY' || code === 'EEXIST') return
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error
    }
  }
}

/** The nearest existing entry at or above a path. */
export async function nearestFolder(path: Path): Promise<Path> {
  for (let folder = path; ; folder = dirname(folder)) if (await lstatIfThere(folder)) return folder
}

/** Makes the missing folders above `path` and below `stop`, with owner and mode of the folders above `model`. */
export async function makeParents(path: Path, model: Path, stop: Path): Promise<void> {
  const folder = dirname(path)
  if (folder === stop || !isWithin(folder, stop)) return
  await makeParents(folder, dirname(model), stop)
  const like = await lstatIfThere(dirname(model))
  await makeFolder(folder, { uid: like?.uid ?? 0, gid: like?.gid ?? 0, mode: (like?.mode ?? 0o755) & 0o7777, mtime: null })
}

/** For folders that only this user may read. */
export const ownAlone: Attributes = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mode: 0o700, mtime: null }

/** Makes a folder durably. An existing one gets these attributes. */
export async function makeFolder(folder: Path, attributes: Attributes): Promise<void> {
  await withParentFd(folder, async (at, parent) => {
    if (!(await lstatIfThere(at))) await mkdir(at, { mode: 0o700 })
    await parent.sync()
  })
  await setAttributes(folder, attributes)
}

export async function setAttributes(folder: Path, { uid, gid, mode, mtime }: Attributes): Promise<void> {
  const held = await openDirNoFollow(folder)
  try {
    if (process.getuid?.() === 0) await held.chown(uid, gid)
    await held.chmod(mode)
  } finally {
    await held.close()
  }
  await setTime(folder, mtime)
}

/** Sets a folder's time. Node's utimes would round it. `from`: as for `openDirNoFollow`. */
export async function setTime(folder: Path, mtime: string | null, from?: FileHandle): Promise<void> {
  if (mtime === null) return
  const held = await openDirNoFollow(folder, from)
  try {
    await run(['touch', '--no-create', `--date=${mtime}`, '--', '/proc/self/fd/3'], { inheritFds: [held.fd] })
  } finally {
    await held.close()
  }
}

export async function attributesOf(folder: Path): Promise<Attributes & { mtime: string }> {
  const { uid, gid, mode, mtimeNs } = await lstat(folder, { bigint: true })
  const mtime = `@${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, '0')}`
  return { uid: Number(uid), gid: Number(gid), mode: Number(mode) & 0o7777, mtime }
}
