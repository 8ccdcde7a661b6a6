// The types that all folders share: gathered facts → plan (pure data, which is printed, compared in tests and recorded) → execute (one loop).
import type { Code, Failure } from './errors.ts'
import type { Engine } from './manifest/engines.ts'

export type Path = string
export type Unit = string
/** ISO 8601 with zone. */
export type Iso = string

/** From harmless to severe. */
export const outcomes = ['ok', 'skipped', 'partial', 'interrupted', 'rolled-back', 'failed'] as const
export type Outcome = (typeof outcomes)[number]

export type BackupStep =
  | { do: 'hook'; when: 'pre' | 'post' }
  | { do: 'stop' | 'start'; units: Unit[] }
  /** One file in `folder` for each database, and one for what belongs to the whole server (roles). */
  | { do: 'dump'; engine: Engine; databases: string[]; folder: Path }
  /** Make a frozen copy of `of` at `at` (src/host/frozen.ts), or remove it. */
  | { do: 'view' | 'unview'; how: 'btrfs' | 'reflink'; of: Path; at: Path }
  /** `database`: the declared path. `from`: the path that is read: the same one, or one in a frozen copy. */
  | { do: 'copySqlite'; database: Path; from: Path; to: Path }
  /** `views`: frozen copies by live path; restic reads them in place of the live paths. `dumps`: a folder saved beside the service's paths. */
  | { do: 'snapshot'; paths: Path[]; views: Record<Path, Path>; databases: Path[]; dumps: Path | null; exclude: string[]; tags: string[] }
  | { do: 'unstage'; folder: Path }

export type RestoreStep =
  /** Restore `paths` of a snapshot into the new folder `in` (root-owned, 0700, on the filesystem of the data that it replaces). */
  | { do: 'stage'; snapshot: string; paths: Path[]; folders: StagedFolder[]; owners: Owners; in: Path }
  | { do: 'verify'; databases: Path[] }
  /**
   * From the dumps in the folder `from`: create missing roles, and load each database into a new one (`fresh`). No live database is touched.
   * `data`: the server's data folder, if it is on this host.
   */
  | { do: 'loadPostgres'; from: Path; databases: { database: string; fresh: string }[]; tablespaces: boolean; data: Path | null }
  /** `stop` also masks the units until `start`, so that nothing else starts them. */
  | { do: 'stop' | 'start'; units: Unit[] }
  /** Copy live entries that backups exclude into the staged tree. */
  | { do: 'carry'; entries: { from: Path; to: Path }[] }
  /** fsync everything in the folder, before any rename. */
  | { do: 'flush'; folder: Path }
  /** Exchange live data for staged data; the live data moves to `old`. The databases first, all in one transaction. */
  | { do: 'swap'; moves: Move[]; databases: DatabaseMove[] }
  | { do: 'health' }

/**
 * One exchange by renames, of a SQLite database with its sidecars. `staged` null: the live entry is only moved away, and empty folders above it,
 * below `parent`, are removed. All paths are in one mount, except with `copied`.
 */
export interface Move {
  live: Path
  staged: Path | null
  old: Path
  parent?: Path
  /** `live` is a mount point, or a folder above one, and isn't renamed: its entries are exchanged, but not these, which are or lead to mount points. */
  keeps?: Path[]
  /** `live` is a file with a mount of its own: its content is overwritten. `staged` and `old` are copies, on any filesystem. */
  copied?: true
}

/** A folder of which only the entries are exchanged, with its attributes in the snapshot. `mtime` as touch(1) takes a date. */
export interface StagedFolder {
  path: Path
  uid: number
  gid: number
  mode: number
  mtime: string
  /** The snapshot lacks the folder: the attributes are those of the live one, with this host's numbers. */
  bare?: true
}

/** Users and groups with another number on this host than in the snapshot, matched by name: [snapshot's, host's]. */
export interface Owners {
  users: [number, number][]
  groups: [number, number][]
}

/** One exchange of PostgreSQL databases by renames. `fresh` null: the live one is only renamed to `old`. */
export interface DatabaseMove {
  live: string
  fresh: string | null
  old: string
}

export type Step = BackupStep | RestoreStep

/** The steps of `always` run after `steps`, also after a failure: they start what was stopped. */
export interface Plan<S extends Step = Step> {
  run: string
  service: string
  steps: S[]
  always: S[]
  notes: string[]
}

/** One NDJSON line of long work. Sizes in bytes. */
export type Event = { time: Iso; service: string | null } & (
  | { type: 'plan'; plan: Plan }
  | { type: 'step'; n: number; do: Step['do']; state: 'begun' | 'done' | 'undone' }
  /** The size of a restored database. */
  | { type: 'loaded'; database: string; tables: number; rows: number }
  | { type: 'progress'; doneBytes: number; totalBytes: number | null; files: number; secondsLeft: number | null }
  | { type: 'warning'; code: Code; message: string }
  /** `code` and `message`: of a failure before the first service. */
  | { type: 'report'; outcome: Outcome; exit: number; code?: Code; message?: string; services: Result[] }
)
type WithoutStamp<E> = E extends unknown ? Omit<E, 'time' | 'service'> : never
/** An event before it is stamped with time and service. */
export type EventBody = WithoutStamp<Event>

/** The result of one service, in seconds and bytes. `exit`: the exit code for this service alone. */
export interface Result {
  name: string
  outcome: Outcome
  exit: number
  code: Code | null
  message: string | null
  snapshotId: string | null
  seconds: number
  downtimeSeconds: number | null
  bytes: number | null
  /** What a backup added to the repository. */
  addedBytes: number | null
}

/** The result of a service that ended with `failure`, or successfully (null). Fields that `known` lacks are null; `seconds` is 0. */
export function resultOf(name: string, failure: Pick<Failure, 'code' | 'message' | 'exit'> | null, known: Partial<Result> = {}): Result {
  return {
    name,
    outcome: failure === null ? 'ok' : failure.code === 'interrupted' ? 'interrupted' : 'failed',
    exit: failure?.exit ?? 0,
    code: failure?.code ?? null,
    message: failure?.message ?? null,
    snapshotId: null,
    seconds: 0,
    downtimeSeconds: null,
    bytes: null,
    addedBytes: null,
    ...known,
  }
}

/** What every step is given. Tests pass a clock of their own, and collect the events. */
export interface Context {
  now(): Date
  signal: AbortSignal
  emit(event: EventBody): void
  /** For `always` steps: the failure of the steps before them; null if there was none. */
  failure?: Failure | null
}

type Do<S extends Step> = (step: S, context: Context) => Promise<void>
/** One handler for each kind of step; TypeScript reports a missing one. */
export type Handlers<S extends Step> = { [K in S['do']]: { apply: Do<S & { do: K }>; undo?: Do<S & { do: K }> } }

/** The exit code of several services: the first of these that occurs, else the highest. */
const worstFirst = [130, 1, 12, 10, 11, 3, 4]
export function joinExits(exits: number[]): number {
  return worstFirst.find((exit) => exits.includes(exit)) ?? Math.max(0, ...exits)
}
