// Free space of filesystems while something writes to them that may write more than fits.
import { basename, dirname, join } from 'node:path'
import type { Path } from '../core.ts'
import type { Failure } from '../errors.ts'
import { readdir, readFile, stat, statfs, writeFile } from '../fs.ts'
import { freeBytes, isThere } from './files.ts'
import { bytesBelow } from './stall.ts'

/** Bytes that stay free beside what we write: other programs write to the same filesystem. */
export const spareBytes = 64 * 1024 * 1024

/** As `spareBytes`, less on a small filesystem. */
export async function reserveAt(folder: Path): Promise<number> {
  const { blocks, bsize } = await statfs(folder)
  return Math.min(spareBytes, Math.floor((blocks * bsize) / 16))
}

/** In the staging folder of a run: its pid, and how many bytes it means to write there. */
export const claimFile = 'claim'

/**
 * Claims room for what a run will write into its staging folder. Gives back how much of what other runs have claimed before, in folders beside
 * this one, they have still to write. So of two that don't fit together the later one gives way.
 */
export async function claimRoom(folder: Path, bytes: number): Promise<number> {
  const own = join(folder, claimFile)
  await writeFile(own, `${process.pid} ${bytes}`, { mode: 0o600 })
  const { mtimeNs } = await stat(own, { bigint: true })
  const claims = (await readdir(dirname(folder))).map(async (name) => {
    const other = join(dirname(folder), name)
    const made = await stat(join(other, claimFile), { bigint: true }).catch(() => null)
    const isEarlier = made !== null && (made.mtimeNs < mtimeNs || (made.mtimeNs === mtimeNs && name < basename(folder)))
    if (!isEarlier || name === basename(folder)) return 0
    const [pid, claimed] = (await readFile(join(other, claimFile), 'utf8').catch(() => '')).split(' ').map(Number)
    // What a killed run has left claims nothing.
    return pid && claimed && (await isThere(`/proc/${pid}`)) ? Math.max(0, claimed - (await bytesBelow(other))) : 0
  })
  return (await Promise.all(claims)).reduce((sum, claimed) => sum + claimed, 0)
}

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
