// Paths that were typed: which entries of a snapshot they mean.
import { dirname } from 'node:path'
import type { Path } from '../core.ts'
import type { Restic, Snapshot } from '../restic/types.ts'
import { nameRead } from '../text.ts'

/**
 * A path with escapes is read as `list` prints it (\xe9 is a byte, \u{a} a line break), unless only the name with the backslash itself is there.
 * restic is asked only where the two readings differ.
 */
export async function pathsIn(restic: Restic, snapshot: Snapshot, typed: Path[], signal: AbortSignal): Promise<Path[]> {
  const read = typed.filter((path) => nameRead(path) !== path).map(nameRead)
  if (read.length === 0) return typed
  const nodes = await restic.entries(snapshot.id, [...new Set(read.map((path) => dirname(path)))], { signal })
  const there = new Set(nodes.map(({ path }) => path))
  return typed.map((path) => (there.has(nameRead(path)) ? nameRead(path) : path))
}
