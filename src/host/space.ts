// Free space of filesystems while something writes to them that may write more than fits.
import type { Path } from '../core.ts'
import type { Failure } from '../errors.ts'
import { freeBytes } from './files.ts'

/** Does `work`, and aborts it when the filesystem of one of `folders` has less than `reserve` bytes left. @throws the Failure `full` then */
export async function whileSpaceLeft<T>(
  { folders, reserve, full }: { folders: Path[]; reserve: number; full(folder: Path, cause: unknown): Failure },
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const isFull = new AbortController()
  const look = async (folder: Path) => {
    if ((await freeBytes(folder)) < reserve) isFull.abort(folder)
  }
  const timer = setInterval(() => {
    for (const folder of folders) look(folder).catch(() => {})
  }, 50)
  try {
    return await work(AbortSignal.any([signal, isFull.signal]))
  } catch (error) {
    if (!isFull.signal.aborted || signal.aborted) throw error
    throw full(isFull.signal.reason, error)
  } finally {
    clearInterval(timer)
  }
}
