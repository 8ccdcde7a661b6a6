// Files that are mounted over others (a container's single file, impermanence): no rename replaces one, so its content is. Both sides lie whole
// and synced in our own state before the first byte changes, where the journal is. Overwritten from the repository, out of a snapshot of the
// live file, it would need less room here; but then a crash left a mixture that no boot ends unless the repository answers.
import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { inside, withParentFd } from '../host/files.ts'
import { run } from '../host/shell.ts'
import { sidecarsOf } from '../host/sqlite.ts'

/** The file that is mounted, by its path and inode number; `sidecars`: those of a database that go with it. */
export interface MountedFile {
  path: Path
  inode: string | null
  sidecars(path: Path): Promise<Path[]>
}

/**
 * Makes `to` what `from` is, durably, one of which is the file that is mounted: content, owner, mode, times; extended attributes that `from`
 * lacks stay. A `to` that is there stays the same file. Can be begun anew from every instant.
 * @throws Failure `data-missing`: another file stands in the mounted one's place; `disk-full`, `copy-failed`
 */
export async function copyInto(from: Path, to: Path, mounted: MountedFile): Promise<void> {
  // Before the content: a -wal is poison beside another database.
  await removeSidecars(to, mounted.sidecars)
  await copy(from, to, to === mounted.path ? 0 : constants.O_CREAT, mounted)
  // None is left: what stands there now somebody else has put there.
  for (const sidecar of await mounted.sidecars(from))
    await copy(sidecar, to + sidecar.slice(from.length), constants.O_CREAT | constants.O_EXCL, mounted)
}

/** Without its mount another file stands there, which is none of this. */
export function otherFile(path: Path): Failure {
  return new Failure('data-missing', `${path} isn't the file that was mounted there when the restore began: mount it again, then try once more`)
}

/** Takes a copy away, if it is there, with its sidecars. */
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

/** By descriptors: neither side's folders may be root's alone, and a mount can be taken off a file by its owner, in a namespace of his own. */
async function copy(from: Path, to: Path, creating: number, mounted: MountedFile): Promise<void> {
  await withParentFd(from, (_, source) =>
    withParentFd(to, async (_, target) => {
      const plain = constants.O_NOFOLLOW | constants.O_NONBLOCK
      const reading = await open(inside(source, basename(from)), constants.O_RDONLY | plain)
      try {
        const writing = await open(inside(target, basename(to)), constants.O_WRONLY | creating | plain, 0o600)
        try {
          for (const [file, path] of [
            [reading, from],
            [writing, to],
          ] as const) {
            const stat = await file.stat({ bigint: true })
            if (!stat.isFile()) throw new Failure('copy-failed', `${path} is no regular file: nothing was copied`)
            // Nobody's hard link in its place is read or written as root.
            if (path === mounted.path && String(stat.ino) !== mounted.inode) throw otherFile(path)
          }
          const argv = ['--preserve=mode,ownership,timestamps,xattr', '--no-target-directory', '--', '/proc/self/fd/3', '/proc/self/fd/4']
          const { exit, stderr } = await run(['cp', ...argv], { inheritFds: [reading.fd, writing.fd] })
          if (exit !== 0)
            throw new Failure(
              /No space left|quota exceeded/i.test(stderr) ? 'disk-full' : 'copy-failed',
              `${from} can't be copied to ${to}: ${
                stderr
                  .trim()
                  .split('\n')[0]
                  ?.replaceAll(/'\/proc\/self\/fd\/\d+'/g, 'it') || `cp ended with exit code ${exit}`
              }`,
            )
          await writing.sync()
        } finally {
          await writing.close()
        }
      } finally {
        await reading.close()
      }
      await target.sync()
    }),
  )
}
