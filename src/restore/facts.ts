// What is gathered before a restore in place is planned, as data.
import type { Owners, Path, StagedFolder, Unit } from '../core.ts'
import type { PostgresServer } from '../host/postgres.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'

/** One path that is replaced, in the snapshot and as it is live (null: it doesn't exist). Sizes in bytes. */
export interface Root {
  path: Path
  bytes: number
  files: number
  /** Bytes that restic writes: of hard links each file once, and without the holes as far as they are known. */
  written: number
  live: { bytes: number } | null
  /** The live entry is a symbolic link with the same target as in the snapshot: it isn't touched. */
  unchanged: boolean
  /** Where its staging folder is made: in the same mount, so that renames work, and where only root can replace the folder. */
  folder: Path
  mount: Path
  /**
   * Not null: `path` is a mount point, or a folder above one, and can't be renamed. Its entries are exchanged one by one, but for
   * `nestedMounts`: those that are a mount point or lead to one. `entries`: what the snapshot has in it.
   */
  entriesOnly: { entries: Path[]; nestedMounts: Path[]; attributes: StagedFolder } | null
  /** A file with a mount of its own: its content is overwritten. `folder` and `mount` are of our state folder, which holds the copies. */
  overwritten: boolean
  /** A mount point that has content, and of which the snapshot holds nothing: it is empty after the restore. */
  emptied: boolean
}

export interface RestoreFacts {
  run: string
  name: string
  snapshot: Snapshot
  /** Set if `snapshot` is partial: the newest complete one before it. */
  complete?: Snapshot | null
  /** A snapshot that is dated later than `snapshot`, though it was made before. */
  later?: Snapshot | null
  /** Set if `snapshot` was chosen as the newest: newer ones that are unadopted. */
  passed?: Snapshot[]
  /** The paths that were asked for; empty: all. */
  wanted: Path[]
  roots: Root[]
  /** Declared paths that the snapshot lacks: they stay as they are. */
  absent: Path[]
  /** SQLite databases that are restored. */
  databases: Path[]
  /** PostgreSQL databases that are restored; null: none. */
  postgres: PostgresFacts | null
  /** Declared PostgreSQL databases without a dump in the snapshot: they stay as they are. */
  absentDatabases: string[]
  /** Privileged entries (see privileged.ts) that aren't live. File capabilities and other content are only found once the entries are staged. */
  privileged: Path[]
  /** Live entries that backups exclude: the topmost ones. */
  excluded: { path: Path; bytes: number }[]
  /** Live entries that can't be looked at (a damaged disk, a path that is too long): they move aside with the old data. */
  unseen: Path[]
  /** Users and groups whose numbers on this host differ from the snapshot's, matched by name. */
  renumbered: Owners
  /** Names of owners that this host doesn't know: their files keep the snapshot's numbers. */
  strangers: string[]
  /** Mount points at, above or inside of what is restored that should be mounted and aren't: restored data would be on the wrong disk, and hidden. */
  unmounted: Path[]
  units: Unit[]
  running: Unit[]
  /** Missing: units that don't run stay stopped. Otherwise those that the boot would start: they are started with the restored data, and with no other. */
  enabled?: Unit[]
  /** Free bytes by mount. */
  free: Record<Path, number>
  /** A person wants to begin although there seems to be too little room. */
  ignoreSpace?: boolean
}

/** What is restored, and of which service. `wanted`: paths in the snapshot; empty: all. `ran`: units that an interrupted restore stopped. */
export interface RestoreWish {
  run: string
  name: string
  service: Service
  snapshot: Snapshot
  wanted: Path[]
  ran: Unit[]
  postgres: PostgresPlace
  /** Folder for the copies of files that are overwritten. */
  kept: Path
  /** Look for holes in large files also where there is room. */
  closely: boolean
}

/** PostgreSQL databases that are restored. Sizes in bytes. */
export interface PostgresFacts {
  /** The snapshot's folder of dumps, and the new folder on this host that they are restored into. */
  dumps: Path
  staging: { folder: Path; mount: Path }
  databases: { name: string; bytes: number; live: { bytes: number } | null }[]
  /** Versions of the server that was dumped (null: unknown) and of this host's server. */
  versions: { dump: string | null; server: string }
  /** The server's data directory; null: it isn't on this host. */
  data: { folder: Path; mount: Path } | null
  /** Other folders that the server writes to: its log's, and tablespaces. */
  others: { folder: Path; mount: Path }[]
  /** Logical replication slots and subscriptions of the live databases. */
  slots: { name: string; database: string }[]
  subscriptions: { name: string; database: string }[]
  /** Roles that the server lacks: the restore creates them. */
  roles: string[]
  /** Tablespaces that the server lacks. */
  tablespaces: string[]
}

/** The server that databases are restored to, and the folder in which the folder for dumps is made. */
export interface PostgresPlace {
  server: PostgresServer
  staging(): Promise<Path>
}

/** The dumps in a snapshot: their folder, and the size of each file by its path in that folder. */
export interface Dumps {
  folder: Path
  files: Map<string, number>
}
