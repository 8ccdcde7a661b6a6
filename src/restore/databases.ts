// A service's PostgreSQL databases in a restore in place: the facts, and their exchange, which can be completed or undone after a crash at any instant.
import { join } from 'node:path'
import type { DatabaseMove, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { realpath } from '../fs.ts'
import { freeBytes, isWithin, lstatIfThere } from '../host/files.ts'
import { nearestFolder } from '../host/folders.ts'
import { mountOf } from '../host/mounts.ts'
import { askServer, dumpFiles, type PostgresOptions, type PostgresServer } from '../host/postgres.ts'
import { databaseIds, gatherServerState, globalsOf, renameDatabases, withShortLog } from '../host/postgres-load.ts'
import { whileSpaceLeft } from '../host/space.ts'
import type { CallOptions, Restic } from '../restic/types.ts'
import { type JournalDatabase, type RestoreJournal, writeJournal } from '../state/journal.ts'
import type { Dumps, PostgresFacts, RestoreWish } from './facts.ts'

/** The declared databases that are restored, and those without a dump in the snapshot. @throws Failure `foreign-dump`, `not-declared`, `no-dump` */
export function chosenDatabases({ name, service, snapshot, wanted }: RestoreWish, dumps: Dumps | null): { chosen: string[]; absent: string[] } {
  const files = [...(dumps?.files.keys() ?? [])]
  const isWanted = (file: string) => wanted.length === 0 || wanted.some((path) => isWithin(join(dumps?.folder ?? '', file), path))
  const foreign = files.find((file) => file.includes('/') && isWanted(file))
  if (foreign !== undefined)
    throw new Failure(
      'foreign-dump',
      `${name}: snapshot ${snapshot.shortId} holds ${foreign}, a dump of databases that --in-place can't restore: nothing is restored. Choose the rest with --path; inspect the snapshot without --in-place, and load its dumps yourself`,
    )
  const undeclared = files.find((file) => file.endsWith('.dump') && isWanted(file) && !service.postgres.map(dumpFiles.of).includes(file))
  if (undeclared !== undefined)
    throw new Failure(
      'not-declared',
      `${name}: snapshot ${snapshot.shortId} holds a dump of the database ${undeclared.replace(/\.dump$/, '')}, which the manifest doesn't declare for it: nothing is restored in place. Declare it, choose a part with --path, or inspect the snapshot without --in-place`,
    )
  const chosen = service.postgres.filter((database) => files.includes(dumpFiles.of(database)) && isWanted(dumpFiles.of(database)))
  const absent = wanted.length > 0 ? [] : service.postgres.filter((database) => !chosen.includes(database))
  const isDumpsAlone = snapshot.paths.every((path) => path === dumps?.folder)
  if (chosen.length === 0 && isDumpsAlone && wanted.length === 0)
    throw new Failure('no-dump', `${name}: snapshot ${snapshot.shortId} has no dump of the databases ${absent.join(', ')}: choose another snapshot`)
  return { chosen, absent }
}

/** Compares this host's server with the dumped one: version, roles, tablespaces. @throws Failure `server-too-old`, `postgres-rights`, `postgres-unreachable` … */
export async function gatherDatabaseFacts(
  restic: Restic,
  { name, run, snapshot, postgres }: RestoreWish,
  dumps: Dumps,
  chosen: string[],
  call: CallOptions,
): Promise<PostgresFacts> {
  const state = await gatherServerState(postgres.server, chosen, optionsOf(call))
  const staging = await postgres.staging()
  const read = async (file: string) => (dumps.files.has(file) ? restic.dump(snapshot.id, join(dumps.folder, file), call) : '')
  const version = (await read(dumpFiles.version)).trim()
  const globals = globalsOf(await read(dumpFiles.globals))
  if (Number.parseInt(version, 10) > Number.parseInt(state.version, 10))
    throw new Failure(
      'server-too-old',
      `${name}: its databases were saved from PostgreSQL ${version}, and this server is ${state.version}: nothing was touched. Upgrade the server first`,
    )
  return {
    dumps: dumps.folder,
    staging: { folder: join(staging, `.atelier-backup-${name}-${run}`), mount: await mountOf(await realpath(await nearestFolder(staging))) },
    databases: chosen.map((database) => ({
      name: database,
      bytes: dumps.files.get(dumpFiles.of(database)) ?? 0,
      live: state.databases[database] ? { bytes: state.databases[database].bytes } : null,
    })),
    versions: { dump: version || null, server: state.version },
    data: await lstatIfThere(state.dataFolder).then(async (stat) => {
      return stat && { folder: state.dataFolder, mount: await mountOf(await realpath(state.dataFolder)) }
    }),
    others: await otherPlaces(postgres.server, state.dataFolder, call),
    slots: state.slots,
    subscriptions: state.subscriptions,
    roles: globals.roles.filter((role) => !state.roles.includes(role)),
    tablespaces: globals.tablespaces.filter((tablespace) => !state.tablespaces.includes(tablespace)),
  }
}

/** Where the server writes beside its data folder: its log, tablespaces. Those on this host. */
async function otherPlaces(server: PostgresServer, data: Path, call: CallOptions): Promise<{ folder: Path; mount: Path }[]> {
  const { folders } = await askServer(server, [], optionsOf(call))
  const there = await Promise.all(folders.filter((folder) => folder !== data).map((folder) => realpath(folder).catch(() => null)))
  const apart = there.filter((folder) => folder !== null && !isWithin(folder, data)) as Path[]
  return Promise.all(apart.map(async (folder) => ({ folder, mount: await mountOf(folder) })))
}

/**
 * Runs `work`, and aborts it when a filesystem that the server writes to is nearly full. `data`: its data folder (null: not on this host). With no
 * space for its log, PostgreSQL shuts down and can't start again. @throws Failure `disk-full`
 */
export async function whileServerHasSpace(
  name: string,
  data: Path | null,
  server: PostgresServer,
  options: PostgresOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  if (data === null) return work(options.signal)
  const full = (folder: Path, cause: unknown) => {
    const words = `no space is left for the server's data: less than ${serverBytes >> 20} MiB are free at ${folder}, and without space it would shut down`
    return new Failure('disk-full', `${name}: ${words}. Make room, then run it again`, { cause })
  }
  const { folders, logBytes } = await askServer(server, [], options)
  const free = await freeBytes(join(data, 'pg_wal')).catch(() => Number.POSITIVE_INFINITY)
  const room = free - serverBytes
  return whileSpaceLeft({ folders, reserve: serverBytes, full }, options.signal, (signal) =>
    room > 2 * logBytes ? work(signal) : withShortLog(server, Math.max(logSegment, Math.floor(room / 3)), { ...options, signal }, work),
  )
}

const logSegment = 16 * 1024 * 1024
/** Two segments of the server's log, and what it can write between two checks. */
const serverBytes = 3 * logSegment

/** The moves with what the journal needs to complete or undo them. */
export async function identifyDatabases(server: PostgresServer, moves: DatabaseMove[]): Promise<JournalDatabase[]> {
  const ids = await idsOf(server, moves)
  return moves.map((move) => ({ ...move, liveId: ids.get(move.live) ?? null, freshId: (move.fresh !== null && ids.get(move.fresh)) || null }))
}

/** Completes every move: the new database is live, the old one is kept. `onBegin`: called when the journal is written, before the first rename. */
export async function exchangeForward(state: Path, server: PostgresServer, journal: RestoreJournal, onBegin: () => void): Promise<void> {
  const { databases } = journal
  const ids = await idsOf(server, databases)
  const isDone = ({ live, fresh, old, liveId, freshId }: JournalDatabase) =>
    fresh === null ? ids.get(live) === undefined || ids.get(old) === liveId : ids.get(live) === freshId
  const todo = databases.filter((database) => !isDone(database))
  // A database that was created since the plan (an empty one, on a fresh host) is kept, too: the rollback needs its id.
  for (const database of todo) database.liveId = ids.get(database.live) ?? null
  await writeJournal(state, journal)
  onBegin()
  const renames = todo.flatMap(({ live, fresh, old, liveId, freshId }) => {
    if (fresh !== null && ids.get(fresh) !== freshId) throw missing(live, fresh)
    return [...(liveId === null ? [] : [{ from: live, to: old }]), ...(fresh === null ? [] : [{ from: fresh, to: live }])]
  })
  await rename(
    server,
    renames,
    databases.filter(({ fresh }) => fresh !== null),
  )
}

/** Undoes every move: the old database is live again, the new one isn't. */
export async function exchangeBackward(server: PostgresServer, databases: JournalDatabase[]): Promise<void> {
  const ids = await idsOf(server, databases)
  const renames = databases.flatMap(({ live, fresh, old, liveId, freshId }) => {
    const now = ids.get(live) ?? null
    const isKept = liveId !== null && ids.get(old) === liveId
    // This database wasn't exchanged.
    if (now !== freshId && !isKept) return []
    if (now !== freshId || (liveId !== null && !isKept)) throw missing(live, old)
    return [...(fresh === null || now === null ? [] : [{ from: live, to: fresh }]), ...(liveId === null ? [] : [{ from: old, to: live }])]
  })
  await rename(
    server,
    renames,
    databases.filter(({ liveId }) => liveId !== null),
  )
}

/** @throws Failure `old-data-missing` */
export async function requireKept(name: string, server: PostgresServer, kept: string[]): Promise<void> {
  const ids = await databaseIds(server, kept, uninterruptible())
  const gone = kept.find((database) => !ids.has(database))
  if (gone !== undefined)
    throw new Failure('old-data-missing', `${name}: the database ${gone} doesn't exist any more: the restore can't be rolled back`)
}

/** Options for calls that nothing interrupts: they are short, and the service is stopped meanwhile. */
export function uninterruptible(): PostgresOptions {
  return { signal: new AbortController().signal, inheritFds: [] }
}

async function rename(server: PostgresServer, renames: { from: string; to: string }[], opened: JournalDatabase[]): Promise<void> {
  await renameDatabases(
    server,
    renames,
    opened.map(({ live }) => live),
    uninterruptible(),
  )
}

async function idsOf(server: PostgresServer, moves: DatabaseMove[]): Promise<Map<string, string>> {
  return databaseIds(
    server,
    moves.flatMap(({ live, fresh, old }) => [live, old, ...(fresh === null ? [] : [fresh])]),
    uninterruptible(),
  )
}

function missing(live: string, name: string): Failure {
  return new Failure(
    'data-missing',
    `the databases ${live} and ${name} are not the ones that the restore began with: nothing was renamed. See which ones there are (psql --list), then take the restore back with --rollback`,
  )
}

function optionsOf({ signal, inheritFds }: CallOptions): PostgresOptions {
  return { signal: signal ?? new AbortController().signal, inheritFds: inheritFds ?? [] }
}
