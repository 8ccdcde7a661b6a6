// The end of a restore in place: staged data is removed, old data is recorded, the journal closes.
import { dirname, join } from 'node:path'
import type { Path } from '../core.ts'
import { isWithin, lstatIfThere } from '../host/files.ts'
import { makeFolder, makeParents, ownAlone, removeEmpty, removeFolder } from '../host/folders.ts'
import { dropDatabases } from '../host/postgres-load.ts'
import type { Site } from '../site.ts'
import { type JournalMove, type RestoreJournal, removeJournal } from '../state/journal.ts'
import type { OldData } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
import { uninterruptible } from './databases.ts'
import { removeCopy } from './overwrite.ts'
import { oldFolder } from './plan.ts'

/** The end of a restore, `done` or taken back; the journal closes last. */
export async function closeJournal(site: Site, journal: RestoreJournal, done: boolean, remember = async () => {}): Promise<void> {
  await tidy(site, journal, done)
  await remember()
  await removeJournal(site.state, journal.service)
}

/** What a restore has staged goes, what it replaced is remembered. Begun anew after a crash it does the same again. */
export async function tidy(site: Site, journal: RestoreJournal, done: boolean): Promise<void> {
  const { service, run, putsBack, folders, moves, databases, dumps, started } = journal
  // Of what was copied there is no more need for the side that is live now.
  for (const { staged, old, copied } of moves) {
    const spent = done ? staged : old
    if (copied && spent !== null) await removeCopy(spent)
  }
  // What was put back and is taken away again stays kept, its empty folders too.
  const ours = moves.flatMap(({ staged, old, stays }) =>
    [done || putsBack === null ? staged : null, old].flatMap((place) => (place === null ? [] : stays ? place : dirname(place))),
  )
  for (const folder of folders) for (const place of ours) await removeEmpty(place, folder)
  // Also where nothing was there before: that, too, can be taken back.
  if (done) for (const folder of folders) await makeFolder(oldFolder(folder, run), ownAlone)
  for (const { live, old, stays } of done ? moves : []) {
    if (!stays) continue
    await makeParents(old, live, old.slice(0, -live.length))
    await makeFolder(old, stays.before)
  }
  const kept: OldData[] = []
  for (const id of done && putsBack !== null ? [run, putsBack] : [run]) {
    for (const folder of folders.map((stage) => oldFolder(stage, id))) {
      // Without old data, too, there may be what appeared between a crash and its end.
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
  for (const folder of folders) {
    await removeFolder(join(folder, 'new'))
    await removeEmpty(folder, dirname(folder))
  }
  if (dumps !== null) await removeFolder(dumps)
  const fresh = databases.flatMap((database) => database.fresh ?? [])
  // What was put back by name was kept before, and is again.
  if (!done && putsBack === null && fresh.length > 0) await dropDatabases(site.manifest.postgresql, fresh, uninterruptible())
  const keptDatabases = done ? databases.map(({ live, old, liveId }) => ({ run, since: started, database: live, kept: liveId && old })) : []
  const moved = new Map<Path, Path>()
  const before = await readRecord(site.state, service).catch(() => null)
  for (const { folder } of before?.old ?? []) moved.set(folder, await placeNow(folder, moves))
  await updateRecord(site.state, service, (record) => {
    const { origin, old, oldDatabases } = record
    const takenBack = done ? [...old, ...oldDatabases].find((data) => data.run === putsBack)?.since : started
    const isOver = (data: { run: string }) => data.run === run || (done && data.run === putsBack)
    if (origin?.how === 'recovered' && origin.since === takenBack) record.origin = null
    if (done && journal.recovers) record.origin ??= { how: 'recovered', since: started }
    const others = old.filter((data) => !isOver(data)).map((data) => ({ ...data, folder: moved.get(data.folder) ?? data.folder }))
    record.old = [...others, ...kept]
    record.oldDatabases = [...oldDatabases.filter((data) => !isOver(data)), ...keptDatabases]
  })
}

/** Where the old data of an earlier restore stands now: within a path that was exchanged it has moved along. */
async function placeNow(folder: Path, moves: JournalMove[]): Promise<Path> {
  if (await lstatIfThere(folder)) return folder
  const renamed = moves.filter(({ stays, copied }) => !stays && !copied)
  const ways = renamed.flatMap(({ live, staged, old }) => [live, staged, old].flatMap((from) => [live, staged, old].map((to) => ({ from, to }))))
  for (const { from, to } of ways) {
    if (from === null || to === null || !isWithin(folder, from)) continue
    const place = to + folder.slice(from.length)
    if (await lstatIfThere(place)) return place
  }
  return folder
}
