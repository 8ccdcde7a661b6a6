// One service's backup from lock to record. The systemd timer and a person at a terminal run the same code.
import { type Event, type EventBody, type Outcome, type Result, resultOf } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { execute } from '../execute.ts'
import { downMessage, downUnits, stoppedUnits } from '../host/systemd.ts'
import type { Service } from '../manifest/types.gen.ts'
import { requireRepositoryApart } from '../repository/apart.ts'
import { lockOf, type Site, serviceOf, stagingOf } from '../site.ts'
import { makeState } from '../state/install.ts'
import { requireNoJournal } from '../state/journal.ts'
import { boundInstallId, readMachine } from '../state/machine.ts'
import type { Run, RunRecord } from '../state/record.gen.ts'
import { emptyRecord, lastRun, pinnedRepository, pinRepository, readRecord, updateRecord, withStopped } from '../state/records.ts'
import { newRunId, recordPlan, removeRunning, writeRunning } from '../state/running.ts'
import { cleanUp } from './cleanup.ts'
import { gatherBackupFacts, unknownFacts } from './look.ts'
import { storeManifest } from './manifest.ts'
import { freezeMethod, planBackup } from './plan.ts'
import { type RepositoryState, resolveState } from './repository-state.ts'
import { backupHandlers, type Findings, newFindings } from './steps.ts'

export interface BackupOptions {
  signal: AbortSignal
  emit(event: Event): void
  /** Where the output of hooks goes. */
  output(line: string): void
}

/** One run that holds the service's lock, and what it has found out so far. */
interface BackupRun {
  id: string
  site: Site
  name: string
  service: Service
  options: BackupOptions
  /** ISO 8601. */
  started: string
  seconds(): number
  /** The descriptor of the lock: children keep it open. */
  inheritFds: number[]
  findings: Findings
  warnings: Run['warnings']
  /** Units that an earlier run stopped and that don't run; null: not looked at. */
  down: RunRecord['stopped'] | null
  /** How the plan keeps the data unchanged while restic reads it. */
  view: Run['view']
  /** Null until the repository has answered. */
  repositoryState: RepositoryState | null
  /** Appends to running/SERVICE.ndjson. Does nothing until that file exists. */
  writeEvent(event: Event): void
}

/** Backs up one service. Never throws: a failure is in the result and in the service's record. */
export async function runBackup(site: Site, name: string, options: BackupOptions): Promise<Result> {
  const started = site.now()
  const begun = performance.now()
  const seconds = () => Math.round(performance.now() - begun) / 1000
  const findings = newFindings()
  try {
    const service = serviceOf(site, name)
    await makeState(site.state)
    const lock = await lockOf(site, name)
    try {
      await cleanUp(site, name, options.output)
      await requireNoJournal(site.state, name)
      await recordedRun({
        ...{ id: newRunId(started), site, name, service, options, started: started.toISOString(), seconds, inheritFds: [lock.fd] },
        ...{ findings, warnings: [], down: null, view: 'live', repositoryState: null, writeEvent: () => {} },
      })
    } finally {
      lock.release()
    }
  } catch (error) {
    findings.failure ??= asFailure(error)
  }
  return toResult(name, findings, seconds())
}

/** Runs the backup with its entry in running/, and writes it into the record, also where it fails. */
async function recordedRun(run: BackupRun): Promise<void> {
  const { site, name, findings } = run
  try {
    run.writeEvent = await writeRunning(site.state, name, { run: run.id, kind: 'backup', started: run.started })
    await backUp(run)
  } catch (error) {
    findings.failure = asFailure(error)
  }
  await writeRecord(run).catch((error: unknown) => {
    findings.failure ??= asFailure(error)
  })
  const result = toResult(name, findings, run.seconds())
  run.writeEvent(stamped(run, { type: 'report', outcome: result.outcome, exit: result.exit, services: [result] }))
  await removeRunning(site.state, name)
}

/** Gathers facts, plans, executes the plan, and stores the manifest. */
async function backUp(run: BackupRun): Promise<void> {
  const { site, name, service, options, inheritFds, findings } = run
  const install = await boundInstallId(site.state)
  const restic = site.restic(service.repository)
  const record = await readRecord(site.state, name).catch(() => emptyRecord(name))
  const known = { run: run.id, name, install, staging: await stagingOf(site, name) }
  const gatherFacts = async () => {
    await requireRepositoryApart(site, name, service.exclude)
    run.repositoryState = await resolveState(site, name, record, install, { signal: options.signal, inheritFds })
    // A machine that was set back has got a new id.
    known.install = run.repositoryState.install
    return gatherBackupFacts(service, { ...known, unadopted: run.repositoryState.unadopted })
  }
  // After a failure the plan still has the steps that always run, such as postBackup.
  const facts = await gatherFacts().catch((error: unknown) => {
    findings.failure = asFailure(error)
    return unknownFacts(known)
  })
  const plan = planBackup(service, facts)
  run.view = freezeMethod(plan)
  await recordPlan(site.state, name, plan)
  emit(run, { type: 'plan', plan })
  const handlers = backupHandlers({
    ...{ name, service, manifest: site.manifest, state: site.state, restic, inheritFds, findings },
    repositoryState: run.repositoryState,
    baseline: sizeBaseline(record),
    outcome: (failure) => outcomeOf({ ...findings, failure: findings.failure ?? failure }),
    warn: (code, message) => warn(run, code, message),
    output: options.output,
  })
  const { failure } = await execute(plan, handlers, { now: site.now, signal: options.signal, emit: (event) => emit(run, event) })
  findings.failure ??= failure
  await requireEarlierRunning(run, record)
  if (findings.summary !== null && facts.unadopted) {
    const why = (await readMachine(site.state)).replaced ?? 'backups from elsewhere exist'
    warn(
      run,
      'unadopted',
      `${name}: saved, but it doesn't count yet: ${why}. If this host's data is the truth, say so (atelier-backup adopt ${name}); else bring the others back (atelier-backup dr --only ${name})`,
    )
  }
  await storeManifestOf(run, known.install).catch((error: unknown) =>
    warn(run, 'manifest-not-stored', `the manifest isn't stored in the repository: ${asFailure(error).message}`),
  )
}

/** Units that an earlier run stopped and that don't run since: this run's failure too, until somebody has started them. */
async function requireEarlierRunning(run: BackupRun, record: RunRecord): Promise<void> {
  const { name, findings } = run
  const earlier = record.stopped.filter(({ unit }) => !findings.ran.includes(unit))
  const found = await downUnits(earlier).catch(() => [])
  run.down = found.map(({ unit, since, down }) => ({ unit, since, down }))
  const [down] = found
  if (down === undefined) return
  const message = `${name}: ${downMessage(down)}`
  if (findings.failure === null) findings.failure = new Failure('start-failed', message)
  else warn(run, 'start-failed', message)
}

/**
 * Dated a second before the service's own snapshot, so that restic's "latest" is the service's.
 * Not while the service is unadopted: the manifest of a fresh install may lack what the lost host had.
 */
async function storeManifestOf(run: BackupRun, install: string): Promise<void> {
  const { site, service, options, inheritFds, repositoryState } = run
  const { summary } = run.findings
  if (summary === null || repositoryState === null || repositoryState.unadopted || options.signal.aborted) return
  const time = new Date(Date.parse(summary.time) - 1000)
  const { repositoryId } = repositoryState
  await storeManifest(site, service.repository, { repositoryId, install, time }, { signal: options.signal, inheritFds })
}

/** A snapshot is written down even where a later step failed, such as postBackup. */
async function writeRecord(run: BackupRun): Promise<void> {
  const { site, name, service, started, findings, repositoryState } = run
  const { summary } = findings
  if (summary && repositoryState && (await pinnedRepository(site.state, service.repository)) === null)
    await pinRepository(site.state, service.repository, repositoryState.repositoryId, site.now().toISOString())
  const stopped = await stoppedUnits(findings.ran, started)
  const { setAside } = await updateRecord(site.state, name, (record) => {
    const { outcome, code, message, seconds, snapshotId, downtimeSeconds, bytes, addedBytes } = toResult(name, findings, run.seconds())
    if (summary && repositoryState) {
      record.lastSnapshot = { id: summary.snapshotId, time: summary.time, repositoryId: repositoryState.repositoryId }
      if (!repositoryState.unadopted && record.origin === null) {
        record.origin = { how: 'own', since: started }
        // No other install's snapshots were there.
        record.inherited = []
      }
    }
    record.stopped = withStopped(run.down ?? record.stopped, stopped)
    record.runs.push({
      ...{ run: run.id, kind: 'backup', started, seconds, outcome, code, message, snapshotId, downtimeSeconds },
      ...{ view: run.view, bytes, files: summary?.files ?? null, addedBytes, warnings: run.warnings.slice(0, 50) },
    })
  })
  if (setAside !== null)
    emit(run, { type: 'warning', code: 'record-damaged', message: `${name}: its record was damaged and is set aside as ${setAside}` })
}

/**
 * The run that the size of a new one is compared with: the newest complete one. A partial one lacks something, or holds a database with its
 * `-wal` instead of a copy; it counts only where there is no complete one, and never if it shrank: its loss would be reported once only. No
 * run from before a person adopted the data that is here.
 */
function sizeBaseline({ origin, ...record }: RunRecord): Run | null {
  const newest = (counts: (run: Run) => boolean) => lastRun({ ...record, origin, runs: record.runs.filter(counts) }, 'backup')
  const saved = ({ files, code, started }: Run) => files !== null && code !== 'shrunk' && (origin === null || started >= origin.since)
  return newest((run) => saved(run) && run.outcome === 'ok') ?? newest(saved)
}

function warn(run: BackupRun, code: Code, message: string): void {
  run.warnings.push({ code, message })
  emit(run, { type: 'warning', code, message })
}

function emit(run: BackupRun, body: EventBody): void {
  const event = stamped(run, body)
  run.writeEvent(event)
  run.options.emit(event)
}

function stamped({ site, name }: BackupRun, body: EventBody): Event {
  return { time: site.now().toISOString(), service: name, ...body } as Event
}

function outcomeOf({ failure, problems }: Findings): Outcome {
  if (failure) return failure.code === 'interrupted' || failure.code === 'skipped' ? failure.code : 'failed'
  return problems.length > 0 ? 'partial' : 'ok'
}

function toResult(name: string, findings: Findings, seconds: number): Result {
  return resultOf(name, findings.failure ?? partialFailure(name, findings), {
    outcome: outcomeOf(findings),
    snapshotId: findings.summary?.snapshotId ?? null,
    seconds,
    downtimeSeconds: findings.stopped?.seconds ?? null,
    bytes: findings.summary?.bytes ?? null,
    addedBytes: findings.summary?.addedBytes ?? null,
  })
}

/** The first problem stands for all of them. */
function partialFailure(name: string, { problems }: Findings): Failure | null {
  const [first] = problems
  if (!first) return null
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
  return new Failure(first.code, `${name}: ${first.code === 'shrunk' ? 'saved, but' : 'saved in part:'} ${first.message}${more}`, { exit: 3 })
}
