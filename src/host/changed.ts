// Whether live data is newer than a snapshot.
import type { Iso, Path } from '../core.ts'
import { lstatIfThere } from './files.ts'
import { run } from './shell.ts'

/**
 * Whether anything at these paths was changed after a time; null: whether anything is there. Where that can't be told (no paths, an unreadable disk,
 * so many files that it takes long), yes: then nobody is advised to replace it.
 */
export async function changedSince(paths: Path[], since: Iso | null): Promise<boolean> {
  const found = await Promise.all(paths.map((path) => lstatIfThere(path).catch(() => true)))
  const there = paths.filter((_, i) => found[i])
  if (paths.length === 0) return true
  if (there.length === 0) return false
  // A declared path may be a link; none inside of it is followed.
  const argv = ['find', '-H', ...there, ...(since === null ? ['!', '-type', 'd'] : ['-newermt', since]), '-print', '-quit']
  const { exit, stdout } = await run(argv, { timeoutSeconds: 10 })
  return exit !== 0 || stdout !== ''
}
