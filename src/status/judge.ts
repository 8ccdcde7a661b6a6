// Decides the state of one service from its record, its snapshots and its systemd timer. Pure: the time is an argument.
import type { Iso } from '../core.ts'
import type { Schedule } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { byDate, isComplete, isInFuture, newestOf } from '../snapshots/select.ts'
import type { Run } from '../state/record.gen.ts'

/** In order of precedence. A service that isn't enabled is `disabled`, unless a restore is unfinished or a run is at work. */
export const states = ['unfinished-restore', 'running', 'unknown', 'failed', 'never', 'unadopted', 'overdue', 'partial', 'ok', 'disabled'] as const
export type State = (typeof states)[number]

export interface StatusFacts {
  now: Date
  enabled: boolean
  unfinishedRestore: boolean
  running: boolean
  /** The run that is at work, when it last made progress, and how long it may make none. Null: none is known (its unit may be starting). */
  atWork: { kind: 'backup' | 'restore'; pid: number; since: Iso; progress: Date; stallSeconds: number } | null
  /** Why the state is unknown (repository not reachable, record damaged), or null. */
  unknown: string | null
  unadopted: boolean
  /** Why, where it isn't that another install's backups exist. */
  unadoptedBecause?: string | null
  /** The live data was changed after the newest snapshot that counts, or nobody can tell: `dr` may replace what is newer. */
  liveMayBeNewer?: boolean
  /** The snapshot of the newest recorded backup, if the repository doesn't hold it any more. */
  lost?: { id: string; time: Iso } | null
  /** The newest run of a backup, or null. */
  lastRun: Pick<Run, 'outcome' | 'message' | 'started' | 'snapshotId'> | null
  /** The service's eligible snapshots. Null: the repository wasn't asked (`--local`), and the record alone decides. */
  snapshots: Snapshot[] | null
  /** Ids of the snapshots in the record, oldest first: all were made before `lastRun`, whatever the clock said. */
  order?: string[]
  /** The newest successful backup in the record: used where `snapshots` is null. */
  lastOk: Iso | null
  schedule: Pick<Schedule, 'onCalendar' | 'randomizedDelaySec'>
  /**
   * When the timer last elapsed before `mustBeDone`, as systemd says: that run must have ended by now. Null: systemd couldn't say, and the form of
   * the calendar expression decides.
   */
  lastElapse: Date | null
  /** The start of the unit's last failed run, and systemd's `Result` of it; null if it didn't fail. */
  unitFailed: { since: Iso; result: string } | null
  /** A unit that a run stopped, and that doesn't run since: in words. */
  down?: string | null
}

export interface Judgement {
  state: State
  message: string | null
}

export function judge(service: string, found: StatusFacts): Judgement {
  const { now, lastRun } = found
  const { order = [] } = found
  const newest = newestOf(found.snapshots ?? [], order)
  // A snapshot dated in the future doesn't tell how old the data is: the newest of the others does.
  const isPast = (snapshot: Snapshot) => !isInFuture(snapshot, now)
  const [past] = byDate((found.snapshots ?? []).filter(isPast))
  const newestTime = found.snapshots === null ? found.lastOk : (past?.time ?? null)
  if (found.unfinishedRestore)
    return { state: 'unfinished-restore', message: `a restore is unfinished (--rollback takes it back): atelier-backup restore ${service} --resume` }
  if (found.running) return judgeRun(found)
  if (!found.enabled) return { state: 'disabled', message: null }
  if (found.unknown !== null) return { state: 'unknown', message: found.unknown }
  // The last run's failure is the state until a later snapshot exists (made by hand, or by another install). A snapshot of the failed run itself,
  // saved before it failed, doesn't count.
  const failedLast = lastRun !== null && (lastRun.outcome === 'failed' || lastRun.outcome === 'interrupted')
  const others = failedLast
    ? (found.snapshots ?? []).filter((snapshot) => !order.includes(snapshot.id) && snapshot.id !== lastRun.snapshotId && isPast(snapshot))
    : []
  const otherTime = found.snapshots === null ? found.lastOk : (newestOf(others)?.time ?? null)
  if (failedLast && (otherTime === null || Date.parse(otherTime) < Date.parse(lastRun.started)))
    return { state: 'failed', message: lastRun.message ?? 'the latest backup failed' }
  // systemd can fail the unit before our process starts (missing binary, full disk), and then the record has no run of that time. Once our process
  // has started, the record says how the run ended.
  const failedBeforeRun =
    found.unitFailed && !isSince(newestTime, found.unitFailed.since) && !isSince(lastRun?.started ?? null, found.unitFailed.since)
  if (found.unitFailed && failedBeforeRun)
    return {
      state: 'failed',
      message: `its unit was started at ${found.unitFailed.since} and failed (${found.unitFailed.result}): journalctl -u restic-backups-${service} -n 50`,
    }
  if (found.down) return { state: 'failed', message: found.down }
  if (newest === null && newestTime === null && !found.unadopted)
    return { state: 'never', message: `never backed up: atelier-backup backup ${service}` }
  if (found.unadopted)
    return {
      state: 'unadopted',
      message: `${found.unadoptedBecause ?? 'backups from elsewhere exist'}${unadoptedAdvice(service, found.liveMayBeNewer)}`,
    }
  if (newestTime === null)
    return { state: 'overdue', message: `its snapshots are dated in the future (${newest?.time}): check the clock with timedatectl` }
  // A run that preBackup skipped (exit code 75, nothing to do) counts as a backup of that time.
  const lastGood = lastRun?.outcome === 'skipped' && Date.parse(lastRun.started) > Date.parse(newestTime) ? lastRun.started : newestTime
  const late = overdueSince(new Date(lastGood), found)
  if (late !== null)
    return {
      state: 'overdue',
      message: `the newest backup is from ${newestTime}; one was due by ${late.toISOString()}: journalctl -u restic-backups-${service} -n 50`,
    }
  if (found.lost)
    return {
      state: 'failed',
      message: `the repository no longer holds its backup ${found.lost.id.slice(0, 8)} of ${found.lost.time}: it was set back, or somebody deleted it; save the data again (atelier-backup backup ${service})`,
    }
  // Append-only storage may have refused the tag `partial`; the record still says so.
  const wasPartial = lastRun?.outcome === 'partial' && (newest === null || newest.id === lastRun.snapshotId)
  if (wasPartial) return { state: 'partial', message: lastRun.message }
  if (newest !== null && !isComplete(newest)) return { state: 'partial', message: 'the newest snapshot is partial' }
  const isAhead = newest !== null && isInFuture(newest, now)
  const isBehind = newest !== null && past !== undefined && Date.parse(newest.time) < Date.parse(past.time)
  if (isBehind)
    return {
      state: 'ok',
      message: `its newest backup ${newest.shortId} is dated ${newest.time}, but was made after ${past.shortId} of ${past.time}: the clock was wrong, and this one counts as the newest; check the clock with timedatectl`,
    }
  return {
    state: 'ok',
    message: isAhead ? `a snapshot is dated in the future (${newest.time}), and counts as the newest: check the clock with timedatectl` : null,
  }
}

/** What to do, after the reason. Where only the state folder was lost, the live data is the truth. */
function unadoptedAdvice(service: string, liveMayBeNewer = false): string {
  return liveMayBeNewer
    ? `, but this host's data may be newer: if it is the truth, say so (atelier-backup adopt ${service}); it is replaced if you bring them back (atelier-backup dr --only ${service})`
    : `: bring them back (atelier-backup dr --only ${service}), or say that this host's data is the truth (atelier-backup adopt ${service})`
}

/** A run that makes no progress, or still runs when the next one was due to have ended, must not hide that nothing is saved. */
function judgeRun(found: StatusFacts): Judgement {
  const { atWork, now } = found
  if (atWork === null) return { state: 'running', message: null }
  const { kind, pid, since, progress, stallSeconds } = atWork
  const isStalled = now.getTime() - progress.getTime() > stallSeconds * 1000
  const late = kind === 'backup' ? overdueSince(new Date(since), found) : null
  if (!isStalled && late === null) return { state: 'running', message: null }
  const how = isStalled ? `without progress since ${progress.toISOString()}` : `and the next one was due by ${late?.toISOString()}`
  const what = `see what it waits for: ps -o pid,stat,etime,args --ppid ${pid}; end it: kill ${pid}`
  return { state: 'overdue', message: `a ${kind} has been running since ${since}, ${how}: ${what}` }
}

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
/** How long a run may take, after its timer has elapsed, before the service is overdue. */
const graceMs = 2 * hour

/** A run whose timer elapsed before this time must have ended by now: its random delay and the grace are over. */
export function mustBeDone({ randomizedDelaySec }: Pick<Schedule, 'randomizedDelaySec'>, now: Date): Date {
  return new Date(now.getTime() - durationMs(randomizedDelaySec) - graceMs)
}

/** The time by which a backup was due, if that is past; null if none is. */
function overdueSince(newest: Date, { schedule, lastElapse, now }: StatusFacts): Date | null {
  if (schedule.onCalendar.length === 0) return null
  const done = mustBeDone(schedule, now)
  const elapse = lastElapse ?? new Date(newest.getTime() + Math.min(...schedule.onCalendar.map(periodOf)))
  return newest < elapse && elapse < done ? new Date(elapse.getTime() + now.getTime() - done.getTime()) : null
}

function isSince(time: Iso | null, since: Iso): boolean {
  return time !== null && Date.parse(time) >= Date.parse(since)
}

/**
 * The longest pause (ms) between two elapses of a calendar expression, estimated from its form; a day where the form doesn't tell.
 * Too long rather than too short: people ignore an alarm after false ones. Source: systemd.time(7).
 */
export function periodOf(onCalendar: string): number {
  const words = onCalendar.trim().toLowerCase().split(/\s+/)
  const [first = ''] = words
  const named = periods[first]
  if (named !== undefined) return named
  const date = words.find((word) => /^[\d*][^:]*[-~]/.test(word))
  const [dayOfMonth = '*', month = '*'] = date?.split(/[-~]/).reverse() ?? []
  const onWeekdays = /^(mon|tue|wed|thu|fri|sat|sun)/.test(first)
  const ofDate = month !== '*' ? 366 : /^(29|30|31)$/.test(dayOfMonth) ? 62 : dayOfMonth !== '*' ? 31 : null
  if (ofDate !== null) return (ofDate + (onWeekdays ? 7 : 0)) * day
  if (onWeekdays) return longestPause(first) * day
  return words.some((word) => word.startsWith('*:')) ? hour : day
}

const periods: Record<string, number> = {
  minutely: minute,
  hourly: hour,
  daily: day,
  weekly: 7 * day,
  monthly: 31 * day,
  quarterly: 92 * day,
  ...Object.fromEntries(['biannually', 'bi-annually', 'semiannually', 'semi-annually'].map((word) => [word, 184 * day])),
  ...Object.fromEntries(['yearly', 'annually', 'anually'].map((word) => [word, 366 * day])),
}

const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']
/** The longest pause, in days, between two weekdays of a list ("mon..fri", "tue,sat,sun"). */
function longestPause(list: string): number {
  const ranges = list.split(',').map((range) => range.split(/\.\.|-/).map((name) => weekdays.indexOf(name.slice(0, 3))))
  const days = weekdays.flatMap((_, i) => (ranges.some(([from = -1, to = from]) => from <= i && i <= to) ? [i] : []))
  return Math.max(1, ...days.map((from, i) => (days[i + 1] ?? (days[0] ?? 0) + 7) - from))
}

const units: [RegExp, number][] = [
  [/^(usec|us|\u00b5s)$/, 0.001],
  [/^(msec|ms)$/, 1],
  [/^(seconds?|sec|s|)$/, 1000],
  [/^(minutes?|min|m)$/, minute],
  [/^(hours?|hr|h)$/, hour],
  [/^(days?|d)$/, day],
  [/^(weeks?|w)$/, 7 * day],
  [/^(months?|M)$/, 30.44 * day],
  [/^(years?|y)$/, 365.25 * day],
]

/** A time span in systemd's form ("1h 30min") in milliseconds; unknown units count as 0. Source: systemd.time(7). */
export function durationMs(span: string): number {
  const parts = [...span.matchAll(/(\d+(?:\.\d+)?)\s*([a-z\u00b5]*)/gi)]
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units.find(([pattern]) => pattern.test(unit ?? ''))?.[1] ?? 0), 0)
}
