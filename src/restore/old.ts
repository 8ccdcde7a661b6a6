// The old data of restores: put back, or deleted for good.
import { dirname, join } from 'node:path'
import type { Iso, Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { lstatIfThere } from '../host/files.ts'
import { dropDatabases } from '../host/postgres-load.ts'
import { type Site, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { readJournal, requireNoJournal } from '../state/journal.ts'
import { lockService } from '../state/lock.ts'
import type { OldData, RunRecord } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
import { deaf, requireKept } from './databases.ts'
import { lookUnits } from './look.ts'
import { planPutBack } from './plan.ts'
import { removeFolder } from './steps.ts'
import { removeEmpty } from './swap.ts'
import { carryOut, goBack, goForward, type InPlaceOptions, transact } from './transaction.ts'

/** Takes back an unfinished restore, or, if none is open, the latest finished one whose old data is still there. Never throws. */
export async function rollBackRestore(site: Site, name: string, options: InPlaceOptions): Promise<Result> {
  return transact(site, name, options, async (transaction) => {
    const open = await readJournal(site.state, name)
    if (open?.putsBack === null) {
      await goBack(site, open)
      return {}
    }
    // Putting old data back was interrupted, and is asked for again.
    if (open && open.phase !== 'staging') return goForward(transaction, open)
    const service = serviceOf(site, name)
    const { old, oldDatabases } = await readRecord(site.state, name)
    const latest = latestOld({ old, oldDatabases })
    if (!latest) throw new Failure('nothing-to-roll-back', `${name}: no restore is unfinished, and no old data is kept`, { exit: 2 })
    const olds = old.filter(({ run }) => run === latest.run)
    const databases = oldDatabases.filter(({ run }) => run === latest.run)
    await requireWhole(name, olds)
    await requireKept(
      name,
      site.manifest.postgresql,
      databases.flatMap(({ kept }) => kept ?? []),
    )
    const { run, started } = transaction
    const facts = { run, name, olds, oldDatabases: databases, ...(await lookUnits(name, service, open?.units ?? [])) }
    return carryOut(transaction, planPutBack(service, facts), {
      version: 1,
      run,
      service: name,
      started,
      snapshot: null,
      putsBack: latest.run,
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

/** The latest restore that can be taken back: of all that it replaced something is still kept. */
export function latestOld({ old, oldDatabases }: Pick<RunRecord, 'old' | 'oldDatabases'>): { run: string; since: Iso } | null {
  const whole = [
    ...old.filter(({ paths, absent, folders, copied }) => paths.length + absent.length + folders.length + copied.length > 0),
    ...oldDatabases,
  ]
  return whole.sort((a, b) => Date.parse(a.since) - Date.parse(b.since)).at(-1) ?? null
}

/** Deletes the old data that restores kept. Returns the folders and the names of databases that went. @throws Failure */
export async function discardOld(site: Site, name: string, which: (old: { since: Iso }) => boolean): Promise<string[]> {
  await makeState(site.state)
  const lock = await lockService(site.state, name)
  try {
    await requireNoJournal(site.state, name)
    const record = await readRecord(site.state, name)
    const folders = record.old.filter(which).map(({ folder }) => folder)
    const databases = record.oldDatabases.filter(which)
    if (folders.length + databases.length === 0) return []
    const kept = databases.flatMap((database) => database.kept ?? [])
    // First what needs the server. Half deleted it is nothing to put back: where a database is missing nothing is.
    if (kept.length > 0) await dropDatabases(site.manifest.postgresql, kept, deaf())
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
