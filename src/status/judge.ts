// Judging: records, snapshots, timers → one state for each service. Pure; the clock is an argument.
import type { Iso } from '../core.ts'
import type { Schedule } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { isComplete, isInFuture, newestOf } from '../snapshots/select.ts'
import type { Run } from '../state/record.gen.ts'

/** In order of precedence; a service that isn't enabled is `disabled` unless something must not be overlooked. */
export const states = ['unfinished-restore', 'running', 'unknown', 'failed', 'never', 'unadopted', 'overdue', 'partial', 'ok', 'disabled'] as const
export type State = (typeof states)[number]

export interface Findings {
  now: Date
  enabled: boolean
  unfinishedRestore: boolean
  running: boolean
  /** Why nothing can be said: the repository isn't reachable, the record is damaged. */
  unknown: string | null
  unadopted: boolean
  /** The newest run of a backup, or null. */
  lastRun: Pick<Run, 'outcome' | 'message' | 'started' | 'snapshotId'> | null
  /** Countable snapshots; null: not asked for (`--local`), the records alone speak. */
  snapshots: Snapshot[] | null
  /** The newest success by the record, where snapshots weren't asked for. */
  lastOk: Iso | null
  schedule: Pick<Schedule, 'onCalendar' | 'randomizedDelaySec'>
  /**
   * The timer's latest turn that must have led to a backup by now (`mustBeDone`), of which systemd was asked. Null: it couldn't be, and
   * the form of the expression tells.
   */
  lastTurn: Date | null
  /** When the unit was started that failed last, and systemd's word for how, or null. */
  unitFailed: { since: Iso; result: string } | null
}

export interface Judgement {
  state: State
  message: string | null
}

export function judge(service: string, found: Findings): Judgement {
  const { now, lastRun } = found
  const newest = newestOf(found.snapshots ?? [])
  // What lies in the future says nothing of how old the data is: those before it do.
  const isPast = (snapshot: Snapshot) => !isInFuture(snapshot, now)
  const past = newest === null || isPast(newest) ? newest : newestOf((found.snapshots ?? []).filter(isPast))
  const newestTime = found.snapshots === null ? found.lastOk : (past?.time ?? null)
  if (found.unfinishedRestore)
    return { state: 'unfinished-restore', message: `a restore is unfinished (--rollback takes it back): atelier-backup restore ${service} --resume` }
  if (found.running) return { state: 'running', message: null }
  if (!found.enabled) return { state: 'disabled', message: null }
  if (found.unknown !== null) return { state: 'unknown', message: found.unknown }
  // A failure weighs until another snapshot shows that all is well again (made by hand, or by another install); its own, saved before it failed, doesn't.
  const failedLast = lastRun !== null && (lastRun.outcome === 'failed' || lastRun.outcome === 'interrupted')
  const others = failedLast ? (found.snapshots ?? []).filter((snapshot) => snapshot.id !== lastRun.snapshotId && isPast(snapshot)) : []
  const otherTime = found.snapshots === null ? found.lastOk : (newestOf(others)?.time ?? null)
  if (failedLast && (otherTime === null || Date.parse(otherTime) < Date.parse(lastRun.started)))
    return { state: 'failed', message: lastRun.message ?? 'the latest backup failed' }
  // It may fail before it is us: without its program, its room, the lock. A run that was begun has told how it ended.
  const failedFirst = found.unitFailed && !isSince(newestTime, found.unitFailed.since) && !isSince(lastRun?.started ?? null, found.unitFailed.since)
  if (found.unitFailed && failedFirst)
    return {
      state: 'failed',
      message: `its unit was started at ${found.unitFailed.since} and failed (${found.unitFailed.result}): journalctl -u restic-backups-${service} -n 50`,
    }
  if (newest === null && newestTime === null && !found.unadopted)
    return { state: 'never', message: `never backed up: atelier-backup backup ${service}` }
  if (found.unadopted)
    return {
      state: 'unadopted',
      message: `backups from elsewhere exist: bring them back (atelier-backup dr --only ${service}), or say that this host's data is the truth (atelier-backup adopt ${service})`,
    }
  if (newestTime === null) return { state: 'overdue', message: `its snapshots lie in the future (${newest?.time}): is the clock right? timedatectl` }
  // preBackup said that there was nothing to do: that is as good as a backup then.
  const lastGood = lastRun?.outcome === 'skipped' && Date.parse(lastRun.started) > Date.parse(newestTime) ? lastRun.started : newestTime
  const late = overdueSince(new Date(lastGood), found)
  if (late !== null)
    return {
      state: 'overdue',
      message: `the newest backup is of ${newestTime}; one was due by ${late.toISOString()}: journalctl -u restic-backups-${service} -n 50`,
    }
  // The record knows, too: a storage that only takes may have refused the tag.
  const missedLast = lastRun?.outcome === 'partial' && (newest === null || newest.id === lastRun.snapshotId)
  if (missedLast) return { state: 'partial', message: lastRun.message }
  if (newest !== null && !isComplete(newest)) return { state: 'partial', message: 'the newest snapshot is partial' }
  const isAhead = newest !== null && isInFuture(newest, now)
  return {
    state: 'ok',
    message: isAhead ? `a snapshot lies in the future (${newest.time}), and counts as the newest: is the clock right? timedatectl` : null,
  }
}

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
/** How long after a success the next one is due at the latest: a period, and a grace for the run itself. */
const graceMs = 2 * hour

/** A turn of the timer before this time must have led to a backup: its random delay is over, and the grace. */
export function mustBeDone({ randomizedDelaySec }: Pick<Schedule, 'randomizedDelaySec'>, now: Date): Date {
  return new Date(now.getTime() - durationMs(randomizedDelaySec) - graceMs)
}

/** The time by which a backup was due, if that is past; null if none is. */
function overdueSince(newest: Date, { schedule, lastTurn, now }: Findings): Date | null {
  const done = mustBeDone(schedule, now)
  const turn = lastTurn ?? new Date(newest.getTime() + periodOf(schedule.onCalendar))
  return newest < turn && turn < done ? new Date(turn.getTime() + now.getTime() - done.getTime()) : null
}

function isSince(time: Iso | null, since: Iso): boolean {
  return time !== null && Date.parse(time) >= Date.parse(since)
}

/**
 * The longest pause between two elapses of a calendar expression, as far as its form tells; a day where it doesn't.
 * Rather too long than too short: nobody believes an alarm that was false. Source: systemd.time(7).
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
/** Days between two of "mon..fri" or "tue,sat,sun" at the most. */
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

/** A time span as systemd writes it ("1h 30min"), in milliseconds; unknown words count as nothing. Source: systemd.time(7). */
export function durationMs(span: string): number {
  const parts = [...span.matchAll(/(\d+(?:\.\d+)?)\s*([a-z\u00b5]*)/gi)]
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units.find(([pattern]) => pattern.test(unit ?? ''))?.[1] ?? 0), 0)
}
