// Ends work that writes nothing any more: the owner of a database can stop the process that copies it, or lock what a dump reads.
import { join } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { lstat, readdir } from '../fs.ts'

export interface Watch {
  /** What the work is called in the failure: "the copy of /srv/app.db". */
  what: string
  seconds: number
  signal: AbortSignal
  /** Called whenever the folder has changed. */
  onGrowth(): void
}

/**
 * Does `work`, which writes below `folder`. Once nothing has changed there for `seconds`, its signal is aborted.
 * @throws Failure `stalled`, and whatever `work` throws
 */
export async function whileGrowing<T>(
  folder: Path,
  { what, seconds, signal, onGrowth }: Watch,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stalled = new AbortController()
  let size = -1
  let since = performance.now()
  const look = async () => {
    const now = await bytesBelow(folder)
    if (now !== size) {
      since = performance.now()
      onGrowth()
    } else if (performance.now() - since > seconds * 1000) stalled.abort()
    size = now
  }
  const timer = setInterval(() => void look().catch(() => {}), Math.min(seconds * 200, 10_000))
  const requireGrowth = (cause?: unknown) => {
    if (stalled.signal.aborted && !signal.aborted)
      throw new Failure('stalled', `${what} wrote nothing for ${seconds} s and was ended; stallTimeoutSec sets the limit`, { cause })
  }
  try {
    const result = await work(AbortSignal.any([signal, stalled.signal]))
    requireGrowth()
    return result
  } catch (error) {
    requireGrowth(error)
    throw error
  } finally {
    clearInterval(timer)
  }
}

/** Of files in the folder and in its folders: copies and dumps lie no deeper. */
export async function bytesBelow(folder: Path): Promise<number> {
  let bytes = 0
  for (const name of await readdir(folder, { recursive: true })) bytes += (await lstat(join(folder, name)).catch(() => null))?.size ?? 0
  return bytes
}
