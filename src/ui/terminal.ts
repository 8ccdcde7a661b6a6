// What this terminal can do, and text that can't harm it.
import { styleText } from 'node:util'

/** Whether a person sits there: both the question and the answer need a terminal. */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true
}

let colours: boolean | null = null
/** NO_COLOR (no-color.org; --no-color sets it) and the terminal decide. */
function hasColours(): boolean {
  colours ??= process.stdout.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
  return colours
}

/** Whether the locale takes more than ASCII. */
export function hasUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = process.env
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}

type Style = Parameters<typeof styleText>[0]
export function styled(style: Style, text: string): string {
  return hasColours() ? styleText(style, text) : text
}

export type Sign = 'good' | 'warn' | 'bad' | 'unknown' | 'waiting'
const signs: Record<Sign, { unicode: string; ascii: string; style: Style }> = {
  good: { unicode: '✓', ascii: 'ok', style: 'green' },
  warn: { unicode: '!', ascii: '! ', style: 'yellow' },
  bad: { unicode: '✗', ascii: 'x ', style: 'red' },
  unknown: { unicode: '?', ascii: '? ', style: 'yellow' },
  waiting: { unicode: '·', ascii: '- ', style: 'dim' },
}
/** A sign; colour only repeats what it says. */
export function sign(kind: Sign): string {
  const { unicode, ascii, style } = signs[kind]
  return styled(style, hasUnicode() ? unicode : ascii)
}

export function columns(): number {
  return Math.max(40, process.stdout.columns ?? Number(process.env.COLUMNS ?? 80))
}
