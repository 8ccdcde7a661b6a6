// One service's backup from lock to record: what a timer runs at 02:00 is what a person runs by hand.
import { rm } from 'node:fs/promises'
import type { BackupStep, Event, EventBody, Outcome, Plan, Result } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { execute } from '../execute.ts'
import { endHook } from '../host/hooks.ts'
import { unitsOf } from '../manifest/resolve.ts'
import { requireRepositoryApart } from '../repository/apart.ts'
import { removeOwnLocks } from '../repository/locks.ts'
import { type Site, serviceOf, stagingOf } from '../site.ts'
import { installId, makeState } from '../state/install.ts'
import { readJournal, requireNoJournal } from '../state/journal.ts'
import { lockService } from '../state/lock.ts'
import type { Run, RunRecord } from '../state/record.gen.ts'
import { emptyRecord, isRecorded, killedRun, lastRun, pinnedRepository, pinRepository, readRecord, updateRecord } from '../state/records.ts'
import { announce, announceEnd, clearState, newRunId, type Running, readLeftBehind, recordPlan, setRunningAside } from '../state/running.ts'
import { clearLook, factsUnknown, gatherBackupFacts } from './look.ts'
import { storeManifest } from './manifest.ts'
import { heldStill, planBackup } from './plan.ts'
import { type RepositoryState, resolveState } from './repository-state.ts'
import { backupHandlers, type Job } from './steps.ts'

export interface BackupOptions {
  signal: AbortSignal
  emit(event: Event): void
  /** Where the output of hooks goes. */
  output(line: string): void
}

/** Backs up one service. Never throws: what went wrong stands in the result and in the service's record. */
export async function runBackup(site: Site, name: string, options: BackupOptions): Promise<Result> {
  const started = site.now()
  const begun = performance.now()
  const job: Pick<Job, 'summary' | 'missed' | 'stopped'> & { view: Run['view']; warnings: Run['warnings']; failure: Failure | null } = {
    summary: null,
    missed: [],
    stopped: null,
    view: 'live',
    warnings: [],
    failure: null,
  }
  let write = (_: Event) => {}
  const emit = (body: EventBody) => {
    const event = { time: site.now().toISOString(), service: name, ...body } as Event
    write(event)
    options.emit(event)
  }
  const seconds = () => Math.round(performance.now() - begun) / 1000
  const result = (): Result => resultOf(name, job, seconds())
  try {
    serviceOf(site, name)
    await makeState(site.state)
    const lock = await lockService(site.state, name)
    try {
      await withLock(lock.fd)
    } finally {
      lock.release()
    }
  } catch (error) {
    job.failure ??= asFailure(error)
  }
  return result()

  async function withLock(fd: number): Promise<void> {
    const service = serviceOf(site, name)
    await cleanUp(site, name, options.output)
    await requireNoJournal(site.state, name)
    const run = newRunId(started)
    let standing: RepositoryState | null = null
    const warn = (code: Code, message: string) => {
      job.warnings.push({ code, message })
      emit({ type: 'warning', code, message })
    }
    try {
      write = await announce(site.state, name, { run, kind: 'backup', started: started.toISOString() })
      const install = await installId(site.state)
      const restic = site.restic(service.repository)
      const record = await readRecord(site.state, name).catch(() => emptyRecord(name))
      const about = { run, name, install, staging: await stagingOf(site, name) }
      const look = async () => {
        await requireRepositoryApart(site, name, service.exclude)
        standing = await resolveState(site, name, record, install, { signal: options.signal, inheritFds: [fd] })
        return gatherBackupFacts(service, { ...about, unadopted: standing.unadopted })
      }
      const facts = await look().catch((error: unknown) => {
        job.failure = asFailure(error)
        return factsUnknown(about)
      })
      const plan = planBackup(service, facts)
      job.view = heldStill(plan)
      await recordPlan(site.state, name, plan)
      emit({ type: 'plan', plan })
      const handlers = backupHandlers(
        Object.assign(job, {
          name,
          service,
          manifest: site.manifest,
          state: site.state,
          restic,
          standing,
          before: lastWhole(record),
          inheritFds: [fd],
          outcome: (failure: Failure | null) => outcomeOf({ ...job, failure: job.failure ?? failure }),
          warn,
          output: options.output,
        }),
      )
      const context = { now: site.now, signal: options.signal, emit }
      const ending = await execute(plan, handlers, context)
      job.failure ??= ending.failure
      if (job.summary !== null && facts.unadopted)
        warn(
          'unadopted',
          `${name}: saved, but it doesn't count yet: backups from elsewhere exist. Bring them back (atelier-backup dr --only ${name}), or say that this host's data is the truth (atelier-backup adopt ${name})`,
        )
      await storeChanged(standing, install, fd).catch((error: unknown) =>
        warn('manifest-not-stored', `the manifest isn't stored in the repository: ${asFailure(error).message}`),
      )
    } catch (error) {
      job.failure = asFailure(error)
    }
    await remember(run, standing).catch((error: unknown) => {
      job.failure ??= asFailure(error)
    })
    const end = result()
    write({ time: site.now().toISOString(), service: name, type: 'report', outcome: end.outcome, exit: end.exit, services: [end] })
    await announceEnd(site.state, name)
  }

  /**
   * Dated a moment before the service's own snapshot, so that restic's "latest" is that one.
   * Not where nobody said which data is the truth: the manifest of a fresh install may lack what the lost host had.
   */
  async function storeChanged(standing: RepositoryState | null, install: string, fd: number): Promise<void> {
    if (job.summary === null || standing === null || standing.unadopted || options.signal.aborted) return
    const { repository } = serviceOf(site, name)
    const time = new Date(Date.parse(job.summary.time) - 1000)
    await storeManifest(site, repository, { repositoryId: standing.repositoryId, install, time }, { signal: options.signal, inheritFds: [fd] })
  }

  async function remember(run: string, standing: RepositoryState | null): Promise<void> {
    const { repository } = serviceOf(site, name)
    // It counts, also where postBackup failed.
    const { summary } = job
    if (summary && standing && (await pinnedRepository(site.state, repository)) === null)
      await pinRepository(site.state, repository, standing.repositoryId, site.now().toISOString())
    const { setAside } = await updateRecord(site.state, name, (record) => {
      const { outcome, code, message } = result()
      if (summary && standing) {
        record.lastSnapshot = { id: summary.snapshotId, time: summary.time, repositoryId: standing.repositoryId }
        if (!standing.unadopted) record.origin ??= { how: 'own', since: started.toISOString() }
      }
      record.runs.push({
        run,
        kind: 'backup',
        started: started.toISOString(),
        seconds: seconds(),
        outcome,
        code,
        message,
        snapshotId: summary?.snapshotId ?? null,
        downtimeSeconds: job.stopped?.seconds ?? null,
        view: job.view,
        bytes: summary?.bytes ?? null,
        files: summary?.files ?? null,
        addedBytes: summary?.addedBytes ?? null,
        warnings: job.warnings.slice(0, 50),
      })
    })
    if (setAside !== null)
      emit({ type: 'warning', code: 'record-damaged', message: `${name}: its record was damaged and is set aside as ${setAside}` })
  }
}

/** The run whose size a new one is measured by: not one that shrank itself, or its loss would be noticed once only; nor one before a person said that what is here is right. */
function lastWhole({ origin, ...record }: RunRecord): Run | null {
  const isMeasure = ({ files, code, started }: Run) => files !== null && code !== 'shrunk' && (origin === null || started >= origin.since)
  return lastRun({ ...record, origin, runs: record.runs.filter(isMeasure) }, 'backup')
}

/**
 * Takes away what a run left behind that was killed, by the plan it had recorded: units are started, views and copies go, postBackup runs.
 * The run gets its line in the record. Returns whether there was one. The lock must be held.
 */
export async function cleanUp(site: Site, name: string, output: (line: string) => void): Promise<boolean> {
  const left = await readLeftBehind(site.state, name).catch((error: unknown) => setAside(site, name, asFailure(error), output))
  await clearState(site.state, name)
  await rm(await stagingOf(site, name), { recursive: true, force: true })
  if (left?.kind !== 'backup') return false
  const record = await readRecord(site.state, name).catch(() => emptyRecord(name))
  if (isRecorded(record, left)) {
    await announceEnd(site.state, name)
    return false
  }
  await endHook(name)
  const service = serviceOf(site, name)
  if (!left.plan) await clearLook(service, { name, run: left.run }).catch((error: unknown) => output(asFailure(error).message))
  // Nothing is stopped before the plan is noted; where that is damaged, all that it may have stopped is started.
  const stopped = left.pid === 0 && service.stopForBackup ? unitsOf(name, service) : []
  const nothingKnown = { ...factsUnknown({ run: left.run, name, install: '', staging: await stagingOf(site, name) }), running: stopped }
  const { always } = (left.plan ?? planBackup(service, nothingKnown)) as Plan<BackupStep>
  const plan: Plan<BackupStep> = { run: left.run, service: name, notes: [], steps: [], always }
  const job: Job = {
    ...{ name, service, manifest: site.manifest, state: site.state, restic: site.restic(service.repository) },
    // Stopped or not, it can't be known: they are started.
    ...{ standing: null, before: null, inheritFds: [], summary: null, missed: [], stopped: { at: performance.now(), seconds: null }, output },
    outcome: () => 'failed',
    warn: (_, message) => output(message),
  }
  const emit = (event: EventBody) => event.type === 'warning' && output(event.message)
  const { failure } = await execute(plan, backupHandlers(job), { now: site.now, signal: new AbortController().signal, emit })
  if (failure) output(failure.message)
  // restic's lock stays with a restic that was killed, and would keep `prune` out.
  await removeOwnLocks(site, service.repository, { signal: AbortSignal.timeout(60_000) }).catch((error: unknown) => output(asFailure(error).message))
  await updateRecord(site.state, name, (record) => void record.runs.push(killedRun(name, left)))
  await announceEnd(site.state, name)
  return true
}

/** A backup whose announcement can't be read any more; null: it was a restore, which its journal ends. */
async function setAside(site: Site, name: string, damage: Failure, output: (line: string) => void): Promise<Running | null> {
  if (damage.code !== 'state-damaged') throw damage
  output(`${name}: what a killed run has noted is damaged, and set aside as ${await setRunningAside(site.state, name)}`)
  const open = await readJournal(site.state, name).then(Boolean, () => true)
  const started = site.now()
  return open ? null : { run: newRunId(started), kind: 'backup', started: started.toISOString(), pid: 0, startTime: '', bootId: '' }
}

type Ended = Pick<Job, 'summary' | 'missed' | 'stopped'> & { failure: Failure | null; warnings: Run['warnings'] }

function outcomeOf({ failure, missed }: Ended): Outcome {
  if (failure) return failure.code === 'interrupted' || failure.code === 'skipped' ? failure.code : 'failed'
  return missed.length > 0 ? 'partial' : 'ok'
}

function resultOf(name: string, job: Ended, seconds: number): Result {
  const outcome = outcomeOf(job)
  const [first] = job.missed
  const more = job.missed.length > 1 ? ` (and ${job.missed.length - 1} more)` : ''
  const failure =
    job.failure ??
    (first
      ? new Failure(first.code, `${name}: ${first.code === 'shrunk' ? 'saved, but' : 'saved in part:'} ${first.message}${more}`, { exit: 3 })
      : null)
  return {
    name,
    outcome,
    exit: failure?.exit ?? 0,
    code: failure?.code ?? null,
    message: failure?.message ?? null,
    snapshotId: job.summary?.snapshotId ?? null,
    seconds,
    downtimeSeconds: job.stopped?.seconds ?? null,
    bytes: job.summary?.bytes ?? null,
    addedBytes: job.summary?.addedBytes ?? null,
  }
}
