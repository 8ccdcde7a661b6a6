// Gathers what `status` shows: one restic call for each repository, whatever the number of services.

import type { Iso, Path } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { changedSince } from '../host/changed.ts'
import { elapsesAfter, type Job, jobsOf } from '../host/jobs.ts'
import { downMessage, downUnits } from '../host/systemd.ts'
import { scheduleOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { createdByFirst, requireKnown } from '../repository/identity.ts'
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { countedSnapshots, eligible, fromElsewhere, newestOf, otherHosts, type Subject, snapshotsOf } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { isRestoreOpen } from '../state/journal.ts'
import { readMachine, unknownToRecord } from '../state/machine.ts'
import type { Run, RunRecord } from '../state/record.gen.ts'
import { lastRun, pinnedRepository, readHistory, savedIn } from '../state/records.ts'
import { lastProgress, type Running, readRunning } from '../state/running.ts'
import { shellWord } from '../text.ts'
import { withTimeout } from '../timeouts.ts'
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
  /** The newest eligible snapshot. Where the repository isn't asked or doesn't answer: the last one that this install saved. */
  latest: { id: string; time: Iso; host: string; bytes: number | null; files: number | null } | null
  nextRun: Iso | null
  lastRun: { outcome: Run['outcome']; started: Iso; seconds: number; downtimeSeconds: number | null } | null
  message: string | null
  /** Exit code of the state. */
  exit: number
  /** The outcome of each day's last backup, for the last 30 days, today last; null: no backup that day. */
  days: (Run['outcome'] | null)[]
  /** Data that restores in place replaced, and that is still kept. */
  old: { folder: Path; since: Iso }[]
  /** Databases that restores replaced, by the names that they have now on the server. */
  oldDatabases: { kept: string; since: Iso; slots: string[] }[]
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
/** `local`: from the records alone, without calling restic. @throws Failure `unknown-service` */
export async function queryStatus(site: Site, options: { services: string[]; local: boolean; signal: AbortSignal }): Promise<Status> {
  const names = options.services.length > 0 ? options.services : Object.keys(site.manifest.services)
  const declared = names.map((name) => [name, serviceOf(site, name)] as const)
  const repositories = [...new Set(declared.map(([, { repository }]) => repository))]
  const install = await installIdIfThere(site.state)
  const machine = { install, ...(await readMachine(site.state).catch(() => ({ foreign: null, replaced: null }))) }
  // The state folder is read while restic waits for the repositories.
  const days = lastDays(site.now())
  const [asked, jobs, states] = await Promise.all([
    Promise.all(repositories.map(async (name) => [name, options.local ? null : await askRepository(site, name, options.signal)] as const)),
    gatherJobs(names, site.now()),
    Promise.all(names.map((name) => readServiceState(site.state, name, days))),
  ])
  const answers = new Map(asked)
  const down = await gatherDown(names, states)
  const services = await Promise.all(
    declared.map(async ([name, service], i) => {
      const answer = answers.get(service.repository) ?? null
      const state = { ...(states[i] as ServiceState), down: down.get(name) ?? null }
      const statusWith = (liveMayBeNewer: boolean) =>
        serviceStatus(site, name, service, state, answer, machine, jobs.get(name) ?? null, liveMayBeNewer)
      const status = statusWith(false)
      if (status.state !== 'unadopted') return status
      // By the record alone it isn't known how old the snapshots are that count.
      const since = answer === null ? null : (status.latest?.time ?? null)
      return statusWith(await changedSince([...service.paths, ...service.sqlite], since))
    }),
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
        reachable: answer === null ? null : answer.failure === null && answer.awaited === null,
        error: answer?.failure?.message ?? null,
        exit: answer?.failure?.exit ?? 0,
      })),
    ),
    services,
  }
}

/** By service: a unit that a run stopped, and that doesn't run since. One call of systemctl for all; none where no run has stopped any. */
async function gatherDown(names: string[], states: ServiceState[]): Promise<Map<string, string>> {
  const stopped = states.flatMap(({ record }, i) =>
    record instanceof Failure ? [] : record.stopped.map((unit) => ({ ...unit, name: names[i] ?? '' })),
  )
  const down = await downUnits(stopped).catch(() => [])
  return new Map(down.map((unit) => [unit.name, downMessage(unit)]))
}

/** What systemd knows of the services' units, by service, and when each timer last elapsed early enough for its run to have ended by now. */
async function gatherJobs(names: string[], now: Date): Promise<Map<string, Job & { lastElapse: Date | null }>> {
  const jobs = await jobsOf(names.map((name) => `restic-backups-${name}`))
  // Most services share one calendar expression: systemd is asked once for each.
  const asked = new Map<string, Promise<Date | null>>()
  const lastElapse = (calendar: string, done: Date) => {
    const key = `${done.getTime()} ${calendar}`
    const elapse = asked.get(key) ?? lastElapseBefore(calendar, done)
    asked.set(key, elapse)
    return elapse
  }
  const found = names.flatMap((name) => {
    const job = jobs.get(`restic-backups-${name}`)
    return job ? [{ name, job, elapses: job.calendars.map((calendar) => lastElapse(calendar, mustBeDone(job, now))) }] : []
  })
  return new Map(
    await Promise.all(found.map(async ({ name, job, elapses }) => [name, { ...job, lastElapse: latest(await Promise.all(elapses)) }] as const)),
  )
}

/** Asks systemd for the elapses of two periods: at least one is among them, also where daylight saving time skips one. */
async function lastElapseBefore(calendar: string, done: Date): Promise<Date | null> {
  const turns = await elapsesAfter(calendar, new Date(done.getTime() - 2 * periodOf(calendar)))
  return latest(turns.filter((turn) => turn < done))
}

function latest(times: (Date | null)[]): Date | null {
  return times.reduce((last, time) => (last === null || (time !== null && time > last) ? time : last), null)
}

interface Answer {
  snapshots: Snapshot[]
  /** The first backup will create the repository: says so. Null: it is there, or that isn't known. */
  awaited: string | null
  failure: Failure | null
  /** The id under which the repository is known here. */
  pinned: string | null
}

/** This install: its id, and why it isn't that of this machine (`foreign`), or isn't the one it was (`replaced`). */
interface Machine {
  install: string | null
  foreign: string | null
  replaced: string | null
}

async function askRepository(site: Site, name: string, signal: AbortSignal): Promise<Answer> {
  const call = { signal: withTimeout(signal) }
  try {
    const snapshots = await site.restic(name).snapshots(call)
    await requireKnown(site, name, snapshots, call)
    return { snapshots, awaited: null, failure: null, pinned: await pinnedRepository(site.state, name).catch(() => null) }
  } catch (error) {
    // An interruption of this command says nothing about the services.
    if (signal.aborted) throw signal.reason
    const none = { snapshots: [], awaited: null, failure: null, pinned: null }
    return createdByFirst(site, name, error).then(
      (awaited) => ({ ...none, awaited }),
      (why) => {
        const { code, message } = asFailure(why)
        return { ...none, failure: new Failure(code, message, { exit: asFailure(error).exit }) }
      },
    )
  }
}

/** What the state folder says about a service. */
interface ServiceState {
  record: RunRecord | Failure
  isUnfinished: boolean
  running: Running | null
  progress: Date | null
  /** In words. */
  down?: string | null
  days: ServiceStatus['days']
}

async function readServiceState(state: string, name: string, days: string[]): Promise<ServiceState> {
  const [record, isUnfinished, running, progress] = await Promise.all([
    readHistory(state, name).catch(asFailure),
    isRestoreOpen(state, name),
    readRunning(state, name).catch(() => null),
    lastProgress(state, name),
  ])
  return { record, isUnfinished, running, progress, days: daysOf(record instanceof Failure ? [] : record.runs, days) }
}

function serviceStatus(
  site: Site,
  name: string,
  service: Service,
  { record, isUnfinished, running, progress, down = null, days }: ServiceState,
  answer: Answer | null,
  { install, foreign, replaced }: Machine,
  job: (Job & { lastElapse: Date | null }) | null,
  liveMayBeNewer: boolean,
): ServiceStatus {
  const readable = record instanceof Failure ? null : record
  const origin = readable?.origin ?? null
  const order = readable ? savedIn(readable) : []
  const subject = { name, service, host: site.manifest.host, origin, install, order }
  const own = answer && snapshotsOf(answer.snapshots, subject)
  const candidates = own && eligible(own, subject)
  const newest = candidates && newestOf(candidates, order)
  const last = readable && lastRun(readable, 'backup')
  const lastOk = readable?.runs.findLast(({ kind, outcome }) => kind === 'backup' && (outcome === 'ok' || outcome === 'partial')) ?? null
  const failure = record instanceof Failure ? record : (answer?.failure ?? null)
  const isSetBack = own !== null && readable !== null && unknownToRecord(own, readable, install).length > 0
  const judgement: Judgement = judge(name, {
    now: site.now(),
    enabled: service.enable,
    unfinishedRestore: isUnfinished && running === null,
    running: running !== null || (job?.working ?? false),
    atWork: running && progress && { kind: running.kind, pid: running.pid, since: running.started, progress, stallSeconds: patience(service) },
    unknown: failure?.message ?? null,
    // Without the repository: a backup that left the record's `origin` unset was tagged as unadopted.
    unadopted:
      foreign !== null || isSetBack || (origin === null && (own === null ? readable?.lastSnapshot != null : fromElsewhere(own, install).length > 0)),
    unadoptedBecause:
      foreign ?? (isSetBack ? 'the repository holds newer backups of this install than its own record: it was set back, or cloned' : replaced),
    liveMayBeNewer,
    lost: lostSnapshot(readable, answer),
    lastRun: last,
    snapshots: candidates,
    order,
    lastOk: lastOk?.started ?? null,
    schedule: { ...scheduleOf(site.manifest, service), ...(job && job.calendars.length > 0 ? { randomizedDelaySec: job.randomizedDelaySec } : {}) },
    lastElapse: job?.lastElapse ?? null,
    unitFailed: job?.failed ?? null,
    down,
  })
  return {
    name,
    state: judgement.state,
    latest: answer !== null && answer.failure === null ? newest && latestOf(newest) : latestInRecord(lastOk, site.manifest.host),
    nextRun: job?.nextRun ?? null,
    lastRun: last && { outcome: last.outcome, started: last.started, seconds: last.seconds, downtimeSeconds: last.downtimeSeconds },
    message: messageFor(judgement, answer, subject) ?? strangersMessage(name, own, readable, install),
    exit: judgement.state === 'unknown' ? (failure?.exit ?? 1) : exitOf[judgement.state],
    days,
    // A restore that replaced nothing kept nothing. What has no paths at all is a rest that couldn't be removed.
    old: (readable?.old ?? []).flatMap(({ folder, since, paths, absent, folders, copied }) =>
      paths.length + folders.length + copied.length > 0 || absent.length === 0 ? [{ folder, since }] : [],
    ),
    oldDatabases: (readable?.oldDatabases ?? []).flatMap(({ kept, since, slots }) => (kept === null ? [] : [{ kept, since, slots }])),
  }
}

function messageFor({ state, message }: Judgement, answer: Answer | null, subject: Subject): string | null {
  if (state !== 'never' || answer === null) return message
  return answer.awaited === null ? neverMessage(message, answer.snapshots, subject) : `${answer.awaited}: atelier-backup backup ${subject.name}`
}

/** Other installs' snapshots hide in a list of many, and may be somebody's attempt to pass for this one's. */
function strangersMessage(name: string, own: Snapshot[] | null, record: RunRecord | null, install: string | null): string | null {
  if (own === null || record === null || record.origin === null) return null
  const strangers = own.length - countedSnapshots(own, { ...record, install }).length
  if (strangers < manyStrangers) return null
  return `${strangers} of its snapshots are of installs that this one doesn't know; they neither count for retention nor are forgotten: atelier-backup list ${name}`
}
const manyStrangers = 10

/** The newest backup that this install recorded, if its repository answers and doesn't hold it any more. By its time, for `tag` changes the id. */
function lostSnapshot(record: RunRecord | null, answer: Answer | null): RunRecord['lastSnapshot'] {
  const last = record?.lastSnapshot
  if (!last || answer === null || answer.failure !== null || answer.pinned !== last.repositoryId) return null
  return answer.snapshots.some(({ id, time }) => id === last.id || Date.parse(time) === Date.parse(last.time)) ? null : last
}

/** Hooks and the stop of units make no progress that shows, and have limits of their own. */
function patience({ stallTimeoutSec, hookTimeoutSec, stopTimeoutSec }: Service): number {
  return Math.max(stallTimeoutSec, hookTimeoutSec, stopTimeoutSec)
}

/** A fresh install with another host name: its data is in the snapshots of the old name. */
function neverMessage(message: string | null, snapshots: Snapshot[], subject: Subject): string | null {
  const hosts = otherHosts(snapshots, subject)
  return hosts.length === 0 ? message : `never backed up here, but on ${hosts.join(', ')}: atelier-backup dr --host ${shellWord(hosts[0] ?? '')}`
}

function latestOf({ id, time, host, bytes, files }: Snapshot): ServiceStatus['latest'] {
  return { id, time, host, bytes, files }
}

/** The last snapshot in the record, for where the repository wasn't asked or didn't answer. */
function latestInRecord(run: Run | null, host: string): ServiceStatus['latest'] {
  return run?.snapshotId ? { id: run.snapshotId, time: run.started, host, bytes: run.bytes, files: run.files } : null
}

/** The last 30 days in local time, today last. */
function lastDays(now: Date): string[] {
  return Array.from({ length: 30 }, (_, i) => dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 29 + i)))
}

function dayOf(time: Date): string {
  return `${time.getFullYear()}-${time.getMonth()}-${time.getDate()}`
}

/** The last outcome of each day, not the worst: it shows a failure that was repaired the same day as repaired. */
function daysOf(runs: Run[], days: string[]): ServiceStatus['days'] {
  const latest = new Map(runs.filter(({ kind }) => kind === 'backup').map(({ started, outcome }) => [dayOf(new Date(started)), outcome]))
  return days.map((day) => latest.get(day) ?? null)
}
