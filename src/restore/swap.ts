// The exchange of live for staged data by renames. What has happened is read off the entries' identities, so that each direction can be taken from every instant.
import { mkdir, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Move, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { lstatIfThere, syncFolder } from '../host/files.ts'
import { sidecarsOf } from '../host/sqlite.ts'
import type { JournalMove } from '../state/journal.ts'

/**
 * The moves with what the journal must know. A database that is exchanged as a file takes its sidecars along (unlinked, they
 * would take committed rows with them; left, they would be applied to the new database).
 */
export async function identifyMoves(moves: Move[], databases: Path[]): Promise<JournalMove[]> {
  const sidecars = await Promise.all(
    moves
      .filter(({ live }) => databases.includes(live))
      .map(async ({ live, old }) =>
        (await sidecarsOf(live)).map((path): Move => ({ live: path, staged: null, old: dirname(old) + path.slice(dirname(live).length) })),
      ),
  )
  const further = sidecars.flat().filter(({ live }) => !moves.some((move) => move.live === live))
  // Sidecars go first: an old -wal must never stand beside the new database.
  return Promise.all(
    [...further, ...moves].map(async (move) => ({
      ...move,
      liveId: await identityOf(move.live),
      stagedId: move.staged === null ? null : await identityOf(move.staged),
    })),
  )
}

/** Brings every move to its end: staged is live, live is old. */
export async function swapForward(moves: JournalMove[]): Promise<void> {
  for (const { live, staged, old, liveId, stagedId } of moves) {
    const now = await identityOf(live)
    if (stagedId !== null && now === stagedId) continue
    if (now !== null) await moveAside(live, now === liveId ? old : `${old}.appeared`)
    if (staged === null) continue
    if ((await identityOf(staged)) !== stagedId)
      throw new Failure('staging-changed', `${staged} isn't what was staged for ${live} any more: roll back`)
    await move(staged, live)
  }
}

/** Brings every move back to its start: old is live. */
export async function swapBackward(moves: JournalMove[]): Promise<void> {
  for (const { live, staged, old, liveId, stagedId } of [...moves].reverse()) {
    const now = await identityOf(live)
    if (now !== null && now === liveId) continue
    if (now !== null) await moveAside(live, staged !== null && now === stagedId ? staged : `${old}.appeared`)
    if (liveId === null) continue
    if ((await identityOf(old)) !== liveId)
      throw new Failure('old-data-missing', `the old data of ${live} isn't at ${old} any more: it can't be put back`)
    await move(old, live)
  }
}

async function moveAside(from: Path, to: Path): Promise<void> {
  let free = to
  for (let n = 1; await lstatIfThere(free); n++) free = `${to}.${n}`
  await move(from, free)
}

async function move(from: Path, to: Path): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o755 })
  await rename(from, to)
  await syncFolder(dirname(to))
  await syncFolder(dirname(from))
}

/** Device and inode of an entry itself (links aren't followed), or null. */
async function identityOf(path: Path): Promise<string | null> {
  const stat = await lstatIfThere(path)
  return stat && `${stat.dev}:${stat.ino}`
}
