// Everything `status` tells, looked up: one restic call for each repository, however many services.
import { requirePinned } from '../backup/repository.ts'
import type { Iso, Path } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { hasSystemd, nextElapses } from '../host/systemd.ts'
import { scheduleOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { countable, elsewhereWords, fromElsewhere, newestFirst, snapshotsOf } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { readJournal } from '../state/journal.ts'
import type { Run, RunRecord } from '../state/record.gen.ts'
import { lastRun, pinnedRepository, readHistory, readRecord } from '../state/records.ts'
import { readRunning } from '../state/running.ts'
import { type Judgement, judge, type State } from './judge.ts'

/** Bytes, seconds, ISO 8601. */
export interface Status {
  host: string
  repositories: { name: string; location: string | null; reachable: boolean | null; error: string | null; exit: number }[]
  services: ServiceStatus[]
}
export interface ServiceStatus {
  name: string
  state: State
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
  const [timers, records, asked] = await Promise.all([
    hasSystemd() ? nextElapses(names.map(timerOf)) : new Map<string, null>(),
    Promise.all(names.map((name) => readHistory(site.state, name).catch(asFailure))),
    Promise.all(repositories.map(async (name) => [name, options.local ? null : await askRepository(site, name, options.signal)] as const)),
  ])
  const answers = new Map(asked)
  const services = await Promise.all(
    declared.map(async ([name, service], i) => {
      const answer = answers.get(service.repository) ?? null
      const record = records[i] as RunRecord | Failure
      return serviceStatus(site, name, service, record, answer, install, timers.get(timerOf(name)) ?? null)
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
        reachable: answer === null ? null : answer.failure === null,
        error: answer?.failure?.message ?? null,
        exit: answer?.failure?.exit ?? 0,
      })),
    ),
    services,
  }
}

/** A repository that doesn't answer within a minute is said to be so: restic itself tries for a quarter of an hour. */
export function patient(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(60_000)])
}

interface Answer {
  snapshots: Snapshot[]
  failure: Failure | null
}

async function askRepository(site: Site, name: string, signal: AbortSignal): Promise<Answer> {
  const call = { signal: patient(signal) }
  try {
    const snapshots = await site.restic(name).snapshots(call)
    await requireKnown(site, name, snapshots, call)
    return { snapshots, failure: null }
  } catch (error) {
    return { snapshots: [], failure: asFailure(error) }
  }
}

/** Another repository in the old one's place would look like "no backups". Only if none of our latest snapshots is there is its id worth a second call. */
async function requireKnown(site: Site, name: string, snapshots: Snapshot[], call: { signal: AbortSignal }): Promise<void> {
  if ((await pinnedRepository(site.state, name)) === null) return
  const known = new Set(snapshots.map(({ id }) => id))
  for (const [service, { repository }] of Object.entries(site.manifest.services)) {
    if (repository !== name) continue
    const record = await readRecord(site.state, service).catch(() => null)
    if (record?.lastSnapshot && known.has(record.lastSnapshot.id)) return
  }
  await requirePinned(site, name, call)
}

async function serviceStatus(
  site: Site,
  name: string,
  service: Service,
  record: RunRecord | Failure,
  answer: Answer | null,
  install: string | null,
  nextRun: Iso | null,
): Promise<ServiceStatus> {
  const readable = record instanceof Failure ? null : record
  const origin = readable?.origin ?? null
  const subject = { name, service, host: site.manifest.host, origin, install }
  const own = answer && snapshotsOf(answer.snapshots, subject)
  const counting = own && countable(own, subject)
  const newest = counting && (newestFirst(counting)[0] ?? null)
  const last = readable && lastRun(readable, 'backup')
  const lastOk = readable?.runs.findLast(({ kind, outcome }) => kind === 'backup' && (outcome === 'ok' || outcome === 'partial')) ?? null
  const [unfinished, running] = await Promise.all([readJournal(site.state, name).then(Boolean, () => true), readRunning(site.state, name)])
  const failure = record instanceof Failure ? record : (answer?.failure ?? null)
  const judgement: Judgement = judge(name, {
    now: site.now(),
    enabled: service.enable,
    unfinishedRestore: unfinished && running === null,
    running: running !== null,
    unknown: failure?.message ?? null,
    // By the records alone: what was saved here and settled nothing was tagged so.
    unadopted: origin === null && (own === null ? readable?.lastSnapshot != null : fromElsewhere(own, install).length > 0),
    lastRun: last,
    snapshots: counting,
    lastOk: lastOk?.started ?? null,
    schedule: scheduleOf(site.manifest, service),
  })
  return {
    name,
    state: judgement.state,
    latest: newest && { id: newest.id, time: newest.time, host: newest.host, bytes: newest.bytes, files: newest.files },
    nextRun,
    lastRun: last && { outcome: last.outcome, started: last.started, seconds: last.seconds, downtimeSeconds: last.downtimeSeconds },
    message: judgement.state === 'never' && answer ? judgement.message + elsewhereWords(answer.snapshots, subject) : judgement.message,
    exit: judgement.state === 'unknown' ? (failure?.exit ?? 1) : exitOf[judgement.state],
    days: daysOf(readable?.runs ?? [], site.now()),
    old: (readable?.old ?? []).map(({ folder, since }) => ({ folder, since })),
  }
}

/** The worst outcome would hide a repaired day: the latest of each day counts. */
function daysOf(runs: Run[], now: Date): (Run['outcome'] | null)[] {
  const dayOf = (time: Date) => `${time.getFullYear()}-${time.getMonth()}-${time.getDate()}`
  const latest = new Map(runs.filter(({ kind }) => kind === 'backup').map(({ started, outcome }) => [dayOf(new Date(started)), outcome]))
  return Array.from({ length: 30 }, (_, i) => latest.get(dayOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 29 + i))) ?? null)
}

function timerOf(name: string): string {
  return `restic-backups-${name}.timer`
}
