// Long work as every command shows it: events as NDJSON, or progress for a person; a report last, whatever happened.
import { type Event, joinExits, type Outcome, outcomes, type Result } from '../core.ts'
import { asFailure } from '../errors.ts'
import { printable } from '../text.ts'
import { formatBytes, formatSeconds } from '../ui/format.ts'
import { type ProgressView, progressView } from '../ui/progress.ts'

export interface Watcher {
  emit(event: Event): void
  output(line: string): void
  result(result: Result): void
}

/**
 * Runs work on services and reports it. Returns the exit code: the services' codes joined.
 * With `json`, every event is a line of standard output, and the last is the report, also when the work throws.
 */
export async function withReport(
  names: string[],
  options: { json: boolean; describe?: (result: Result) => string },
  work: (watcher: Watcher) => Promise<Result[]>,
): Promise<number> {
  const describe = options.describe ?? describeBackup
  let view: ProgressView | null = null
  const watcher: Watcher = options.json
    ? { emit: printEvent, output: (line) => void process.stderr.write(`${line}\n`), result: () => {} }
    : { emit: (event) => view?.event(event), output: (line) => view?.log(line), result: (result) => view?.result(result) }
  if (!options.json) view = progressView(names, describe)
  try {
    const results = await work(watcher)
    view?.end()
    const exit = joinExits(results.map((result) => result.exit))
    if (options.json) printReport(results, exit)
    else
      for (const { exit, message, name } of results)
        if (exit !== 0 && message !== null) process.stderr.write(`${printable(message.startsWith(name) ? message : `${name}: ${message}`)}\n`)
    return exit
  } catch (error) {
    view?.end()
    if (options.json) printReport([], asFailure(error).exit)
    throw error
  }
}

function printEvent(event: Event): void {
  // Each service's own report is part of the last line.
  if (event.type !== 'report') process.stdout.write(`${JSON.stringify(event)}\n`)
}

function printReport(services: Result[], exit: number): void {
  const worst = services.map(({ outcome }) => outcome).sort((a, b) => outcomes.indexOf(b) - outcomes.indexOf(a))[0]
  const outcome: Outcome = worst ?? (exit === 0 ? 'ok' : exit === 130 ? 'interrupted' : 'failed')
  const event: Event = { time: new Date().toISOString(), service: null, type: 'report', outcome, exit, services }
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

/** "412 MB  1.9 s  8f21c0de", or how it ended. */
export function describeBackup({ outcome, bytes, seconds, snapshotId }: Result): string {
  const id = snapshotId?.slice(0, 8) ?? ''
  if (outcome !== 'ok' && outcome !== 'partial') return outcome
  return [outcome === 'partial' ? 'partial' : null, formatBytes(bytes), formatSeconds(seconds), id].filter(Boolean).join('   ')
}

/** Runs `work` for each item, `width` at a time, and keeps the order of the results. */
export async function sideBySide<T, R>(items: T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i] as T)
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane))
  return results
}
