// Views: a folder held still in an instant, as far as its filesystem can, so that what uses it may go on while it is read.
import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Failure } from '../errors.ts'
import { lstatIfThere } from './files.ts'
import { mountOf, mountsWithin, ownFolder } from './mounts.ts'
import { run } from './shell.ts'

/** `btrfs`: a snapshot of the subvolume; `reflink`: copies that share their blocks with the original. */
export type ViewKind = 'btrfs' | 'reflink'

export interface View {
  how: ViewKind
  /** What is viewed: a real path. */
  of: string
  /** Where the view stands: in a folder of ours on the same filesystem. */
  at: string
}

/**
 * How a real path can be viewed, or null. `folderName`: our own folder's name, for this view alone (begins with `.atelier-backup-`).
 * Leaves nothing behind.
 */
export async function probeView(of: string, folderName: string): Promise<View | null> {
  const mounts = await mountsWithin(of)
  // Another filesystem inside would be missing from the view.
  if (mounts.some((point) => point !== of)) return null
  const isMount = mounts.includes(of)
  const place = await placeFor(of)
  if (place === null) return null
  const folder = join(place, folderName)
  const at = join(folder, 'view')
  if (await isLoneSubvolume(of)) return { how: 'btrfs', of, at }
  // A folder can't be copied into itself, and beside a mount point is another filesystem.
  return !isMount && (await canReflink(folder)) ? { how: 'reflink', of, at } : null
}

/** @throws Failure `view-failed`, `interrupted` */
export async function makeView({ how, of, at }: View, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(at), { mode: 0o700 })
  const argv = {
    btrfs: ['btrfs', 'subvolume', 'snapshot', of, at],
    reflink: ['cp', '--archive', '--reflink=always', '--no-target-directory', '--', of, at],
  }[how]
  const { exit, stderr, interrupted } = await run(argv, { signal })
  if (interrupted) throw new Failure('interrupted', `the view of ${of} was interrupted`)
  if (exit !== 0) throw new Failure('view-failed', `no ${how} view of ${of} can be made: ${stderr.trim().split('\n')[0]}`)
}

/** Takes a view away again; none there is fine. */
export async function removeView({ how, at }: View): Promise<void> {
  if (how === 'btrfs' && (await lstatIfThere(at))) await run(['btrfs', 'subvolume', 'delete', at])
  const { exit, stderr } = await run(['rm', '--recursive', '--force', '--one-file-system', '--', dirname(at)])
  if (exit !== 0) throw new Failure('view-failed', `the view ${at} can't be removed: ${stderr.trim().split('\n')[0]}`)
}

/** Takes away what `probeView` leaves where it is killed: it knows the place by these two alone. */
export async function removeProbe(of: string, folderName: string): Promise<void> {
  const place = await placeFor(of)
  if (place === null) return
  const { exit, stderr } = await run(['rm', '--recursive', '--force', '--one-file-system', '--', join(place, folderName)])
  if (exit !== 0) throw new Failure('view-failed', `what was tried in ${folderName} can't be removed: ${stderr.trim().split('\n')[0]}`)
}

/**
 * The folder in which a view is made: on the filesystem of what it shows, and where nobody but root can put another in its place. Its owner
 * would lead root elsewhere, to write there, or to delete. Null: there is none, so nothing is viewed.
 */
async function placeFor(of: string): Promise<string | null> {
  const parent = (await mountsWithin(of)).includes(of) ? of : dirname(of)
  return ownFolder(parent, await mountOf(parent))
}

/** A btrfs subvolume (its root is inode 256) without others inside, whose place in a snapshot would be empty. */
async function isLoneSubvolume(path: string): Promise<boolean> {
  const { ino } = await stat(path)
  if (ino !== 256) return false
  const { exit, stdout } = await run(['btrfs', 'subvolume', 'list', '-o', path]).catch(() => ({ exit: 1, stdout: '' }))
  return exit === 0 && stdout.trim() === ''
}

/** Tried, not guessed: what a filesystem is called doesn't tell (xfs made without reflink, overlays). */
async function canReflink(folder: string): Promise<boolean> {
  const script =
    'mkdir -p -m 700 -- "$1" && echo probe >"$1/probe" && cp --reflink=always -- "$1/probe" "$1/copy"; status=$?; rm -rf -- "$1"; exit $status'
  return (await run(['bash', '-c', script, 'bash', folder])).exit === 0
}
