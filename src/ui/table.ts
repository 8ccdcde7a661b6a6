// Columns that fit the terminal.
import { stripVTControlCharacters } from 'node:util'
import { styled } from './terminal.ts'

export interface Column {
  title: string
  align?: 'right'
  /** This column is narrowed when the table is too wide: its cells are cut, or wrapped to further lines. */
  shrink?: 'cut' | 'wrap'
}

/** The lines of a table, with two spaces between columns. At most one column has `shrink`. */
export function tableLines(columns: Column[], rows: string[][], width: number): string[] {
  const widths = columns.map(({ title }, i) => rows.reduce((most, row) => Math.max(most, displayWidth(row[i] ?? '')), displayWidth(title)))
  const total = widths.reduce((sum, each) => sum + each + 2, -2)
  const shrinking = columns.findIndex(({ shrink }) => shrink)
  if (total > width && shrinking >= 0) widths[shrinking] = Math.max(8, (widths[shrinking] ?? 0) - (total - width))
  const linesOf = (row: string[]): string[][] => {
    if (columns[shrinking]?.shrink !== 'wrap') return [row]
    const parts = wrapped(row[shrinking] ?? '', widths[shrinking] ?? 0)
    return [row.with(shrinking, parts[0] ?? ''), ...parts.slice(1).map((part) => columns.map((_, i) => (i === shrinking ? part : '')))]
  }
  const line = (cells: string[]) =>
    columns
      .map(({ align, shrink }, i) =>
        pad(shrink === 'wrap' ? (cells[i] ?? '') : cut(cells[i] ?? '', widths[i] ?? 0), widths[i] ?? 0, align === 'right'),
      )
      .join('  ')
      .trimEnd()
  const titles = columns.map(({ title }) => title)
  return [...(titles.some(Boolean) ? [styled('dim', line(titles))] : []), ...rows.flatMap(linesOf).map(line)]
}

export function pad(text: string, width: number, right = false): string {
  const blanks = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return right ? blanks + text : text + blanks
}

/** Cuts text to a width. ANSI styles have no width and are all kept, so that a style is always reset. */
export function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let room = width - 1
  return text.replaceAll(/(\x1b\[[0-9;]*m)|./gsu, (part: string, style: string | undefined) => {
    if (style !== undefined || room < 0) return style ?? ''
    room -= displayWidth(part)
    return room < 0 ? '…' : part
  })
}

/** Wraps text at spaces. A word wider than a line gets its own line, unbroken: it may be a path to copy. */
export function wrapped(text: string, width: number): string[] {
  if (displayWidth(text) <= width) return [text]
  const lines: string[] = []
  // A command stays on one line if it fits.
  const whole = text.replaceAll(/\(?atelier-backup [^),;]*[),;]*/g, (command) =>
    displayWidth(command) > width ? command : command.replaceAll(' ', unbroken),
  )
  for (const word of whole.split(' ').map((one) => one.replaceAll(unbroken, ' '))) {
    const last = lines.at(-1)
    if (last !== undefined && displayWidth(last) + 1 + displayWidth(word) <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
/** A character of Unicode's private use area: it doesn't occur in our texts. */
const unbroken = '\ue000'

/** `label`, then `text` wrapped to the rest of `width` columns; further lines are indented by `indent`, as the first is by the label. */
export function hanging(label: string, text: string, indent: number, width: number): string[] {
  return wrapped(text, Math.max(20, width - indent)).map((line, n) => pad(n === 0 ? label : '', indent) + line)
}

/** The first text that fits; if none does, the last one, cut. */
export function fitting(texts: string[], width: number): string {
  return texts.find((text) => displayWidth(text) <= width) ?? cut(texts.at(-1) ?? '', width)
}

/** Cuts text to a width at its start: the end of a path says more. */
export function cutStart(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  const characters = [...text]
  let room = width - 1
  let begin = characters.length
  while (room >= displayWidth(characters[begin - 1] ?? '')) room -= displayWidth(characters[--begin] ?? '')
  return `…${characters.slice(begin).join('')}`
}

/** The number of terminal columns of a text: 2 for East Asian wide characters and emoji, 0 for combining marks. */
export function displayWidth(text: string): number {
  if (narrow.test(text)) return text.length
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += /\p{Mark}/u.test(character) ? 0 : wide.test(character) ? 2 : 1
  return width
}
/** Latin, dashes, arrows, blocks and ticks: our own characters and most names. The first match of a Unicode property takes milliseconds. */
const narrow = /^[ -~\xa0-\u02ff\u2010-\u2026\u2190-\u21ff\u2500-\u259f\u2713\u2717]*$/
const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
