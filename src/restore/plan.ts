// The plan of a restore in place. Pure.
import { dirname, join } from 'node:path'
import type { Move, Path, Plan, RestoreStep } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { RestoreFacts, Root } from './look.ts'

/** Room kept free beyond what a restore needs, for everybody else on the filesystem. */
const spareBytes = 64 * 1024 * 1024

/** @throws Failure `no-space`: found before anything is written */
export function planRestore(service: Pick<Service, 'healthCheck'>, facts: RestoreFacts): Plan<RestoreStep> {
  const { run, name, snapshot, units, running } = facts
  const changing = facts.roots.filter(({ unchanged }) => !unchanged)
  const stages = stageFolders(facts, changing)
  requireRoom(facts, stages)
  const staged = (path: Path) => {
    const stage = stages.find(({ roots }) => roots.some((root) => isWithin(path, root.path)))
    return stage ? join(stage.folder, 'new', path) : null
  }
  const carried = facts.excluded.flatMap(({ path }) => {
    const to = staged(path)
    return to === null ? [] : [{ from: path, to }]
  })
  const databases = facts.databases.flatMap((database) => staged(database) ?? [])
  const moves = stages.flatMap(({ folder, roots }) =>
    roots.map(({ path }): Move => ({ live: path, staged: join(folder, 'new', path), old: oldPath(folder, run, path) })),
  )
  const flush = stages.map(({ folder }) => ({ do: 'flush', folder }) as const)
  const steps: RestoreStep[] = [
    ...stages.map(({ folder, roots }) => ({ do: 'stage', snapshot: snapshot.id, paths: roots.map(({ path }) => path), in: folder }) as const),
    { do: 'verify', databases },
    ...flush,
    ...(units.length > 0 ? [{ do: 'stop', units } as const] : []),
    ...(carried.length > 0 ? [{ do: 'carry', entries: carried } as const, ...flush] : []),
    { do: 'swap', moves },
    ...(running.length > 0 ? [{ do: 'start', units: running } as const] : []),
    ...(service.healthCheck === null ? [] : [{ do: 'health' } as const]),
  ]
  // Starting what runs already does nothing; after a failure this brings the service back.
  return { run, service: name, steps, always: running.length > 0 ? [{ do: 'start', units: running }] : [], notes: notesOf(facts, carried.length) }
}

/** Where the old data of a restore ends up. */
export function oldFolder(folder: Path, run: string): Path {
  return join(folder, `old-${run}`)
}
function oldPath(folder: Path, run: string, path: Path): Path {
  return join(oldFolder(folder, run), path)
}

interface Stage {
  folder: Path
  device: number
  roots: Root[]
}

/** One staging folder for each filesystem, beside the first path it replaces there. */
function stageFolders({ run, name }: Pick<RestoreFacts, 'run' | 'name'>, roots: Root[]): Stage[] {
  const devices = [...new Set(roots.map(({ device }) => device))]
  return devices.map((device) => {
    const group = roots.filter((root) => root.device === device)
    return { device, roots: group, folder: join(group[0]?.folder ?? '/', `.atelier-backup-${name}-${run}`) }
  })
}

function requireRoom({ name, free, excluded }: RestoreFacts, stages: Stage[]): void {
  for (const { device, roots, folder } of stages) {
    const inRoots = excluded.filter(({ path }) => roots.some((root) => isWithin(path, root.path)))
    const needed = [...roots, ...inRoots].reduce((sum, { bytes }) => sum + bytes, 0)
    const there = free[device] ?? 0
    if (needed + spareBytes > there)
      throw new Failure(
        'no-space',
        `${name}: ${dirname(folder)} has ${there} bytes free, and the restore needs ${needed} beside the old data: nothing was touched. Make room, or restore a part with --path`,
      )
  }
}

function notesOf({ absent, roots, snapshot }: RestoreFacts, carried: number): string[] {
  return [
    ...(snapshot.tags.includes('partial') ? ['this snapshot is partial: something could not be read when it was made'] : []),
    ...absent.map((path) => `${path} isn't in this snapshot and stays as it is`),
    ...roots.filter(({ unchanged }) => unchanged).map(({ path }) => `${path} is the same link already`),
    ...(carried > 0 ? [`${carried} entries that backups exclude are carried over`] : []),
  ]
}
