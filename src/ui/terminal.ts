// Capabilities of the terminal, and output to it.
import { readFileSync } from 'node:fs'
import { styleText } from 'node:util'
import { harmlessJson } from '../text.ts'

let unattended = false
/** From now on no question is asked, even at a terminal: with --json a program reads the output. */
export function askNothing(): void {
  unattended = true
}

let interruption: AbortSignal | null = null
/** When this signal aborts, the current question ends, and no other is asked. */
export function askUntil(signal: AbortSignal): void {
  interruption = signal
}
export function questionsEnd(): AbortSignal | null {
  return interruption
}

/** Whether questions can be asked: standard input is a terminal, and standard output one that can be redrawn. */
export function isInteractive(): boolean {
  return !unattended && process.stdin.isTTY === true && canRedraw(process.stdout)
}

export function canRedraw(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env.TERM !== 'dumb'
}

/**
 * Whether this process may draw on the terminal: in the background (`bg`) the shell does. Without a controlling terminal (tpgid -1), or if its
 * foreground process group is outside of our container (0), no other process draws. Source: proc(5), pgrp and tpgid.
 */
export function isInForeground(): boolean {
  const [, , group, , , foreground] = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(foreground) <= 0 || group === foreground
}

/** Prints text lines to standard output. */
export function print(...lines: string[]): void {
  process.stdout.write(`${typeset(lines.join('\n'))}\n`)
}

/** Waits until the reader of standard output has caught up or exited: a million lines must not pile up in our memory. */
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

/** Prints a value as JSON to standard output; on one line unless `readable`. */
export function printJson(value: unknown, readable = false): void {
  process.stdout.write(`${harmlessJson(value, readable ? 2 : undefined)}\n`)
}

/** Replaces our own typographic characters by ASCII, one for one, if the locale isn't UTF-8. Names and paths stay as they are. */
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

/** Whether the locale is UTF-8. */
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
/** A status character. Its colour adds no information. */
export function sign(kind: Sign): string {
  const { unicode, ascii, style } = signs[kind]
  return styled(style, hasUnicode() ? unicode : ascii)
}

/** The width for output. Files, pipes and mails have none: there 200 columns, so that little is cut. */
export function columns(): number {
  return Math.max(40, process.stdout.columns || Number(process.env.COLUMNS) || (process.stdout.isTTY ? 80 : 200))
}
