// Progress of long work. On a terminal: one line for each service, redrawn in place; elsewhere one line when a service has finished.
import type { Event, Result } from '../core.ts'
import { printable } from '../text.ts'
import { formatBytes, formatCount, formatSeconds } from './format.ts'
import { cut, displayWidth, fitting, pad } from './table.ts'
import { canRedraw, hasUnicode, isInForeground, isInteractive, print, type Sign, sign, styled, typeset } from './terminal.ts'

interface Row {
  state: 'waiting' | 'working' | Result
  step: string
  progress: (Event & { type: 'progress' }) | null
  /** The last progress event of any step: `progress` is reset when a step begins. */
  latest: (Event & { type: 'progress' }) | null
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

/** `describe`: text of a finished service's line, in several lengths, longest first. `hint`: printed below the lines. */
export function progressView(names: string[], describe: (result: Result) => string | string[], hint: string, stream = process.stderr): ProgressView {
  const rows = new Map(
    names.map((name): [string, Row] => [name, { state: 'waiting', step: '', progress: null, latest: null, begun: performance.now() }]),
  )
  const live = canRedraw(stream)
  const size = () => ({ columns: stream.columns || 80, rows: stream.rows || 24 })
  const began = performance.now()
  let below = hint
  let drawn: string[] = []
  let frame = 0
  const headed = (name: string, mark: string, texts: string[], width: number, columns: number) => {
    const head = `  ${pad(cut(name, width), width)}  ${mark}  `
    return head + fitting(texts, columns - 1 - displayWidth(head))
  }
  // On a narrow terminal names are cut in favour of the text.
  const widthFor = (columns: number) =>
    Math.min(Math.max(live && names.length > 1 ? 5 : 0, ...names.map((name) => name.length)), Math.max(8, Math.min(30, columns - 40)))
  const lineOf = (name: string, { state, step, progress, begun }: Row, columns: number): string => {
    const [mark, texts] =
      state === 'waiting'
        ? [sign('waiting'), ['waiting']]
        : state === 'working'
          ? [spinner(frame), progress ? progressWords(progress, (performance.now() - begun) / 1000) : [step]]
          : [sign(signOf[state.outcome]), [describe(state)].flat().map(printable)]
    return headed(name, mark, texts, widthFor(columns), columns)
  }
  const totalLine = (columns: number) =>
    names.length < 2
      ? []
      : [headed('total', sign('waiting'), totalWords([...rows.values()], (performance.now() - began) / 1000), widthFor(columns), columns)]
  const clear = () => {
    // A terminal that became narrower has wrapped the old lines; the cursor may be behind an echoed ^C.
    const rows = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / size().columns)), 0)
    if (rows > 0) stream.write(`\r\x1b[${rows}A\x1b[0J`)
    drawn = []
  }
  const draw = (ended = false) => {
    if (!live || (!ended && !isInForeground())) return
    frame += 1
    // With more services than lines, working and failed ones are shown first.
    const weight = ([, { state }]: [string, Row]) =>
      state === 'working' ? 0 : state !== 'waiting' && state.exit !== 0 ? 1 : state === 'waiting' ? 2 : 3
    const all = [...rows]
    const { columns } = size()
    const last = ended ? [] : [...totalLine(columns), ...(below ? [styled('dim', cut(below, columns - 1))] : [])]
    const room = ended ? Number.POSITIVE_INFINITY : Math.max(3, size().rows - 2 - last.length)
    const shown = all.length <= room ? all : all.sort((a, b) => weight(a) - weight(b)).slice(0, room - 1)
    const more = shown.length < rows.size ? [`  … and ${rows.size - shown.length} more`] : []
    const lines = [...shown.map(([name, row]) => lineOf(name, row, columns)), ...more, ...last].map(typeset)
    clear()
    stream.write(`${lines.join('\n')}\n`)
    drawn = lines
  }
  const timer = live ? setInterval(() => draw(), 120) : undefined
  timer?.unref()
  // Ctrl-Z: the shell prints below the lines, and after `fg` they are drawn again below that.
  const onStop = () => {
    drawn = []
    process.off('SIGTSTP', onStop)
    process.kill(process.pid, 'SIGTSTP')
  }
  const onContinue = () => {
    process.on('SIGTSTP', onStop)
    draw()
  }
  const onInterrupt = () => {
    below = 'Stopping: cleaning up …'
  }
  process.on('SIGTSTP', onStop).on('SIGCONT', onContinue)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onInterrupt)
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
      if (event.type === 'progress') row.progress = row.latest = event
    },
    result(result) {
      const row = rows.get(result.name)
      if (row) row.state = result
      // Without a terminal the results are the output.
      if (!live && row) print(lineOf(result.name, row, Number.POSITIVE_INFINITY))
    },
    end() {
      clearInterval(timer)
      process.off('SIGTSTP', onStop).off('SIGCONT', onContinue)
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onInterrupt)
      draw(true)
    },
  }
}

/** Shows `what` with a spinner while `work` takes longer than a moment. */
export async function waitingFor<T>(what: string, work: Promise<T>): Promise<T> {
  const { stderr, stdin } = process
  if (!isInteractive() || !canRedraw(stderr)) return work
  // Raw mode: keys typed meanwhile would be echoed into the line. It also turns Ctrl-C into a key.
  const onInput = (typed: Buffer) => typed.includes(0x03) && process.kill(process.pid, 'SIGINT')
  stdin.setRawMode(true).on('data', onInput).resume()
  let frame = 0
  const begun = performance.now()
  const draw = () => {
    frame += 1
    const words = performance.now() - begun < 10_000 ? '' : ' no answer yet; Ctrl-C stops it'
    stderr.write(`\r\x1b[2K${spinner(frame)} ${typeset(cut(`${what} …${words}`, (stderr.columns || 80) - 4))}`)
  }
  const first = setTimeout(draw, 150)
  const timer = setInterval(() => frame > 0 && draw(), 120)
  try {
    return await work
  } finally {
    clearTimeout(first)
    clearInterval(timer)
    stdin.off('data', onInput).pause().setRawMode(false)
    if (frame > 0) stderr.write('\r\x1b[2K')
  }
}

function spinner(frame: number): string {
  return hasUnicode() ? '⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'.charAt(frame % 10) : `${'-\\|/'.charAt(frame % 4)} `
}

const stepWords: Record<(Event & { type: 'step' })['do'], string> = {
  hook: 'running the hook',
  dump: 'dumping databases',
  view: 'preparing a consistent view',
  unview: 'cleaning up',
  copySqlite: 'copying a database',
  snapshot: 'saving',
  unstage: 'cleaning up',
  stage: 'fetching',
  verify: 'checking',
  loadPostgres: 'loading databases',
  stop: 'stopping units',
  start: 'starting units',
  carry: 'keeping excluded files',
  flush: 'writing to disk',
  swap: 'replacing live data',
  health: 'checking health',
}

/** "61 %   742 MB of 1.2 GB   38 MB/s  12 s left", and shorter. */
function progressWords({ doneBytes, totalBytes, secondsLeft }: Event & { type: 'progress' }, seconds: number): string[] {
  const percent = totalBytes ? percentOf(doneBytes, totalBytes) : null
  const done = pad(formatBytes(doneBytes), 7, true)
  const speed = seconds > 1 ? pad(`${formatBytes(doneBytes / seconds)}/s`, 9, true) : null
  const remaining = secondsLeft ? remainingWords(secondsLeft) : null
  return shorter(
    [percent, totalBytes ? `${done} of ${formatBytes(totalBytes)}` : done, speed, remaining],
    [percent, done, speed, remaining],
    [percent, done, remaining],
  )
}

/** All services together; percent and remaining time only if the size of each is known. */
function totalWords(rows: Row[], seconds: number): string[] {
  const ended = rows.filter(({ state }) => typeof state === 'object').length
  const doneBytes = rows.reduce((sum, { state, latest }) => sum + (typeof state === 'object' ? (state.bytes ?? 0) : (latest?.doneBytes ?? 0)), 0)
  const sizes = rows.map(({ state, latest }) => (typeof state === 'object' ? (state.bytes ?? 0) : (latest?.totalBytes ?? null)))
  const totalBytes = sizes.every((size) => size !== null) ? sizes.reduce((sum, size) => sum + size, 0) : null
  const count = `${ended} of ${rows.length} done`
  const percent = totalBytes ? percentOf(doneBytes, totalBytes) : null
  const done = pad(formatBytes(doneBytes), 7, true)
  const speed = seconds > 1 && doneBytes > 0 ? pad(`${formatBytes(doneBytes / seconds)}/s`, 9, true) : null
  const remaining = totalBytes && doneBytes > 0 && seconds > 1 ? remainingWords(((totalBytes - doneBytes) * seconds) / doneBytes) : null
  return shorter([percent, done, speed, remaining, count], [percent, done, remaining, count], [percent, count])
}

function remainingWords(seconds: number): string {
  return `${seconds < 10 ? `${Math.max(1, Math.ceil(seconds))} s` : formatSeconds(seconds)} left`
}

function percentOf(done: number, total: number): string {
  return `${pad(String(Math.min(100, Math.floor((100 * done) / total))), 3, true)} %`
}

function shorter(...ways: (string | null)[][]): string[] {
  return ways.map((parts) => parts.filter((part) => part !== null).join('  '))
}
