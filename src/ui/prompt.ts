// Prompts. None is shown without a terminal: a piped newline would count as an answer, and the end of the input would exit 0.
import { emitKeypressEvents, type Interface } from 'node:readline'
import { Failure } from '../errors.ts'
import type { Config } from './picker.ts'
import { isInteractive, questionsEnd, sign, styled } from './terminal.ts'

export interface Choice<T> {
  /** The text that typing searches, and the text of the row unless `line` is given. */
  name: string
  /** The text of the row, rendered when it becomes visible. `marked`: the number of marked rows. */
  line?: (marked: number) => string
  value: T
  /** Shown as the answer; default: the name. */
  short?: string
  /** Key in `marks`. */
  mark?: string
}

export interface ListOptions<T> {
  /** The question is erased once it is answered. */
  tidy?: boolean
  /** The value that the pointer starts on. */
  first?: T | undefined
  /** Keys of marked rows, toggled with space. */
  marks?: Set<string>
  /** The right arrow works as Enter, the left arrow as Esc. */
  arrows?: boolean
}

/** @throws Failure `no-terminal` (exit 2), naming the flag that answers the question */
export function requireTerminal(flag: string): void {
  if (!isInteractive()) throw new Failure('no-terminal', `an answer is needed and there is no terminal: give ${flag}`)
}

/** Asks for one of several; typing filters them. @throws Failure `left` on Esc, as all prompts here */
export async function choose<T>(message: string, choices: Choice<T>[], flag: string, options: ListOptions<T> = {}): Promise<T> {
  const { tidy = false, first, marks = null, arrows = false } = options
  const cursor = Math.max(0, first === undefined ? 0 : choices.findIndex(({ value }) => value === first))
  const n = await pick(message, choices, flag, { first: cursor, marks, many: false, arrows }, tidy)
  return (choices[n] as Choice<T>).value
}

/** Asks for any number of choices. `checked`: whether all are marked at first. */
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

/** Confirms a destructive action by typing a word. False: something else was typed. */
export async function typeToConfirm(message: string, word: string, flag: string): Promise<boolean> {
  return (await askText(message, flag)).trim() === word
}

/** Asks for a line of text. */
export async function askText(message: string, flag: string): Promise<string> {
  requireTerminal(flag)
  const { input } = await import('./questions.ts')
  return ask(false, (context) => input({ message, theme: promptTheme() }, context))
}

/** Asks for a line that isn't echoed. */
export async function askSecret(message: string, flag: string): Promise<string> {
  requireTerminal(flag)
  const { password } = await import('./questions.ts')
  return ask(false, (context) => password({ message, theme: promptTheme() }, context))
}

function promptTheme() {
  return { prefix: { idle: styled('blue', '?'), done: sign('good').trimEnd() } }
}

/** Asks questions in order; Esc goes back to the previous one, and cancels in the first. Each question returns whether it asked anything. */
export async function wizard(questions: (() => Promise<boolean>)[]): Promise<void> {
  let step = 1
  for (let n = 0; n < questions.length; n += step) {
    try {
      if (await questions[n]?.()) step = 1
    } catch (error) {
      if (!isCancelled(error)) throw error
      step = -1
    }
    if (n + step < 0) throw cancelled()
  }
}

/** Null: the question was cancelled with Esc. */
export async function unlessCancelled<T>(question: Promise<T>): Promise<T | null> {
  return question.catch((error) => {
    if (isCancelled(error)) return null
    throw error
  })
}

function cancelled(): Failure {
  return new Failure('left', 'nothing was done', { exit: 130 })
}

function isCancelled(error: unknown): boolean {
  return error instanceof Failure && error.code === 'left'
}

interface Context {
  signal: AbortSignal
  clearPromptOnDone: boolean
}

/** Runs a prompt that Esc (or the keys for which `leaves` is true) and an interruption end: the library's prompts handle Ctrl-C only. */
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
    ended.abort(cancelled())
  }
  const interruption = questionsEnd()
  const onInterruption = () => ended.abort(interruption?.reason)
  interruption?.throwIfAborted()
  // After Ctrl-Z and `fg` readline has paused the input.
  const onContinue = () => setImmediate(() => process.stdin.resume())
  // By default Node waits 500 ms after Esc for the rest of an escape sequence.
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
