// Written by scripts/generate from schema/run-record.schema.json; edit that one.
import * as z from 'zod/mini'

const set = z.strictObject({
  at: z.string(),
  ms: z.number(),
})

const stopped = z.strictObject({
  unit: z.string(),
  since: z.string(),
  down: z.boolean(),
})

const warning = z.strictObject({
  code: z.string(),
  message: z.string(),
})

const run = z.strictObject({
  run: z.string(),
  kind: z.enum(["backup","restore"]),
  started: z.string(),
  seconds: z.number(),
  outcome: z.enum(["ok","skipped","partial","interrupted","rolled-back","failed"]),
  code: z.nullable(z.string()),
  message: z.nullable(z.string()),
  snapshotId: z.nullable(z.string()),
  downtimeSeconds: z.nullable(z.number()),
  bytes: z.nullable(z.int().check(z.minimum(0), z.maximum(9007199254740991))),
  files: z.nullable(z.int().check(z.minimum(0), z.maximum(9007199254740991))),
  addedBytes: z.nullable(z.int().check(z.minimum(0), z.maximum(9007199254740991))),
  view: z.enum(["live","btrfs","reflink","copied","stopped"]),
  warnings: z.array(warning),
})

const absent = z.strictObject({
  path: z.string(),
  parent: z.string(),
})

const folder = z.strictObject({
  path: z.string(),
  keeps: z.array(z.string()),
})

const old = z.strictObject({
  run: z.string(),
  since: z.string(),
  folder: z.string(),
  paths: z.array(z.string()),
  absent: z.array(absent),
  folders: z._default(z.array(folder), []),
  copied: z._default(z.array(z.string()), []),
})

const oldDatabase = z.strictObject({
  run: z.string(),
  since: z.string(),
  database: z.string(),
  kept: z.nullable(z.string()),
  slots: z._default(z.array(z.string()), []),
})

export const runRecordSchema = z.strictObject({
  version: z.literal(1),
  service: z.string(),
  install: z._default(z.nullable(z.string()), null),
  origin: z._default(z.nullable(z.strictObject({
    how: z.enum(["own","adopted","recovered"]),
    since: z.string(),
  })), null),
  inherited: z._default(z.nullable(z.array(z.string())), null),
  lastSnapshot: z._default(z.nullable(z.strictObject({
    id: z.string(),
    time: z.string(),
    repositoryId: z.string(),
  })), null),
  clock: z._default(z.nullable(z.strictObject({
    boot: z.string(),
    uptime: z.number(),
    time: z.string(),
    set: z.array(set),
  })), null),
  stopped: z._default(z.array(stopped), []),
  runs: z._default(z.array(run), []),
  old: z._default(z.array(old), []),
  oldDatabases: z._default(z.array(oldDatabase), []),
  undropped: z._default(z.array(z.string()), []),
})

/**
 * What this install remembers of one service: records/SERVICE.json in the state folder.
 */
export interface RunRecord {
  /**
   * Version of the record's format.
   */
  version: 1
  /**
   * Name of the service.
   */
  service: string
  /**
   * Id of the install that wrote this. Where this install has another id (its state folder was copied or set back), `origin`, `inherited` and `lastSnapshot` count as null, and `stopped` as empty. Null: written before this field existed.
   */
  install: string | null
  /**
   * Why this install's data counts as the truth. Null: not settled, so backups are tagged `unadopted` where the repository holds the service's snapshots from elsewhere.
   */
  origin: {
    /**
     * `own`: nothing from elsewhere existed at the first backup; `adopted`: told so by a person; `recovered`: restored from a snapshot.
     */
    how: 'own' | 'adopted' | 'recovered'
    /**
     * When, ISO 8601.
     */
    since: string
  } | null
  /**
   * Full ids of the service's snapshots that other installs made and that count here: those that were there when it was recovered or adopted. Null: not written down yet.
   */
  inherited: string[] | null
  /**
   * The newest snapshot this install made: named as parent it proves in the same call that the repository is still the same one.
   */
  lastSnapshot: {
    /**
     * The snapshot's full id.
     */
    id: string
    /**
     * Its time, ISO 8601.
     */
    time: string
    /**
     * Id of the repository that holds it.
     */
    repositoryId: string
  } | null
  /**
   * When this was written last. Null: before this field existed.
   */
  clock: {
    /**
     * Id of the boot.
     */
    boot: string
    /**
     * Seconds since that boot.
     */
    uptime: number
    /**
     * Time by the clock, ISO 8601.
     */
    time: string
    /**
     * How often the clock said something else than the kernel: it was set, or the host was off.
     */
    set: ClockSet[]
  } | null
  /**
   * Units that the latest run, or an earlier one, stopped and was to start again: one that doesn't run since is told.
   */
  stopped: Stopped[]
  /**
   * The latest runs, oldest first.
   */
  runs: Run[]
  /**
   * Data replaced by restores in place and still kept.
   */
  old: OldData[]
  /**
   * Databases replaced by restores in place.
   */
  oldDatabases: OldDatabase[]
  /**
   * New databases of restores that were undone, which could not be dropped yet.
   */
  undropped: string[]
}
/**
 * A clock that was set, or a host that was off.
 */
export interface ClockSet {
  /**
   * The first time that was noted after it, ISO 8601.
   */
  at: string
  /**
   * By how much, in milliseconds.
   */
  ms: number
}
/**
 * A unit that ran, and was stopped.
 */
export interface Stopped {
  /**
   * Its name.
   */
  unit: string
  /**
   * When the run that stopped it began, ISO 8601.
   */
  since: string
  /**
   * It didn't run at the end of that run.
   */
  down: boolean
}
/**
 * One run.
 */
export interface Run {
  /**
   * Id of the run.
   */
  run: string
  /**
   * What was done.
   */
  kind: 'backup' | 'restore'
  /**
   * ISO 8601.
   */
  started: string
  /**
   * How long it took.
   */
  seconds: number
  /**
   * How it ended.
   */
  outcome: 'ok' | 'skipped' | 'partial' | 'interrupted' | 'rolled-back' | 'failed'
  /**
   * The error's fixed code.
   */
  code: string | null
  /**
   * What happened, for a person.
   */
  message: string | null
  /**
   * The snapshot made or restored.
   */
  snapshotId: string | null
  /**
   * For how long units were stopped. Null: none were.
   */
  downtimeSeconds: number | null
  /**
   * Size of the data.
   */
  bytes: number | null
  /**
   * Number of files.
   */
  files: number | null
  /**
   * Bytes added to the repository.
   */
  addedBytes: number | null
  /**
   * How the data was kept unchanged while restic read it. `live`: it was not; `btrfs`, `reflink`: by a frozen copy that the filesystem made (a btrfs snapshot, or reflink copies), so that units were started before the upload; `copied`: all of it was copied or dumped while units were stopped; `stopped`: units were stopped for all of the backup.
   */
  view: 'live' | 'btrfs' | 'reflink' | 'copied' | 'stopped'
  /**
   * What a person should know.
   */
  warnings: Warning[]
}
/**
 * A warning.
 */
export interface Warning {
  /**
   * Fixed code.
   */
  code: string
  /**
   * For a person.
   */
  message: string
}
/**
 * Replaced data.
 */
export interface OldData {
  /**
   * Id of the restore that replaced it.
   */
  run: string
  /**
   * When that restore began, ISO 8601.
   */
  since: string
  /**
   * Folder made by that restore, which holds the old data.
   */
  folder: string
  /**
   * The live paths that were replaced.
   */
  paths: string[]
  /**
   * Live paths at which nothing stood before.
   */
  absent: Absent[]
  /**
   * Folders that stayed, being mount points or leading to one: their entries were replaced.
   */
  folders: StayedFolder[]
  /**
   * Files that stayed, having a mount of their own: their content was replaced.
   */
  copied: string[]
}
/**
 * A path that wasn't there.
 */
export interface Absent {
  /**
   * The path.
   */
  path: string
  /**
   * The nearest folder above it that was there.
   */
  parent: string
}
/**
 * A folder that stayed.
 */
export interface StayedFolder {
  /**
   * The folder.
   */
  path: string
  /**
   * Its entries that were not replaced: they lead to other mount points.
   */
  keeps: string[]
}
/**
 * A replaced database.
 */
export interface OldDatabase {
  /**
   * Id of the restore that replaced it.
   */
  run: string
  /**
   * When that restore began, ISO 8601.
   */
  since: string
  /**
   * Its name.
   */
  database: string
  /**
   * Name under which the server keeps it. Null: there was none.
   */
  kept: string | null
  /**
   * Its logical replication slots, for which the server keeps its log.
   */
  slots: string[]
}
