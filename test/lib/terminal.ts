// A real pseudo-terminal, and the screen that a person would see on it.
import { closeSync, constants, openSync } from 'node:fs'
import { type IPty, spawn } from '@lydell/node-pty'
import xterm from '@xterm/headless'
import { testEnvironment } from './cli.ts'

export interface TerminalOptions {
  cols?: number
  rows?: number
  env?: Record<string, string>
  cwd?: string
}

export interface Terminal {
  type(keys: string): void
  /** Until the screen shows it; gives the screen. Fails after `seconds` (30), or when the program ends without it. */
  waitFor(what: string | RegExp, seconds?: number): Promise<string>
  /** What stands on the screen now, without blanks at the ends of lines and below. */
  screen(): string
  /** The screen and all that scrolled out of it. */
  all(): string
  resize(cols: number, rows: number): void
  /** To the program; Ctrl-C of a person is `type(keys.ctrlC)`. */
  kill(signal: NodeJS.Signals): void
  /** The terminal is lost: closed, or its connection broke. */
  hangUp(): void
  pid: number
  /** 128 + signal where a signal ended it. */
  exit: Promise<number>
}

export const keys = {
  enter: '\r',
  up: '\x1b[A',
  down: '\x1b[B',
  right: '\x1b[C',
  left: '\x1b[D',
  space: ' ',
  tab: '\t',
  escape: '\x1b',
  backspace: '\x7f',
  ctrlC: '\x03',
  ctrlD: '\x04',
  ctrlZ: '\x1a',
} as const

/** Run a program at a terminal of 80 × 24. */
export function terminal([program = '', ...args]: string[], { cols = 80, rows = 24, env, cwd }: TerminalOptions = {}): Terminal {
  const display = new xterm.Terminal({ cols, rows, scrollback: 10_000, allowProposedApi: true })
  const pty = spawn(program, args, {
    cols,
    rows,
    // This becomes TERM.
    name: env?.TERM ?? 'xterm-256color',
    env: testEnvironment(env),
    ...(cwd ? { cwd } : {}),
  })
  // While somebody holds the other end Node doesn't take a program's end for the end of its output: the last lines would be lost.
  const held = openSync((pty as IPty & { ptsName: string }).ptsName, constants.O_RDWR | constants.O_NOCTTY)
  const waiting = new Set<() => void>()
  const look = () => {
    for (const check of waiting) check()
  }
  let hasEnded = false
  pty.onData((data) => display.write(data, look))
  // A terminal answers what it is asked (where the cursor is, say).
  display.onData((answer) => {
    if (!hasEnded) pty.write(answer)
  })
  const exit = new Promise<number>((resolve) => {
    pty.onExit(({ exitCode, signal }) =>
      // All that was printed is drawn first.
      display.write('', () => {
        hasEnded = true
        closeSync(held)
        look()
        resolve(signal ? 128 + signal : exitCode)
      }),
    )
  })
  const text = (from: number) => {
    const buffer = display.buffer.active
    const lines = Array.from(
      { length: buffer.length - from },
      (_, n) =>
        buffer
          .getLine(from + n)
          ?.translateToString(true)
          .trimEnd() ?? '',
    )
    return lines.join('\n').trimEnd()
  }
  const screen = () => text(display.buffer.active.baseY)
  return {
    type: (input) => pty.write(input),
    screen,
    all: () => text(0),
    resize(width, height) {
      pty.resize(width, height)
      display.resize(width, height)
    },
    kill: (signal) => pty.kill(signal),
    hangUp: () => (pty as IPty & { destroy(): void }).destroy(),
    pid: pty.pid,
    exit,
    waitFor: (what, seconds = 30) =>
      new Promise((resolve, reject) => {
        const isThere = () => (typeof what === 'string' ? screen().includes(what) : what.test(screen()))
        const settle = (done: () => void) => {
          clearTimeout(timer)
          waiting.delete(check)
          done()
        }
        const give = (why: string) => settle(() => reject(new Error(`${why} before the screen showed ${what}:\n${screen()}`)))
        const check = () => {
          if (isThere()) settle(() => resolve(screen()))
          else if (hasEnded) give('the program ended')
        }
        const timer = setTimeout(() => give(`${seconds} s went by`), seconds * 1000)
        waiting.add(check)
        check()
      }),
  }
}
