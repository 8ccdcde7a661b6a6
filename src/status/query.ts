// Everything `status` tells, looked up: one restic call for each repository, however many services.

import type { Iso, Path } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { elapsesAfter, type Job, jobsOf } from '../host/jobs.ts'
import { scheduleOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { requireKnown } from '../repository/identity.ts'
import type { Snapshot } from '../restic/types.ts'
import { withTimeout } from '../signals.ts'
import { type Site, serviceOf } from '../site.ts'
import { eligible, fromElsewhere, hostsElsewhere, newestOf, type Subject, snapshotsOf } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { isRestoreOpen } from '../state/journal.ts'
import type { Run, RunRecord } from '../state/record.gen.ts'
import { lastRun, readHistory } from '../state/records.ts'
import { readRunning } from '../state/running.ts'
import { shellWord } from '../text.ts'
import { type Judgement, judge, mustBeDone, periodOf, type State } from './judge.ts'

/** Bytes, seconds, ISO 8601. */
export interface Status {
  host: string
  repositories: { name: string; location: string | null; reachable: boolean | null; error: string | null; exit: number }[]
  services: ServiceStatus[]
}
export interface ServiceStatus {
  name: string
  state: State
  /** The newest snapshot that counts; where the repository isn't asked, or doesn't answer, the last that this install saved. */
  latest: { id: string; time: Iso; host: string; bytes: number | null; files: number | null } | null
  nextRun: Iso | null
  lastRun: { outcome: Run['outcome']; started: Iso; seconds: number; downtimeSeconds: number | null } | null
  message: string | null
  /** Exit code that the state stands for. */
  exit: number
  /** Outcomes of the backups of the last 30 days, by day, today last; null: none that day. */
  days: (Run['outcome'] | null)[]
  /** Data kept from restores. */
  old: { folder: Path; since: Iso }[]
  /** Databases kept from restores, by the names under which the server keeps them. */
  oldDatabases: { kept: string; since: Iso }[]
}

const exitOf: Record<State, number> = {
  'unfinished-restore': 1,
  running: 0,
  unknown: 1,
  failed: 1,
  never: 4,
  unadopted: 4,
  overdue: 4,
  partial: 3,
  ok: 0,
  disabled: 0,
}
/** `local`: the records alone, no repository is asked. @throws Failure `unknown-service` */
export async function queryStatus(site: Site, options: { services: string[]; local: boolean; signal: AbortSignal }): Promise<Status> {
  const names = options.services.length > 0 ? options.services : Object.keys(site.manifest.services)
  const declared = names.map((name) => [name, serviceOf(site, name)] as const)
  const repositories = [...new Set(declared.map(([, { repository }]) => repository))]
  const install = await installIdIfThere(site.state)
  // What the state tells is read, and put in order, while the repositories answer.
  const days = lastDays(site.now())
  const [asked, jobs, remembered] = await Promise.all([
    Promise.all(repositories.map(async (name) => [name, options.local ? null : await askRepository(site, name, options.signal)] as const)),
    gatherJobs(names, site.now()),
    Promise.all(names.map((name) => readServiceState(site.state, name, days))),
  ])
  const answers = new Map(asked)
  const services = declared.map(([name, service], i) =>
    serviceStatus(site, name, service, remembered[i] as Remembered, answers.get(service.repository) ?? null, install, jobs.get(name) ?? null),
  )
  return {
    host: site.manifest.host,
    repositories: await Promise.all(
      asked.map(async ([name, answer]) => ({
        name,
        location: await site
          .restic(name)
          .location()
          .catch(() => null),
        reachable: answer === null ? null : answer.failure === null,
        error: answer?.failure?.message ?? null,
        exit: answer?.failure?.exit ?? 0,
      })),
    ),
    services,
  }
}

/** What systemd knows of the services' jobs, by service, and their timers' latest turns that must have led to a backup by now. */
async function gatherJobs(names: string[], now: Date): Promise<Map<string, Job & { lastTurn: Date | null }>> {
  const jobs = await jobsOf(names.map((name) => `restic-backups-${name}`))
  // Most services share their time.
  const asked = new Map<string, Promise<Date | null>>()
  const lastTurn = (calendar: string, done: Date) => {
    const key = `${done.getTime()} ${calendar}`
    const turn = asked.get(key) ?? lastTurnBefore(calendar, done)
    asked.set(key, turn)
    return turn
  }
  const found = names.flatMap((name) => {
    const job = jobs.get(`restic-backups-${name}`)
    return job ? [{ name, job, turns: job.calendars.map((calendar) => lastTurn(calendar, mustBeDone(job, now))) }] : []
  })
  return new Map(
    await Promise.all(found.map(async ({ name, job, turns }) => [name, { ...job, lastTurn: latest(await Promise.all(turns)) }] as const)),
  )
}

/** From long enough ago for at least one, also where a change of the clocks swallows another. */
async function lastTurnBefore(calendar: string, done: Date): Promise<Date | null> {
  const turns = await elapsesAfter(calendar, new Date(done.getTime() - 2 * periodOf(calendar)))
  return latest(turns.filter((turn) => turn < done))
}

function latest(times: (Date | null)[]): Date | null {
  return times.reduce((last, time) => (last === null || (time !== null && time > last) ? time : last), null)
}

interface Answer {
  snapshots: Snapshot[]
  failure: Failure | null
}

async function askRepository(site: Site, name: string, signal: AbortSignal): Promise<Answer> {
  const call = { signal: withTimeout(signal) }
  try {
    const snapshots = await site.restic(name).snapshots(call)
    await requireKnown(site, name, snapshots, call)
    return { snapshots, failure: null }
  } catch (error) {
    // Whoever interrupted it knows: that isn't how the services stand.
    if (signal.aborted) throw signal.reason
    return { snapshots: [], failure: asFailure(error) }
  }
}

/** What the state folder tells of a service. */
interface Remembered {
  record: RunRecord | Failure
  isUnfinished: boolean
  isRunning: boolean
  days: ServiceStatus['days']
}

async function readServiceState(state: string, name: string, days: string[]): Promise<Remembered> {
  const [record, isUnfinished, isRunning] = await Promise.all([
    readHistory(state, name).catch(asFailure),
    isRestoreOpen(state, name),
    readRunning(state, name).then(Boolean, () => false),
  ])
  return { record, isUnfinished, isRunning, days: daysOf(record instanceof Failure ? [] : record.runs, days) }
}

function serviceStatus(
  site: Site,
  name: string,
  service: Service,
  { record, isUnfinished, isRunning, days }: Remembered,
  answer: Answer | null,
  install: string | null,
  job: (Job & { lastTurn: Date | null }) | null,
): ServiceStatus {
  const readable = record instanceof Failure ? null : record
  const origin = readable?.origin ?? null
  const subject = { name, service, host: site.manifest.host, origin, install }
  const own = answer && snapshotsOf(answer.snapshots, subject)
  const counting = own && eligible(own, subject)
  const newest = counting && newestOf(counting)
  const last = readable && lastRun(readable, 'backup')
  const lastOk = readable?.runs.findLast(({ kind, outcome }) => kind === 'backup' && (outcome === 'ok' || outcome === 'partial')) ?? null
  const failure = record instanceof Failure ? record : (answer?.failure ?? null)
  const judgement: Judgement = judge(name, {
    now: site.now(),
    enabled: service.enable,
    unfinishedRestore: isUnfinished && !isRunning,
    running: isRunning || (job?.working ?? false),
    unknown: failure?.message ?? null,
    // By the records alone: what was saved here and settled nothing was tagged so.
    unadopted: origin === null && (own === null ? readable?.lastSnapshot != null : fromElsewhere(own, install).length > 0),
    lastRun: last,
    snapshots: counting,
    lastOk: lastOk?.started ?? null,
    schedule: { ...scheduleOf(site.manifest, service), ...(job && job.calendars.length > 0 ? { randomizedDelaySec: job.randomizedDelaySec } : {}) },
    lastTurn: job?.lastTurn ?? null,
    unitFailed: job?.failed ?? null,
  })
  return {
    name,
    state: judgement.state,
    latest: answer !== null && answer.failure === null ? newest && latestOf(newest) : rememberedLatest(lastOk, site.manifest.host),
    nextRun: job?.nextRun ?? null,
    lastRun: last && { outcome: last.outcome, started: last.started, seconds: last.seconds, downtimeSeconds: last.downtimeSeconds },
    message: judgement.state === 'never' && answer ? neverWords(judgement.message, answer.snapshots, subject) : judgement.message,
    exit: judgement.state === 'unknown' ? (failure?.exit ?? 1) : exitOf[judgement.state],
    days,
    // Where nothing stood before, nothing is kept.
    old: (readable?.old ?? []).flatMap(({ folder, since, paths, folders, copied }) =>
      paths.length + folders.length + copied.length > 0 ? [{ folder, since }] : [],
    ),
    oldDatabases: (readable?.oldDatabases ?? []).flatMap(({ kept, since }) => (kept === null ? [] : [{ kept, since }])),
  }
}

/** A fresh install under another name has nothing to save yet. */
function neverWords(message: string | null, snapshots: Snapshot[], subject: Subject): string | null {
  const hosts = hostsElsewhere(snapshots, subject)
  return hosts.length === 0 ? message : `never backed up here, but on ${hosts.join(', ')}: atelier-backup dr --host ${shellWord(hosts[0] ?? '')}`
}

function latestOf({ id, time, host, bytes, files }: Snapshot): ServiceStatus['latest'] {
  return { id, time, host, bytes, files }
}

/** What this install saved last: all that can be told where no repository was asked, or none answered. */
function rememberedLatest(run: Run | null, host: string): ServiceStatus['latest'] {
  return run?.snapshotId ? { id: run.snapshotId, time: run.started, host, bytes: run.bytes, files: run.files } : null
}

/** The last 30 days of the host's calendar, today last. */
function lastDays(now: Date): string[] {
  return Array.from({ length: 30 }, (_, i) => dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 29 + i)))
}

function dayOf(time: Date): string {
  return `${time.getFullYear()}-${time.getMonth()}-${time.getDate()}`
}

/** The worst outcome would hide a repaired day: the latest of each day counts. */
function daysOf(runs: Run[], days: string[]): ServiceStatus['days'] {
  const latest = new Map(runs.filter(({ kind }) => kind === 'backup').map(({ started, outcome }) => [dayOf(new Date(started)), outcome]))
  return days.map((day) => latest.get(day) ?? null)
}
