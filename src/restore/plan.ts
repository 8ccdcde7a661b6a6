// The plans of a restore in place, and of putting back what one has replaced. Pure.
import { dirname, join } from 'node:path'
import type { DatabaseMove, Move, Path, Plan, RestoreStep, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import { dumpFiles } from '../host/postgres.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { tags } from '../snapshots/select.ts'
import type { RestoreJournal } from '../state/journal.ts'
import type { OldData, OldDatabase } from '../state/record.gen.ts'
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
  const moves = stages.flatMap(({ folder, roots }) =>
    roots.map(
      ({ path, inside, copied }): Move => ({
        live: path,
        staged: join(folder, 'new', path),
        old: join(oldFolder(folder, run), path),
        ...(inside && { keeps: inside.keeps }),
        ...(copied && { copied }),
      }),
    ),
  )
  const loading = load(facts)
  const databases: DatabaseMove[] = loading.fresh.map(({ database, fresh }, i) => ({
    live: database,
    fresh,
    old: databaseName('old', run, i, database),
  }))
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
    ...loading.stage,
    { do: 'verify', databases: facts.databases.flatMap((database) => staged(database) ?? []) },
    ...loading.load,
    ...flush,
    ...stop(units),
    ...(carried.length > 0 ? [{ do: 'carry', entries: carried } as const, ...flush] : []),
    { do: 'swap', moves, databases },
    ...start(units, running),
    ...(service.healthCheck === null ? [] : [{ do: 'health' } as const]),
  ]
  return { run, service: name, steps, always: start(units, running), notes: notesOf(facts, carried.length) }
}

/** What is put back: all that one restore replaced. */
export interface PutBackFacts extends Pick<RestoreFacts, 'run' | 'name' | 'units' | 'running'> {
  olds: OldData[]
  oldDatabases: OldDatabase[]
}

/** What is live now becomes old data in turn. */
export function planPutBack(
  service: Pick<Service, 'healthCheck'>,
  { run, name, olds, oldDatabases, units, running }: PutBackFacts,
): Plan<RestoreStep> {
  const moves = olds.flatMap(({ folder, paths, absent, folders, copied }) => [
    ...paths.map((live): Move => ({ live, staged: join(folder, live), old: join(oldFolder(dirname(folder), run), live) })),
    ...copied.map((live): Move => ({ live, staged: join(folder, live), old: join(oldFolder(dirname(folder), run), live), copied: true })),
    ...absent.map(({ path, parent }): Move => ({ live: path, staged: null, old: join(oldFolder(dirname(folder), run), path), parent })),
    ...folders.map(({ path, keeps }): Move => ({ live: path, staged: join(folder, path), old: join(oldFolder(dirname(folder), run), path), keeps })),
  ])
  const databases = oldDatabases.map(({ database, kept }, i) => ({ live: database, fresh: kept, old: databaseName('old', run, i, database) }))
  const steps: RestoreStep[] = [
    ...stop(units),
    { do: 'swap', moves, databases },
    ...start(units, running),
    ...(service.healthCheck === null ? [] : [{ do: 'health' } as const]),
  ]
  return {
    run,
    service: name,
    steps,
    always: start(units, running),
    notes: [`puts back what the restore of ${[...olds, ...oldDatabases][0]?.since} replaced`],
  }
}

/** What is left of a restore that was interrupted, to be finished, or taken `back`: there is no health to be checked then. */
export function planRest(
  { healthCheck }: Pick<Service, 'healthCheck'>,
  { run, service, phase, moves, databases, units }: RestoreJournal,
  declared: Unit[],
  back = false,
): Plan<RestoreStep> {
  const stopped = [...new Set([...declared, ...units])]
  const swap: RestoreStep = {
    do: 'swap',
    moves: moves.map(({ live, staged, old, stays, copied }) => ({
      live,
      staged,
      old,
      ...(stays && { keeps: stays.keeps }),
      ...(copied && { copied: true }),
    })),
    databases: databases.map(({ live, fresh, old }) => ({ live, fresh, old })),
  }
  return {
    run,
    service,
    steps: [
      ...(phase === 'staging' ? [] : [...stop(stopped), swap]),
      ...start(stopped, units),
      ...(back || healthCheck === null ? [] : [{ do: 'health' } as const]),
    ],
    always: start(stopped, units),
    notes: [`${back ? 'takes back' : 'finishes'} a restore that was interrupted`],
  }
}

/** Where the old data of a restore ends up. */
export function oldFolder(folder: Path, run: string): Path {
  return join(folder, `old-${run}`)
}

/** A database's name while it isn't live, of at most 63 bytes (PostgreSQL cuts longer ones): our words, and what there is room for of its own. */
export function databaseName(kind: 'new' | 'old', run: string, i: number, database: string): string {
  let name = `atelier-${kind}-${run}-${i}-${database}`
  while (Buffer.byteLength(name) > 63) name = [...name].slice(0, -1).join('')
  return name
}

/** Dumps are fetched into a folder of ours, and each is loaded into a new database. */
function load({ run, snapshot, postgres }: RestoreFacts): {
  stage: RestoreStep[]
  load: RestoreStep[]
  fresh: { database: string; fresh: string }[]
} {
  if (postgres === null) return { stage: [], load: [], fresh: [] }
  const { dumps, staging, tablespaces, data } = postgres
  const fresh = postgres.databases.map(({ name }, i) => ({ database: name, fresh: databaseName('new', run, i, name) }))
  const paths = [dumpFiles.globals, ...fresh.map(({ database }) => dumpFiles.of(database))].map((file) => join(dumps, file))
  return {
    stage: [{ do: 'stage', snapshot: snapshot.id, paths, folders: [], owners: { users: [], groups: [] }, in: staging.folder }],
    load: [
      {
        do: 'loadPostgres',
        from: join(staging.folder, 'new', dumps),
        databases: fresh,
        tablespaces: tablespaces.length === 0,
        data: data?.folder ?? null,
      },
    ],
    fresh,
  }
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

/** One staging folder for each mount: what crosses no mount can be renamed. What is copied has one of its own, in our state. */
function stageFolders({ run, name }: Pick<RestoreFacts, 'run' | 'name'>, roots: Root[]): Stage[] {
  const kinds = [false, true].flatMap((copied) => {
    const alike = roots.filter((root) => root.copied === copied)
    return [...new Set(alike.map(({ mount }) => mount))].map((mount) => [mount, alike.filter((root) => root.mount === mount)] as const)
  })
  return kinds.map(([mount, group]) => {
    return { mount, roots: group, folder: join(group[0]?.folder ?? '/', `.atelier-backup-${name}-${run}`) }
  })
}

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
function rootOf(path: Path, roots: Root[]): Root | null {
  const around = roots.filter((root) => isWithin(path, root.path))
  return around.reduce<Root | null>((inner, root) => (inner && inner.path.length > root.path.length ? inner : root), null)
}

function requireRoom(facts: RestoreFacts, stages: Stage[]): void {
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

/** What happens to mounts otherwise than by an exchange. */
export function mountNotes({ roots }: Pick<RestoreFacts, 'roots'>): string[] {
  return roots.flatMap(({ path, folder, copied, emptied }) => [
    ...(copied ? [`${path} is a file with a mount of its own: its content is overwritten, once a copy of what is there now is in ${folder}`] : []),
    ...(emptied ? [`${path} is mounted, and the snapshot knows nothing of it: what is in it moves aside, and it is left empty`] : []),
  ])
}

/** That a snapshot is partial, and which one isn't. */
export function partialNotes(snapshot: Snapshot, complete: Snapshot | null = null): string[] {
  if (!snapshot.tags.includes(tags.partial)) return []
  const other = complete
    ? `the newest complete one is ${complete.shortId} of ${complete.time.slice(0, 10)}: --snapshot ${complete.shortId}`
    : 'there is no complete one before it'
  return [`this snapshot is partial: something could not be read when it was made; ${other}`]
}

/** That newer snapshots don't count, and how one of them is taken all the same. */
export function passedNotes([newest, ...others]: Snapshot[]): string[] {
  if (!newest) return []
  const which = `${newest.shortId} of ${newest.time.slice(0, 10)}`
  return [
    others.length > 0
      ? `${others.length + 1} newer snapshots are unadopted and passed over; the newest of them is ${which}`
      : `a newer snapshot is unadopted and passed over: ${which}`,
  ]
}

function notesOf(
  { absent, absentDatabases, complete, passed = [], postgres, renumbered, roots, snapshot, strangers }: RestoreFacts,
  carried: number,
): string[] {
  return [
    ...partialNotes(snapshot, complete),
    ...passedNotes(passed),
    ...(snapshot.tags.includes(tags.unadopted)
      ? ['this snapshot is unadopted: a fresh install made it, before anybody said that its data is the truth']
      : []),
    ...absent.map((path) => `${path} isn't in this snapshot and stays as it is`),
    ...absentDatabases.map((name) => `this snapshot holds no dump of the database ${name}, which stays as it is`),
    ...(postgres?.tablespaces ?? []).map((name) => `the server has no tablespace ${name}: what stood in one comes to stand in the default one`),
    ...roots.filter(({ unchanged }) => unchanged).map(({ path }) => `${path} is the same link already`),
    ...roots.flatMap(({ path, inside }) =>
      inside ? [`${path} stays, being a mount point or leading to one: what is in it is exchanged; its own ACLs and extended attributes stay`] : [],
    ),
    ...mountNotes({ roots }),
    ...(renumbered.users.length + renumbered.groups.length > 0
      ? [
          'users or groups have other numbers here: files get the new ones by name; entries of ACLs keep the old ones, and such a file loses its capabilities',
        ]
      : []),
    ...(strangers.length > 0 ? [`unknown here, so that their files keep the numbers they had: ${strangers.join(', ')}`] : []),
    ...(carried > 0 ? [`what backups exclude is carried over (${carried})`] : []),
  ]
}
