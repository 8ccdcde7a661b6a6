// Rolls restores back, and deletes the old data that they kept.
import { dirname, join } from 'node:path'
import type { Iso, Result } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { isWithin, lstatIfThere } from '../host/files.ts'
import { removeEmpty, removeFolder, unremovable } from '../host/folders.ts'
import { missingMount } from '../host/mounts.ts'
import { dropDatabases } from '../host/postgres-load.ts'
import { unitsOf } from '../manifest/resolve.ts'
import { lockOf, type Site, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { readJournal, requireNoJournal, unfinished } from '../state/journal.ts'
import type { OldData, OldDatabase, RunRecord } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
import { listed } from '../text.ts'
import { cleanUpRestore } from './cleanup.ts'
import { requireKept, uninterruptible } from './databases.ts'
import { planPutBack, planRest } from './plan.ts'
import { executeTransaction, goBack, goForward, type InPlaceOptions, transact, warning } from './transaction.ts'
import { gatherUnits } from './units.ts'

/** Rolls back an unfinished restore. If none is open: the finished one of the run `which`, or the newest whose old data is kept. Never throws. */
export async function rollBackRestore(site: Site, name: string, options: InPlaceOptions, which: string | null = null): Promise<Result> {
  return transact(site, name, options, async (transaction) => {
    const open = await readJournal(site.state, name)
    if (open && which !== null && open.putsBack !== which) throw unfinished(name)
    if (open?.putsBack === null) {
      const service = serviceOf(site, name)
      transaction.emit({ type: 'plan', plan: planRest(service, open, unitsOf(name, service), true) })
      await goBack(site, open, transaction.emit)
      return {}
    }
    // An interrupted rollback is completed.
    if (open && open.phase !== 'staging') return goForward(transaction, open)
    // A rollback that had exchanged nothing starts again.
    if (open) await cleanUpRestore(site, open, false, warning(name, transaction.emit))
    const service = serviceOf(site, name)
    const wanted = which ?? open?.putsBack ?? null
    const all = keptRestores(await readRecord(site.state, name))
    const kept = wanted === null ? all[0] : all.find(({ run }) => run === wanted)
    if (!kept) throw nothingKept(name)
    const { olds, databases } = kept
    await requireOldData(name, olds)
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

/** A finished restore that can be rolled back: its old data is still kept. */
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

/** The newest kept restore that started at `at` or before it. @throws Failure `nothing-to-roll-back` */
export function keptUntil(name: string, kept: KeptRestore[], at: Date): KeptRestore {
  const found = kept.find(({ since }) => Date.parse(since) <= at.getTime())
  if (found) return found
  const oldest = kept.at(-1)
  if (!oldest) throw nothingKept(name)
  throw new Failure(
    'nothing-to-roll-back',
    `${name}: no restore at that time or before it has old data; the oldest one that has is of ${oldest.since}`,
  )
}

export function nothingKept(name: string): Failure {
  return new Failure('nothing-to-roll-back', `${name}: no restore is unfinished, and no old data is kept`)
}

/**
 * Deletes the old data of restores that are `wanted`. Returns the deleted folders and databases. A restore of which something can't be removed is
 * kept whole, recorded, and named once the others are deleted. @throws Failure `remove-failed`
 */
export async function discardOld(site: Site, name: string, wanted: (old: { since: Iso }) => boolean): Promise<string[]> {
  await makeState(site.state)
  const lock = await lockOf(site, name)
  try {
    await requireNoJournal(site.state, name)
    const record = await readRecord(site.state, name)
    const stuck = await stuckRestores(record.old.filter(wanted))
    // A later restore may have moved old data of an earlier one into its own folder: the outer folder stays as long as the inner one must.
    const mayGo = (data: { run: string; since: Iso }) => wanted(data) && !stuck.has(data.run)
    const staying = record.old.filter((data) => !mayGo(data)).map(({ folder }) => folder)
    const held = record.old.filter(({ folder }) => staying.some((other) => isWithin(other, folder))).map(({ run }) => run)
    const which = (data: { run: string; since: Iso }) => mayGo(data) && !held.includes(data.run)
    const folders = record.old.filter(which).map(({ folder }) => folder)
    const databases = record.oldDatabases.filter(which)
    const kept = [...record.undropped, ...databases.flatMap((database) => database.kept ?? [])]
    if (folders.length + kept.length + databases.length > 0) {
      // Databases first: dropping them can fail. After that the record must not offer these restores for a rollback: a crash may come while their
      // folders are deleted.
      if (kept.length > 0) await dropDatabases(site.manifest.postgresql, kept, uninterruptible())
      await updateRecord(site.state, name, (changed) => {
        for (const data of changed.old) if (folders.includes(data.folder)) Object.assign(data, { paths: [], absent: [], folders: [], copied: [] })
        changed.oldDatabases = changed.oldDatabases.filter((data) => !which(data))
        changed.undropped = []
      })
    }
    const left: OldData[] = []
    for (const data of record.old.filter(which)) {
      try {
        await removeFolder(data.folder)
        await removeEmpty(dirname(data.folder), dirname(dirname(data.folder)))
      } catch (error) {
        stuck.set(data.run, `${asFailure(error).message}; a part of it may be gone`)
        left.push(await whatIsLeft(data))
      }
    }
    if (folders.length > 0)
      await updateRecord(site.state, name, (changed) => {
        changed.old = changed.old.flatMap((data) => (folders.includes(data.folder) ? left.filter(({ folder }) => folder === data.folder) : [data]))
      })
    const [why] = stuck.values()
    if (why !== undefined)
      throw new Failure('remove-failed', `${name}: ${why}. It stays recorded, and can be put back: atelier-backup restore ${name} --rollback`)
    return [...folders, ...kept]
  } finally {
    lock.release()
  }
}

/** By run: why its old data can't be removed. All of a restore is kept, or nothing of it: a rollback needs all. */
async function stuckRestores(olds: OldData[]): Promise<Map<string, string>> {
  const stuck = new Map<string, string>()
  for (const { run, folder } of olds) {
    const missing = (await lstatIfThere(folder)) ? null : await missingMount(folder)
    const held = await unremovable(folder)
    if (missing !== null) stuck.set(run, `${folder} isn't removed: ${missing} should be mounted and isn't`)
    else if (held.length > 0)
      stuck.set(
        run,
        `${folder} isn't removed, because these are mounted, immutable, append-only or read-only (umount; chattr -i -a): ${listed(held)}`,
      )
  }
  return stuck
}

async function whatIsLeft({ paths, copied, folders, ...data }: OldData): Promise<OldData> {
  const isLeft = new Set<string>()
  for (const path of [...paths, ...copied, ...folders.map(({ path }) => path)]) if (await lstatIfThere(join(data.folder, path))) isLeft.add(path)
  const left = (path: string) => isLeft.has(path)
  return { ...data, paths: paths.filter(left), copied: copied.filter(left), folders: folders.filter(({ path }) => left(path)) }
}

async function requireOldData(name: string, olds: OldData[]): Promise<void> {
  for (const { folder, paths, folders, copied } of olds)
    for (const path of [...paths, ...copied, ...folders.map((stayed) => stayed.path)])
      if (!(await lstatIfThere(join(folder, path))))
        throw new Failure('old-data-missing', `${name}: ${join(folder, path)} doesn't exist any more: the restore can't be rolled back`)
}
