// A real pseudo-terminal, and the screen that a person would see on it.
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type IPty, spawn } from '@lydell/node-pty'
import xterm from '@xterm/headless'
import { testEnvironment } from './cli.ts'
import { isWaiting } from './live.ts'

export interface TerminalOptions {
  cols?: number
  rows?: number
  env?: Record<string, string>
  cwd?: string
}

export interface Terminal {
  type(keys: string): void
  /**
   * Until the screen shows it and stands still, so that the rest of the screen is there too; gives the screen. Fails after a minute, or when the
   * program ends without it.
   */
  waitFor(what: string | RegExp): Promise<string>
  /** What stands on the screen now, without blanks at the ends of lines and below. */
  screen(): string
  /** The screen and all that scrolled out of it. */
  all(): string
  /** For a program that draws all the time (a spinner): resizes between two frames, and waits until the program has drawn for the new size. */
  resize(cols: number, rows: number): Promise<void>
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

/** Written by a test behind a program's output, to see when that has arrived. It draws nothing. */
const mark = '\0'
/** Milliseconds without output after which a screen may stand still. Less than the 120 between two frames of a spinner. */
const quiet = 30
/** Milliseconds in which a program answers a key, if it does at all. */
const answers = 500

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
  const { ptsName, _socket: socket } = pty as IPty & { ptsName: string; _socket: Socket }
  // While somebody holds the other end Node doesn't take a program's end for the end of its output: the last lines would be lost.
  const held = openSync(ptsName, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
  let draws = 0
  let stillFrom = 0
  const setStillFrom = (ms: number) => {
    stillFrom = performance.now() + ms
  }
  let hasEnded = false
  let marked = 0
  let seen = 0
  pty.onData((data) => {
    const output = data.replaceAll(mark, '')
    if (output !== '') setStillFrom(quiet)
    display.write(output, () => {
      seen += data.split(mark).length - 1
      if (output !== '') draws += 1
    })
  })
  /** Until all that was printed before is drawn: on a busy machine the kernel hands it over late, but in order. */
  const drawn = async () => {
    while (!hasEnded) {
      try {
        writeSync(held, mark)
        break
      } catch (error) {
        // Without EAGAIN (the buffer is full) the terminal is lost.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
        await sleep(1)
      }
    }
    for (const n = ++marked; seen < n && !hasEnded; ) await sleep(1)
  }
  // node-pty closes the terminal 200 ms after the program's end, whether or not everything was read by then.
  const destroy = socket.destroy.bind(socket)
  let isLost = false
  socket.destroy = () => {
    if (isLost) destroy()
    else void drawn().then(() => destroy())
    return socket
  }
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
  const isStill = async () => {
    if (hasEnded) return true
    if (performance.now() < stillFrom || !isWaiting(pty.pid)) return false
    const [before, marks] = [draws, marked]
    await drawn()
    return draws === before && marked > marks
  }
  /** Until `holds` and the screen stands still. */
  const waitUntil = async (holds: () => boolean, what: unknown) => {
    const end = performance.now() + 60_000
    while (!(holds() && (await isStill()))) {
      const why = hasEnded && !holds() ? 'the program ended' : performance.now() > end ? 'a minute went by' : undefined
      if (why) throw new Error(`${why} before the screen ${holds() ? 'stood still with' : 'showed'} ${what}:\n${screen()}`)
      await sleep(5)
    }
  }
  const nextFrame = () => {
    const before = draws
    return waitUntil(() => draws > before, 'a new frame')
  }
  return {
    type(input) {
      setStillFrom(answers)
      pty.write(input)
    },
    screen,
    all: () => text(0),
    async resize(width, height) {
      // A frame that was drawn for the old size and arrives after the change would leave parts of itself behind.
      await nextFrame()
      pty.resize(width, height)
      display.resize(width, height)
      // The program may have begun the first before it knew the new size.
      for (let i = 0; i < 2; i++) await nextFrame()
    },
    kill: (signal) => pty.kill(signal),
    hangUp() {
      isLost = true
      ;(pty as IPty & { destroy(): void }).destroy()
    },
    pid: pty.pid,
    exit,
    async waitFor(what) {
      await waitUntil(() => (typeof what === 'string' ? screen().includes(what) : what.test(screen())), what)
      return screen()
    },
  }
}
