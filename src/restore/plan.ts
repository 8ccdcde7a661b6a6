// The plans of a restore in place, of a rollback, and of the rest of an interrupted restore. Pure.
import { dirname, join } from 'node:path'
import type { DatabaseMove, Move, Path, Plan, RestoreStep, Unit } from '../core.ts'
import { dumpFiles } from '../host/postgres.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { RestoreJournal } from '../state/journal.ts'
import type { OldData, OldDatabase } from '../state/record.gen.ts'
import type { RestoreFacts, Root } from './facts.ts'
import { notesOf } from './notes.ts'
import { requireRoom, rootOf } from './room.ts'

/** @throws Failure `no-space`: found before anything is written */
export function planRestore(service: Pick<Service, 'healthCheck'>, facts: RestoreFacts): Plan<RestoreStep> {
  const { run, name, snapshot, units, running, enabled = [] } = facts
  const started = [...new Set([...running, ...enabled])]
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
      ({ path, entriesOnly, overwritten }): Move => ({
        live: path,
        staged: join(folder, 'new', path),
        old: join(oldFolder(folder, run), path),
        ...(entriesOnly && { keeps: entriesOnly.nestedMounts }),
        ...(overwritten && { copied: true }),
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
          paths: roots.flatMap(({ path, entriesOnly }) => entriesOnly?.entries ?? path),
          folders: roots.flatMap(({ entriesOnly }) => entriesOnly?.attributes ?? []),
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
    ...start(units, started),
    ...health(service, units, started),
  ]
  return { run, service: name, steps, always: start(units, running), notes: notesOf(facts) }
}

/** What a rollback puts back: everything that one restore replaced. */
export interface PutBackFacts extends Pick<RestoreFacts, 'run' | 'name' | 'units' | 'running'> {
  olds: OldData[]
  oldDatabases: OldDatabase[]
}

/** The data that is live now becomes old data in turn. */
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
  const steps: RestoreStep[] = [...stop(units), { do: 'swap', moves, databases }, ...start(units, running), ...health(service, units, running)]
  return {
    run,
    service: name,
    steps,
    always: start(units, running),
    notes: [`puts back what the restore of ${[...olds, ...oldDatabases][0]?.since} replaced`],
  }
}

/** The remaining steps of an interrupted restore. `back`: it is rolled back, and the health check doesn't run. */
export function planRest(
  declaring: Pick<Service, 'healthCheck'>,
  { run, service, phase, moves, databases, units, enabled = [] }: RestoreJournal,
  declared: Unit[],
  back = false,
): Plan<RestoreStep> {
  const stopped = [...new Set([...declared, ...units])]
  const started = back ? units : [...new Set([...units, ...enabled])]
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
      ...start(stopped, started),
      ...(back ? [] : health(declaring, stopped, started)),
    ],
    always: start(stopped, units),
    notes: [`${back ? 'takes back' : 'finishes'} a restore that was interrupted`],
  }
}

/** Where the old data of a restore ends up. */
export function oldFolder(folder: Path, run: string): Path {
  return join(folder, `old-${run}`)
}

/** A database's name while it isn't live: our prefix, then its live name, cut to the 63 bytes that PostgreSQL allows. */
export function databaseName(kind: 'new' | 'old', run: string, i: number, database: string): string {
  let name = `atelier-${kind}-${run}-${i}-${database}`
  while (Buffer.byteLength(name) > 63) name = [...name].slice(0, -1).join('')
  return name
}

/** Dumps are restored into the staging folder, and each is loaded into a new database. */
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

/** Starts `units`, those of the stopped ones that ran before. Also in `always`: starting an active unit does nothing. */
function start(stopped: Unit[], units: Unit[]): RestoreStep[] {
  return stopped.length > 0 ? [{ do: 'start', units }] : []
}

/** Of a service whose units all stay stopped, as they were, a check would only find that, and a good restore would be taken back. */
function health({ healthCheck }: Pick<Service, 'healthCheck'>, units: Unit[], started: Unit[]): RestoreStep[] {
  return healthCheck === null || (units.length > 0 && started.length === 0) ? [] : [{ do: 'health' }]
}

interface Stage {
  folder: Path
  mount: Path
  roots: Root[]
}

/** One staging folder for each mount, so that a rename is enough. Copies for files that are overwritten have one in our state folder. */
function stageFolders({ run, name }: Pick<RestoreFacts, 'run' | 'name'>, roots: Root[]): Stage[] {
  const kinds = [false, true].flatMap((overwritten) => {
    const alike = roots.filter((root) => root.overwritten === overwritten)
    return [...new Set(alike.map(({ mount }) => mount))].map((mount) => [mount, alike.filter((root) => root.mount === mount)] as const)
  })
  return kinds.map(([mount, group]) => {
    return { mount, roots: group, folder: join(group[0]?.folder ?? '/', `.atelier-backup-${name}-${run}`) }
  })
}
