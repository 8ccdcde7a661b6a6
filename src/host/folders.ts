// Folders, made and removed durably, with owner, mode and time.
import { lstat, mkdir, rmdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { insideFd3, isThere, isWithin, lstatIfThere, openDirNoFollow, withParentFd } from './files.ts'
import { run } from './shell.ts'

/** Owner, permission bits and time of a folder. `mtime` as touch(1) takes a date; null: it is left alone. */
export interface Attributes {
  uid: number
  gid: number
  mode: number
  mtime: string | null
}

/** Removes a folder with all that is in it, but nothing on another filesystem. @throws Failure `remove-failed` */
export async function removeFolder(folder: Path): Promise<void> {
  if (!(await isThere(folder))) return
  const argv = ['rm', '--recursive', '--force', '--one-file-system', '--', insideFd3(basename(folder))]
  const { exit, stderr } = await withParentFd(folder, (_, parent) => run(argv, { inheritFds: [parent.fd] }))
  if (exit !== 0) throw new Failure('remove-failed', `${folder} can't be removed: ${stderr.trim().split('\n')[0]}`)
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

/** Sets a folder's time. Node's utimes would round it. */
export async function setTime(folder: Path, mtime: string | null): Promise<void> {
  if (mtime === null) return
  const held = await openDirNoFollow(folder)
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
