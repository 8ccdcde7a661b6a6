// What restic tells us, typed; and the interface of its only caller.
import type { Iso, Path } from '../core.ts'

/** A snapshot. `bytes` and `files` are null where restic < 0.17 made it (no summary). */
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
  bytes: number | null
  files: number | null
  addedBytes: number | null
}

/** An entry of a snapshot's tree. In `path` U+FFFD stands for each byte that isn't UTF-8. `bytes` is 0 for what isn't a regular file; `mode` holds permission, setuid, setgid and sticky bits (as stat's mode & 0o7777). */
export interface Node {
  path: Path
  type: 'file' | 'dir' | 'symlink' | 'dev' | 'chardev' | 'fifo' | 'socket' | 'irregular'
  bytes: number
  mtime: Iso
  mode: number
  uid: number
  gid: number
}

/** With the names that its owner's numbers had ("" where there was none), and where a link leads (null for what is none). */
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

/** What opens a repository, as a person gave it. It stays in memory, and in the environment of restic. */
export interface Credentials {
  location: string
  password: string
  /** The storage's credentials. */
  variables: Record<string, string>
}

/** What every call takes. `inheritFds` are file descriptors that the child keeps open (locks), so that a lock outlives us for as long as the child does. */
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
  /** Argv before restic's own: how to enter a mount namespace. */
  prefix?: string[]
  onProgress?: (progress: Progress) => void
}

/**
 * `unreadable`: what could not be read, or isn't there; the snapshot was made without it (restic's exit 3; 0.18 exits 0 for missing paths).
 * At most 1000 of them; `unreadableCount` counts all. `time` is the snapshot's.
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
  /** Full id; `ID:SUBFOLDER` is not used. */
  snapshot: string
  target: Path
  /** Literal absolute paths within the snapshot; empty: everything. Escaping is the client's business. */
  include: Path[]
  onProgress?: (progress: Progress) => void
}

/** `files` counts folders too. restic is content with includes that match nothing: look whether what was wanted is there. */
export interface RestoreSummary {
  files: number
  bytes: number
}

export interface FindRequest extends CallOptions {
  pattern: string
  host: string
  /** Only snapshots that have one of them; none: all. */
  tags: string[]
}

export interface ForgetRequest extends CallOptions {
  service: string
  host: string
  keep: { last: number; daily: number; weekly: number; monthly: number }
  dryRun: boolean
}
export interface Forgotten {
  keep: { snapshot: Snapshot; reasons: string[] }[]
  remove: Snapshot[]
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
 * The only caller of restic. Each call throws a Failure with one of the codes
 * `wrong-password` (12), `no-repository` (10), `locked` (11, names host, pid and age), `interrupted` (130),
 * `repository-unreachable`, `parent-missing`, `unknown-snapshot`, `restic-missing`, `restic-too-old`, `secrets-unreadable`, `disk-full`,
 * `too-many-arguments`, `restic-garbled`, `restic-failed`. restic itself tries for 15 minutes to reach a server: a `signal` by AbortSignal.timeout() shortens
 * that, and then the code is `repository-unreachable`.
 */
export interface Restic {
  /** Name of the repository in the manifest. */
  readonly name: string
  /** The repository's location, credentials redacted; reads `repositoryFile`. */
  location(): Promise<string>
  /** restic's version; throws below 0.17. Asked once. */
  version(options?: CallOptions): Promise<string>
  /** The repository's id (`cat config`). */
  repositoryId(options?: CallOptions): Promise<string>
  /** The same, asked once for all who want to know while we run. */
  sameId(options?: CallOptions): Promise<string>
  init(options?: CallOptions): Promise<string>
  /** All snapshots, unfiltered, without a lock, newest first by time; a snapshot superseded by a rewritten one (`original`, same time) is left out. */
  snapshots(options?: CallOptions): Promise<Snapshot[]>
  /** Begins to ask for them: the next `snapshots` takes that answer. */
  foreseeSnapshots(options?: CallOptions): void
  /** The tree of a snapshot, streamed in restic's order, without a lock; below `under` if given (literal path, itself included). */
  ls(snapshot: string, under?: Path, options?: CallOptions): AsyncGenerator<Node>
  /** Begins to list a whole snapshot that `ls` will most likely be asked for next; where it isn't, that ends it. */
  foresee(snapshot: string, options?: CallOptions): void
  /** What stands directly in a folder of a snapshot, without a lock. Failure `unknown-path`: it is no folder there. */
  folder(snapshot: string, path: Path, options?: CallOptions): Promise<Node[]>
  /** Where a pattern (as restic's find takes it, in any case) matches, newest snapshot first, without a lock. Failure `usage`: it is none. */
  find(request: FindRequest): Promise<{ snapshot: string; nodes: Node[] }[]>
  /** What changed from one snapshot to another, in the order of paths, without a lock. Modifiers: + - M (content) T (type); folders end in "/". */
  diff(older: string, newer: string, options?: CallOptions): AsyncGenerator<{ path: Path; modifier: string }>
  /** Where a symbolic link of a snapshot leads; null if there is none of that name. One call. */
  readlink(snapshot: string, path: Path, options?: CallOptions): Promise<string | null>
  /** Owners of a folder's entries in a snapshot, numbers and names ("" where the host had none): `ls` gives numbers alone. One call. */
  owners(snapshot: string, folder: Path, options?: CallOptions): Promise<{ uid: number; gid: number; user: string; group: string }[]>
  /** All entries of several snapshots, by the snapshots' full ids, each as `ls` gives them. One call; for small ones: they are held in memory. */
  trees(snapshots: string[], options?: CallOptions): Promise<Map<string, TreeNode[]>>
  /** The text of a file of a snapshot, without a lock. For small ones: it is held in memory. */
  dump(snapshot: string, path: Path, options?: CallOptions): Promise<string>
  backup(request: BackupRequest): Promise<BackupSummary>
  /** Into an empty target, `--overwrite` irrelevant. Blocks of zeros become holes: a sparse file takes no more room than it did. */
  restore(request: RestoreRequest): Promise<RestoreSummary>
  tag(snapshot: string, add: string[], options?: CallOptions): Promise<string>
  /** Without a rule (all zero) everything is kept. */
  forget(request: ForgetRequest): Promise<Forgotten>
  /** These and no others, by their full ids. */
  forgetSnapshots(ids: string[], options?: CallOptions): Promise<void>
  prune(options: CallOptions & { dryRun: boolean }): Promise<string>
  check(options?: CallOptions): Promise<CheckSummary>
  locks(options?: CallOptions): Promise<RepositoryLock[]>
  /** Removes stale locks, or all of them. Returns how many went. */
  unlock(options?: CallOptions & { all?: boolean }): Promise<number>
  /** restic with this terminal's standard streams; returns its exit code. */
  passthrough(args: string[], options?: CallOptions): Promise<number>
}
