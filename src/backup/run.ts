// One service's backup from lock to record: what a timer runs at 02:00 is what a person runs by hand.
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { Event, EventBody, Outcome, Path, Result } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { execute } from '../execute.ts'
import { type Site, serviceOf } from '../site.ts'
import { installId, makeState, placeOf } from '../state/install.ts'
import { requireNoJournal } from '../state/journal.ts'
import { lockService } from '../state/lock.ts'
import type { Run } from '../state/record.gen.ts'
import { emptyRecord, pinnedRepository, pinRepository, readRecord, updateRecord } from '../state/records.ts'
import { announce, announceEnd, readLeftBehind } from '../state/running.ts'
import { planBackup } from './plan.ts'
import { settle } from './repository.ts'
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
  const job: Pick<Job, 'summary' | 'missed'> & { warnings: Run['warnings']; failure: Failure | null } = {
    summary: null,
    missed: [],
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
    await cleanUp(site, name)
    await requireNoJournal(site.state, name)
    const run = newRunId(started)
    const install = await installId(site.state)
    let standing: Awaited<ReturnType<typeof settle>> | null = null
    try {
      const restic = site.restic(service.repository)
      const record = await readRecord(site.state, name).catch(() => null)
      await restic.version()
      standing = await settle(site, name, record ?? emptyRecord(name), install, { signal: options.signal, hold: [fd] })
      const plan = planBackup(service, { run, name, install, unadopted: standing.unadopted, staging: stagingOf(site, name) })
      write = await announce(site.state, name, { run, kind: 'backup', started: started.toISOString(), plan })
      emit({ type: 'plan', plan })
      const handlers = backupHandlers(
        Object.assign(job, {
          name,
          service,
          host: site.manifest.host,
          state: site.state,
          restic,
          standing,
          hold: [fd],
          outcome: () => outcomeOf(job),
          warn: (code: string, message: string) => {
            job.warnings.push({ code, message })
            emit({ type: 'warning', code, message })
          },
          output: options.output,
        }),
      )
      const context = { now: site.now, signal: options.signal, emit }
      const ending = await execute(plan, handlers, context)
      job.failure = ending.failure
    } catch (error) {
      job.failure = asFailure(error)
    }
    await remember(run, standing)
    const end = result()
    write({ time: site.now().toISOString(), service: name, type: 'report', outcome: end.outcome, exit: end.exit, services: [end] })
    await announceEnd(site.state, name)
  }

  async function remember(run: string, standing: Awaited<ReturnType<typeof settle>> | null): Promise<void> {
    const { repository } = serviceOf(site, name)
    const { summary } = job
    const saved = summary !== null && job.failure === null
    if (saved && standing && (await pinnedRepository(site.state, repository)) === null)
      await pinRepository(site.state, repository, standing.repositoryId, site.now().toISOString())
    const { setAside } = await updateRecord(site.state, name, (record) => {
      const { outcome, code, message } = result()
      if (saved && standing) {
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
        downtimeSeconds: null,
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

/** Takes away what a run left behind that was killed: its staged copies; the run gets its line in the record. The lock must be held. */
export async function cleanUp(site: Site, name: string): Promise<boolean> {
  const left = await readLeftBehind(site.state, name)
  await rm(stagingOf(site, name), { recursive: true, force: true })
  if (left?.kind !== 'backup') return false
  await updateRecord(site.state, name, (record) => {
    const none = { snapshotId: null, downtimeSeconds: null, bytes: null, files: null, addedBytes: null, warnings: [] }
    const message = `${name}: the run was killed before its end; what it had staged is removed`
    record.runs.push({ run: left.run, kind: 'backup', started: left.started, seconds: 0, outcome: 'failed', code: 'killed', message, ...none })
  })
  await announceEnd(site.state, name)
  return true
}

/** Sorts by time, unique. */
export function newRunId(now: Date): string {
  return `${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${randomBytes(3).toString('hex')}`
}

function stagingOf(site: Site, name: string): Path {
  return placeOf(site.state, 'staging', name)
}

type Ended = Pick<Job, 'summary' | 'missed'> & { failure: Failure | null; warnings: Run['warnings'] }

function outcomeOf({ failure, missed }: Ended): Outcome {
  if (failure) return failure.code === 'interrupted' ? 'interrupted' : 'failed'
  return missed.length > 0 ? 'partial' : 'ok'
}

function resultOf(name: string, job: Ended, seconds: number): Result {
  const outcome = outcomeOf(job)
  const [first] = job.warnings
  const partial =
    outcome === 'partial' && first
      ? new Failure('partial', `${name}: ${first.message}${job.missed.length > 1 ? ` (and ${job.missed.length - 1} more)` : ''}`)
      : null
  const failure = job.failure ?? partial
  return {
    name,
    outcome,
    exit: failure?.exit ?? 0,
    code: failure ? (job.failure ? failure.code : (first?.code ?? 'partial')) : null,
    message: failure?.message ?? null,
    snapshotId: job.summary?.snapshotId ?? null,
    seconds,
    downtimeSeconds: null,
    bytes: job.summary?.bytes ?? null,
  }
}
