// restic's JSON, typed. It mixes lines of JSON with plain text: what isn't ours to read is passed over.
import type { Node, Progress, Snapshot } from './types.ts'

/** A line of restic's --json output. Numbers that are zero are omitted. Source: restic's doc/075_scripting.rst. */
export interface Message {
  message_type?: string
  struct_type?: string
  message?: string
  code?: number
  error?: { message?: string }
  item?: string
  snapshot_id?: string
  new_snapshot_id?: string
  backup_start?: string
  total_bytes?: number
  bytes_done?: number
  files_done?: number
  seconds_remaining?: number
  bytes_restored?: number
  files_restored?: number
  total_files_processed?: number
  total_bytes_processed?: number
  data_added?: number
  data_added_packed?: number
  num_errors?: number
  [field: string]: unknown
}

/** The line's object, or null. */
export function parseLine(line: string): Message | null {
  if (!line.startsWith('{')) return null
  try {
    return JSON.parse(line) as Message
  } catch {
    return null
  }
}

export function isMessage(message: Message | null, type: string): message is Message {
  return message?.message_type === type
}

export function progressOf({ bytes_done, total_bytes, files_done, seconds_remaining }: Message): Progress {
  return { doneBytes: bytes_done ?? 0, totalBytes: total_bytes ?? null, files: files_done ?? 0, secondsLeft: seconds_remaining ?? null }
}

export interface RawSnapshot {
  id: string
  short_id: string
  time: string
  hostname: string
  paths: string[] | null
  tags?: string[]
  excludes?: string[]
  parent?: string
  original?: string
  summary?: { total_bytes_processed?: number; total_files_processed?: number; data_added_packed?: number; data_added?: number }
}

export function snapshotOf(raw: RawSnapshot): Snapshot {
  return {
    id: raw.id,
    shortId: raw.short_id,
    time: raw.time,
    host: raw.hostname,
    paths: raw.paths ?? [],
    tags: raw.tags ?? [],
    excludes: raw.excludes ?? [],
    parent: raw.parent ?? null,
    original: raw.original ?? null,
    bytes: raw.summary ? (raw.summary.total_bytes_processed ?? 0) : null,
    files: raw.summary ? (raw.summary.total_files_processed ?? 0) : null,
    addedBytes: raw.summary ? (raw.summary.data_added_packed ?? raw.summary.data_added ?? 0) : null,
  }
}

/** Without those that were rewritten (by `tag`) and yet are still there: an append-only repository keeps both. */
export function withoutSuperseded(snapshots: Snapshot[]): Snapshot[] {
  const rewritten = new Set(snapshots.flatMap(({ original, time }) => (original === null ? [] : [`${original} ${time}`])))
  return snapshots.filter(({ id, time }) => !rewritten.has(`${id} ${time}`))
}

const types: Record<string, Node['type']> = {
  file: 'file',
  dir: 'dir',
  symlink: 'symlink',
  dev: 'dev',
  chardev: 'chardev',
  fifo: 'fifo',
  socket: 'socket',
}

/** An entry of `ls --json`, or null for another line. */
export function nodeOf(line: Message | null): Node | null {
  if (line?.struct_type !== 'node' && line?.message_type !== 'node') return null
  const raw = line as Record<string, unknown>
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : null)
  const number = (value: unknown) => (typeof value === 'number' ? value : 0)
  return {
    path: String(raw.path),
    type: types[String(raw.type)] ?? 'irregular',
    bytes: number(raw.size),
    mtime: text(raw.mtime) ?? '',
    mode: posixMode(number(raw.mode)),
    uid: number(raw.uid),
    gid: number(raw.gid),
    user: text(raw.user),
    group: text(raw.group),
    linkTarget: text(raw.linktarget),
  }
}

/** Go's os.FileMode keeps setuid, setgid and sticky in high bits of its own. */
function posixMode(mode: number): number {
  const special = [
    [23, 0o4000],
    [22, 0o2000],
    [20, 0o1000],
  ] as const
  return special.reduce((all, [bit, posix]) => all | (Math.floor(mode / 2 ** bit) % 2 === 1 ? posix : 0), mode & 0o777)
}
