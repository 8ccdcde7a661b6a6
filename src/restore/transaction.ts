// What every restore in place has in common: from the lock to the record, and the journal from its first line to its end.
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { cleanUp } from '../backup/cleanup.ts'
import { type Event, type EventBody, type Outcome, type Plan, type RestoreStep, type Result, resultOf, type Unit } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { execute, type Limiter } from '../execute.ts'
import { maskableUnits, maskUnits, startUnits, unmaskUnits } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { type Site, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'
import { lockService } from '../state/lock.ts'
import type { Run } from '../state/record.gen.ts'
import { updateRecord } from '../state/records.ts'
import { newRunId, readKilledRun, removeRunning, writeRunning } from '../state/running.ts'
import { closeJournal } from './cleanup.ts'
import { swapBack, swapIn } from './exchange.ts'
import { planRest } from './plan.ts'
import { checkHealth, type RestoreJob, restoreHandlers } from './steps.ts'
import { closeUnits, openUnits, requireUnused } from './units.ts'

export interface InPlaceOptions {
  signal: AbortSignal
  emit(event: Event): void
  output(line: string): void
  /** For what brings data, by restic or into a server, beside others that do. Without it at once. */
  inTurn?: Limiter
}

/** A restore of one service, under its lock. */
export interface Transaction {
  site: Site
  name: string
  run: string
  started: string
  inheritFds: number[]
  options: InPlaceOptions
  emit(body: EventBody): void
  /** Writes into the record how it ended: before its journal goes, or a crash in between would leave a restore that nobody knows was done. */
  remember(ended: Ended): Promise<void>
}

/** How it ended; what is missing has nothing to tell. */
type Ended = Partial<Pick<Result, 'snapshotId' | 'bytes' | 'downtimeSeconds'>> & { failure?: Failure | null; outcome?: Outcome | null }

/** Does `work` under the service's lock. Never throws: how it went stands in the result and in the service's record. */
export async function transact(
  site: Site,
  name: string,
  options: InPlaceOptions,
  work: (transaction: Transaction) => Promise<Ended>,
): Promise<Result> {
  const begun = performance.now()
  const now = site.now()
  const started = now.toISOString()
  const run = newRunId(now)
  let isPlanned = false
  const emit = (body: EventBody) => {
    isPlanned ||= body.type === 'plan'
    options.emit({ time: site.now().toISOString(), service: name, ...body } as Event)
  }
  const resultFrom = ({ failure = null, outcome, ...known }: Ended): Result =>
    resultOf(name, failure && { code: failure.code, message: named(name, failure.message), exit: failure.exit }, {
      ...known,
      ...(outcome && { outcome }),
      seconds: Math.round(performance.now() - begun) / 1000,
    })
  const failed = (error: unknown): Ended => ({ failure: asFailure(error) })
  let isRemembered = false
  const remember = async (ended: Ended) => {
    const { exit: _, name: __, ...told } = resultFrom(ended)
    await updateRecord(site.state, name, (record) => {
      const entry: Run = { run, kind: 'restore', started, ...told, files: null, view: 'live', warnings: [] }
      record.runs = [...record.runs.filter((other) => other.run !== run), entry]
    })
    isRemembered = true
  }
  let release = () => {}
  try {
    await makeState(site.state)
    const lock = await lockService(site.state, name)
    release = lock.release
    // writeRunning would overwrite the plan of a killed backup, which the clean-up needs.
    if ((await readKilledRun(site.state, name))?.kind === 'backup') await cleanUp(site, name, options.output)
    await writeRunning(site.state, name, { run, kind: 'restore', started })
    const ended = await work({ site, name, run, started, inheritFds: [lock.fd], options, emit, remember }).catch(failed)
    if (!isPlanned) emit({ type: 'plan', plan: { run, service: name, steps: [], always: [], notes: [] } })
    if (!isRemembered || ended.failure)
      await remember(ended).catch((error) =>
        emit({ type: 'warning', code: 'record-failed', message: `${name}: its record can't be written: ${asFailure(error).message}` }),
      )
    await removeRunning(site.state, name)
    return resultFrom(ended)
  } catch (error) {
    return resultFrom(failed(error))
  } finally {
    release()
  }
}

/** Carries out a plan whose intent the journal states. Only if something couldn't be taken back does the journal stay open. */
export async function executeTransaction(
  { site, name, inheritFds, options, emit, remember }: Transaction,
  plan: Plan<RestoreStep>,
  journal: RestoreJournal,
): Promise<Ended> {
  await writeJournal(site.state, journal)
  emit({ type: 'plan', plan })
  const service = serviceOf(site, name)
  const restic = site.restic(service.repository)
  const job: RestoreJob = {
    name,
    service,
    restic,
    state: site.state,
    postgresql: site.manifest.postgresql,
    journal,
    inheritFds,
    output: options.output,
    inTurn: options.inTurn ?? ((work) => work()),
    bytes: 0,
    downtime: null,
    live: 'untouched',
  }
  if (journal.dumps !== null) await mkdir(dirname(journal.dumps), { recursive: true, mode: 0o700 })
  let { failure } = await execute(plan, restoreHandlers(job), { now: site.now, signal: options.signal, emit })
  const ended = (): Ended => ({
    failure: failure && explain(failure, job.live),
    outcome: failure && job.live === 'old' ? 'rolled-back' : null,
    snapshotId: journal.snapshot,
    bytes: journal.snapshot === null ? null : job.bytes,
    downtimeSeconds: job.downtime?.seconds ?? null,
  })
  if (failure?.code !== 'undo-failed')
    await closeJournal(site, journal, job.live === 'new', () => remember(ended())).catch((error: unknown) => {
      const { code, message } = asFailure(error)
      failure ??= new Failure(code, message)
      emit({ type: 'warning', code, message: `${named(name, message)}; what is left goes with: atelier-backup restore ${name} --rollback` })
    })
  return ended()
}

/** Finishes a swap that was interrupted; one that the service doesn't bear is taken back. */
export async function goForward({ site, name, options, emit, remember }: Transaction, journal: RestoreJournal): Promise<Ended> {
  const service = serviceOf(site, name)
  emit({ type: 'plan', plan: planRest(service, journal, unitsOf(name, service)) })
  await closeUnits(site.state, journal, unitsToClose(service, journal), { seconds: service.stopTimeoutSec })
  await requireUnused(name, journal.moves)
  await swapIn(site.state, site.manifest.postgresql, journal)
  try {
    await openUnits(journal, journal.units)
    await checkHealth({ name, service, output: options.output }, options.signal)
  } catch (error) {
    await goBack(site, journal)
    return { failure: explain(asFailure(error), 'old'), outcome: 'rolled-back', snapshotId: journal.snapshot }
  }
  const ended = { snapshotId: journal.snapshot }
  await closeJournal(site, journal, true, () => remember(ended))
  return ended
}

/**
 * At boot, before the units start: an exchange that had begun is finished, one that had only staged leaves nothing. Where databases need the
 * server and it doesn't answer, the journal stays open.
 */
export async function endAtBoot({ site, name, remember }: Transaction, journal: RestoreJournal): Promise<Ended> {
  const begun = journal.phase !== 'staging'
  try {
    if (begun) await swapIn(site.state, site.manifest.postgresql, journal)
  } catch (error) {
    // Nothing may run on a mixture.
    journal.masked = [...new Set([...journal.masked, ...(await maskableUnits(unitsOf(name, serviceOf(site, name))))])]
    await writeJournal(site.state, journal)
    await maskUnits(journal.masked)
    throw explain(asFailure(error), 'closed')
  }
  // At a boot the units are systemd's to start. What is masked still, it was told not to: the crash wasn't the host's.
  if ((await unmaskUnits(journal.masked)).length > 0) await startUnits(name, journal.units, { later: true })
  const ended: Ended = { snapshotId: journal.snapshot, outcome: begun ? null : 'skipped' }
  await closeJournal(site, journal, begun, () => remember(ended))
  return ended
}

/** The crash may have come when they were started again already: also what starts them, and what hangs on them, as it ran before. */
function unitsToClose(service: Service, { service: name, units }: RestoreJournal): Unit[] {
  return [...new Set([...unitsOf(name, service), ...units])]
}

/** Takes an unfinished restore back, wherever it was interrupted. */
export async function goBack(site: Site, journal: RestoreJournal): Promise<void> {
  const { service, units, phase } = journal
  if (phase !== 'staging') {
    const declared = serviceOf(site, service)
    await closeUnits(site.state, journal, unitsToClose(declared, journal), { seconds: declared.stopTimeoutSec })
    await requireUnused(service, journal.moves)
    await swapBack(site.state, site.manifest.postgresql, journal)
  }
  try {
    await openUnits(journal, units)
  } finally {
    await closeJournal(site, journal, false)
  }
}

/** A message that says which service it is about. */
export function named(name: string, message: string): string {
  return message.startsWith(`${name}: `) ? message : `${name}: ${message}`
}

/** Says how the data is left. */
function explain(failure: Failure, live: keyof typeof states): Failure {
  const open = failure.code === 'undo-failed' && live === 'old' ? ', and its journal still open: once that is mended, --rollback closes it' : ''
  return new Failure(failure.code, `${failure.message}; ${states[live]}${open}`, { cause: failure, exit: failure.exit })
}

const states: Record<RestoreJob['live'] | 'closed', string> = {
  untouched: 'the live data was not touched',
  closed: 'its units stay stopped: put that right, then finish the restore with --resume, or take it back with --rollback',
  mixed: 'its data is partly old and partly new: try again with --rollback',
  new: 'the new data is in place: take it back with --rollback',
  old: 'the old data is back in place',
}
