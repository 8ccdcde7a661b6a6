// The values that restic's output becomes, and the interface of its client.
import type { Iso, Path } from '../core.ts'
import type { Failure } from '../errors.ts'
import type { Secret } from './secrets.ts'

/** `bytes`, `files` and `addedBytes` are null in a snapshot made by restic < 0.17, which wrote no summary. */
export interface Snapshot {
  id: string
  shortId: string
  time: Iso
  host: string
  paths: Path[]
  tags: string[]
  excludes: string[]
  parent: string | null
  /** Id of the snapshot that this one was rewritten or copied from. */
  original: string | null
  /** `original` is another snapshot that still exists, and the two differ by more than their tags: this one never counts in its place. */
  isRewritten: boolean
  bytes: number | null
  files: number | null
  addedBytes: number | null
}

/**
 * An entry of a snapshot's tree. `path` has all bytes, as src/bytes.ts holds them. `bytes` is 0 unless it is a regular file. `mode`: permissions,
 * setuid, setgid and sticky bit (stat's mode & 0o7777).
 */
export interface Node {
  path: Path
  type: 'file' | 'dir' | 'symlink' | 'dev' | 'chardev' | 'fifo' | 'socket' | 'irregular'
  bytes: number
  mtime: Iso
  mode: number
  uid: number
  gid: number
  /** On the host that saved it. 0: unknown. */
  inode: number
}

/** `user` and `group`: names of uid and gid on the host that saved it, "" if there was none. `target`: where a symbolic link leads, else null. */
export interface TreeNode extends Node {
  user: string
  group: string
  target: string | null
}

export interface Progress {
  doneBytes: number
  totalBytes: number | null
  files: number
  secondsLeft: number | null
}

/** Location and secrets of a repository, given by a person. They are kept in memory, in restic's environment and in files without a name only. */
export interface Credentials {
  location: string
  /** As it was typed, or the file that holds it: restic decodes its bytes itself. */
  password: string | Secret
  /** Environment variables with the storage's credentials. */
  variables: Record<string, string>
}

/** Options of every call. The child inherits `inheritFds`: a lock on one of them lasts as long as the child, even if we are killed. */
export interface CallOptions {
  signal?: AbortSignal
  inheritFds?: number[]
}

export interface BackupRequest extends CallOptions {
  /** Literal absolute paths. */
  paths: Path[]
  /** Patterns as restic's --exclude takes them; literal paths must be escaped by `escapePattern`. */
  exclude: string[]
  tags: string[]
  host: string
  time?: Date
  /** Full id. restic fails (Failure `parent-missing`) if the repository doesn't hold it. */
  parent?: string
  /** Argv before restic's own, to enter a mount namespace. */
  prefix?: string[]
  onProgress?: (progress: Progress) => void
}

/**
 * `unreadable`: files that could not be read and paths that don't exist; the snapshot was made without them (exit code 3; 0.18 exits 0 for missing
 * paths). At most 1000 are listed; `unreadableCount` counts all. `time` is the snapshot's.
 */
export interface BackupSummary {
  snapshotId: string
  time: Iso
  bytes: number
  files: number
  addedBytes: number
  unreadable: { path: Path; message: string }[]
  unreadableCount: number
}

export interface RestoreRequest extends CallOptions {
  /** Full id; or `ID:FOLDER`, with paths within that folder. */
  snapshot: string
  target: Path
  /** Literal absolute paths within the snapshot, which the client escapes; none: everything. */
  include: Path[]
  onProgress?: (progress: Progress) => void
}

/** `files` counts folders too. restic exits 0 if an include matches nothing: check that each path was restored. */
export interface RestoreSummary {
  files: number
  bytes: number
}

/** `tooLong`: all is restored but for entries whose path below the target is too long for the kernel. */
export type Restored = RestoreSummary & { tooLong: Failure | null }

export interface FindRequest extends CallOptions {
  pattern: string
  host: string
  /** Only snapshots with one of these tags; none: all snapshots. */
  tags: string[]
}

export interface RepositoryLock {
  id: string
  host: string
  pid: number
  user: string
  time: Iso
  exclusive: boolean
}

export interface CheckSummary {
  errors: number
}

/**
 * Each call throws a Failure with one of the codes
 * `wrong-password` (12), `no-repository` (10), `locked` (11, names host, pid and age), `interrupted` (130),
 * `repository-unreachable`, `parent-missing`, `unknown-snapshot`, `restic-missing`, `restic-too-old`, `secrets-unreadable`, `not-given`,
 * `disk-full`, `too-many-arguments`, `restic-garbled`, `restic-failed`. restic tries for 15 minutes to reach a server. A `signal` of
 * AbortSignal.timeout() shortens that; the code is then `repository-unreachable`.
 */
export interface Restic {
  /** Name of the repository in the manifest. */
  readonly name: string
  /** The repository's location, credentials redacted. Reads `repositoryFile`, starts no process. */
  location(): Promise<string>
  /** restic's version, asked once. Every call checks it first. @throws Failure `restic-too-old` below 0.17 */
  version(options?: CallOptions): Promise<string>
  /** The repository's id (`cat config`). */
  repositoryId(options?: CallOptions): Promise<string>
  /** As `repositoryId`, asked once in the lifetime of this process. */
  cachedRepositoryId(options?: CallOptions): Promise<string>
  init(options?: CallOptions): Promise<string>
  /** All snapshots, unfiltered, without a lock, newest first by time; a snapshot that was replaced by a rewritten one (`original`, same time) is left out. */
  snapshots(options?: CallOptions): Promise<Snapshot[]>
  /** The tree of a snapshot, streamed in restic's order, without a lock; below `under` if given (literal path, itself included). */
  ls(snapshot: string, under?: Path, options?: CallOptions): AsyncGenerator<Node>
  /** These folders of a snapshot and the entries directly in them, without a lock. Nothing of a folder that isn't there. */
  entries(snapshot: string, folders: Path[], options?: CallOptions): Promise<Node[]>
  /** The entries directly in a folder of a snapshot, without a lock. @throws Failure `unknown-path` if it isn't a folder */
  folder(snapshot: string, path: Path, options?: CallOptions): Promise<Node[]>
  /** Matches of a pattern of `restic find`, ignoring case, newest snapshot first, without a lock. @throws Failure `usage` for an invalid pattern */
  find(request: FindRequest): Promise<{ snapshot: string; nodes: Node[] }[]>
  /** Changes from one snapshot to another, ordered by path, without a lock. Modifiers: + - M (content) T (type); folders end in "/". */
  diff(older: string, newer: string, options?: CallOptions): AsyncGenerator<{ path: Path; modifier: string }>
  /** The target of a symbolic link in a snapshot; null if there is none of that name. */
  readlink(snapshot: string, path: Path, options?: CallOptions): Promise<string | null>
  /** Owners of a folder's entries in a snapshot, ids and names ("" where the host had none); `ls` gives ids alone. */
  owners(snapshot: string, folder: Path, options?: CallOptions): Promise<{ uid: number; gid: number; user: string; group: string }[]>
  /** Bytes of the blocks of zeros in a folder's files, by their names: `restore` makes holes of them. */
  holes(snapshot: string, folder: Path, options?: CallOptions): Promise<Map<string, number>>
  /** All entries of several snapshots, by the snapshots' full ids, in the order of `ls`. One call, held in memory: for small snapshots. */
  trees(snapshots: string[], options?: CallOptions): Promise<Map<string, TreeNode[]>>
  /**
   * The text of a file in a snapshot, without a lock. Held in memory: for small files.
   * @throws Failure `too-much-output` for one of more than `maxLength` characters
   */
  dump(snapshot: string, path: Path, options?: CallOptions & { maxLength?: number }): Promise<string>
  backup(request: BackupRequest): Promise<BackupSummary>
  /** Into an empty target. Blocks of zeros become holes, so a sparse file takes no more room than before. */
  restore(request: RestoreRequest): Promise<Restored>
  tag(snapshot: string, add: string[], options?: CallOptions): Promise<string>
  /** Forgets exactly these snapshots. Full ids. */
  forgetSnapshots(ids: string[], options?: CallOptions): Promise<void>
  prune(options: CallOptions & { dryRun: boolean }): Promise<string>
  check(options?: CallOptions): Promise<CheckSummary>
  locks(options?: CallOptions): Promise<RepositoryLock[]>
  /** Removes stale locks, or all of them. Returns how many. */
  unlock(options?: CallOptions & { all?: boolean }): Promise<number>
  /** Runs restic with our standard streams. Returns its exit code. */
  passthrough(args: string[], options?: CallOptions): Promise<number>
}
