// What a restore in place knows before it is planned, as data.
import type { Owners, Path, StagedFolder, Unit } from '../core.ts'
import type { PostgresServer } from '../host/postgres.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'

/** One path to be replaced: the snapshot's side and the live side (null: nothing is there). Bytes. */
export interface Root {
  path: Path
  bytes: number
  files: number
  live: { bytes: number } | null
  /** The live entry is a link that already says what the snapshot's says: left as it is. */
  unchanged: boolean
  /** Where its staging folder can be made: in the same mount, so that a rename suffices, and where nobody but root can put another in its place. */
  folder: Path
  mount: Path
  /** `path` is a mount point, or leads to one: it stays, and so do `keeps`; these entries of the snapshot come in. */
  inside: { entries: Path[]; keeps: Path[]; attributes: StagedFolder } | null
  /** A file with a mount of its own: it stays, and its content is replaced. `folder` and `mount` are those of our state, which takes both copies. */
  copied: boolean
  /** A mount point that holds something, and of which the snapshot knows nothing: afterwards it is empty. */
  emptied: boolean
}

export interface RestoreFacts {
  run: string
  name: string
  snapshot: Snapshot
  /** Where that is partial: the newest complete one before it. */
  complete?: Snapshot | null
  /** Where it was taken as the newest: newer ones that don't count. */
  passed?: Snapshot[]
  /** What was asked for, empty for all. */
  wanted: Path[]
  roots: Root[]
  /** Declared paths that the snapshot doesn't hold: they stay as they are. */
  absent: Path[]
  /** SQLite databases among what is restored. */
  databases: Path[]
  /** PostgreSQL databases that are restored; null: none. */
  postgres: PostgresFacts | null
  /** Declared ones that the snapshot holds no dump of: they stay as they are. */
  absentDatabases: string[]
  /** Live entries that backups exclude, topmost. */
  excluded: { path: Path; bytes: number }[]
  /** Those of them that have another number here, by their names. */
  renumbered: Owners
  /** Owners' names that aren't known here: their numbers stay. */
  strangers: string[]
  units: Unit[]
  running: Unit[]
  /** Free bytes by mount. */
  free: Record<Path, number>
}

/** What is restored of which service. `wanted`: paths within the snapshot, empty for all. `ran`: units that an interrupted restore has stopped. */
export interface RestoreWish {
  run: string
  name: string
  service: Service
  snapshot: Snapshot
  wanted: Path[]
  ran: Unit[]
  postgres: PostgresPlace
  /** Where copies are kept of what can't be renamed. */
  kept: Path
}

/** Databases that are brought back. Bytes. */
export interface PostgresFacts {
  /** Folder of the snapshot that holds the dumps, and the new one that they are fetched into. */
  dumps: Path
  staging: { folder: Path; mount: Path }
  databases: { name: string; bytes: number; live: { bytes: number } | null }[]
  /** Versions: of the server that the dumps are of (null: not said), and of this one. */
  versions: { dump: string | null; server: string }
  /** Where the server keeps its data; null: not on this host's filesystems. */
  data: { folder: Path; mount: Path } | null
  /** Roles that the server lacks: they are created. */
  roles: string[]
  /** Tablespaces that it lacks. */
  tablespaces: string[]
}

/** The server that databases are brought back to, and where the folder is made that dumps are fetched into. */
export interface PostgresPlace {
  server: PostgresServer
  staging(): Promise<Path>
}

/** Dumps of a snapshot: its folder, and the bytes of each file in it, by its path there. */
export interface Dumps {
  folder: Path
  files: Map<string, number>
}
