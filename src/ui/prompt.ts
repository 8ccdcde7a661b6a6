// Questions. None is asked without a terminal: a piped newline would answer yes, and an end of input would exit 0.
import { emitKeypressEvents, type Interface } from 'node:readline'
import { Failure } from '../errors.ts'
import type { Config } from './picker.ts'
import { isInteractive, questionsEnd, sign, styled } from './terminal.ts'

export interface Choice<T> {
  /** What typing searches, and what is shown unless `line` says otherwise. */
  name: string
  /** What is shown, made when it comes to the screen. `marked`: how many are. */
  line?: (marked: number) => string
  value: T
  /** What the answered question shows; default: the name. */
  short?: string
  /** Its name among the marks, where there are some. */
  mark?: string
}

export interface ListOptions<T> {
  /** The answered question leaves no line behind. */
  tidy?: boolean
  /** Where the pointer stands at first. */
  first?: T | undefined
  /** What is marked; space adds to it and removes. */
  marks?: Set<string>
  /** Right goes in, left goes out, as Enter and Esc do. */
  arrows?: boolean
}

/** @throws Failure `no-terminal` (exit 2), naming the flag that answers the question */
export function requireTerminal(flag: string): void {
  if (!isInteractive()) throw new Failure('no-terminal', `an answer is needed and there is no terminal: give ${flag}`)
}

/** One of several; typing narrows them. @throws Failure `left` on Esc, as every question here */
export async function choose<T>(message: string, choices: Choice<T>[], flag: string, options: ListOptions<T> = {}): Promise<T> {
  const { tidy = false, first, marks = null, arrows = false } = options
  const cursor = Math.max(0, first === undefined ? 0 : choices.findIndex(({ value }) => value === first))
  const n = await pick(message, choices, flag, { first: cursor, marks, many: false, arrows }, tidy)
  return (choices[n] as Choice<T>).value
}

/** Several of several, at first all, or none. */
export async function chooseMany<T>(message: string, choices: Choice<T>[], flag: string, checked = true): Promise<T[]> {
  const marks = new Set(checked ? choices.map((_, n) => String(n)) : [])
  const rows = choices.map((choice, n) => ({ ...choice, mark: String(n) }))
  await pick(message, rows, flag, { first: 0, marks, many: true, arrows: false }, false)
  return choices.filter((_, n) => marks.has(String(n))).map(({ value }) => value)
}

async function pick(
  message: string,
  choices: Choice<unknown>[],
  flag: string,
  config: Omit<Config, 'message' | 'rows' | 'searching'>,
  tidy: boolean,
): Promise<number> {
  requireTerminal(flag)
  const { picker } = await import('./questions.ts')
  const rows = choices.map(({ name, line, short = name.trim(), mark }) => ({ name, line, short, mark }))
  const searching = { now: false }
  return ask(
    tidy,
    (context) => picker({ message, rows, ...config, searching }, context),
    ({ name }) => (name === 'escape' ? !searching.now : config.arrows && name === 'left'),
  )
}

/** A destructive answer is typed, not nodded. False: something else was typed, so nothing is done. */
export async function typeToConfirm(message: string, word: string, flag: string): Promise<boolean> {
  return (await askText(message, flag)).trim() === word
}

/** A line of text. */
export async function askText(message: string, flag: string): Promise<string> {
  requireTerminal(flag)
  const { input } = await import('./questions.ts')
  return ask(false, (context) => input({ message, theme: look() }, context))
}

/** A line that the terminal doesn't show. */
export async function askSecret(message: string, flag: string): Promise<string> {
  requireTerminal(flag)
  const { password } = await import('./questions.ts')
  return ask(false, (context) => password({ message, theme: look() }, context))
}

function look() {
  return { prefix: { idle: styled('blue', '?'), done: sign('good').trimEnd() } }
}

/** Questions in a row, in which Esc goes back to the one before, and from the first one out. Each says whether there was something to ask. */
export async function wizard(questions: (() => Promise<boolean>)[]): Promise<void> {
  let step = 1
  for (let n = 0; n < questions.length; n += step) {
    try {
      if (await questions[n]?.()) step = 1
    } catch (error) {
      if (!isLeft(error)) throw error
      step = -1
    }
    if (n + step < 0) throw left()
  }
}

/** Null: it was left by Esc. */
export async function unlessCancelled<T>(question: Promise<T>): Promise<T | null> {
  return question.catch((error) => {
    if (isLeft(error)) return null
    throw error
  })
}

function left(): Failure {
  return new Failure('left', 'nothing was done', { exit: 130 })
}

function isLeft(error: unknown): boolean {
  return error instanceof Failure && error.code === 'left'
}

interface Context {
  signal: AbortSignal
  clearPromptOnDone: boolean
}

/** Esc (or what else leaves it) and an interruption end a question; the prompts know of Ctrl-C alone. */
async function ask<T>(
  tidy: boolean,
  question: (context: Context) => Promise<T>,
  leaves: (key: { name?: string }) => boolean = ({ name }) => name === 'escape',
): Promise<T> {
  const ended = new AbortController()
  const context = { signal: ended.signal, clearPromptOnDone: tidy }
  const onKey = (_: unknown, key: { name?: string } | undefined) => {
    if (key === undefined || !leaves(key)) return
    context.clearPromptOnDone = true
    ended.abort(left())
  }
  const interruption = questionsEnd()
  const onInterruption = () => ended.abort(interruption?.reason)
  interruption?.throwIfAborted()
  // After Ctrl-Z and fg readline has paused the keyboard.
  const onContinue = () => setImmediate(() => process.stdin.resume())
  // Node waits half a second for what may follow an Esc.
  emitKeypressEvents(process.stdin, { escapeCodeTimeout: 50 } as unknown as Interface)
  process.stdin.on('keypress', onKey)
  process.on('SIGCONT', onContinue)
  interruption?.addEventListener('abort', onInterruption)
  try {
    return await question(context)
  } catch (error) {
    throw ended.signal.aborted ? ended.signal.reason : error
  } finally {
    process.stdin.off('keypress', onKey)
    process.off('SIGCONT', onContinue)
    interruption?.removeEventListener('abort', onInterruption)
  }
}
