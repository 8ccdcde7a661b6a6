// Mount points at and below the paths that are restored: a rename would move them, so they stay where they are.
import { dirname } from 'node:path'
import type { Move, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { realpath } from '../fs.ts'
import { isWithin, lstatIfThere, nullIfUnseen } from '../host/files.ts'
import { nearestFolder } from '../host/folders.ts'
import { mountOf, overlappingMounts } from '../host/mounts.ts'
import { excluded } from '../restic/patterns.ts'
import type { Snapshot } from '../restic/types.ts'

/** The mount points at and below these paths, and the folders above the mount points. Those that backups exclude don't concern a restore. */
export async function unmovablePaths(paths: Path[], { excludes }: Snapshot): Promise<Set<Path>> {
  const unmovable = new Set<Path>()
  for (const path of paths)
    for (const point of await mountsBelow(path))
      for (let at = point; at !== dirname(path); at = dirname(at)) if (!excluded(excludes, at)) unmovable.add(at)
  return unmovable
}

/** Mount points at or below `path`, and parts of it that are also mounted elsewhere. Each begins with `path`, even if its real path doesn't. */
export async function mountsBelow(path: Path): Promise<Path[]> {
  const stat = await lstatIfThere(path).catch((error) => nullIfUnseen(error) ?? ('unseen' as const))
  if (!stat || (stat !== 'unseen' && stat.isSymbolicLink())) return []
  const real = stat === 'unseen' ? path : await realpath(path)
  return (await overlappingMounts(real)).map((point) => path + point.slice(real.length))
}

/** Checks, just before the exchange, that the mounts are still those of the plan. @throws Failure `mount-point` */
export async function requireMountsUnchanged(name: string, moves: Move[]): Promise<void> {
  for (const { live, old, keeps, copied } of moves) {
    const mounts = await mountsBelow(live)
    if (copied && mounts.includes(live)) continue
    const unexpected = mounts.find((point) => keeps === undefined || (point !== live && !keeps.some((kept) => isWithin(point, kept))))
    const [here, there] = await Promise.all(
      [keeps === undefined ? dirname(live) : live, dirname(old)].map(async (folder) => mountOf(await realpath(await nearestFolder(folder)))),
    )
    if (unexpected !== undefined || here !== there)
      throw new Failure(
        'mount-point',
        `${name}: the mount point ${unexpected ?? live} appeared or disappeared since the restore was planned: try again`,
      )
  }
}
