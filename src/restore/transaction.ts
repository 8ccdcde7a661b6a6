// What every restore in place and every rollback share: the service's lock, the journal, the steps, the record.
import { dirname } from 'node:path'
import { cleanUp } from '../backup/cleanup.ts'
import { type Event, type EventBody, type Outcome, type Plan, type RestoreStep, type Result, resultOf, type Unit } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { execute, type Limiter } from '../execute.ts'
import { mkdir } from '../fs.ts'
import { maskableUnits, maskUnits, startUnits, stoppedUnits, unmaskUnits } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { lockOf, type Site, serviceOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'
import type { Run } from '../state/record.gen.ts'
import { updateRecord, withStopped } from '../state/records.ts'
import { newRunId, readKilledRun, removeRunning, writeRunning } from '../state/running.ts'
import { closeJournal } from './cleanup.ts'
import { swapBack, swapIn } from './exchange.ts'
import { planRest } from './plan.ts'
import type { Privileged } from './privileged.ts'
import { checkHealth, type RestoreJob, restoreHandlers } from './steps.ts'
import { requireUnused, stopAndMaskUnits, unmaskAndStartUnits } from './units.ts'

export interface InPlaceOptions {
  signal: AbortSignal
  emit(event: Event): void
  output(line: string): void
  /** Privileged entries that a person allowed. Missing: none. */
  privileged?: Privileged
  /** Whether databases that are corrupt are restored all the same. Missing: no. */
  corrupt?: boolean
  /** Limits how many restores fetch or load data at a time. Missing: no limit. */
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
  /** Writes the outcome into the record. Called before the journal is removed: a crash in between must not lose the outcome. */
  remember(ended: Ended): Promise<void>
}

/** How a restore ended. What is missing is null in its result. */
type Ended = Partial<Pick<Result, 'snapshotId' | 'bytes' | 'downtimeSeconds'>> & {
  failure?: Failure | null
  outcome?: Outcome | null
  /** Units that ran, and were stopped. */
  ran?: Unit[]
}

/** Does `work` under the service's lock. Never throws: the outcome is in the result and in the service's record. */
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
  let writeEvent = (_: Event) => {}
  const emit = (body: EventBody) => {
    isPlanned ||= body.type === 'plan'
    const event = { time: site.now().toISOString(), service: name, ...body } as Event
    writeEvent(event)
    options.emit(event)
  }
  const resultFrom = ({ failure = null, outcome, ran: _, ...known }: Ended): Result =>
    resultOf(name, failure && { code: failure.code, message: named(name, failure.message), exit: failure.exit }, {
      ...known,
      ...(outcome && { outcome }),
      seconds: Math.round(performance.now() - begun) / 1000,
    })
  const failed = (error: unknown): Ended => ({ failure: asFailure(error) })
  let isRemembered = false
  const remember = async (ended: Ended) => {
    const { exit: _, name: __, ...told } = resultFrom(ended)
    const stopped = await stoppedUnits(ended.ran ?? [], started)
    await updateRecord(site.state, name, (record) => {
      const entry: Run = { run, kind: 'restore', started, ...told, files: null, view: 'live', warnings: [] }
      record.runs = [...record.runs.filter((other) => other.run !== run), entry]
      record.stopped = withStopped(record.stopped, stopped)
    })
    isRemembered = true
  }
  let release = () => {}
  try {
    await makeState(site.state)
    const lock = await lockOf(site, name)
    release = lock.release
    // writeRunning would overwrite the plan of a killed backup, which the clean-up needs.
    if ((await readKilledRun(site.state, name))?.kind === 'backup') await cleanUp(site, name, options.output)
    writeEvent = await writeRunning(site.state, name, { run, kind: 'restore', started })
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

/** Executes a plan. The journal is written first, and stays open only if a step couldn't be undone. */
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
    ran: job.downtime === null ? [] : journal.units,
  })
  if (failure === null) tellUnchecked(name, service, plan, emit)
  if (failure?.code !== 'undo-failed')
    await closeJournal(site, journal, job.live === 'new', warning(name, emit), () => remember(ended())).catch((error: unknown) => {
      const { code, message } = asFailure(error)
      failure ??= new Failure(code, message)
      emit({ type: 'warning', code, message: `${named(name, message)}; remove the rest with: atelier-backup restore ${name} --rollback` })
    })
  return ended()
}

/** Finishes an interrupted swap. If the service doesn't start or isn't healthy with the new data, the old data is put back. */
export async function goForward({ site, name, options, emit, remember }: Transaction, journal: RestoreJournal): Promise<Ended> {
  const service = serviceOf(site, name)
  const plan = planRest(service, journal, unitsOf(name, service))
  emit({ type: 'plan', plan })
  await stopAndMaskUnits(site.state, journal, unitsToClose(service, journal), { seconds: service.stopTimeoutSec })
  await requireUnused(name, journal.moves)
  await swapIn(site.state, site.manifest.postgresql, journal)
  try {
    await unmaskAndStartUnits(journal, [...new Set([...journal.units, ...(journal.enabled ?? [])])])
    if (plan.steps.some((step) => step.do === 'health')) await checkHealth({ name, service, output: options.output }, options.signal)
  } catch (error) {
    await goBack(site, journal, emit)
    return { failure: explain(asFailure(error), 'old'), outcome: 'rolled-back', snapshotId: journal.snapshot, ran: journal.units }
  }
  tellUnchecked(name, service, plan, emit)
  const ended = { snapshotId: journal.snapshot, ran: journal.units }
  await closeJournal(site, journal, true, warning(name, emit), () => remember(ended))
  return ended
}

/**
 * At boot, before the units start: a swap that began is finished; if nothing was exchanged, the staged data is removed. If the exchange of
 * databases needs a server that doesn't answer, the journal stays open.
 */
export async function endAtBoot({ site, name, emit, remember }: Transaction, journal: RestoreJournal): Promise<Ended> {
  const hasBegun = journal.phase !== 'staging'
  try {
    if (hasBegun) await swapIn(site.state, site.manifest.postgresql, journal)
  } catch (error) {
    // No unit may start on partly old and partly new data.
    journal.masked = [...new Set([...journal.masked, ...(await maskableUnits(unitsOf(name, serviceOf(site, name))))])]
    await writeJournal(site.state, journal)
    await maskUnits(journal.masked)
    throw explain(asFailure(error), 'closed')
  }
  // After a reboot systemd starts the units. If our runtime masks still exist, the host didn't reboot: only our process died, and the units
  // must be started here.
  if ((await unmaskUnits(journal.masked)).length > 0)
    await startUnits(name, [...journal.units, ...((hasBegun && journal.enabled) || [])], { later: true })
  const ended: Ended = { snapshotId: journal.snapshot, outcome: hasBegun ? null : 'skipped' }
  await closeJournal(site, journal, hasBegun, warning(name, emit), () => remember(ended))
  return ended
}

/** The declared units, and those that ran before: a crash may have come after they were started again. */
function unitsToClose(service: Service, { service: name, units }: RestoreJournal): Unit[] {
  return [...new Set([...unitsOf(name, service), ...units])]
}

/** Rolls back an unfinished restore, in whichever phase it was interrupted. */
export async function goBack(site: Site, journal: RestoreJournal, emit: Transaction['emit']): Promise<void> {
  const { service, units, phase } = journal
  if (phase !== 'staging') {
    const declared = serviceOf(site, service)
    await stopAndMaskUnits(site.state, journal, unitsToClose(declared, journal), { seconds: declared.stopTimeoutSec })
    await requireUnused(service, journal.moves)
    await swapBack(site.state, site.manifest.postgresql, journal)
  }
  try {
    await unmaskAndStartUnits(journal, units)
  } finally {
    await closeJournal(site, journal, false, warning(service, emit))
  }
}

/** Says that the plan of a restore that succeeded has no health check, though one is declared. */
function tellUnchecked(name: string, service: Service, { steps }: Plan<RestoreStep>, emit: Transaction['emit']): void {
  if (service.healthCheck === null || steps.some((step) => step.do === 'health')) return
  const start = `systemctl start ${unitsOf(name, service).join(' ')}`
  emit({
    type: 'warning',
    code: 'health-skipped',
    message: `${name}: none of its units ran, so none was started, and healthCheck is skipped: ${start}`,
  })
}

/** What tidying can't do is told, and ends nothing. */
export function warning(name: string, emit: Transaction['emit']): (failure: Failure) => void {
  return ({ code, message }) => emit({ type: 'warning', code, message: named(name, message) })
}

/** The message, beginning with the service's name. */
export function named(name: string, message: string): string {
  return message.startsWith(`${name}: `) ? message : `${name}: ${message}`
}

/** The failure, with the state of the data and the next command. */
function explain(failure: Failure, live: keyof typeof states): Failure {
  const open = failure.code === 'undo-failed' && live === 'old' ? ', and the journal still open: fix that, then close it with --rollback' : ''
  return new Failure(failure.code, `${failure.message}; ${states[live]}${open}`, { cause: failure, exit: failure.exit })
}

const states: Record<RestoreJob['live'] | 'closed', string> = {
  untouched: 'the live data was not touched',
  closed: 'its units stay stopped: fix that, then finish the restore with --resume, or undo it with --rollback',
  mixed: 'its data is partly old and partly new: try again with --rollback',
  new: 'the new data is in place: undo the restore with --rollback',
  old: 'the old data is back in place',
}
