// Free space of a filesystem while something writes to it that may write more than fits.
import type { Path } from '../core.ts'
import type { Failure } from '../errors.ts'
import { freeBytes } from './files.ts'

/** Does `work`, and aborts it when the filesystem of `folder` has less than `reserve` bytes left. @throws the Failure `full` then */
export async function whileSpaceLeft<T>(
  { folder, reserve, full }: { folder: Path; reserve: number; full(cause: unknown): Failure },
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const isFull = new AbortController()
  const look = async () => {
    if ((await freeBytes(folder)) < reserve) isFull.abort()
  }
  const timer = setInterval(() => void look().catch(() => {}), 100)
  try {
    return await work(AbortSignal.any([signal, isFull.signal]))
  } catch (error) {
    if (!isFull.signal.aborted || signal.aborted) throw error
    throw full(error)
  } finally {
    clearInterval(timer)
  }
}
