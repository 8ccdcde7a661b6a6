// Looks into a new snapshot: does it hold what stood at these paths?
import type { BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import type { Path } from '../core.ts'
import type { Node, Restic } from '../restic/types.ts'

export interface Expected {
  path: Path
  type: 'file' | 'dir' | 'symlink' | 'other'
  /** In bytes, and ms since 1970. Null: what stands there may change while it is saved. */
  content: { bytes: number; mtime: number } | null
}

export function expectedAt(path: Path, stat: BigIntStats, exactly: boolean): Expected {
  const type = stat.isFile() ? 'file' : stat.isDirectory() ? 'dir' : stat.isSymbolicLink() ? 'symlink' : 'other'
  return { path, type, content: exactly ? { bytes: Number(stat.size), mtime: Number(stat.mtimeMs) } : null }
}

/**
 * The paths that the snapshot doesn't hold as expected. One call of restic, without a lock: it has just written what it reads, and has it in its
 * cache.
 */
export async function missedBy(restic: Restic, snapshot: string, expected: Expected[], signal: AbortSignal): Promise<Path[]> {
  if (expected.length === 0) return []
  const nodes = await restic.entries(snapshot, [...new Set(expected.map(({ path }) => dirname(path)))], { signal })
  const found = new Map(nodes.map((node) => [node.path, node]))
  return expected.filter((one) => !isAs(one, found.get(one.path))).map(({ path }) => path)
}

function isAs({ type, content }: Expected, node: Node | undefined): boolean {
  if (node === undefined) return false
  if (type !== 'other' && node.type !== type) return false
  return content === null || (node.bytes === content.bytes && Date.parse(node.mtime) === content.mtime)
}
