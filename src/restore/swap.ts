// The exchange of live for staged data by renames. What has happened is read off inode numbers, so that each direction can be taken from every instant.
import { chmod, chown, link, lstat, mkdir, open, rename, rm, rmdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Move, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin, lstatIfThere, syncFolder } from '../host/files.ts'
import { sidecarsOf } from '../host/sqlite.ts'
import type { JournalMove } from '../state/journal.ts'

/** The moves with what the journal must know to take them in either direction. */
export async function identifyMoves(moves: Move[]): Promise<JournalMove[]> {
  return Promise.all(
    moves.map(async (move) => ({
      ...move,
      liveId: await identityOf(move.live),
      stagedId: await identityOf(move.staged),
      database: (await isDatabase(move.live)) || (await isDatabase(move.staged)),
      parent: move.parent ?? (await nearestFolder(dirname(move.live))),
    })),
  )
}

/** Brings every move to its end: staged is live, live is old. */
export async function swapForward(moves: JournalMove[]): Promise<void> {
  for (const move of moves) {
    const { live, parent, staged, old, stagedId, liveId } = move
    await bring(moves, move, { place: staged, id: stagedId }, { place: old, id: liveId })
    if (staged === null) await removeEmpty(dirname(live), parent)
  }
}

/** Brings every move back to its start: old is live, staged is staged. */
export async function swapBackward(moves: JournalMove[]): Promise<void> {
  for (const move of [...moves].reverse()) {
    const { live, parent, staged, old, stagedId, liveId } = move
    await bring(moves, move, { place: old, id: liveId }, { place: staged, id: stagedId })
    if (liveId === null) await removeEmpty(dirname(live), parent)
  }
}

/** Removes folders that are empty, from `folder` upwards, below `stop`. */
export async function removeEmpty(folder: Path, stop: Path): Promise<void> {
  for (let at = folder; at !== stop && isWithin(at, stop); at = dirname(at)) {
    try {
      await rmdir(at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTEMPTY' || code === 'EEXIST') return
      if (code !== 'ENOENT') throw error
    }
  }
}

/** The nearest folder at or above a path that exists. */
export async function nearestFolder(path: Path): Promise<Path> {
  for (let folder = path; ; folder = dirname(folder)) if (await lstatIfThere(folder)) return folder
}

interface Side {
  /** Where it stands when it isn't live, and by what it is known; null: there is none. */
  place: Path | null
  id: string | null
}

/** Makes `wanted` live, and puts the other side in its place. What is neither appeared since: it is kept aside. */
async function bring(moves: JournalMove[], { live, old, parent, database }: JournalMove, wanted: Side, other: Side): Promise<void> {
  // A sidecar that was declared itself has its own move.
  const places = new Set(moves.flatMap((move) => [move.live, move.staged, move.old]))
  const sidecars = async (path: Path) => (database ? (await sidecarsOf(path)).filter((sidecar) => !places.has(sidecar)) : [])
  const now = await identityOf(live)
  if (now !== null && now === wanted.id) {
    // A crash came before the second names of its sidecars were taken away.
    for (const sidecar of wanted.place === null ? [] : await sidecars(wanted.place)) await rm(sidecar)
    return
  }
  const isOther = now === null || now === other.id
  const away = isOther ? other.place : await freeName(`${old}.appeared`)
  if (now !== wanted.id && away !== null) {
    await makeParents(away, live, await nearestFolder(dirname(away)))
    await take(live, away, sidecars)
  }
  if (wanted.place === null) return
  if ((await identityOf(wanted.place)) !== wanted.id)
    throw new Failure('data-missing', `what belongs at ${live} isn't at ${wanted.place} any more: nothing else was put there`)
  if (wanted.id !== null) await makeParents(live, wanted.place, parent)
  await take(wanted.place, live, sidecars)
}

/**
 * Moves an entry, durably, a database together with its sidecars: a -wal holds committed rows, and is poison beside another database.
 * They have both names until the database itself has moved, so that it never stands anywhere without them, whoever opens it meanwhile.
 * Can be begun anew from every instant.
 */
async function take(from: Path, to: Path, sidecars: (path: Path) => Promise<Path[]>): Promise<void> {
  const along = await sidecars(from)
  const isThere = (await lstatIfThere(from)) !== null
  if (!isThere && along.length === 0) return
  const twinOf = (sidecar: Path) => to + sidecar.slice(from.length)
  if (isThere) {
    for (const stale of await sidecars(to)) await rm(stale)
    for (const sidecar of along) await link(sidecar, twinOf(sidecar))
    await syncFolder(dirname(to))
    await rename(from, to)
    await syncFolder(dirname(to))
  }
  for (const sidecar of along) {
    if ((await identityOf(sidecar)) === (await identityOf(twinOf(sidecar)))) await rm(sidecar)
    else await rename(sidecar, await freeName(twinOf(sidecar)))
  }
  await syncFolder(dirname(from))
}

/** Makes the folders above `path`, below `stop`, each with owner and mode of the one above `model`. */
export async function makeParents(path: Path, model: Path, stop: Path): Promise<void> {
  const folder = dirname(path)
  if (folder === stop || !isWithin(folder, stop)) return
  await makeParents(folder, dirname(model), stop)
  if (!(await lstatIfThere(folder))) await mkdir(folder, { mode: 0o700 })
  const like = await lstatIfThere(dirname(model))
  if (process.getuid?.() === 0) await chown(folder, like?.uid ?? 0, like?.gid ?? 0)
  await chmod(folder, (like?.mode ?? 0o755) & 0o7777)
  await syncFolder(dirname(folder))
}

async function freeName(path: Path): Promise<Path> {
  let free = path
  for (let n = 1; await lstatIfThere(free); n++) free = `${path}.${n}`
  return free
}

/** The inode number of an entry itself (links aren't followed), or null. */
async function identityOf(path: Path | null): Promise<string | null> {
  if (path === null || !(await lstatIfThere(path))) return null
  return String((await lstat(path, { bigint: true })).ino)
}

/** Whether a file begins as every SQLite database does. Source: sqlite.org/fileformat.html. */
export async function isDatabase(path: Path | null): Promise<boolean> {
  if (path === null || !(await lstatIfThere(path))?.isFile()) return false
  const handle = await open(path, 'r')
  try {
    const { buffer } = await handle.read({ buffer: Buffer.alloc(16) })
    return buffer.toString('latin1') === 'SQLite format 3\0'
  } finally {
    await handle.close()
  }
}
