import { dirname } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { RestoreFacts, Root } from './facts.ts'

/** Room kept free beyond what a restore needs, for everybody else on the filesystem. */
export const spareBytes = 64 * 1024 * 1024

/** Bytes that a restore adds on each mount: what it replaces stays. A file with a mount of its own counts as one. */
export function neededRoom({ roots, excluded, postgres }: Pick<RestoreFacts, 'roots' | 'excluded' | 'postgres'>): Record<Path, number> {
  const needed: Record<Path, number> = {}
  for (const root of roots) {
    const { path, mount, bytes, unchanged, live, copied } = root
    if (unchanged) continue
    const carried = excluded.filter((entry) => rootOf(entry.path, roots) === root)
    const besides = copied ? (live?.bytes ?? 0) : carried.reduce((sum, entry) => sum + entry.bytes, 0)
    needed[mount] = (needed[mount] ?? 0) + bytes + besides
    // Where it is mounted it grows by no more than this.
    if (copied && bytes > (live?.bytes ?? 0)) needed[path] = bytes - (live?.bytes ?? 0)
  }
  for (const { mount, bytes } of databaseNeeds(postgres)) needed[mount] = (needed[mount] ?? 0) + bytes
  return needed
}

/** The innermost root at or above a path. */
export function rootOf(path: Path, roots: Root[]): Root | null {
  const around = roots.filter((root) => isWithin(path, root.path))
  return around.reduce<Root | null>((inner, root) => (inner && inner.path.length > root.path.length ? inner : root), null)
}

export function requireRoom(facts: RestoreFacts, stages: { mount: Path; folder: Path }[]): void {
  const { name, free } = facts
  const room = neededRoom(facts)
  const places = stages.map(({ mount, folder }) => ({ mount, place: dirname(folder) }))
  const grown = facts.roots.filter(({ path, copied }) => copied && path in room).map(({ path }) => ({ mount: path, place: path }))
  for (const { mount, place } of [...places, ...grown, ...databaseNeeds(facts.postgres)]) {
    const needed = room[mount] ?? 0
    const there = free[mount] ?? 0
    if (needed + spareBytes > there)
      throw new Failure(
        'no-space',
        `${name}: ${place} has ${there} bytes free, and the restore needs ${needed} beside the old data: nothing was touched. Make room, or restore a part with --path`,
      )
  }
}

/** The dumps while they are loaded, and the new databases: a dump lacks indexes, and an old database may have grown or bloated. Bytes. */
export function databaseNeeds(postgres: RestoreFacts['postgres']): { mount: Path; place: Path; bytes: number }[] {
  if (postgres === null) return []
  const { databases, staging, data } = postgres
  const dumped = databases.reduce((sum, { bytes }) => sum + bytes, 0)
  const loaded = databases.reduce((sum, { bytes, live }) => sum + Math.max(bytes, live?.bytes ?? 0), 0)
  return [
    { mount: staging.mount, place: dirname(staging.folder), bytes: dumped },
    ...(data === null ? [] : [{ mount: data.mount, place: data.folder, bytes: loaded }]),
  ]
}
