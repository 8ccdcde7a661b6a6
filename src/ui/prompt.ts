// Questions. None is asked without a terminal: a piped newline would answer yes, and an end of input would exit 0.
import { Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { isInteractive } from './terminal.ts'

export interface Choice<T> {
  name: string
  value: T
  description?: string
}

/** @throws Failure `no-terminal` (exit 2), naming the flag that answers the question */
export function requireTerminal(flag: string): void {
  if (!isInteractive()) throw new Failure('no-terminal', `an answer is needed and there is no terminal: give ${flag}`)
}

/** One of several; type to search where the list is long. */
export async function choose<T>(message: string, choices: Choice<T>[], flag: string): Promise<T> {
  requireTerminal(flag)
  const { search, select } = await import('./questions.ts')
  const shown = choices.map((choice) => ({ ...choice, name: printable(choice.name) }))
  if (shown.length <= 12) return select({ message, choices: shown, pageSize: 14, loop: false })
  const matching = (term: string | undefined) => shown.filter(({ name }) => name.toLowerCase().includes((term ?? '').toLowerCase()))
  return search({ message: `${message} (type to search)`, source: matching, pageSize: 14 })
}

/** Several of several. */
export async function chooseMany<T>(message: string, choices: (Choice<T> & { checked?: boolean })[], flag: string): Promise<T[]> {
  requireTerminal(flag)
  const { checkbox } = await import('./questions.ts')
  return checkbox({
    message,
    choices: choices.map((choice) => ({ ...choice, name: printable(choice.name) })),
    required: true,
    pageSize: 14,
    loop: false,
  })
}

/** A destructive answer is typed, not nodded. False: something else was typed, so nothing is done. */
export async function typeToConfirm(message: string, word: string, flag: string): Promise<boolean> {
  requireTerminal(flag)
  const { input } = await import('./questions.ts')
  return (await input({ message })).trim() === word
}
