// restic's JSON, typed. It mixes lines of JSON with plain text: what isn't ours to read is passed over.
import type { Forgotten, Node, Progress, Snapshot } from './types.ts'

/** A line of restic's --json output. Numbers that are zero are omitted. Source: restic's doc/075_scripting.rst. */
export interface Message {
  message_type?: string
  message?: string
  error?: { message?: string }
  item?: string
  snapshot_id?: string
  new_snapshot_id?: string
  backup_start?: string
  seconds_elapsed?: number
  seconds_remaining?: number
  total_files?: number
  total_bytes?: number
  bytes_done?: number
  files_done?: number
  bytes_restored?: number
  bytes_skipped?: number
  files_restored?: number
  total_files_processed?: number
  total_bytes_processed?: number
  data_added_packed?: number
  num_errors?: number
  path?: string
  modifier?: string
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

export function messages(text: string): Message[] {
  return text
    .split('\n')
    .map(parseLine)
    .filter((message) => message !== null)
}

export function isMessage(message: Message | null | undefined, type: string): message is Message {
  return message?.message_type === type
}

export function progressOf({ bytes_done, total_bytes, files_done, seconds_remaining }: Message): Progress {
  return { doneBytes: bytes_done ?? 0, totalBytes: total_bytes ?? null, files: files_done ?? 0, secondsLeft: seconds_remaining ?? null }
}

export function restoreProgressOf({
  bytes_restored = 0,
  bytes_skipped = 0,
  total_bytes,
  files_restored = 0,
  seconds_elapsed = 0,
}: Message): Progress {
  const doneBytes = bytes_restored + bytes_skipped
  const secondsLeft = total_bytes && doneBytes > 0 ? Math.round((seconds_elapsed * (total_bytes - doneBytes)) / doneBytes) : null
  return { doneBytes, totalBytes: total_bytes ?? null, files: files_restored, secondsLeft }
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
  summary?: { total_bytes_processed?: number; total_files_processed?: number; data_added_packed?: number }
}

export interface RawLock {
  hostname: string
  pid: number
  username?: string
  time: string
  exclusive?: boolean
}

/** Newest first, without those that were rewritten (by `tag`) and are still there: an append-only repository keeps both. */
export function snapshotsOf(raw: RawSnapshot[]): Snapshot[] {
  const rewritten = new Set(raw.flatMap(({ original, time }) => (original === undefined ? [] : [`${original} ${time}`])))
  const current = raw.filter(({ id, time }) => !rewritten.has(`${id} ${time}`))
  return current.map(snapshotOf).sort((a, b) => (sortable(a) < sortable(b) ? 1 : -1))
}

/** Output of `forget --json`; 0.18 prints nothing where nothing matches. */
export function forgottenOf(stdout: string): Forgotten {
  const groups: RawGroup[] = stdout.trim() === '' ? [] : JSON.parse(stdout)
  const reasons = new Map(groups.flatMap((group) => group.reasons ?? []).map(({ snapshot, matches }) => [snapshot.id, matches]))
  return {
    keep: groups.flatMap(({ keep }) => keep ?? []).map((raw) => ({ snapshot: snapshotOf(raw), reasons: reasons.get(raw.id) ?? [] })),
    remove: groups.flatMap(({ remove }) => remove ?? []).map(snapshotOf),
  }
}

/** An entry of `ls --json`, or null for another line. */
export function nodeOf(line: Message | null): Node | null {
  return isMessage(line, 'node') ? typedNode(line as unknown as RawNode) : null
}

/** Output of `find --json`. */
export function foundOf(raw: { snapshot: string; matches: RawNode[] }[]): { snapshot: string; nodes: Node[] }[] {
  return raw.map(({ snapshot, matches }) => ({ snapshot, nodes: matches.map(typedNode) }))
}

function typedNode({ path, type, size, mtime, mode, uid, gid }: RawNode): Node {
  return { path, type, bytes: size ?? 0, mtime, mode: posixMode(mode ?? 0), uid: uid ?? 0, gid: gid ?? 0 }
}

interface RawNode {
  path: string
  type: Node['type']
  size?: number
  mtime: string
  mode?: number
  uid?: number
  gid?: number
}

interface RawGroup {
  keep: RawSnapshot[] | null
  remove: RawSnapshot[] | null
  reasons: { snapshot: RawSnapshot; matches: string[] }[] | null
}

function snapshotOf({ summary, ...raw }: RawSnapshot): Snapshot {
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
    bytes: summary ? (summary.total_bytes_processed ?? 0) : null,
    files: summary ? (summary.total_files_processed ?? 0) : null,
    addedBytes: summary ? (summary.data_added_packed ?? 0) : null,
  }
}

/** restic's times have up to nine decimals, and any zone. */
function sortable({ time, id }: Snapshot): string {
  const [, fraction = ''] = /\.(\d+)/.exec(time) ?? []
  return `${new Date(time.replace(/\.\d+/, '')).toISOString()} ${fraction.padEnd(9, '0')} ${id}`
}

/** Go's os.FileMode keeps setuid, setgid and sticky in high bits of its own. */
function posixMode(mode: number): number {
  const bit = (from: number, to: number) => (mode & (1 << from) ? to : 0)
  return (mode & 0o777) | bit(23, 0o4000) | bit(22, 0o2000) | bit(20, 0o1000)
}
