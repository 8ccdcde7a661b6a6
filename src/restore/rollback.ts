// The old data of restores: put back, or deleted for good.
import { dirname, join } from 'node:path'
import type { Iso, Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin, lstatIfThere } from '../host/files.ts'
import { removeEmpty, removeFolder } from '../host/folders.ts'
import { dropDatabases } from '../host/postgres-load.ts'
import { unitsOf } from '../manifest/resolve.ts'
import { type Site, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { readJournal, requireNoJournal, unfinished } from '../state/journal.ts'
import { lockService } from '../state/lock.ts'
import type { OldData, OldDatabase, RunRecord } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
import { tidy } from './cleanup.ts'
import { requireKept, uninterruptible } from './databases.ts'
import { planPutBack, planRest } from './plan.ts'
import { executeTransaction, goBack, goForward, type InPlaceOptions, transact } from './transaction.ts'
import { gatherUnits } from './units.ts'

/**
 * Takes back an unfinished restore, or, if none is open, a finished one whose old data is still there: that of the run `which`, else the
 * newest. Never throws.
 */
export async function rollBackRestore(site: Site, name: string, options: InPlaceOptions, which: string | null = null): Promise<Result> {
  return transact(site, name, options, async (transaction) => {
    const open = await readJournal(site.state, name)
    if (open && which !== null && open.putsBack !== which) throw unfinished(name)
    if (open?.putsBack === null) {
      const service = serviceOf(site, name)
      transaction.emit({ type: 'plan', plan: planRest(service, open, unitsOf(name, service), true) })
      await goBack(site, open)
      return {}
    }
    // Putting old data back was interrupted, and is asked for again.
    if (open && open.phase !== 'staging') return goForward(transaction, open)
    // Begun anew, it leaves nothing of the first time.
    if (open) await tidy(site, open, false)
    const service = serviceOf(site, name)
    const wanted = which ?? open?.putsBack ?? null
    const all = keptRestores(await readRecord(site.state, name))
    const kept = wanted === null ? all[0] : all.find(({ run }) => run === wanted)
    if (!kept) throw nothingKept(name)
    const { olds, databases } = kept
    await requireWhole(name, olds)
    await requireKept(
      name,
      site.manifest.postgresql,
      databases.flatMap(({ kept }) => kept ?? []),
    )
    const { run, started } = transaction
    const facts = { run, name, olds, oldDatabases: databases, ...(await gatherUnits(name, service, open?.units ?? [])) }
    return executeTransaction(transaction, planPutBack(service, facts), {
      version: 1,
      run,
      service: name,
      started,
      snapshot: null,
      putsBack: kept.run,
      paths: [],
      emptied: [],
      recovers: false,
      phase: 'staging',
      folders: olds.map(({ folder }) => dirname(folder)),
      moves: [],
      databases: [],
      dumps: null,
      units: facts.running,
      masked: open?.masked ?? [],
    })
  })
}

/** A finished restore that can be taken back: what it replaced is still kept. */
export interface KeptRestore {
  run: string
  since: Iso
  olds: OldData[]
  databases: OldDatabase[]
}

/** Newest first. */
export function keptRestores({ old, oldDatabases }: Pick<RunRecord, 'old' | 'oldDatabases'>): KeptRestore[] {
  const whole = [
    ...old.filter(({ paths, absent, folders, copied }) => paths.length + absent.length + folders.length + copied.length > 0),
    ...oldDatabases,
  ]
  const runs = new Map(whole.map(({ run, since }) => [run, since]))
  return [...runs]
    .map(([run, since]) => ({
      ...{ run, since, olds: old.filter((data) => data.run === run) },
      databases: oldDatabases.filter((data) => data.run === run),
    }))
    .sort((a, b) => Date.parse(b.since) - Date.parse(a.since))
}

/** The newest restore that began not later than `at`. @throws Failure `nothing-to-roll-back` */
export function keptUntil(name: string, kept: KeptRestore[], at: Date): KeptRestore {
  const found = kept.find(({ since }) => Date.parse(since) <= at.getTime())
  if (found) return found
  const oldest = kept.at(-1)
  if (!oldest) throw nothingKept(name)
  throw new Failure(
    'nothing-to-roll-back',
    `${name}: of no restore at that time or before it old data is kept; the oldest is that of ${oldest.since}`,
  )
}

export function nothingKept(name: string): Failure {
  return new Failure('nothing-to-roll-back', `${name}: no restore is unfinished, and no old data is kept`)
}

/** Deletes the old data that restores kept. Returns the folders and the names of databases that went. @throws Failure */
export async function discardOld(site: Site, name: string, wanted: (old: { since: Iso }) => boolean): Promise<string[]> {
  await makeState(site.state)
  const lock = await lockService(site.state, name)
  try {
    await requireNoJournal(site.state, name)
    const record = await readRecord(site.state, name)
    // Old data of another restore may stand in one's folder, having moved along: that one goes later.
    const staying = record.old.filter((data) => !wanted(data)).map(({ folder }) => folder)
    const held = record.old.filter(({ folder }) => staying.some((other) => isWithin(other, folder))).map(({ run }) => run)
    const which = (data: { run: string; since: Iso }) => wanted(data) && !held.includes(data.run)
    const folders = record.old.filter(which).map(({ folder }) => folder)
    const databases = record.oldDatabases.filter(which)
    if (folders.length + databases.length === 0) return []
    const kept = databases.flatMap((database) => database.kept ?? [])
    // First what needs the server. Half deleted it is nothing to put back: where a database is missing nothing is.
    if (kept.length > 0) await dropDatabases(site.manifest.postgresql, kept, uninterruptible())
    await updateRecord(site.state, name, (changed) => {
      for (const data of changed.old) if (folders.includes(data.folder)) Object.assign(data, { paths: [], absent: [], folders: [], copied: [] })
      changed.oldDatabases = changed.oldDatabases.filter((data) => !which(data))
    })
    for (const folder of folders) {
      await removeFolder(folder)
      await removeEmpty(dirname(folder), dirname(dirname(folder)))
    }
    await updateRecord(site.state, name, (changed) => {
      changed.old = changed.old.filter(({ folder }) => !folders.includes(folder))
    })
    return [...folders, ...kept]
  } finally {
    lock.release()
  }
}

async function requireWhole(name: string, olds: OldData[]): Promise<void> {
  for (const { folder, paths, folders, copied } of olds)
    for (const path of [...paths, ...copied, ...folders.map((stayed) => stayed.path)])
      if (!(await lstatIfThere(join(folder, path))))
        throw new Failure('old-data-missing', `${name}: ${join(folder, path)} isn't there any more: the restore can't be taken back`)
}
