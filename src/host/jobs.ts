// Our jobs in systemd: when their timers elapse, and how their services ended.
import type { Iso, Unit } from '../core.ts'
import { run } from './shell.ts'
import { hasSystemd, properties } from './systemd.ts'

/** A service and the timer of the same name. */
export interface Job {
  /** The OnCalendar expressions of the timer; empty if it has none, or systemd doesn't know it. */
  calendars: string[]
  /** A time span as systemd prints it: `1h 30min`. */
  randomizedDelaySec: string
  nextRun: Iso | null
  /** The service is running now. */
  working: boolean
  /** If the last run failed: when it was started, and systemd's `Result`. Null: it succeeded, or never ran. */
  failed: { since: Iso; result: string } | null
}

/** By name (without `.timer`), in two calls of systemctl for any number of names; empty without systemd. */
export async function jobsOf(names: string[]): Promise<Map<string, Job>> {
  if (names.length === 0 || !hasSystemd()) return new Map()
  const [timers, services] = [names.map((name) => `${name}.timer`), names.map((name) => `${name}.service`)]
  const [shown, elapses] = await Promise.all([show([...timers, ...services]), nextElapses(timers)])
  return new Map(
    names.map((name, i) => {
      const timer = shown[i] ?? ''
      const service = properties(shown[names.length + i] ?? '')
      return [
        name,
        {
          calendars: [...timer.matchAll(/^TimersCalendar=\{ OnCalendar=(.*?) ; /gm)].map(([, calendar = '']) => calendar),
          randomizedDelaySec: properties(timer).RandomizedDelayUSec ?? '0',
          nextRun: elapses.get(`${name}.timer`) ?? null,
          working: service.ActiveState === 'activating' && service.SubState === 'start',
          failed: service.ActiveState === 'failed' ? { since: isoOf(service.InactiveExitTimestamp), result: service.Result ?? '' } : null,
        },
      ]
    }),
  )
}

/** The properties of each unit as a block of text, in the order of `units`. */
async function show(units: Unit[]): Promise<string[]> {
  const wanted = 'TimersCalendar,RandomizedDelayUSec,ActiveState,SubState,Result,InactiveExitTimestamp'
  const { exit, stdout } = await run(['systemctl', 'show', '--timestamp=unix', `--property=${wanted}`, '--', ...units])
  return exit === 0 ? stdout.trim().split('\n\n') : []
}

/** From "@1795000000", as `--timestamp=unix` prints it. */
function isoOf(text = ''): Iso {
  return new Date(Number(text.replace('@', '')) * 1000).toISOString()
}

/** When each timer elapses next; null if it never does. */
async function nextElapses(timers: Unit[]): Promise<Map<Unit, Iso | null>> {
  // `systemctl show` prints this time as text in the local time zone, whatever --timestamp says (systemd 257).
  const { exit, stdout } = await run(['systemctl', 'list-timers', '--all', '--output=json', '--', ...timers])
  if (exit !== 0) return new Map()
  const listed = JSON.parse(stdout) as { unit: Unit; next: number | null }[]
  return new Map(listed.map(({ unit, next }) => [unit, next ? new Date(next / 1000).toISOString() : null]))
}

/** The next times (at most 100) of a calendar expression after `from`. It is read in this host's time zone unless it names one. Empty on errors. */
export async function elapsesAfter(calendar: string, from: Date): Promise<Date[]> {
  const base = `--base-time=@${Math.floor(from.getTime() / 1000)}`
  const { exit, stdout } = await run(['systemd-analyze', 'calendar', base, '--iterations=100', '--', calendar]).catch(() => ({ exit: 1, stdout: '' }))
  if (exit !== 0) return []
  // The local time is on a line of its own, before the one in UTC.
  return [...stdout.matchAll(/: \w{3} (\S+) (\S+) UTC$/gm)].map(([, date, time]) => new Date(`${date}T${time}Z`))
}
