// What this terminal can do, and what is printed on it.
import { readFileSync } from 'node:fs'
import { styleText } from 'node:util'
import { harmlessJson } from '../text.ts'

let unattended = false
/** From now on nothing is asked, terminal or not: a machine reads the output (--json). */
export function askNothing(): void {
  unattended = true
}

let interruption: AbortSignal | null = null
/** Once this is aborted the question at hand ends, and none is asked any more. */
export function askUntil(signal: AbortSignal): void {
  interruption = signal
}
export function questionsEnd(): AbortSignal | null {
  return interruption
}

/** Whether a person sits there: the question and the answer need a terminal, and the question one that can be drawn on. */
export function isInteractive(): boolean {
  return !unattended && process.stdin.isTTY === true && canRedraw(process.stdout)
}

export function canRedraw(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env.TERM !== 'dumb'
}

/**
 * Whether this terminal is ours to draw on: in the background (`bg`) it is the shell's. Without a controlling terminal (-1), or where that is
 * led from outside of our container (0), nobody else draws. Source: proc(5), pgrp and tpgid.
 */
export function isInForeground(): boolean {
  const [, , group, , , foreground] = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(foreground) <= 0 || group === foreground
}

/** Lines for a person, on standard output. */
export function print(...lines: string[]): void {
  process.stdout.write(`${typeset(lines.join('\n'))}\n`)
}

/** Until the reader of what is printed has caught up, or left: a million lines wait where they come from, not in our memory. */
export async function drained(): Promise<void> {
  const { stdout } = process
  if (!stdout.writableNeedDrain) return
  await new Promise<void>((resolve) => {
    const events = ['drain', 'error', 'close']
    const done = () => {
      for (const event of events) stdout.off(event, done)
      resolve()
    }
    for (const event of events) stdout.on(event, done)
  })
}

/** One value for a machine, on standard output, on one line unless it is to be read by people too. */
export function printJson(value: unknown, readable = false): void {
  process.stdout.write(`${harmlessJson(value, readable ? 2 : undefined)}\n`)
}

/** Our own typography as the locale takes it, character for character. Names and paths stay as they are. */
export function typeset(text: string): string {
  return hasUnicode() ? text : text.replaceAll(new RegExp(`[${Object.keys(plain).join('')}]`, 'g'), (character) => plain[character] ?? '?')
}
const plain: Record<string, string> = { '…': '~', '–': '-', '·': '-', '→': '>' }

let colours: boolean | null = null
/** NO_COLOR (no-color.org; --no-color sets it) and the terminal decide. */
function hasColours(): boolean {
  colours ??= canRedraw(process.stdout) && !process.env.NO_COLOR
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

/** For how many columns lines are made. What goes into a file, a pipe or a mail has none: little is cut there. */
export function columns(): number {
  return Math.max(40, process.stdout.columns || Number(process.env.COLUMNS) || (process.stdout.isTTY ? 80 : 200))
}
