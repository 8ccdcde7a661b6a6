// The list prompt. Typing filters the rows; only visible rows are rendered, so lists of any length are fast.
import { createPrompt, isDownKey, isEnterKey, isSpaceKey, isUpKey, useEffect, useKeypress, useMemo, useState } from '@inquirer/core'
import { printable } from '../text.ts'
import { formatCount } from './format.ts'
import { cut, displayWidth, fitting } from './table.ts'
import { hasUnicode, sign, styled, typeset } from './terminal.ts'

export interface Row {
  /** What typing searches. */
  name: string
  /** The text of the row, without the pointer, rendered when it becomes visible. Default: the name. */
  line?: ((marked: number) => string) | undefined
  /** What the answered question shows. */
  short: string
  /** Key in `marks`; a row without one can't be marked. */
  mark?: string | undefined
}

export interface Config {
  message: string
  rows: Row[]
  /** Index of the row that the pointer starts on. */
  first: number
  /** Keys of marked rows, toggled with space; null: rows can't be marked. Enter answers with the row, or with `many` with the marks. */
  marks: Set<string> | null
  many: boolean
  /** The right arrow works as Enter. (The caller handles left as Esc.) */
  arrows: boolean
  /** `now`: whether a search text is typed. Then Esc clears it instead of cancelling the prompt. */
  searching: { now: boolean }
}

/** Answers with the index of a row; with `many` with -1: then the marks are the answer. */
export const picker = createPrompt<number, Config>(({ message, rows, first, marks, many, arrows, searching }, done) => {
  const [term, setTerm] = useState('')
  const [pointer, setPointer] = useState(first)
  const [answer, setAnswer] = useState<string | null>(null)
  const [hint, setHint] = useState('')
  const [drawn, setDrawn] = useState(0)
  const searched = useMemo(() => (term === '' ? [] : rows.map(({ name }) => name.toLowerCase())), [term === ''])
  const matches = useMemo(() => matching(searched, rows.length, term), [term])
  const active = Math.min(pointer, matches.length - 1)
  const page = pageSize()
  searching.now = term !== ''

  const header = headerOf(message, answer ?? term, answer !== null)
  const help = () => {
    const long = matches.length > page || term !== ''
    const position = long ? `${formatCount(active + 1)} of ${formatCount(matches.length)}` : ''
    return helpLine(position, [
      ...(rows.length > page ? [['type', 'to search']] : []),
      ['↑↓', 'navigate'],
      ...(marks ? [['space', 'mark'], ...(many ? [['ctrl-a', 'all']] : [])] : []),
      ['⏎', many ? 'confirm' : 'select'],
      ['esc', 'back'],
    ] as [string, string][])
  }
  const body = () => {
    const start = Math.max(0, Math.min(active - Math.floor(page / 2), matches.length - page))
    const lines = matches.slice(start, start + page).map((n, i) => lineOf(rows[n] as Row, start + i === active, marks))
    return [...(lines.length > 0 ? lines : ['  nothing matches']), hint, help()]
  }

  useKeypress((key, rl) => {
    if (key.name === 'escape') {
      rl.clearLine(0)
      setPointer(0)
      return setTerm('')
    }
    const row = rows[matches[active] ?? -1]
    const moved = { home: 0, end: matches.length - 1, pageup: active - page, pagedown: active + page }[key.name]
    const step = isUpKey(key) ? active - 1 : isDownKey(key) ? active + 1 : moved
    if (isEnterKey(key) || (arrows && key.name === 'right')) {
      if (many && marks?.size === 0) setHint('Mark at least one with the space bar')
      else if (row) {
        setAnswer(many ? rows.flatMap(({ mark, short }) => (mark !== undefined && marks?.has(mark) ? short : [])).join(', ') : row.short)
        return done(many ? -1 : (matches[active] as number))
      }
    } else if (step !== undefined) setPointer(Math.max(0, Math.min(step, matches.length - 1)))
    // Space is part of the search text where a name continues with it ("IMG 112.jpg").
    else if (marks && isSpaceKey(key) && !(term !== '' && searched.some((name) => name.includes(`${term.toLowerCase()} `)))) {
      if (row) toggle(marks, [row])
      setHint('')
      setDrawn(drawn + 1)
    } else if (marks && many && key.ctrl && key.name === 'a') {
      toggle(
        marks,
        matches.map((n) => rows[n] as Row),
      )
      setHint('')
      setDrawn(drawn + 1)
    } else if (rl.line !== term) {
      setTerm(rl.line)
      return setPointer(0)
    }
    // readline has added the key to its line: set the line back to the search text.
    rl.clearLine(0)
    rl.write(term)
  })
  useEffect(
    (rl) => {
      const below = answer === null ? body().length : 0
      const up = (lines: number) => (lines > 0 ? `\x1b[${lines}A` : '')
      const again = (above: number) => {
        process.stdout.write(`${up(above)}\r\x1b[J${'\n'.repeat(below)}${up(below)}`)
        setDrawn(drawn + 1)
      }
      // A terminal that became narrower has wrapped the old lines.
      const onResize = () => again(Math.floor(displayWidth(header) / width()))
      // Ctrl-Z: the shell prints below the list, and after `fg` the list is drawn again below that.
      const onStop = () => {
        process.stdout.write('\n'.repeat(below + 1))
        process.stdin.setRawMode(false)
        process.kill(process.pid, 'SIGTSTP')
      }
      const onContinue = () => {
        process.stdin.setRawMode(true)
        rl.resume()
        again(0)
      }
      process.stdout.on('resize', onResize)
      process.on('SIGCONT', onContinue)
      rl.on('SIGTSTP', onStop)
      return () => {
        process.stdout.off('resize', onResize)
        process.off('SIGCONT', onContinue)
        rl.removeListener('SIGTSTP', onStop)
      }
    },
    [header, matches, drawn],
  )
  return answer === null ? [header, body().join('\n')] : header
})

/** Indexes of the rows that hold every word; rows that start with the search text come first. */
function matching(searched: string[], count: number, term: string): number[] {
  const all = Array.from({ length: count }, (_, n) => n)
  if (term === '') return all
  const sought = term.toLowerCase()
  const words = sought.split(' ')
  const found = all.filter((n) => words.every((word) => searched[n]?.includes(word)))
  const begins = (n: number) => searched[n]?.startsWith(sought) === true
  return [...found.filter(begins), ...found.filter((n) => !begins(n))]
}

/** Marks all rows, or unmarks them if all are marked. */
function toggle(marks: Set<string>, rows: Row[]): void {
  const names = rows.flatMap(({ mark }) => mark ?? [])
  const all = names.every((name) => marks.has(name))
  for (const name of names) all ? marks.delete(name) : marks.add(name)
}

function headerOf(message: string, text: string, answered: boolean): string {
  const room = width() - 4
  const input = answered ? typeset(cut(printable(text), Math.max(8, room - displayWidth(message) - 1))) : cut(text, Math.max(8, room - 12))
  const question = typeset(cut(message, Math.max(8, room - displayWidth(input) - 1)))
  return [
    answered ? sign('good').trimEnd() : styled('blue', '?'),
    styled('bold', question),
    ...(input === '' ? (answered ? [] : ['']) : [styled('cyan', input)]),
  ].join(' ')
}

function lineOf({ name, line, mark }: Row, isActive: boolean, marks: Set<string> | null): string {
  const [arrow, on, off] = hasUnicode() ? ['❯', '◉', '◯'] : ['>', '[x]', '[ ]']
  const box = marks === null ? '' : mark === undefined ? ' '.repeat(off.length) : marks.has(mark) ? styled('green', on) : off
  const text = typeset(cut(printable(line?.(marks?.size ?? 0) ?? name), Math.max(8, width() - 4 - (marks ? off.length : 0))))
  return `${isActive ? styled('cyan', arrow) : ' '}${box} ${isActive ? styled('cyan', text) : text}`
}

/** At least 20 columns. Lines must not be wider than the terminal: they would wrap, and the cursor movements would be wrong. */
function width(): number {
  return Math.max(20, process.stdout.columns || 80)
}

/** Leaves lines for the question, the output above it, and the keys. */
function pageSize(): number {
  return Math.max(3, Math.min(16, (process.stdout.rows || 24) - 6))
}

/** On narrow terminals the best-known keys are dropped first. */
function helpLine(position: string, keys: [string, string][]): string {
  const names: Record<string, string> = hasUnicode() ? {} : { '↑↓': 'up/down', '⏎': 'enter' }
  const dot = hasUnicode() ? ' • ' : '  '
  const parts = (rest: [string, string][]) => [
    ...(position ? [styled('dim', position)] : []),
    ...rest.map(([key, does]) => `${styled('bold', names[key] ?? key)} ${styled('dim', does)}`),
  ]
  const fits = ['', '↑↓', '⏎', 'ctrl-a', 'type'].map((_, n, order) => keys.filter(([key]) => !order.slice(1, n + 1).includes(key)))
  return fitting(
    fits.map((rest) => parts(rest).join(dot)),
    width() - 1,
  )
}
