// The exchange of live for staged data by renames. What has happened is read off inode numbers, so that each direction can be taken from every instant.
// Every entry is reached through its folder, held open: the service's own user, to whom folders on the way may belong, can't lead root elsewhere.
import { link, lstat, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Move, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { inside, lstatIfThere, withParentFd } from '../host/files.ts'
import { type Attributes, attributesOf, makeFolder, makeParents, nearestFolder, removeEmpty, setAttributes } from '../host/folders.ts'
import { run } from '../host/shell.ts'
import { isDatabase, isSidecarOf, sidecarsOf } from '../host/sqlite.ts'
import { reservedPattern } from '../snapshots/select.ts'
import type { JournalMove } from '../state/journal.ts'
import { copyInto, type MountedFile, otherFile } from './overwrite.ts'

/** The moves with what the journal must know to take them in either direction; folders that stay become moves of their entries. */
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
    // Sidecars go where their database goes.
    all.push(...entries.filter(({ live }) => !databases.some((database) => isSidecarOf(live, database.live))))
    const [before, after] = (await Promise.all([move.live, move.staged ?? move.live].map(attributesOf))) as [Attributes, Attributes]
    all.push({ ...move, liveId: null, stagedId: null, database: false, parent, stays: { before, after, keeps } })
  }
  return all
}

async function identify(move: Move, parent: Path): Promise<JournalMove> {
  const { live, staged, old, copied } = move
  const database = (await isDatabase(live)) || (await isDatabase(staged))
  return {
    ...{ live, staged, old, liveId: await identityOf(live), stagedId: await identityOf(staged), database, parent, stays: null },
    ...(copied && { copied }),
  }
}

/** The entries of a folder that stays, on either side. */
export async function entriesOf({ live, staged }: Pick<Move, 'live' | 'staged'>, keeps: Path[]): Promise<string[]> {
  const list = async (folder: Path | null) => (folder === null ? [] : readdir(folder))
  const names = new Set([...(await list(live)), ...(await list(staged))])
  const stays = (name: string) => name.startsWith(reservedPattern.slice(0, -1)) || name === 'lost+found' || keeps.includes(join(live, name))
  return [...names].filter((name) => !stays(name))
}

function entryOf({ live, staged, old }: Move, name: string): Move {
  return { live: join(live, name), staged: staged === null ? null : join(staged, name), old: join(old, name) }
}

/** Brings every move to its end: staged is live, live is old. */
export async function swapForward(moves: JournalMove[]): Promise<void> {
  for (const move of moves) {
    const { live, parent, staged, old, stagedId, liveId, stays, copied } = move
    if (stays) continue
    if (copied) await overwriteFrom(moves, move, staged)
    else await bring(moves, move, { place: staged, id: stagedId }, { place: old, id: liveId })
    if (staged === null) await removeEmpty(dirname(live), parent)
  }
  for (const { live, stays } of moves) if (stays) await setAttributes(live, stays.after)
}

/** Brings every move back to its start: old is live, staged is staged. */
export async function swapBackward(moves: JournalMove[]): Promise<void> {
  for (const move of [...moves].reverse()) {
    const { live, parent, staged, old, stagedId, liveId, stays, copied } = move
    if (stays) continue
    if (copied) await overwriteFrom(moves, move, old)
    else await bring(moves, move, { place: old, id: liveId }, { place: staged, id: stagedId })
    if (liveId === null) await removeEmpty(dirname(live), parent)
  }
  for (const { live, staged, stays } of moves) {
    if (!stays) continue
    if (staged !== null) await makeFolder(staged, stays.after)
    await setAttributes(live, stays.before)
  }
}

/** Whole copies of what is live and will be overwritten: of the old data, or, before that comes back, of the new. */
export async function copyAside(moves: JournalMove[], side: 'old' | 'staged'): Promise<void> {
  for (const move of moves) {
    const { live, copied, [side]: place } = move
    if (!copied || place === null) continue
    await makeParents(place, live, await nearestFolder(dirname(place)))
    await copyInto(live, place, await mountedAt(moves, move))
  }
}

/** Gives a file that stays the content of one of its copies. */
async function overwriteFrom(moves: JournalMove[], move: JournalMove, copy: Path | null): Promise<void> {
  if (copy === null || (await identityOf(copy)) === null)
    throw new Failure('data-missing', `what belongs at ${move.live} isn't at ${copy} any more: nothing else was put there`)
  await copyInto(copy, move.live, await mountedAt(moves, move))
}

/** @throws Failure `data-missing` */
async function mountedAt(moves: JournalMove[], move: JournalMove): Promise<MountedFile> {
  if ((await identityOf(move.live)) !== move.liveId) throw otherFile(move.live)
  return { path: move.live, inode: move.liveId, sidecars: sidecarsIn(moves, move) }
}

/** The sidecars that go with a database. One that was declared itself, or stands in a folder that is exchanged, has its own move. */
function sidecarsIn(moves: JournalMove[], { database }: JournalMove): (path: Path) => Promise<Path[]> {
  const places = new Set(moves.flatMap((move) => [move.live, move.staged, move.old]))
  return async (path) => (database ? (await sidecarsOf(path)).filter((sidecar) => !places.has(sidecar)) : [])
}

interface Side {
  /** Where it stands when it isn't live, and by what it is known; null: there is none. */
  place: Path | null
  id: string | null
}

/** Makes `wanted` live, and puts the other side in its place. What is neither appeared since: it is kept aside. */
async function bring(moves: JournalMove[], move: JournalMove, wanted: Side, other: Side): Promise<void> {
  const { live, old, parent, database } = move
  const sidecars = sidecarsIn(moves, move)
  const now = await identityOf(live)
  const settle = async (from: Path, to: Path) => {
    await makeParents(to, live, await nearestFolder(dirname(to)))
    await take(from, to, async () => [])
  }
  // A crash came before what had been exchanged went on to its own place.
  for (const [one, another] of [
    [wanted, other],
    [other, wanted],
  ] as const)
    if (one.place !== null && another.place !== null && another.id !== null && (await identityOf(one.place)) === another.id)
      await settle(one.place, another.place)
  if (now !== null && now === wanted.id) {
    // A crash came before the second names of its sidecars were taken away.
    for (const sidecar of wanted.place === null ? [] : await sidecars(wanted.place)) await withParentFd(sidecar, (at) => rm(at))
    return
  }
  // Nor does what only has a second name here belong to what comes or goes next: moved along with it, it would be poison there.
  if (now === null)
    for (const { place } of [wanted, other])
      for (const sidecar of place === null ? [] : await sidecars(place)) await removeTwin(live + sidecar.slice(place?.length), sidecar)
  // Asked before anything moves: its filesystem may not be mounted.
  if (wanted.place !== null && (await identityOf(wanted.place)) !== wanted.id)
    throw new Failure('data-missing', `what belongs at ${live} isn't at ${wanted.place} any more: nothing else was put there`)
  // A database isn't exchanged so: its sidecars have to come first. Nor are very many entries: each costs a process.
  const canExchange = !database && moves.length <= 32 && now !== null && now === other.id
  if (canExchange && wanted.id !== null && wanted.place !== null && other.place !== null && (await exchange(wanted.place, live)))
    return settle(wanted.place, other.place)
  const isOther = now === null || now === other.id
  const away = isOther ? other.place : await freeName(`${old}.appeared`)
  if (now !== wanted.id && away !== null) {
    await makeParents(away, live, await nearestFolder(dirname(away)))
    await take(live, away, sidecars)
  }
  if (wanted.place === null) return
  if (wanted.id !== null) await makeParents(live, wanted.place, parent)
  await take(wanted.place, live, sidecars)
}

/**
 * Exchanges two entries at a stroke, so that there is no moment without either. Tried: neither mv (coreutils 9.5 and later can) nor the
 * filesystem tells before. Returns whether it has happened.
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
 * Moves an entry, durably, a database together with its sidecars: a -wal holds committed rows, and is poison beside another database.
 * They have both names until the database itself has moved, so that it never stands anywhere without them, whoever opens it meanwhile.
 * Can be begun anew from every instant.
 */
async function take(from: Path, to: Path, sidecars: (path: Path) => Promise<Path[]>): Promise<void> {
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

/** Takes a name away from a file that has this other one. */
async function removeTwin(path: Path, other: Path): Promise<void> {
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
