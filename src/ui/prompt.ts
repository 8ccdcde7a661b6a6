// Questions. None is asked without a terminal: a piped newline would answer yes, and an end of input would exit 0.
import { Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { cut } from './table.ts'
import { columns, hasUnicode, isInteractive, sign, styled, typeset } from './terminal.ts'

export interface Choice<T> {
  name: string
  value: T
  /** What the answered question shows; default: the name. */
  short?: string
}

/** @throws Failure `no-terminal` (exit 2), naming the flag that answers the question */
export function requireTerminal(flag: string): void {
  if (!isInteractive()) throw new Failure('no-terminal', `an answer is needed and there is no terminal: give ${flag}`)
}

/**
 * One of several; type to search where the list is long. `tidy`: the answered question leaves no line behind.
 * @throws Failure `left` on Esc, as every question here
 */
export async function choose<T>(
  message: string,
  choices: Choice<T>[],
  flag: string,
  { tidy = false, first }: { tidy?: boolean; first?: T | undefined } = {},
): Promise<T> {
  requireTerminal(flag)
  const { search, select } = await import('./questions.ts')
  const shown = fitting(choices, message)
  const cursor = first === undefined || first === choices[0]?.value ? {} : { default: first }
  if (shown.length <= 12 || 'default' in cursor)
    return ask(tidy, (context) => select({ message, choices: shown, pageSize: 14, loop: false, theme: theme(), ...cursor }, context))
  const source = (term = '') => shown.filter(({ name }) => name.toLowerCase().includes(term.toLowerCase()))
  return ask(tidy, (context) => search({ message, source, pageSize: 14, theme: theme(['type', 'to search']) }, context))
}

/** Several of several, at first all, or none. */
export async function chooseMany<T>(message: string, choices: Choice<T>[], flag: string, checked = true): Promise<T[]> {
  requireTerminal(flag)
  const { checkbox } = await import('./questions.ts')
  const shown = fitting(choices, message).map((choice) => ({ ...choice, checked }))
  return ask(false, (context) => checkbox({ message, choices: shown, required: true, pageSize: 14, loop: false, theme: theme() }, context))
}

/** A destructive answer is typed, not nodded. False: something else was typed, so nothing is done. */
export async function typeToConfirm(message: string, word: string, flag: string): Promise<boolean> {
  requireTerminal(flag)
  const { input } = await import('./questions.ts')
  return (await ask(false, (context) => input({ message, theme: { prefix: theme().prefix } }, context))).trim() === word
}

/** Questions in a row, in which Esc goes back to the one before, and from the first one out. Each says whether there was something to ask. */
export async function inTurn(questions: (() => Promise<boolean>)[]): Promise<void> {
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
export async function unlessLeft<T>(question: Promise<T>): Promise<T | null> {
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

/** Esc and signals end a question; the prompts know of Ctrl-C alone. */
async function ask<T>(tidy: boolean, question: (context: Context) => Promise<T>): Promise<T> {
  const ended = new AbortController()
  const context = { signal: ended.signal, clearPromptOnDone: tidy }
  const onKey = (_: unknown, key: { name?: string } | undefined) => {
    if (key?.name !== 'escape') return
    context.clearPromptOnDone = true
    ended.abort(left())
  }
  const onSignal = (signal: NodeJS.Signals) => ended.abort(new Failure('interrupted', `interrupted by ${signal}`))
  process.stdin.on('keypress', onKey)
  for (const signal of signals) process.on(signal, onSignal)
  try {
    return await question(context)
  } catch (error) {
    throw ended.signal.aborted ? ended.signal.reason : error
  } finally {
    process.stdin.off('keypress', onKey)
    for (const signal of signals) process.off(signal, onSignal)
  }
}
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** On one line each, also beside the question that they answer. */
function fitting<T>(choices: Choice<T>[], message: string): Choice<T>[] {
  const within = (text: string, room: number) => typeset(cut(printable(text), Math.max(8, columns() - room)))
  return choices.map(({ name, value, short = name.trim() }) => ({ name: within(name, 5), value, short: within(short, message.length + 5) }))
}

/** The prompts' looks in our terms: what the locale takes, and Esc among the keys. */
function theme(...keys: [string, string][]) {
  const dot = hasUnicode() ? ' • ' : '  '
  const ascii = { icon: { cursor: '>', checked: '[x]', unchecked: '[ ]' } }
  const names: Record<string, string> = hasUnicode() ? {} : { '↑↓': 'up/down', '⏎': 'enter' }
  return {
    ...(hasUnicode() ? {} : ascii),
    prefix: { idle: styled('blue', '?'), done: sign('good').trimEnd() },
    style: {
      keysHelpTip: (own: [string, string][]) =>
        [...keys, ...own, ['esc', 'back']]
          .filter(([key]) => key !== 'i')
          .map(([key = '', action = '']) => `${styled('bold', names[key] ?? key)} ${styled('dim', action)}`)
          .join(dot),
      renderSelectedChoices: (chosen: readonly { short: string }[]) => typeset(cut(chosen.map(({ short }) => short).join(', '), columns() - 20)),
    },
  }
}
