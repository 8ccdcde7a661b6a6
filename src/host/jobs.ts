// Jobs as systemd sees them: when their timers have their turns, and how their units ended.
import type { Iso, Unit } from '../core.ts'
import { run } from './shell.ts'
import { hasSystemd, properties } from './systemd.ts'

/** A service and the timer of the same name. */
export interface Job {
  /** OnCalendar, as the timer has them; empty where it has none, or systemd doesn't know it. */
  calendars: string[]
  /** A time span in words. */
  randomizedDelaySec: string
  nextRun: Iso | null
  /** systemd has started it, and it isn't done. */
  working: boolean
  /** When it was started that failed last, and systemd's word for how. Null: it ended well, or was never started. */
  failed: { since: Iso; result: string } | null
}

/** In two calls, however many; by name (without `.timer`), and nothing where systemd is missing. */
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

/** One block of text for each, in the order asked for. */
async function show(units: Unit[]): Promise<string[]> {
  const wanted = 'TimersCalendar,RandomizedDelayUSec,ActiveState,SubState,Result,InactiveExitTimestamp'
  const { exit, stdout } = await run(['systemctl', 'show', '--timestamp=unix', `--property=${wanted}`, '--', ...units])
  return exit === 0 ? stdout.trim().split('\n\n') : []
}

/** "@1795000000", as `--timestamp=unix` writes it. */
function isoOf(text = ''): Iso {
  return new Date(Number(text.replace('@', '')) * 1000).toISOString()
}

/** When timers elapse next, in one call, by name; null for those that never do. */
async function nextElapses(timers: Unit[]): Promise<Map<Unit, Iso | null>> {
  // Not `show`: it gives this time as text in the local zone, whatever --timestamp says (systemd 257).
  const { exit, stdout } = await run(['systemctl', 'list-timers', '--all', '--output=json', '--', ...timers])
  if (exit !== 0) return new Map()
  const listed = JSON.parse(stdout) as { unit: Unit; next: number | null }[]
  return new Map(listed.map(({ unit, next }) => [unit, next ? new Date(next / 1000).toISOString() : null]))
}

/** The turns of a calendar expression after `from`, in order: the first of them, in this host's zone where it names none. None where it can't be asked. */
export async function elapsesAfter(calendar: string, from: Date): Promise<Date[]> {
  const base = `--base-time=@${Math.floor(from.getTime() / 1000)}`
  const { exit, stdout } = await run(['systemd-analyze', 'calendar', base, '--iterations=100', '--', calendar]).catch(() => ({ exit: 1, stdout: '' }))
  if (exit !== 0) return []
  // The local time stands in a line of its own, before that in UTC.
  return [...stdout.matchAll(/: \w{3} (\S+) (\S+) UTC$/gm)].map(([, date, time]) => new Date(`${date}T${time}Z`))
}
