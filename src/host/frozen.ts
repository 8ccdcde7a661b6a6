// Frozen copies: a folder as it is at one instant, made by its filesystem without copying data. The service can start again while restic reads it.
// Snapshots are restic's, here and in all messages. The records' field and the error code for a frozen copy are called `view`.
import { dirname, join } from 'node:path'
import { asFailure, Failure } from '../errors.ts'
import { mkdir, stat } from '../fs.ts'
import { lstatIfThere, openDirNoFollow } from './files.ts'
import { removeFolder } from './folders.ts'
import { canMountPrivately, mountOf, mountsWithin, ownFolder, sealedMounts, withPrivateMounts } from './mounts.ts'
import { run } from './shell.ts'

export interface FrozenCopy {
  /** `btrfs`: a snapshot of the subvolume. `reflink`: a copy that shares its blocks with the original. */
  how: 'btrfs' | 'reflink'
  /** The original: a real path. */
  of: string
  /** The copy: in a folder that we create on the same filesystem. */
  at: string
}

/**
 * The frozen copy that can be made of a real path, or null. `folderName`: name of the folder to create for it (begins with `.atelier-backup-`).
 * A folder in which it tries a reflink is removed again.
 */
export async function probeFrozenCopy(of: string, folderName: string): Promise<FrozenCopy | null> {
  const mounts = await mountsWithin(of)
  // A frozen copy holds one filesystem: what is mounted inside would be missing.
  if (mounts.some((point) => point !== of)) return null
  const isMount = mounts.includes(of)
  const parent = await safeParent(of)
  if (parent === null) return null
  const folder = join(parent, folderName)
  const at = join(folder, 'view')
  if (await isLoneSubvolume(of)) return { how: 'btrfs', of, at }
  // A reflink stays within one filesystem: a mount point's copy would have to be inside the mount point, and would copy itself.
  return !isMount && (await canReflink(folder)) ? { how: 'reflink', of, at } : null
}

/** @throws Failure `view-failed`, `interrupted` */
export async function makeFrozenCopy({ how, of, at }: FrozenCopy, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(at), { mode: 0o700 })
  const { exit, stderr, interrupted } = await (how === 'btrfs' ? snapshotOf(of, at, signal) : copyOf(of, at, signal))
  if (interrupted) throw new Failure('interrupted', `interrupted while a frozen copy of ${of} was made`)
  if (exit !== 0) throw new Failure('view-failed', `a ${how} copy of ${of} can't be made: ${stderr.trim().split('\n')[0]}`)
}

async function snapshotOf(of: string, at: string, signal: AbortSignal) {
  const held = await openDirNoFollow(of)
  try {
    return await run(['btrfs', 'subvolume', 'snapshot', '/proc/self/fd/3', at], { signal, inheritFds: [held.fd] })
  } finally {
    await held.close()
  }
}

/**
 * cp(1) walks by paths: the folders' owner could put a link in the place of one that it is about to enter. Before Linux 5.18 a reflink isn't
 * possible between two mounts, so one mount without symbolic links holds both.
 */
async function copyOf(of: string, at: string, signal: AbortSignal) {
  const around = dirname(dirname(at))
  const sealed = around === '/' ? await sealedMounts([of]) : { folders: [around], points: [around] }
  const prefix = (await canMountPrivately()) ? withPrivateMounts({}, sealed) : []
  return run([...prefix, 'cp', '--archive', '--reflink=always', '--no-target-directory', '--', of, at], { signal })
}

/** Does nothing if there is no copy. */
export async function removeFrozenCopy({ how, at }: FrozenCopy): Promise<void> {
  if (how === 'btrfs' && (await lstatIfThere(at))) await run(['btrfs', 'subvolume', 'delete', at])
  await removeFolder(dirname(at)).catch((error: unknown) => {
    throw new Failure('view-failed', `the frozen copy ${at} can't be removed: ${asFailure(error).message}`)
  })
}

/** Removes the folder that a killed `probeFrozenCopy` leaves. Takes the same arguments, because no plan names the folder yet. */
export async function removeProbe(of: string, folderName: string): Promise<void> {
  const parent = await safeParent(of)
  if (parent === null) return
  await removeFolder(join(parent, folderName)).catch((error: unknown) => {
    throw new Failure('view-failed', asFailure(error).message)
  })
}

/**
 * The folder in which a frozen copy of `of` can be made: on the same filesystem, and with nobody but root able to rename or replace its
 * entries. In any other folder its owner could put a link in the copy's place, and have root write or delete elsewhere. Null: there is none.
 */
async function safeParent(of: string): Promise<string | null> {
  const parent = (await mountsWithin(of)).includes(of) ? of : dirname(of)
  return ownFolder(parent, await mountOf(parent))
}

/** A btrfs subvolume (its root is inode 256) without others inside: a btrfs snapshot has empty folders in their place. */
async function isLoneSubvolume(path: string): Promise<boolean> {
  const { ino } = await stat(path)
  if (ino !== 256) return false
  const { exit, stdout } = await run(['btrfs', 'subvolume', 'list', '-o', path]).catch(() => ({ exit: 1, stdout: '' }))
  return exit === 0 && stdout.trim() === ''
}

/** Tries it: the filesystem's type doesn't tell (xfs made without reflink, overlayfs). */
async function canReflink(folder: string): Promise<boolean> {
  const script =
    'mkdir -p -m 700 -- "$1" && echo probe >"$1/probe" && cp --reflink=always -- "$1/probe" "$1/copy"; status=$?; rm -rf -- "$1"; exit $status'
  return (await run(['bash', '-c', script, 'bash', folder])).exit === 0
}
