// The room that a restore in place needs on each mount. Pure.
import { dirname } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import { spareBytes } from '../host/space.ts'
import type { RestoreFacts, Root } from './facts.ts'

/** Two segments of the server's log. */
const logBytes = 32 * 1024 * 1024

/** Bytes that a restore adds on each mount, beside the old data, which is kept. A file with a mount of its own counts as a mount. */
export function neededRoom({ roots, excluded, postgres }: Pick<RestoreFacts, 'roots' | 'excluded' | 'postgres'>): Record<Path, number> {
  const needed: Record<Path, number> = {}
  for (const root of roots) {
    const { path, mount, written, unchanged, live, overwritten } = root
    if (unchanged) continue
    const carried = excluded.filter((entry) => rootOf(entry.path, roots) === root)
    const besides = overwritten ? (live?.bytes ?? 0) : carried.reduce((sum, entry) => sum + entry.bytes, 0)
    needed[mount] = (needed[mount] ?? 0) + written + besides
    // On the mounted file's own filesystem only the difference is added.
    if (overwritten && written > (live?.bytes ?? 0)) needed[path] = written - (live?.bytes ?? 0)
  }
  for (const { mount, bytes } of databaseNeeds(postgres)) needed[mount] = (needed[mount] ?? 0) + bytes
  return needed
}

/** The innermost root at or above a path. */
export function rootOf(path: Path, roots: Root[]): Root | null {
  const around = roots.filter((root) => isWithin(path, root.path))
  return around.reduce<Root | null>((inner, root) => (inner && inner.path.length > root.path.length ? inner : root), null)
}

/** @throws Failure `no-space` */
export function requireRoom(facts: RestoreFacts, stages: { mount: Path; folder: Path }[]): void {
  const { name, free } = facts
  if (facts.ignoreSpace) return
  const room = neededRoom(facts)
  const places = stages.map(({ mount, folder }) => ({ mount, place: dirname(folder) }))
  const growing = facts.roots.filter(({ path, overwritten }) => overwritten && path in room).map(({ path }) => ({ mount: path, place: path }))
  for (const { mount, place } of [...places, ...growing, ...databaseNeeds(facts.postgres)]) {
    const needed = room[mount] ?? 0
    const there = free[mount] ?? 0
    if (needed + spareBytes > there)
      throw new Failure(
        'no-space',
        `${name}: ${place} has ${there} bytes free, and the restore needs ${needed} beside the old data, and ${spareBytes} to spare: nothing was touched. Make room, or restore a part with --path; --ignore-space begins all the same`,
      )
  }
}

/** Bytes for the dumps, and for the new databases: each as large as its dump or the live database (a dump has no indexes; a live one may be bloated). */
export function databaseNeeds(postgres: RestoreFacts['postgres']): { mount: Path; place: Path; bytes: number }[] {
  if (postgres === null) return []
  const { databases, staging, data, others } = postgres
  const dumped = databases.reduce((sum, { bytes }) => sum + bytes, 0)
  const loaded = databases.reduce((sum, { bytes, live }) => sum + Math.max(bytes, live?.bytes ?? 0), 0)
  return [
    { mount: staging.mount, place: dirname(staging.folder), bytes: dumped },
    ...(data === null ? [] : [{ mount: data.mount, place: data.folder, bytes: loaded }]),
    // While databases are loaded these are watched, and the log is kept short.
    ...others.map(({ folder, mount }) => ({ mount, place: folder, bytes: logBytes })),
  ]
}
