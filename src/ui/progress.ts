// Long work on a terminal: one line for each service, redrawn in place; elsewhere one line when each ends.
import type { Event, Result } from '../core.ts'
import { printable } from '../text.ts'
import { formatBytes, formatCount, formatSeconds } from './format.ts'
import { cut, displayWidth, pad } from './table.ts'
import { canRedraw, hasUnicode, isInteractive, print, type Sign, sign, typeset } from './terminal.ts'

interface Row {
  state: 'waiting' | 'working' | Result
  step: string
  progress: (Event & { type: 'progress' }) | null
  begun: number
}

const signOf: Record<Result['outcome'], Sign> = {
  ok: 'good',
  skipped: 'waiting',
  partial: 'warn',
  interrupted: 'warn',
  'rolled-back': 'bad',
  failed: 'bad',
}

export interface ProgressView {
  event(event: Event): void
  result(result: Result): void
  /** A line of a service's own output, above the rest. */
  log(line: string): void
  end(): void
}

/** `describe` says what a finished service's line tells beyond its name. */
export function progressView(names: string[], describe: (result: Result) => string, stream = process.stderr): ProgressView {
  const rows = new Map(names.map((name): [string, Row] => [name, { state: 'waiting', step: '', progress: null, begun: performance.now() }]))
  const live = canRedraw(stream)
  const size = () => ({ columns: stream.columns || 80, rows: stream.rows || 24 })
  // A narrow terminal needs the room for what is told of them.
  const width = Math.min(Math.max(0, ...names.map((name) => name.length)), Math.max(8, Math.min(30, size().columns - 40)))
  let drawn: string[] = []
  let frame = 0
  const headed = (name: string, mark: string, text: string) => `  ${pad(cut(name, width), width)}  ${mark}  ${text}`
  const finished = (name: string, result: Result) => headed(name, sign(signOf[result.outcome]), printable(describe(result)))
  const lineOf = ([name, { state, step, progress, begun }]: [string, Row]): string => {
    if (state === 'waiting') return headed(name, sign('waiting'), 'waiting')
    if (state !== 'working') return finished(name, state)
    return headed(name, spinner(frame), progress ? progressWords(progress, (performance.now() - begun) / 1000) : step)
  }
  const clear = () => {
    // A terminal that became narrower has wrapped what stood there; the cursor may stand behind an echoed ^C.
    const rows = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / size().columns)), 0)
    if (rows > 0) stream.write(`\r\x1b[${rows}A\x1b[0J`)
    drawn = []
  }
  const draw = (room = Math.max(3, size().rows - 2)) => {
    if (!live) return
    frame += 1
    // More services than lines: those at work and those that failed are what a person looks for.
    const weight = ([, { state }]: [string, Row]) =>
      state === 'working' ? 0 : state !== 'waiting' && state.exit !== 0 ? 1 : state === 'waiting' ? 2 : 3
    const all = [...rows]
    const shown = all.length <= room ? all : all.sort((a, b) => weight(a) - weight(b)).slice(0, room - 1)
    const more = shown.length < rows.size ? [`  … and ${rows.size - shown.length} more`] : []
    const lines = [...shown.map(lineOf), ...more].map((line) => typeset(cut(line, size().columns - 1)))
    clear()
    stream.write(`${lines.join('\n')}\n`)
    drawn = lines
  }
  const timer = live ? setInterval(() => draw(), 120) : undefined
  timer?.unref()
  draw()
  const log = (line: string) => {
    clear()
    stream.write(`${printable(line.replaceAll('\t', '    '))}\n`)
    draw()
  }
  return {
    log,
    event(event) {
      if (event.type === 'loaded')
        log(`${event.service}: the database ${event.database} is loaded: ${formatCount(event.tables)} tables, ${formatCount(event.rows)} rows`)
      const row = rows.get(event.service ?? '')
      if (!row || typeof row.state === 'object') return
      if (row.state === 'waiting') row.begun = performance.now()
      row.state = 'working'
      if (event.type === 'step' && event.state === 'begun')
        Object.assign(row, { step: stepWords[event.do], progress: null, begun: performance.now() })
      if (event.type === 'progress') row.progress = event
    },
    result(result) {
      const row = rows.get(result.name)
      if (row) row.state = result
      // Without a terminal the results are the output.
      if (!live) print(finished(result.name, result))
    },
    end() {
      clearInterval(timer)
      draw(Number.POSITIVE_INFINITY)
    },
  }
}

/** Says what is waited for, where that takes a moment. */
export async function waitingFor<T>(what: string, work: Promise<T>): Promise<T> {
  const { stderr } = process
  if (!isInteractive() || !canRedraw(stderr)) return work
  let frame = 0
  const draw = () => {
    frame += 1
    stderr.write(`\r\x1b[2K${spinner(frame)} ${typeset(cut(`${what} …`, (stderr.columns || 80) - 4))}`)
  }
  const first = setTimeout(draw, 150)
  const timer = setInterval(() => frame > 0 && draw(), 120)
  try {
    return await work
  } finally {
    clearTimeout(first)
    clearInterval(timer)
    if (frame > 0) stderr.write('\r\x1b[2K')
  }
}

function spinner(frame: number): string {
  return hasUnicode() ? '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'.charAt(frame % 10) : `${'-\\|/'.charAt(frame % 4)} `
}

const stepWords: Record<(Event & { type: 'step' })['do'], string> = {
  hook: 'running its commands',
  dumpPostgres: 'dumping databases',
  view: 'holding the data still',
  unview: 'tidying up',
  copySqlite: 'copying a database',
  snapshot: 'saving',
  unstage: 'tidying up',
  stage: 'fetching',
  verify: 'checking',
  loadPostgres: 'loading databases',
  stop: 'stopping units',
  start: 'starting units',
  carry: 'carrying excluded files over',
  flush: 'writing to disk',
  swap: 'exchanging',
  health: 'checking health',
}

function progressWords({ doneBytes, totalBytes, secondsLeft }: Event & { type: 'progress' }, seconds: number): string {
  const percent = totalBytes ? `${pad(String(Math.min(100, Math.floor((100 * doneBytes) / totalBytes))), 3, true)} %  ` : ''
  const of = totalBytes ? `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}` : formatBytes(doneBytes)
  const speed = seconds > 1 ? `  ${formatBytes(doneBytes / seconds)}/s` : ''
  return `${percent}${of}${speed}${secondsLeft ? `  ${formatSeconds(secondsLeft)} left` : ''}`
}
