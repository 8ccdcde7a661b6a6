// The old data of restores: put back, or deleted for good.
import { dirname, join } from 'node:path'
import type { Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { lstatIfThere } from '../host/files.ts'
import { type Site, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { readJournal, requireNoJournal } from '../state/journal.ts'
import { lockService } from '../state/lock.ts'
import type { OldData } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
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
    if (open?.phase === 'swapping') return goForward(transaction, open)
    const service = serviceOf(site, name)
    const { old } = await readRecord(site.state, name)
    const latest = old.findLast(({ paths, absent, folders }) => paths.length + absent.length + folders.length > 0)
    if (!latest) throw new Failure('nothing-to-roll-back', `${name}: no restore is unfinished, and no old data is kept`, { exit: 2 })
    const olds = old.filter(({ run }) => run === latest.run)
    await requireWhole(name, olds)
    const { run, started } = transaction
    const facts = { run, name, olds, ...(await lookUnits(name, service, open?.units ?? [])) }
    return carryOut(transaction, planPutBack(service, facts), {
      version: 1,
      run,
      service: name,
      started,
      snapshot: null,
      putsBack: latest.run,
      paths: [],
      recovers: false,
      phase: 'staging',
      folders: olds.map(({ folder }) => dirname(folder)),
      moves: [],
      units: facts.running,
      masked: open?.masked ?? [],
    })
  })
}

/** Deletes the old data that restores kept. Returns the folders that went. @throws Failure */
export async function discardOld(site: Site, name: string, which: (old: OldData) => boolean): Promise<string[]> {
  await makeState(site.state)
  const lock = await lockService(site.state, name)
  try {
    await requireNoJournal(site.state, name)
    const gone = (await readRecord(site.state, name)).old.filter(which).map(({ folder }) => folder)
    if (gone.length === 0) return []
    // Half deleted it is nothing to put back.
    await updateRecord(site.state, name, ({ old }) => {
      for (const data of old) if (gone.includes(data.folder)) Object.assign(data, { paths: [], absent: [], folders: [] })
    })
    for (const folder of gone) {
      await removeFolder(folder)
      await removeEmpty(dirname(folder), dirname(dirname(folder)))
    }
    await updateRecord(site.state, name, (record) => {
      record.old = record.old.filter(({ folder }) => !gone.includes(folder))
    })
    return gone
  } finally {
    lock.release()
  }
}

async function requireWhole(name: string, olds: OldData[]): Promise<void> {
  for (const { folder, paths, folders } of olds)
    for (const path of [...paths, ...folders.map((stayed) => stayed.path)])
      if (!(await lstatIfThere(join(folder, path))))
        throw new Failure('old-data-missing', `${name}: ${join(folder, path)} isn't there any more: the restore can't be taken back`)
}
