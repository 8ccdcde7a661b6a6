// Which snapshots of one service the retention keeps: restic's own rules, but complete snapshots come before partial ones. Pure.
import type { Retention } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { isComplete, newestFirst } from '../snapshots/select.ts'

/** The result of the rules. `reasons`: in restic's words ("daily snapshot"). */
export interface Forgotten {
  keep: { snapshot: Snapshot; reasons: string[] }[]
  remove: Snapshot[]
}

/**
 * Does what `restic forget` does, with two differences. Of each day, week and month the newest complete snapshot is kept, and the newest partial one
 * only if that period has no complete one. `last` keeps the newest N complete snapshots, and each partial one among the newest N of all.
 * `order`: as in `Subject`: what was made last is the newest, also where its clock was behind.
 * Without a rule (all zero) everything is kept. Source: ApplyPolicy in restic's internal/data/snapshot_policy.go.
 */
export function applyRetention(snapshots: Snapshot[], keep: Retention, order: string[] = []): Forgotten {
  const all = newestFirst(snapshots, order)
  if (Object.values(keep).every((count) => count === 0)) return { keep: all.map((snapshot) => ({ snapshot, reasons: ['no rule'] })), remove: [] }
  const complete = all.filter(isComplete)
  const reasons = new Map<Snapshot, string[]>()
  const add = (snapshot: Snapshot, reason: string) => {
    const known = reasons.get(snapshot) ?? []
    if (!known.includes(reason)) reasons.set(snapshot, [...known, reason])
  }
  for (const snapshot of [...all.slice(0, keep.last), ...complete.slice(0, keep.last)]) add(snapshot, 'last snapshot')
  for (const { rule, periodOf } of periods) {
    const kept = newestOfEach(all, keep[rule], periodOf)
    for (const snapshot of kept) add(snapshot, `${rule} snapshot`)
    // As in restic: while there are fewer periods than the rule keeps, the oldest snapshot is kept, too.
    const oldest = all.findLast(isComplete) ?? all.at(-1)
    if (kept.length < keep[rule] && oldest && !kept.includes(oldest)) add(oldest, `oldest ${rule} snapshot`)
  }
  return {
    keep: all.flatMap((snapshot) => {
      const why = reasons.get(snapshot)
      return why ? [{ snapshot, reasons: why }] : []
    }),
    remove: all.filter((snapshot) => !reasons.has(snapshot)),
  }
}

const periods: { rule: 'daily' | 'weekly' | 'monthly'; periodOf: (time: Date) => string }[] = [
  { rule: 'daily', periodOf: dayOf },
  { rule: 'weekly', periodOf: weekOf },
  { rule: 'monthly', periodOf: (time) => dayOf(time).slice(0, 7) },
]

/** One snapshot of each of the newest `count` periods. As in restic, a period ends where the next older snapshot belongs to another period. */
function newestOfEach(all: Snapshot[], count: number, periodOf: (time: Date) => string): Snapshot[] {
  const groups: { period: string; snapshots: Snapshot[] }[] = []
  for (const snapshot of all) {
    const period = periodOf(wallClock(snapshot.time))
    const last = groups.at(-1)
    if (last?.period === period) last.snapshots.push(snapshot)
    else groups.push({ period, snapshots: [snapshot] })
  }
  return groups.slice(0, count).flatMap(({ snapshots }) => snapshots.find(isComplete) ?? snapshots.slice(0, 1))
}

/** The local time at which the snapshot was made, in the UTC fields of a Date: restic counts days by the snapshot's time zone, not by this host's. */
function wallClock(time: string): Date {
  return new Date(`${time.slice(0, 19)}Z`)
}

function dayOf(time: Date): string {
  return time.toISOString().slice(0, 10)
}

/** Year and number of the week as in ISO 8601, where a week belongs to the year of its Thursday. */
function weekOf(time: Date): string {
  const thursday = new Date(time)
  thursday.setUTCDate(time.getUTCDate() + 4 - (time.getUTCDay() || 7))
  const january = Date.UTC(thursday.getUTCFullYear(), 0, 1)
  return `${thursday.getUTCFullYear()}-${Math.ceil(((thursday.getTime() - january) / 86_400_000 + 1) / 7)}`
}
