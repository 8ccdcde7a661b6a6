// The end of a restore in place: staged data is removed, old data is recorded, the journal closes.
import { dirname, join } from 'node:path'
import type { Path } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { isWithin, lstatIfThere } from '../host/files.ts'
import { makeFolder, makeParents, ownAlone, removeEmpty, removeFolder } from '../host/folders.ts'
import { dropDatabases, slotsOf } from '../host/postgres-load.ts'
import type { Site } from '../site.ts'
import { type JournalMove, type RestoreJournal, removeJournal } from '../state/journal.ts'
import type { OldData } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
import { uninterruptible } from './databases.ts'
import { removeCopy } from './overwrite.ts'
import { oldFolder } from './plan.ts'

/** Ends a restore that is `done`, or was undone. The journal is removed last: after a crash all of this is repeated. */
export async function closeJournal(
  site: Site,
  journal: RestoreJournal,
  done: boolean,
  warn: (failure: Failure) => void,
  remember = async () => {},
): Promise<void> {
  await cleanUpRestore(site, journal, done, warn)
  await remember()
  await removeJournal(site.state, journal.service)
}

/**
 * Removes what a restore has staged, and records the old data that it keeps. Can be repeated after a crash. A new database that can't be dropped (the
 * server is down) keeps no backup out: it is recorded, and dropped with old data.
 */
export async function cleanUpRestore(site: Site, journal: RestoreJournal, done: boolean, warn: (failure: Failure) => void): Promise<void> {
  const { run, started, putsBack, folders, databases, dumps } = journal
  await removeCopies(journal, done)
  await removeEmptyFolders(journal, done)
  if (done) await makeOldFolders(journal)
  const kept = await oldDataOf(journal, done)
  for (const folder of folders) {
    const staged = join(folder, 'new')
    // What can't be removed must keep no later backup out: it is recorded, and --discard-old tries again.
    await removeFolder(staged).catch((error: unknown) => {
      warn(asFailure(error))
      kept.push({ run, since: started, folder: staged, paths: [], absent: [], folders: [], copied: [] })
    })
    await removeEmpty(folder, dirname(folder))
  }
  if (dumps !== null) await removeFolder(dumps)
  const fresh = databases.flatMap((database) => database.fresh ?? [])
  // The databases of a rollback aren't new ones: they were kept before, and are kept again.
  const left = !done && putsBack === null ? await undropped(site, journal.service, fresh, warn) : []
  await recordOldData(site, journal, { kept, left }, done)
}

async function undropped(site: Site, name: string, fresh: string[], warn: (failure: Failure) => void): Promise<string[]> {
  if (fresh.length === 0) return []
  try {
    await dropDatabases(site.manifest.postgresql, fresh, uninterruptible())
    return []
  } catch (error) {
    const { code, message } = asFailure(error)
    warn(new Failure(code, `${message}; what was loaded so far takes room until prune drops it, or: atelier-backup restore ${name} --discard-old`))
    return fresh
  }
}

/** The live file has the same content as one of its copies: that copy isn't needed any more. */
async function removeCopies({ moves }: RestoreJournal, done: boolean): Promise<void> {
  for (const { staged, old, copied } of moves) {
    const spent = done ? staged : old
    if (copied && spent !== null) await removeCopy(spent)
  }
}

/** In a rollback that was undone, `staged` is old data: it is kept, with its empty folders. */
async function removeEmptyFolders({ folders, moves, putsBack }: RestoreJournal, done: boolean): Promise<void> {
  const ours = moves.flatMap(({ staged, old, stays }) =>
    [done || putsBack === null ? staged : null, old].flatMap((place) => (place === null ? [] : stays ? place : dirname(place))),
  )
  for (const folder of folders) for (const place of ours) await removeEmpty(place, folder)
}

/** Also where nothing was live before: a rollback needs the folder there, too. */
async function makeOldFolders({ run, folders, moves }: RestoreJournal): Promise<void> {
  for (const folder of folders) await makeFolder(oldFolder(folder, run), ownAlone)
  for (const { live, old, stays } of moves) {
    if (!stays) continue
    await makeParents(old, live, old.slice(0, -live.length))
    await makeFolder(old, stays.before)
  }
}

/** The entries of the record for what this restore keeps. */
async function oldDataOf({ run, started, putsBack, folders, moves }: RestoreJournal, done: boolean): Promise<OldData[]> {
  const kept: OldData[] = []
  for (const id of done && putsBack !== null ? [run, putsBack] : [run]) {
    for (const folder of folders.map((stage) => oldFolder(stage, id))) {
      // Also after an undone restore: the folder may hold entries that other processes made between a crash and the undo.
      if (!(await lstatIfThere(folder))) continue
      const all = done ? moves.filter(({ old }) => isWithin(old, folder)) : []
      const stayed = all.flatMap(({ live, stays }) => (stays ? [{ path: live, keeps: stays.keeps }] : []))
      const copied = all.flatMap((move) => (move.copied ? move.live : []))
      const here = all.filter(({ live, stays, copied }) => !stays && !copied && !stayed.some(({ path }) => path === dirname(live)))
      const paths = here.flatMap(({ live, liveId }) => (liveId === null ? [] : [live]))
      const absent = here.flatMap(({ live, liveId, parent }) => (liveId === null ? [{ path: live, parent }] : []))
      kept.push({ run: id, since: started, folder, paths, absent, folders: stayed, copied })
    }
  }
  return kept
}

async function recordOldData(site: Site, journal: RestoreJournal, { kept, left }: { kept: OldData[]; left: string[] }, done: boolean): Promise<void> {
  const { service, run, started, putsBack, moves, databases } = journal
  const olds = done ? databases.flatMap(({ old, liveId }) => (liveId === null ? [] : [old])) : []
  const slots = await slotsOf(site.manifest.postgresql, olds, uninterruptible()).catch(() => [])
  const slotsIn = (old: string) => slots.filter(({ database }) => database === old).map(({ name }) => name)
  const keptDatabases = done
    ? databases.map(({ live, old, liveId }) => ({ run, since: started, database: live, kept: liveId && old, slots: slotsIn(old) }))
    : []
  const moved = new Map<Path, Path>()
  const before = await readRecord(site.state, service).catch(() => null)
  for (const { folder } of before?.old ?? []) moved.set(folder, await currentPlace(folder, moves))
  await updateRecord(site.state, service, (record) => {
    const { origin, old, oldDatabases } = record
    const undone = done ? [...old, ...oldDatabases].find((data) => data.run === putsBack)?.since : started
    const isOver = (data: { run: string }) => data.run === run || (done && data.run === putsBack)
    if (origin?.how === 'recovered' && origin.since === undone) record.origin = null
    if (done && journal.recovers) record.origin ??= { how: 'recovered', since: started }
    // `origin.since` changed: snapshots made before it count as inherited, and the next prune records their ids.
    if (record.origin?.since !== origin?.since) record.inherited = null
    const others = old.filter((data) => !isOver(data)).map((data) => ({ ...data, folder: moved.get(data.folder) ?? data.folder }))
    record.old = [...others, ...kept]
    record.oldDatabases = [...oldDatabases.filter((data) => !isOver(data)), ...keptDatabases]
    record.undropped = [...new Set([...record.undropped, ...left])]
  })
}

/** Where the old data of an earlier restore is now: if its folder is inside an exchanged path, it was moved with it. */
async function currentPlace(folder: Path, moves: JournalMove[]): Promise<Path> {
  if (await lstatIfThere(folder)) return folder
  const renamed = moves.filter(({ stays, copied }) => !stays && !copied)
  const pairs = renamed.flatMap(({ live, staged, old }) => [live, staged, old].flatMap((from) => [live, staged, old].map((to) => ({ from, to }))))
  for (const { from, to } of pairs) {
    if (from === null || to === null || !isWithin(folder, from)) continue
    const place = to + folder.slice(from.length)
    if (await lstatIfThere(place)) return place
  }
  return folder
}
