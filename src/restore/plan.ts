// The plans of a restore in place, and of putting back what one has replaced. Pure.
import { dirname, join } from 'node:path'
import type { Move, Path, Plan, RestoreStep, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Service } from '../manifest/types.gen.ts'
import { tags } from '../snapshots/select.ts'
import type { OldData } from '../state/record.gen.ts'
import type { RestoreFacts, Root } from './look.ts'

/** Room kept free beyond what a restore needs, for everybody else on the filesystem. */
export const spareBytes = 64 * 1024 * 1024

/** @throws Failure `no-space`: found before anything is written */
export function planRestore(service: Pick<Service, 'healthCheck'>, facts: RestoreFacts): Plan<RestoreStep> {
  const { run, name, snapshot, units, running } = facts
  const changing = facts.roots.filter(({ unchanged }) => !unchanged)
  const stages = stageFolders(facts, changing)
  requireRoom(facts, stages)
  const staged = (path: Path) => {
    const root = rootOf(path, changing)
    const stage = stages.find(({ roots }) => root !== null && roots.includes(root))
    return stage ? join(stage.folder, 'new', path) : null
  }
  const carried = facts.excluded.flatMap(({ path }) => {
    const to = staged(path)
    return to === null ? [] : [{ from: path, to }]
  })
  const databases = facts.databases.flatMap((database) => staged(database) ?? [])
  const moves = stages.flatMap(({ folder, roots }) =>
    roots.map(
      ({ path, inside }): Move => ({
        live: path,
        staged: join(folder, 'new', path),
        old: join(oldFolder(folder, run), path),
        ...(inside && { keeps: inside.keeps }),
      }),
    ),
  )
  const flush = stages.map(({ folder }) => ({ do: 'flush', folder }) as const)
  const steps: RestoreStep[] = [
    ...stages.map(
      ({ folder, roots }) =>
        ({
          do: 'stage',
          snapshot: snapshot.id,
          paths: roots.flatMap(({ path, inside }) => inside?.entries ?? path),
          folders: roots.flatMap(({ inside }) => inside?.attributes ?? []),
          owners: facts.renumbered,
          in: folder,
        }) as const,
    ),
    { do: 'verify', databases },
    ...flush,
    ...stop(units),
    ...(carried.length > 0 ? [{ do: 'carry', entries: carried } as const, ...flush] : []),
    { do: 'swap', moves },
    ...start(units, running),
    ...(service.healthCheck === null ? [] : [{ do: 'health' } as const]),
  ]
  return { run, service: name, steps, always: start(units, running), notes: notesOf(facts, carried.length) }
}

/** What is put back: all that one restore replaced. */
export interface PutBackFacts extends Pick<RestoreFacts, 'run' | 'name' | 'units' | 'running'> {
  olds: OldData[]
}

/** What is live now becomes old data in turn. */
export function planPutBack(service: Pick<Service, 'healthCheck'>, { run, name, olds, units, running }: PutBackFacts): Plan<RestoreStep> {
  const moves = olds.flatMap(({ folder, paths, absent, folders }) => [
    ...paths.map((live): Move => ({ live, staged: join(folder, live), old: join(oldFolder(dirname(folder), run), live) })),
    ...absent.map(({ path, parent }): Move => ({ live: path, staged: null, old: join(oldFolder(dirname(folder), run), path), parent })),
    ...folders.map(({ path, keeps }): Move => ({ live: path, staged: join(folder, path), old: join(oldFolder(dirname(folder), run), path), keeps })),
  ])
  const steps: RestoreStep[] = [
    ...stop(units),
    { do: 'swap', moves },
    ...start(units, running),
    ...(service.healthCheck === null ? [] : [{ do: 'health' } as const]),
  ]
  return { run, service: name, steps, always: start(units, running), notes: [`puts back what the restore of ${olds[0]?.since} replaced`] }
}

/** Where the old data of a restore ends up. */
export function oldFolder(folder: Path, run: string): Path {
  return join(folder, `old-${run}`)
}

function stop(units: Unit[]): RestoreStep[] {
  return units.length > 0 ? [{ do: 'stop', units }] : []
}

/** Of what was stopped, what ran. Starting what runs already does nothing: `always` brings back what a failure left stopped. */
function start(stopped: Unit[], units: Unit[]): RestoreStep[] {
  return stopped.length > 0 ? [{ do: 'start', units }] : []
}

interface Stage {
  folder: Path
  mount: Path
  roots: Root[]
}

/** One staging folder for each mount: what crosses no mount can be renamed. */
function stageFolders({ run, name }: Pick<RestoreFacts, 'run' | 'name'>, roots: Root[]): Stage[] {
  const mounts = [...new Set(roots.map(({ mount }) => mount))]
  return mounts.map((mount) => {
    const group = roots.filter((root) => root.mount === mount)
    return { mount, roots: group, folder: join(group[0]?.folder ?? '/', `.atelier-backup-${name}-${run}`) }
  })
}

/** Bytes that a restore adds on each mount: what it replaces stays. */
export function neededRoom({ roots, excluded }: Pick<RestoreFacts, 'roots' | 'excluded'>): Record<Path, number> {
  const needed: Record<Path, number> = {}
  for (const root of roots) {
    const { mount, bytes, unchanged } = root
    if (unchanged) continue
    const carried = excluded.filter((entry) => rootOf(entry.path, roots) === root)
    needed[mount] = (needed[mount] ?? 0) + bytes + carried.reduce((sum, entry) => sum + entry.bytes, 0)
  }
  return needed
}

/** The innermost root at or above a path. */
function rootOf(path: Path, roots: Root[]): Root | null {
  const around = roots.filter((root) => isWithin(path, root.path))
  return around.reduce<Root | null>((inner, root) => (inner && inner.path.length > root.path.length ? inner : root), null)
}

function requireRoom(facts: RestoreFacts, stages: Stage[]): void {
  const { name, free } = facts
  const room = neededRoom(facts)
  for (const { mount, folder } of stages) {
    const needed = room[mount] ?? 0
    const there = free[mount] ?? 0
    if (needed + spareBytes > there)
      throw new Failure(
        'no-space',
        `${name}: ${dirname(folder)} has ${there} bytes free, and the restore needs ${needed} beside the old data: nothing was touched. Make room, or restore a part with --path`,
      )
  }
}

function notesOf({ absent, roots, snapshot, strangers }: RestoreFacts, carried: number): string[] {
  return [
    ...(snapshot.tags.includes(tags.partial) ? ['this snapshot is partial: something could not be read when it was made'] : []),
    ...(snapshot.tags.includes(tags.unadopted)
      ? ['this snapshot is unadopted: a fresh install made it, before anybody said that its data is the truth']
      : []),
    ...absent.map((path) => `${path} isn't in this snapshot and stays as it is`),
    ...roots.filter(({ unchanged }) => unchanged).map(({ path }) => `${path} is the same link already`),
    ...roots.flatMap(({ path, inside }) =>
      inside ? [`${path} stays, being a mount point or leading to one: what is in it is exchanged; its own ACLs and extended attributes stay`] : [],
    ),
    ...(strangers.length > 0 ? [`unknown here, so that their files keep the numbers they had: ${strangers.join(', ')}`] : []),
    ...(carried > 0 ? [`what backups exclude is carried over (${carried})`] : []),
  ]
}
