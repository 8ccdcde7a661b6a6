// Single files with a mount of their own (a container's config file, impermanence): a rename can't replace one, so its content is overwritten.
// Before the first byte changes, complete and synced copies of the old and of the new content are in our state folder. Without these copies a
// restore would need less space, but after a crash the file could only be repaired while the repository can be reached.
import { constants } from 'node:fs'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { type FileHandle, open, rm } from '../fs.ts'
import { withParentFd } from '../host/files.ts'
import { run } from '../host/shell.ts'
import { sidecarsOf } from '../host/sqlite.ts'

/** The mounted file: its path, its inode number, and the sidecars that are copied with it if it is a SQLite database. */
export interface MountedFile {
  path: Path
  inode: string | null
  sidecars(path: Path): Promise<Path[]>
}

/**
 * Copies content, owner, mode, times and extended attributes of `from` to `to`, durably. One of the two is the mounted file. An existing `to`
 * keeps its inode, and the extended attributes that `from` lacks. After a crash at any instant, the same call completes the copy.
 * @throws Failure `data-missing`: another file is at the mounted one's path; `disk-full`, `copy-failed`
 */
export async function copyInto(from: Path, to: Path, mounted: MountedFile): Promise<void> {
  // Before the content is copied: SQLite would apply an old -wal to the new database.
  await removeSidecars(to, mounted.sidecars)
  await copy(from, to, to === mounted.path ? 0 : constants.O_CREAT, mounted)
  // removeSidecars left none: a file that is here now was made by another process, and O_EXCL refuses it.
  for (const sidecar of await mounted.sidecars(from))
    await copy(sidecar, to + sidecar.slice(from.length), constants.O_CREAT | constants.O_EXCL, mounted)
}

/** The file at the path isn't the one that was mounted there: it must not be overwritten. */
export function otherFile(path: Path): Failure {
  return new Failure('data-missing', `${path} isn't the file that was mounted there when the restore began: mount it again, then try once more`)
}

/** Removes a copy, if it exists, and its sidecars. */
export async function removeCopy(place: Path): Promise<void> {
  await removeSidecars(place, sidecarsOf)
  await withParentFd(place, (at) => rm(at, { force: true })).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
  })
}

async function removeSidecars(path: Path, sidecars: MountedFile['sidecars']): Promise<void> {
  for (const sidecar of await sidecars(path))
    await withParentFd(sidecar, async (at, folder) => {
      await rm(at)
      await folder.sync()
    })
}

async function copy(from: Path, to: Path, creating: number, mounted: MountedFile): Promise<void> {
  await withRegularFile(from, constants.O_RDONLY, mounted, (source) =>
    withRegularFile(to, constants.O_WRONLY | creating, mounted, async (target, folder) => {
      await copyContent(source, target, `${from} can't be copied to ${to}`)
      await target.sync()
      await folder.sync()
    }),
  )
}

/**
 * Opens a file through its folder's descriptor: another user may own the folder, and can unmount the file in a mount namespace of their own.
 * Links aren't followed, and the mounted file must be the one that the journal knows: a hard link in its place is neither read nor written.
 */
async function withRegularFile(
  path: Path,
  flags: number,
  mounted: MountedFile,
  work: (file: FileHandle, folder: FileHandle) => Promise<void>,
): Promise<void> {
  await withParentFd(path, async (at, folder) => {
    const file = await open(at, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600)
    try {
      const stat = await file.stat({ bigint: true })
      if (!stat.isFile()) throw new Failure('copy-failed', `${path} is no regular file: nothing was copied`)
      if (path === mounted.path && String(stat.ino) !== mounted.inode) throw otherFile(path)
      await work(file, folder)
    } finally {
      await file.close()
    }
  })
}

async function copyContent(source: FileHandle, target: FileHandle, problem: string): Promise<void> {
  const argv = ['cp', '--preserve=mode,ownership,timestamps,xattr', '--no-target-directory', '--', '/proc/self/fd/3', '/proc/self/fd/4']
  const { exit, stderr } = await run(argv, { inheritFds: [source.fd, target.fd] })
  if (exit === 0) return
  const [line = ''] = stderr.trim().split('\n')
  const reason = line.replaceAll(/'\/proc\/self\/fd\/\d+'/g, 'it') || `cp ended with exit code ${exit}`
  throw new Failure(/No space left|quota exceeded/i.test(stderr) ? 'disk-full' : 'copy-failed', `${problem}: ${reason}`)
}
