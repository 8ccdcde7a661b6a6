// Mount points at and below what is restored: no rename may take a mounted filesystem along.
import { realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Move, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin, lstatIfThere } from '../host/files.ts'
import { nearestFolder } from '../host/folders.ts'
import { mountOf, overlappingMounts } from '../host/mounts.ts'
import { excluded } from '../restic/patterns.ts'
import type { Snapshot } from '../restic/types.ts'

/** Folders at and below these paths with which a rename would take a mounted filesystem along. One that backups exclude is none of ours. */
export async function spineOf(paths: Path[], { excludes }: Snapshot): Promise<Set<Path>> {
  const spine = new Set<Path>()
  for (const path of paths)
    for (const point of await mountsBelow(path))
      for (let at = point; at !== dirname(path); at = dirname(at)) if (!excluded(excludes, at)) spine.add(at)
  return spine
}

/** What is mounted at or below a path, there or elsewhere too, as the path names it. */
export async function mountsBelow(path: Path): Promise<Path[]> {
  const stat = await lstatIfThere(path)
  if (!stat || stat.isSymbolicLink()) return []
  const real = await realpath(path)
  return (await overlappingMounts(real)).map((point) => path + point.slice(real.length))
}

/** @throws Failure `mount-point`: renamed, a path would take what is mounted at or below it along */
export async function requireMounts(name: string, moves: Move[]): Promise<void> {
  for (const { live, old, keeps, copied } of moves) {
    const mounts = await mountsBelow(live)
    if (copied && mounts.includes(live)) continue
    const stranger = mounts.find((point) => keeps === undefined || (point !== live && !keeps.some((kept) => isWithin(point, kept))))
    const [here, there] = await Promise.all(
      [keeps === undefined ? dirname(live) : live, dirname(old)].map(async (folder) => mountOf(await realpath(await nearestFolder(folder)))),
    )
    if (stranger !== undefined || here !== there)
      throw new Failure('mount-point', `${name}: ${stranger ?? live} is a mount point since a moment ago, or is none any more: try again`)
  }
}
