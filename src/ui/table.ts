// Columns that fit the terminal.
import { stripVTControlCharacters } from 'node:util'
import { styled } from './terminal.ts'

export interface Column {
  title: string
  align?: 'right'
  /** Gives way first when the table is too wide: cut, or, of words that must be read to their end, on further lines. */
  shrink?: 'cut' | 'wrap'
}

/** Lines of a table, two blanks between columns. The one column that may shrink does so to fit `width`. */
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

/** Cut to a width; styles take no room, and are kept: they end what began before the cut. */
export function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let left = width - 1
  return text.replaceAll(/(\x1b\[[0-9;]*m)|./gsu, (part: string, style: string | undefined) => {
    if (style !== undefined || left < 0) return style ?? ''
    left -= displayWidth(part)
    return left < 0 ? '…' : part
  })
}

/** Lines of whole words; one that is wider than a line stands alone, unbroken: it may be a path to copy. */
export function wrapped(text: string, width: number): string[] {
  if (displayWidth(text) <= width) return [text]
  const lines: string[] = []
  // What is to be typed stays on one line, if it fits.
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
/** Of Unicode's private use: no text has it. */
const unbroken = '\ue000'

/** `label`, then `text` wrapped to the rest of `width` columns; further lines are indented by `indent`, as the first is by the label. */
export function hanging(label: string, text: string, indent: number, width: number): string[] {
  return wrapped(text, Math.max(20, width - indent)).map((line, n) => pad(n === 0 ? label : '', indent) + line)
}

/** The first that fits; none does: the last, cut. */
export function fitting(texts: string[], width: number): string {
  return texts.find((text) => displayWidth(text) <= width) ?? cut(texts.at(-1) ?? '', width)
}

/** Cut to a width at its beginning: of a path the end tells more. */
export function cutStart(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  const characters = [...text]
  let left = width - 1
  let begin = characters.length
  while (left >= displayWidth(characters[begin - 1] ?? '')) left -= displayWidth(characters[--begin] ?? '')
  return `…${characters.slice(begin).join('')}`
}

/** Columns a text takes: East Asian wide characters and emoji take two, combining marks none. */
export function displayWidth(text: string): number {
  if (narrow.test(text)) return text.length
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += /\p{Mark}/u.test(character) ? 0 : wide.test(character) ? 2 : 1
  return width
}
/** Latin, dashes, arrows, blocks and ticks: all of our own, and most names. To ask Unicode's properties takes milliseconds the first time. */
const narrow = /^[ -~\xa0-\u02ff\u2010-\u2026\u2190-\u21ff\u2500-\u259f\u2713\u2717]*$/
const wide = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
