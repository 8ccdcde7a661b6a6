// Restore in place: one service's data exchanged for a snapshot's, finished or undone from every instant.
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Event, EventBody, Outcome, Path, Plan, RestoreStep, Result } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { execute } from '../execute.ts'
import { isWithin, lstatIfThere } from '../host/files.ts'
import { run as runProgram } from '../host/shell.ts'
import { hasSystemd, isActive, startUnits, stopUnits, unitStates } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { isComplete } from '../snapshots/select.ts'
import { makeState } from '../state/install.ts'
import { type RestoreJournal, readJournal, removeJournal, requireNoJournal, writeJournal } from '../state/journal.ts'
import { type Lock, lockService } from '../state/lock.ts'
import type { OldData, RunRecord } from '../state/record.gen.ts'
import { readRecord, updateRecord } from '../state/records.ts'
import { announce, announceEnd } from '../state/running.ts'
import { lookRestore, type RestoreFacts } from './look.ts'
import { oldFolder, planRestore } from './plan.ts'
import { checkHealth, type RestoreJob, removeFolder, restoreHandlers } from './steps.ts'
import { swapBackward, swapForward } from './swap.ts'

export interface InPlaceOptions {
  signal: AbortSignal
  emit(event: Event): void
  output(line: string): void
}

/** Looks and plans, touches nothing. @throws Failure */
export async function planInPlace(
  site: Site,
  name: string,
  snapshot: Snapshot,
  paths: Path[],
  run: string,
  signal: AbortSignal,
): Promise<{ plan: Plan<RestoreStep>; facts: RestoreFacts }> {
  const service = serviceOf(site, name)
  const facts = await lookRestore(site.restic(service.repository), name, service, snapshot, paths, run, { signal })
  return { plan: planRestore(service, facts), facts }
}

/** Carries out a plan of `planInPlace`. Never throws. */
export async function restoreInPlace(
  site: Site,
  planned: { plan: Plan<RestoreStep>; facts: RestoreFacts },
  paths: Path[],
  options: InPlaceOptions,
): Promise<Result> {
  const { plan, facts } = planned
  const folders = plan.steps.flatMap((step) => (step.do === 'stage' ? [step.in] : []))
  return underLock(site, plan.service, facts.snapshot.id, options, async (lock, emit) => {
    await requireNoJournal(site.state, plan.service)
    const journal: RestoreJournal = {
      version: 1,
      run: plan.run,
      service: plan.service,
      started: site.now().toISOString(),
      snapshot: facts.snapshot.id,
      paths,
      phase: 'staging',
      folders,
      moves: [],
      units: facts.running,
    }
    await announce(site.state, plan.service, { run: plan.run, kind: 'restore', started: journal.started, plan })
    await writeJournal(site.state, journal)
    emit({ type: 'plan', plan })
    const job = jobOf(site, plan.service, journal, facts.databases, lock, options)
    const context = { now: site.now, signal: options.signal, emit, journal: { begin: async () => {}, done: async () => {} } }
    const { failure, undone } = await execute(plan, restoreHandlers(job), context)
    // An undo that failed leaves the journal open: --rollback tries again.
    if (failure?.code !== 'undo-failed')
      await settle(site, journal, failure === null ? { adopted: paths.length === 0 && isComplete(facts.snapshot) } : null)
    const downtimeSeconds = job.stopped?.seconds ?? null
    return {
      failure: failure && explain(failure, undone.includes('swap')),
      outcome: undone.includes('swap') ? 'rolled-back' : null,
      bytes: job.bytes,
      downtimeSeconds,
    }
  })
}

/** Finishes what an interrupted restore began. @throws nothing; without one the result fails with code `nothing-to-resume` (exit 2). */
export async function resumeRestore(
  site: Site,
  name: string,
  again: (journal: RestoreJournal) => Promise<Result>,
  options: InPlaceOptions,
): Promise<Result> {
  let restart: RestoreJournal | null = null
  const result = await underLock(site, name, null, options, async (lock) => {
    const journal = await requireJournal(site, name)
    if (journal.phase === 'staging') {
      // Nothing live was touched: begin anew, with the same snapshot and paths.
      await settle(site, journal, null)
      restart = journal
      return { failure: null, outcome: null, bytes: null, downtimeSeconds: null }
    }
    await stopKnown(name, unitsOf(name, serviceOf(site, name)))
    await swapForward(journal.moves)
    await startUnits(name, journal.units)
    const job = jobOf(site, name, journal, [], lock, options)
    try {
      await checkHealth(job, options.signal)
    } catch (error) {
      await backward(site, journal)
      return { failure: explain(asFailure(error), true), outcome: 'rolled-back' as const, bytes: null, downtimeSeconds: null }
    }
    await settle(site, journal, { adopted: journal.paths.length === 0 })
    return { failure: null, outcome: null, bytes: null, downtimeSeconds: null }
  })
  return restart === null ? result : again(restart)
}

/** Takes back an unfinished restore, or, if none is open, the latest finished one whose old data is still there. */
export async function rollBackRestore(site: Site, name: string, run: string, options: InPlaceOptions): Promise<Result> {
  return underLock(site, name, null, options, async (lock, emit) => {
    const open = await readJournal(site.state, name)
    if (open) {
      await backward(site, open)
      return { failure: null, outcome: null, bytes: null, downtimeSeconds: null }
    }
    const record = await readRecord(site.state, name)
    const latest = record.old.findLast(({ paths }) => paths.length > 0)
    if (!latest) throw new Failure('nothing-to-roll-back', `${name}: no restore is unfinished, and no old data is kept`, { exit: 2 })
    const journal: RestoreJournal = {
      version: 1,
      run,
      service: name,
      started: site.now().toISOString(),
      snapshot: null,
      paths: [],
      phase: 'staging',
      folders: [],
      moves: [],
      units: [],
    }
    const plan = await planPutBack(
      site,
      name,
      journal,
      record.old.filter((old) => old.run === latest.run),
    )
    emit({ type: 'plan', plan })
    await writeJournal(site.state, journal)
    const job = jobOf(site, name, journal, serviceOf(site, name).sqlite, lock, options)
    const context = { now: site.now, signal: options.signal, emit, journal: { begin: async () => {}, done: async () => {} } }
    const { failure, undone } = await execute(plan, restoreHandlers(job), context)
    if (failure?.code !== 'undo-failed') {
      await settle(site, journal, failure === null ? { adopted: false } : null)
      if (failure === null) await forgetOld(site, name, latest.run)
    }
    return { failure, outcome: undone.includes('swap') ? 'rolled-back' : null, bytes: null, downtimeSeconds: job.stopped?.seconds ?? null }
  })
}

/** Deletes the old data that restores kept. Returns the folders that went. */
export async function discardOld(site: Site, name: string, which: (old: OldData) => boolean): Promise<string[]> {
  await makeState(site.state)
  const lock = await lockService(site.state, name)
  try {
    await requireNoJournal(site.state, name)
    const gone = (await readRecord(site.state, name)).old.filter(which)
    for (const old of gone) {
      await removeFolder(old.folder)
      await removeIfEmpty(dirname(old.folder))
    }
    if (gone.length > 0)
      await updateRecord(site.state, name, (record) => {
        record.old = record.old.filter((old) => !gone.some(({ folder }) => folder === old.folder))
      })
    return gone.map(({ folder }) => folder)
  } finally {
    lock.release()
  }
}

interface Ended {
  failure: Failure | null
  outcome: Outcome | null
  bytes: number | null
  downtimeSeconds: number | null
}

async function underLock(
  site: Site,
  name: string,
  snapshotId: string | null,
  options: InPlaceOptions,
  work: (lock: Lock, emit: (body: EventBody) => void) => Promise<Ended>,
): Promise<Result> {
  const begun = performance.now()
  const started = site.now().toISOString()
  const emit = (body: EventBody) => options.emit({ time: site.now().toISOString(), service: name, ...body } as Event)
  let ended: Ended
  let held = false
  let lock: Lock | null = null
  try {
    await makeState(site.state)
    lock = await lockService(site.state, name)
    held = true
    ended = await work(lock, emit)
  } catch (error) {
    ended = { failure: asFailure(error), outcome: null, bytes: null, downtimeSeconds: null }
  }
  const { failure, bytes, downtimeSeconds } = ended
  const outcome = ended.outcome ?? (failure === null ? 'ok' : failure.code === 'interrupted' ? 'interrupted' : 'failed')
  const result: Result = {
    name,
    outcome,
    exit: failure?.exit ?? 0,
    code: failure?.code ?? null,
    message: failure?.message ?? null,
    snapshotId,
    seconds: Math.round(performance.now() - begun) / 1000,
    downtimeSeconds,
    bytes,
  }
  if (held) {
    const { exit: _, name: __, ...run } = result
    await updateRecord(site.state, name, (record) => {
      record.runs.push({ run: started, kind: 'restore', started, ...run, files: null, addedBytes: null, warnings: [] })
    }).catch((error) =>
      emit({ type: 'warning', code: 'record-failed', message: `${name}: the record can't be written: ${asFailure(error).message}` }),
    )
    await announceEnd(site.state, name)
  }
  lock?.release()
  return result
}

/** The end of a restore: what it staged goes, what it replaced is remembered, the journal closes last. */
async function settle(site: Site, journal: RestoreJournal, done: { adopted: boolean } | null): Promise<void> {
  const { service, run, folders, moves, started } = journal
  const kept: OldData[] = []
  for (const folder of folders) {
    await removeFolder(`${folder}/new`)
    await removeIfEmpty(folder)
    const mine = oldFolder(folder, run)
    // After a rollback only what appeared meanwhile still stands there; it has no path to go back to.
    const replaced = done === null ? [] : moves.filter(({ liveId, old }) => liveId !== null && isWithin(old, mine))
    if (await lstatIfThere(mine)) kept.push({ run, since: site.now().toISOString(), folder: mine, paths: replaced.map(({ live }) => live) })
  }
  await updateRecord(site.state, service, (record: RunRecord) => {
    if (done?.adopted) record.origin = { how: 'recovered', since: started }
    record.old.push(...kept)
  })
  await removeJournal(site.state, service)
}

async function removeIfEmpty(folder: Path): Promise<void> {
  if (await lstatIfThere(folder)) await runProgram(['find', folder, '-xdev', '-depth', '-type', 'd', '-empty', '-delete'])
}

async function backward(site: Site, journal: RestoreJournal): Promise<void> {
  const units = unitsOf(journal.service, serviceOf(site, journal.service))
  if (journal.phase === 'swapping') {
    await stopKnown(journal.service, units)
    await swapBackward(journal.moves)
  }
  await settle(site, journal, null)
  await startUnits(journal.service, journal.units)
}

async function stopKnown(name: string, units: string[]): Promise<void> {
  if (hasSystemd()) await stopUnits(name, units)
}

async function requireJournal(site: Site, name: string): Promise<RestoreJournal> {
  const journal = await readJournal(site.state, name)
  if (journal) return journal
  throw new Failure('nothing-to-resume', `${name}: no restore is unfinished`, { exit: 2 })
}

/** The plan that puts old data back; what is live now becomes old data in turn. */
async function planPutBack(site: Site, name: string, journal: RestoreJournal, olds: OldData[]): Promise<Plan<RestoreStep>> {
  const { sqlite, healthCheck, ...service } = serviceOf(site, name)
  const units = unitsOf(name, { ...service, sqlite, healthCheck })
  if (units.length > 0 && hasSystemd()) journal.units = (await unitStates(units)).filter(isActive).map(({ unit }) => unit)
  journal.folders = olds.map(({ folder }) => dirname(folder))
  const moves = olds.flatMap(({ folder, paths }) =>
    paths.map((live) => ({ live, staged: folder + live, old: oldFolder(dirname(folder), journal.run) + live })),
  )
  for (const { staged } of moves)
    if (!(await lstatIfThere(staged)))
      throw new Failure('old-data-missing', `${name}: ${staged} isn't there any more: the restore can't be taken back`)
  for (const { folder } of olds) await mkdir(oldFolder(dirname(folder), journal.run), { mode: 0o700 })
  const start: RestoreStep[] = journal.units.length > 0 ? [{ do: 'start', units: journal.units }] : []
  const steps: RestoreStep[] = [
    ...(journal.units.length > 0 ? [{ do: 'stop', units } as const] : []),
    { do: 'swap', moves },
    ...start,
    ...(healthCheck === null ? [] : [{ do: 'health' } as const]),
  ]
  return { run: journal.run, service: name, steps, always: start, notes: [`puts back what the restore of ${olds[0]?.since} replaced`] }
}

async function forgetOld(site: Site, name: string, run: string): Promise<void> {
  await updateRecord(site.state, name, (record) => {
    const { old } = record
    record.old = old.filter((kept) => kept.run !== run)
  })
}

function jobOf(site: Site, name: string, journal: RestoreJournal, databases: Path[], lock: Lock, { output }: InPlaceOptions): RestoreJob {
  const service = serviceOf(site, name)
  return {
    name,
    service,
    restic: site.restic(service.repository),
    state: site.state,
    databases,
    journal,
    hold: [lock.fd],
    bytes: 0,
    stopped: null,
    output,
  }
}

function explain(failure: Failure, rolledBack: boolean): Failure {
  if (failure.message.includes('nothing was')) return failure
  const state =
    failure.code === 'undo-failed' ? 'try again with --rollback' : rolledBack ? 'the old data is back in place' : 'the live data was not touched'
  return new Failure(failure.code, `${failure.message}; ${state}`, { cause: failure, exit: failure.exit })
}
