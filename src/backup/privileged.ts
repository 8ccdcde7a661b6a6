// Tells, before the disaster, which of a backup's files a restore in place will bring back by consent alone.
import type { Path } from '../core.ts'
import { run } from '../host/shell.ts'
import { excluded } from '../restic/patterns.ts'

/** A walk of the data that restic has just read takes seconds. One that takes longer (a dead mount) is given up, and nothing is told. */
const walkSeconds = 120

/** Setuid and setgid files, and device nodes, at and below the paths. File capabilities are missing: finding them takes a call for each file. */
export async function privilegedFiles(paths: Path[], exclude: string[], options: { signal: AbortSignal; inheritFds: number[] }): Promise<Path[]> {
  const tests = ['(', '-type', 'f', '-perm', '/6000', '-o', '-type', 'b', '-o', '-type', 'c', ')', '-print0']
  // The snapshot is made: whatever goes wrong here is no failure of the backup.
  const found = await run(['find', ...paths, ...tests], { ...options, timeoutSeconds: walkSeconds, graceSeconds: 5 }).catch(() => null)
  return found === null || found.timedOut ? [] : found.stdout.split('\0').filter((path) => path !== '' && !excluded(exclude, path))
}
