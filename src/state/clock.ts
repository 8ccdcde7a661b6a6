// Whether time went by, or the clock was set: each record holds when it was written last, by the clock and by the kernel, which counts from the boot.
import { readFileSync } from 'node:fs'
import type { Iso } from '../core.ts'
import type { RunRecord } from './record.gen.ts'

type Clock = NonNullable<RunRecord['clock']>

/** Less is no proof: between two runs a host may have been off, and its time isn't counted then. */
const slackMs = 36 * 3_600_000
const setsKept = 50

/** The record's clock, now. `set`: by how much the clock was set in between, or the host was off. */
export function tick(before: Clock | null, now: Date): Clock {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0])
  const clock = { boot, uptime, time: now.toISOString(), set: before?.set ?? [] }
  if (before === null) return clock
  const seen = (uptime - (before.boot === boot ? before.uptime : 0)) * 1000
  const ms = now.getTime() - Date.parse(before.time) - seen
  return Math.abs(ms) < slackMs ? clock : { ...clock, set: [...clock.set, { at: clock.time, ms: Math.round(ms) }].slice(-setsKept) }
}

/** What was noted after a time, by the clock of then. */
export function doubtsSince(since: Iso, clock: Clock | null, now: Date): Clock['set'] {
  return tick(clock, now).set.filter(({ at }) => Date.parse(at) >= Date.parse(since))
}

/**
 * Whether `days` have gone by since a time, and not by the clock alone. Time in which a host was off doesn't count, so as many days with a complete
 * backup since the clock was set will do, too: a host that is off often waits no longer than that.
 */
export function haveGoneBy(days: number, since: Iso, { clock, runs }: Pick<RunRecord, 'clock' | 'runs'>, now: Date): boolean {
  const doubts = doubtsSince(since, clock, now)
  const elapsed = now.getTime() - Date.parse(since)
  const doubted = doubts.reduce((sum, { ms }) => sum + ms, 0)
  const last = doubts.at(-1)?.at ?? ''
  const good = runs.filter(({ kind, outcome, started }) => kind === 'backup' && outcome === 'ok' && started > last)
  const saved = new Set(good.map(({ started }) => started.slice(0, 10))).size
  return elapsed >= days * dayMs && (doubts.length === 0 || elapsed - doubted >= days * dayMs || saved >= days)
}
const dayMs = 86_400_000
