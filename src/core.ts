// The few types that all rooms share: look (read-only facts) → plan (pure data: printed, compared in tests, journalled) → execute (one loop).
import type { Code, Failure } from './errors.ts'
import type { Engine } from './manifest/engines.ts'

export type Path = string
export type Unit = string
/** ISO 8601 with zone. */
export type Iso = string

/** Mildest first. */
export const outcomes = ['ok', 'skipped', 'partial', 'interrupted', 'rolled-back', 'failed'] as const
export type Outcome = (typeof outcomes)[number]

export type BackupStep =
  | { do: 'hook'; when: 'pre' | 'post' }
  | { do: 'stop' | 'start'; units: Unit[] }
  /** Each database, and what of its server no database holds, as files in `folder`. */
  | { do: 'dump'; engine: Engine; databases: string[]; folder: Path }
  /** Hold `of` still at `at`, or take that away again. */
  | { do: 'view' | 'unview'; how: 'btrfs' | 'reflink'; of: Path; at: Path }
  /** `database` as declared; `from` where it is read: there, or in a view. */
  | { do: 'copySqlite'; database: Path; from: Path; to: Path }
  /** `views`: what stands in for live paths. `dumps`: a folder saved beside the service's paths. */
  | { do: 'snapshot'; paths: Path[]; views: Record<Path, Path>; databases: Path[]; dumps: Path | null; exclude: string[]; tags: string[] }
  | { do: 'unstage'; folder: Path }

export type RestoreStep =
  /** Restore `paths` of a snapshot below the new folder `in` (root-owned, 0700, on the filesystem of what it replaces). */
  | { do: 'stage'; snapshot: string; paths: Path[]; folders: StagedFolder[]; owners: Owners; in: Path }
  | { do: 'verify'; databases: Path[] }
  /**
   * Load each database's dump, and the roles that are missing, from the folder `from`; each into a new database. Nothing live is touched.
   * `data`: where the server's data stands, if on this host.
   */
  | { do: 'loadPostgres'; from: Path; databases: { database: string; fresh: string }[]; tablespaces: boolean; data: Path | null }
  /** Stopped, and masked until the start: nothing else starts them meanwhile. */
  | { do: 'stop' | 'start'; units: Unit[] }
  /** Copy live entries that backups exclude into the staged tree. */
  | { do: 'carry'; entries: { from: Path; to: Path }[] }
  /** Everything below to disk, before any rename. */
  | { do: 'flush'; folder: Path }
  /** Exchange what is live for what is staged; the live entries end up under `old`. First the databases, all at once. */
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

/** `always` runs whatever happened, after the steps: what was stopped is started here. */
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
  /** What a database holds that was brought back. */
  | { type: 'loaded'; database: string; tables: number; rows: number }
  | { type: 'progress'; doneBytes: number; totalBytes: number | null; files: number; secondsLeft: number | null }
  | { type: 'warning'; code: Code; message: string }
  /** `code` and `message`: of what ended it before any service was begun. */
  | { type: 'report'; outcome: Outcome; exit: number; code?: Code; message?: string; services: Result[] }
)
type WithoutStamp<E> = E extends unknown ? Omit<E, 'time' | 'service'> : never
/** An event before it is stamped with time and service. */
export type EventBody = WithoutStamp<Event>

/** How one service fared. Seconds and bytes; `exit` is the service's own exit code. */
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

/** The result of a service that ended with `failure`, or well. What `known` lacks is null, and 0 seconds. */
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

/** What a step needs of the world; tests give a fake clock and count what passes. */
export interface Context {
  now(): Date
  signal: AbortSignal
  emit(event: EventBody): void
  /** For what runs always: why the steps before it ended early. */
  failure?: Failure | null
}

type Do<S extends Step> = (step: S, context: Context) => Promise<void>
/** One handler for each kind of step: a missing one doesn't compile. */
export type Handlers<S extends Step> = { [K in S['do']]: { apply: Do<S & { do: K }>; undo?: Do<S & { do: K }> } }

/** The exit code of several services together: the first of these that occurs; another one hides behind none but these. */
const worstFirst = [130, 1, 12, 10, 11, 3, 4]
export function joinExits(exits: number[]): number {
  return worstFirst.find((exit) => exits.includes(exit)) ?? Math.max(0, ...exits)
}
