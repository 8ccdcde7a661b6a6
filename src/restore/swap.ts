// Exchanges live for staged data by renames. Inode numbers tell which renames have happened, so after a crash at any instant the exchange can be
// completed or undone. Each entry is reached through the open descriptor of its folder: the service's user may own folders above it, and could
// replace one by a link.
import { basename, dirname, join } from 'node:path'
import type { Move, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { link, lstat, readdir, rename, rm } from '../fs.ts'
import { inside, lstatIfThere, nullIfUnseen, withParentFd } from '../host/files.ts'
import { type Attributes, attributesOf, makeFolder, makeParents, nearestFolder, removeEmpty, setAttributes } from '../host/folders.ts'
import { run } from '../host/shell.ts'
import { isDatabase, isSidecarOf, sidecarsOf } from '../host/sqlite.ts'
import { reservedPattern } from '../snapshots/select.ts'
import type { JournalMove } from '../state/journal.ts'
import { copyInto, type MountedFile, otherFile } from './overwrite.ts'

/** The moves with what the journal needs to complete or undo them. A folder that can't be renamed becomes one move for each of its entries. */
export async function identifyMoves(moves: Move[]): Promise<JournalMove[]> {
  const all: JournalMove[] = []
  for (const { keeps, ...move } of moves) {
    const parent = move.parent ?? (await nearestFolder(dirname(move.live)))
    if (keeps === undefined) {
      all.push(await identify(move, parent))
      continue
    }
    const names = await entriesOf(move, keeps)
    const entries = await Promise.all(names.map((name) => identify(entryOf(move, name), move.live)))
    const databases = entries.filter(({ database }) => database)
    // Sidecars are moved with their database.
    all.push(...entries.filter(({ live }) => !databases.some((database) => isSidecarOf(live, database.live))))
    const [before, after] = (await Promise.all([move.live, move.staged ?? move.live].map(attributesOf))) as [Attributes, Attributes]
    all.push({ ...move, liveId: null, stagedId: null, database: false, parent, stays: { before, after, keeps } })
  }
  return all
}

async function identify(move: Move, parent: Path): Promise<JournalMove> {
  const { live, staged, old, copied } = move
  // A live file that can't be read is replaced all the same.
  const database = (await isDatabase(live).catch(nullIfUnseen)) || (await isDatabase(staged))
  return {
    ...{ live, staged, old, liveId: await identityOf(live), stagedId: await identityOf(staged), database, parent, stays: null },
    ...(copied && { copied }),
  }
}

/** Names of a folder's entries, live or staged, that are exchanged: not `keeps`, our own folders and lost+found. */
export async function entriesOf({ live, staged }: Pick<Move, 'live' | 'staged'>, keeps: Path[]): Promise<string[]> {
  const list = async (folder: Path | null) => (folder === null ? [] : readdir(folder))
  const names = new Set([...(await list(live)), ...(await list(staged))])
  const stays = (name: string) => name.startsWith(reservedPattern.slice(0, -1)) || name === 'lost+found' || keeps.includes(join(live, name))
  return [...names].filter((name) => !stays(name))
}

function entryOf({ live, staged, old }: Move, name: string): Move {
  return { live: join(live, name), staged: staged === null ? null : join(staged, name), old: join(old, name) }
}

/** Completes every move: what was staged is live, what was live is at `old`. */
export async function swapForward(moves: JournalMove[]): Promise<void> {
  for (const move of moves) {
    const { live, parent, staged, old, stagedId, liveId, stays, copied } = move
    if (stays) continue
    if (copied) await overwriteFrom(moves, move, staged)
    else await makeLive(moves, move, { place: staged, id: stagedId }, { place: old, id: liveId })
    if (staged === null) await removeEmpty(dirname(live), parent)
  }
  for (const { live, stays } of moves) if (stays) await setAttributes(live, stays.after)
}

/** Undoes every move: what is at `old` is live again, what was staged is staged again. */
export async function swapBackward(moves: JournalMove[]): Promise<void> {
  for (const move of [...moves].reverse()) {
    const { live, parent, staged, old, stagedId, liveId, stays, copied } = move
    if (stays) continue
    if (copied) await overwriteFrom(moves, move, old)
    else await makeLive(moves, move, { place: old, id: liveId }, { place: staged, id: stagedId })
    if (liveId === null) await removeEmpty(dirname(live), parent)
  }
  for (const { live, staged, stays } of moves) {
    if (!stays) continue
    if (staged !== null) await makeFolder(staged, stays.after)
    await setAttributes(live, stays.before)
  }
}

/** Copies the live content of files that will be overwritten: to `old` before the restore, to `staged` before a rollback. */
export async function copyAside(moves: JournalMove[], side: 'old' | 'staged'): Promise<void> {
  for (const move of moves) {
    const { live, copied, [side]: place } = move
    if (!copied || place === null) continue
    await makeParents(place, live, await nearestFolder(dirname(place)))
    await copyInto(live, place, await mountedAt(moves, move))
  }
}

/** Overwrites a mounted file with the content of one of its copies. @throws Failure `data-missing` */
async function overwriteFrom(moves: JournalMove[], move: JournalMove, copy: Path | null): Promise<void> {
  if (copy === null || (await identityOf(copy)) === null)
    throw new Failure('data-missing', `the data for ${move.live} isn't at ${copy} any more: ${move.live} was left as it is`)
  await copyInto(copy, move.live, await mountedAt(moves, move))
}

/** @throws Failure `data-missing` */
async function mountedAt(moves: JournalMove[], move: JournalMove): Promise<MountedFile> {
  if ((await identityOf(move.live)) !== move.liveId) throw otherFile(move.live)
  return { path: move.live, inode: move.liveId, sidecars: sidecarsIn(moves, move) }
}

/** Lists the sidecars that are moved with a database: those without a move of their own. */
function sidecarsIn(moves: JournalMove[], { database }: JournalMove): (path: Path) => Promise<Path[]> {
  const places = new Set(moves.flatMap((move) => [move.live, move.staged, move.old]))
  return async (path) => (database ? (await sidecarsOf(path)).filter((sidecar) => !places.has(sidecar)) : [])
}

interface Side {
  /** Where this data is kept while it isn't live, and its inode number; null: there is no such data. */
  place: Path | null
  id: string | null
}

/** Makes `wanted` live, and moves `other` to its place. A live entry that is neither was made since the plan: it is kept beside `old`. */
async function makeLive(moves: JournalMove[], move: JournalMove, wanted: Side, other: Side): Promise<void> {
  const { live, old, parent, database } = move
  const sidecars = sidecarsIn(moves, move)
  const now = await identityOf(live)
  const moveToPlace = async (from: Path, to: Path) => {
    await makeParents(to, live, await nearestFolder(dirname(to)))
    await moveDurably(from, to, async () => [])
  }
  // After a crash right after `exchange`, the replaced entry is still at the place of the entry that replaced it.
  for (const [one, another] of [
    [wanted, other],
    [other, wanted],
  ] as const)
    if (one.place !== null && another.place !== null && another.id !== null && (await identityOf(one.place)) === another.id)
      await moveToPlace(one.place, another.place)
  if (now !== null && now === wanted.id) {
    // After a crash in `moveDurably`, sidecars may still have their second names.
    for (const sidecar of wanted.place === null ? [] : await sidecars(wanted.place)) await withParentFd(sidecar, (at) => rm(at))
    return
  }
  // After a crash in `moveDurably`, sidecars may have a second name at `live` already, without their database. The next move would take them
  // along, and SQLite would apply them to another database.
  if (now === null)
    for (const { place } of [wanted, other])
      for (const sidecar of place === null ? [] : await sidecars(place)) await removeSecondName(live + sidecar.slice(place?.length), sidecar)
  // Checked before anything moves: the filesystem of `wanted` may not be mounted.
  if (wanted.place !== null && (await identityOf(wanted.place)) !== wanted.id)
    throw new Failure('data-missing', `the data for ${live} isn't at ${wanted.place} any more: ${live} was left as it is`)
  // Not for a database: its sidecars must be linked first. Not for many entries: each exchange starts a process.
  const canExchange = !database && moves.length <= 32 && now !== null && now === other.id
  if (canExchange && wanted.id !== null && wanted.place !== null && other.place !== null && (await exchange(wanted.place, live)))
    return moveToPlace(wanted.place, other.place)
  const isOther = now === null || now === other.id
  const away = isOther ? other.place : await freeName(`${old}.appeared`)
  if (now !== wanted.id && away !== null) {
    await makeParents(away, live, await nearestFolder(dirname(away)))
    await moveDurably(live, away, sidecars)
  }
  if (wanted.place === null) return
  if (wanted.id !== null) await makeParents(live, wanted.place, parent)
  await moveDurably(wanted.place, live, sidecars)
}

/**
 * Exchanges two entries atomically, so that `other` always exists. It is simply tried: neither mv (coreutils 9.5 and later can) nor the
 * filesystem says beforehand whether it is supported. Returns whether it happened.
 */
async function exchange(one: Path, other: Path): Promise<boolean> {
  const before = await identityOf(other)
  await withParentFd(one, (_, source) =>
    withParentFd(other, async (_, target) => {
      const paths = [`/proc/self/fd/3/${basename(one)}`, `/proc/self/fd/4/${basename(other)}`]
      await run(['mv', '--exchange', '--no-copy', '--no-target-directory', '--', ...paths], { inheritFds: [source.fd, target.fd] })
      await source.sync()
      await target.sync()
    }),
  )
  return (await identityOf(other)) !== before
}

/**
 * Moves an entry, durably, and a SQLite database together with its sidecars: a -wal holds committed rows, and corrupts another database.
 * The sidecars have both names until the database has moved: a program that opens it meanwhile finds them. After a crash at any instant,
 * the same call completes the move.
 */
async function moveDurably(from: Path, to: Path, sidecars: (path: Path) => Promise<Path[]>): Promise<void> {
  const along = await sidecars(from)
  const isThere = (await identityOf(from)) !== null
  if (!isThere && along.length === 0) return
  const stale = await sidecars(to)
  await withParentFd(from, (here, source) =>
    withParentFd(to, async (there, target) => {
      const hereOf = (sidecar: Path) => inside(source, basename(sidecar))
      const twinOf = (sidecar: Path) => there + sidecar.slice(from.length)
      if (isThere) {
        for (const sidecar of stale) await rm(inside(target, basename(sidecar)))
        for (const sidecar of along) await link(hereOf(sidecar), twinOf(sidecar))
        await target.sync()
        await rename(here, there)
        await target.sync()
      }
      for (const sidecar of along) {
        const [one, other] = [await inodeOf(hereOf(sidecar)), await inodeOf(twinOf(sidecar))]
        if (one === other) await rm(hereOf(sidecar))
        else await rename(hereOf(sidecar), await freeName(twinOf(sidecar)))
      }
      await source.sync()
    }),
  )
}

/** Removes `path` if it is a hard link to the same file as `other`. */
async function removeSecondName(path: Path, other: Path): Promise<void> {
  const [one, another] = await Promise.all([identityOf(path), identityOf(other)])
  if (one !== null && one === another) await withParentFd(path, (at) => rm(at))
}

async function freeName(path: Path): Promise<Path> {
  let free = path
  for (let n = 1; await lstatIfThere(free); n++) free = `${path}.${n}`
  return free
}

/** The inode number of an entry itself (links aren't followed), or null. */
async function identityOf(path: Path | null): Promise<string | null> {
  if (path === null) return null
  return withParentFd(path, inodeOf).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
    throw error
  })
}

async function inodeOf(at: Path): Promise<string | null> {
  return (await lstatIfThere(at)) && String((await lstat(at, { bigint: true })).ino)
}
