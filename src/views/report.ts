// Output of long-running commands: events as NDJSON, or progress on a terminal; always a report at the end.
import { type Event, joinExits, type Outcome, outcomes, type Result } from '../core.ts'
import type { Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { formatBytes, formatPause, formatSeconds } from '../ui/format.ts'
import { type ProgressView, progressView } from '../ui/progress.ts'
import { pad } from '../ui/table.ts'
import { print, printJson, sign } from '../ui/terminal.ts'

export interface Watcher {
  emit(event: Event): void
  output(line: string): void
  result(result: Result): void
}

export interface ReportOptions {
  json: boolean
  /** Text of a finished service's line, in several lengths, longest first; default: that of a backup. */
  describe?: (result: Result) => string | string[]
  /** A hint below the progress lines, such as what Ctrl-C does. */
  hint?: string
  /** Printed at the end without --json; default: the messages of failed services, on standard error. */
  summary?: (results: Result[]) => string[]
}

/**
 * Runs work on services and reports it. Returns the exit code: the services' codes joined.
 * With `json`, every event is a line of standard output, and the last is the report; if the work throws, cli.ts prints it.
 */
export async function withReport(
  names: string[],
  { json, describe = describeBackup, hint = '', summary }: ReportOptions,
  work: (watcher: Watcher) => Promise<Result[]>,
): Promise<number> {
  const view: ProgressView | null = json ? null : progressView(names, describe, hint)
  const warnings: string[] = []
  const watcher: Watcher = view
    ? { emit: (event) => (event.type === 'warning' ? warnings.push(event.message) : view.event(event)), output: view.log, result: view.result }
    : { emit: printEvent, output: (line) => void process.stderr.write(`${printable(line)}\n`), result: () => {} }
  const results = await work(watcher).finally(() => view?.end())
  const exit = joinExits(results.map((result) => result.exit))
  // Warnings that aren't part of a result's message.
  const untold = [...new Set(warnings)].filter((warning) => !results.some(({ message }) => message?.includes(warning)))
  for (const line of untold.slice(0, warningsShown)) process.stderr.write(`${sign('warn')} ${printable(line)}\n`)
  if (untold.length > warningsShown) process.stderr.write(`${sign('warn')} and ${untold.length - warningsShown} more warnings: see the record\n`)
  if (json) printReport(results, exit)
  else if (summary) print(...summary(results))
  else for (const line of complaints(results)) process.stderr.write(`${printable(line)}\n`)
  return exit
}

/** A folder of unreadable files must not fill the screen. */
const warningsShown = 10

/** One line for each different failure: "notes, wiki: the repository …". */
function complaints(results: Result[]): string[] {
  const bad = results.flatMap(({ exit, name, message }) =>
    exit === 0 || message === null ? [] : [{ name, reason: message.replace(`${name}: `, '') }],
  )
  return [...new Set(bad.map(({ reason }) => reason))].map((reason) => {
    const names = bad.filter((one) => one.reason === reason).map(({ name }) => name)
    return `${names.join(', ')}: ${reason}`
  })
}

/** The same for one service. */
export function reportOne(name: string, options: ReportOptions, work: (watcher: Watcher) => Promise<Result>): Promise<number> {
  return withReport([name], options, async (watcher) => {
    const result = await work(watcher)
    watcher.result(result)
    return [result]
  })
}

function printEvent(event: Event): void {
  // The last line holds the reports of all services.
  if (event.type !== 'report') printJson(event)
}

/** The last line with --json. Without services: the command failed before the first one started. */
export function printReport(services: Result[], exit: number, failure: Failure | null = null): void {
  const worst = services.map(({ outcome }) => outcome).sort((a, b) => outcomes.indexOf(b) - outcomes.indexOf(a))[0]
  const outcome: Outcome = worst ?? (exit === 0 ? 'ok' : exit === 130 ? 'interrupted' : 'failed')
  const why = failure && { code: failure.code, message: failure.message }
  const event: Event = { time: new Date().toISOString(), service: null, type: 'report', outcome, exit, ...why, services }
  printJson(event)
}

/** " 412 MB  +3.1 MB new     1.9 s  stopped 0 ms  8f21c0de", or how it ended. */
function describeBackup({ outcome, bytes, addedBytes, seconds, downtimeSeconds, snapshotId }: Result): string | string[] {
  if (outcome !== 'ok' && outcome !== 'partial') return outcome
  // Events written by an older version lack it.
  const added = addedBytes == null ? '' : `+${formatBytes(addedBytes)} new`
  const stopped = `stopped ${formatPause(downtimeSeconds ?? 0)}`
  const end = [snapshotId?.slice(0, 8), outcome === 'partial' ? 'partial' : null].filter((word) => word != null)
  return [
    [pad(formatBytes(bytes), 7, true), pad(added, 12, true), pad(formatSeconds(seconds), 8, true), pad(stopped, 14, true), ...end],
    [pad(formatBytes(bytes), 7, true), pad(added, 12, true), pad(formatSeconds(seconds), 8, true), ...end],
    [pad(formatBytes(bytes), 7, true), pad(formatSeconds(seconds), 8, true), ...end],
  ].map((parts) => parts.join('  '))
}

/** Right-aligned, so that lines below each other compare. */
export function figures(bytes: number | null, seconds: number): string {
  return `${pad(formatBytes(bytes), 7, true)}  ${pad(formatSeconds(seconds), 8, true)}`
}
