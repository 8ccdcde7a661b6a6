// Judging: records, snapshots, timers → one state for each service. Pure; the clock is an argument.
import type { Iso } from '../core.ts'
import type { Schedule } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { isComplete, newestFirst } from '../snapshots/select.ts'
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
  lastRun: Pick<Run, 'outcome' | 'message' | 'started' | 'code'> | null
  /** Countable snapshots; null: not asked for (`--local`), the records alone speak. */
  snapshots: Snapshot[] | null
  /** The newest success by the record, where snapshots weren't asked for. */
  lastOk: Iso | null
  schedule: Schedule
}

export interface Judgement {
  state: State
  message: string | null
}

export function judge(service: string, found: Findings): Judgement {
  const newest = found.snapshots === null ? null : (newestFirst(found.snapshots)[0] ?? null)
  const newestTime = found.snapshots === null ? found.lastOk : (newest?.time ?? null)
  if (found.unfinishedRestore)
    return { state: 'unfinished-restore', message: `a restore is unfinished: atelier-backup restore ${service} --resume (or --rollback)` }
  if (found.running) return { state: 'running', message: null }
  if (!found.enabled) return { state: 'disabled', message: null }
  if (found.unknown !== null) return { state: 'unknown', message: found.unknown }
  // A failure weighs until a newer snapshot shows that all is well again (made by hand, or by another install).
  const { lastRun } = found
  const failedLast = lastRun !== null && (lastRun.outcome === 'failed' || lastRun.outcome === 'interrupted')
  if (failedLast && (newestTime === null || Date.parse(newestTime) < Date.parse(lastRun.started)))
    return { state: 'failed', message: lastRun.message ?? 'the latest backup failed' }
  if (newestTime === null && !found.unadopted) return { state: 'never', message: `never backed up: atelier-backup backup ${service}` }
  if (found.unadopted)
    return {
      state: 'unadopted',
      message: `backups from elsewhere exist: bring them back (atelier-backup dr --only ${service}), or say that this host's data is the truth (atelier-backup adopt ${service})`,
    }
  const late = newestTime === null ? null : overdueSince(new Date(newestTime), found.schedule, found.now)
  if (late !== null)
    return {
      state: 'overdue',
      message: `the newest backup is of ${newestTime}; one was due by ${late.toISOString()}: journalctl -u restic-backups-${service} -n 50`,
    }
  const partial = newest === null ? lastRun?.outcome === 'partial' : !isComplete(newest)
  if (partial) return { state: 'partial', message: lastRun?.outcome === 'partial' ? lastRun.message : 'the newest snapshot is partial' }
  return { state: 'ok', message: null }
}

const hour = 3_600_000
const day = 24 * hour
/** How long after a success the next one is due at the latest: a period, and a grace for the run itself. */
const graceMs = 2 * hour

/** The time by which a backup was due, if that is past; null if none is. A snapshot in the future proves nothing: it is as good as now. */
export function overdueSince(newest: Date, schedule: Schedule, now: Date): Date | null {
  const due = new Date(Math.min(newest.getTime(), now.getTime()) + periodOf(schedule.onCalendar) + durationMs(schedule.randomizedDelaySec) + graceMs)
  return due < now ? due : null
}

/** The longest pause between two elapses of a calendar expression, as far as its form tells; a day where it doesn't. Source: systemd.time(7). */
export function periodOf(onCalendar: string): number {
  const words: Record<string, number> = {
    minutely: 60_000,
    hourly: hour,
    daily: day,
    weekly: 7 * day,
    monthly: 31 * day,
    quarterly: 92 * day,
    semiannually: 184 * day,
    yearly: 366 * day,
    annually: 366 * day,
  }
  const word = words[onCalendar.trim().toLowerCase()]
  if (word !== undefined) return word
  const date = /(?:^|\s)(\S+)-(\S+)-(\S+)(?:\s|$)|(?:^|\s)(\*|\d+)-(\S+)(?:\s|$)/.exec(onCalendar)
  const [month, dayOfMonth] = date?.[1] !== undefined ? [date[2], date[3]] : [date?.[4], date?.[5]]
  if (month !== undefined && !month.includes('*')) return 366 * day
  if (dayOfMonth !== undefined && !dayOfMonth.startsWith('*')) return 31 * day
  const weekdays = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/i.test(onCalendar.trim())
  if (weekdays) return 7 * day
  if (/(?:^|\s)\*:/.test(onCalendar)) return hour
  return day
}

const units: [RegExp, number][] = [
  [/^(usec|us|µs)$/, 0.001],
  [/^(msec|ms)$/, 1],
  [/^(seconds?|sec|s|)$/, 1000],
  [/^(minutes?|min|m)$/, 60_000],
  [/^(hours?|hr|h)$/, hour],
  [/^(days?|d)$/, day],
  [/^(weeks?|w)$/, 7 * day],
]

/** A time span as systemd writes it ("1h 30min"), in milliseconds; unknown words count as nothing. Source: systemd.time(7). */
export function durationMs(span: string): number {
  const parts = [...span.matchAll(/([0-9.]+)\s*([a-zµ]*)/gi)]
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (units.find(([pattern]) => pattern.test(unit ?? ''))?.[1] ?? 0), 0)
}
