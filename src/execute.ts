// The one loop that carries out plans: tells each step, undoes on failure, always runs `always`.
import type { Context, Handlers, Plan, Step } from './core.ts'
import { asFailure, Failure } from './errors.ts'

/** `undone`: the kinds of steps that were taken back after the failure, latest first. */
export interface Ending {
  failure: Failure | null
  undone: Step['do'][]
}

/**
 * Runs the steps of a plan in order. If one throws, it and those before it are undone in reverse (an undo must bear a step that
 * was only begun). Then every `always` step runs, whatever happened, deaf to the signal: what was stopped must be started.
 * Never throws: the first failure is returned, later ones are emitted as warnings.
 */
export async function execute<S extends Step>(plan: Plan<S>, handlers: Handlers<S>, context: Context): Promise<Ending> {
  const ending: Ending = { failure: null, undone: [] }
  const uninterruptible: Context = { ...context, signal: new AbortController().signal }
  const failed = (error: unknown) => {
    const failure = asFailure(error)
    if (ending.failure) context.emit({ type: 'warning', code: failure.code, message: failure.message })
    else ending.failure = failure
  }
  const apply = async (step: S, n: number, within: Context) => {
    context.emit({ type: 'step', n, do: step.do, state: 'begun' })
    await handlerOf(handlers, step).apply(step, within)
    context.emit({ type: 'step', n, do: step.do, state: 'done' })
  }

  let begun = 0
  try {
    for (const [n, step] of plan.steps.entries()) {
      if (context.signal.aborted) throw new Failure('interrupted', `${plan.service}: interrupted before the step "${step.do}"`)
      begun = n + 1
      await apply(step, n, context)
    }
  } catch (error) {
    failed(error)
    for (let n = begun - 1; n >= 0; n--) {
      const step = plan.steps[n] as S
      const { undo } = handlerOf(handlers, step)
      if (!undo) continue
      try {
        await undo(step, uninterruptible)
        ending.undone.push(step.do)
        context.emit({ type: 'step', n, do: step.do, state: 'undone' })
      } catch (undoing) {
        // What could not be taken back outweighs why we wanted to.
        const failure = asFailure(undoing)
        ending.failure = new Failure('undo-failed', `${failure.message} (while undoing "${step.do}" after: ${ending.failure?.message})`, {
          cause: undoing,
        })
        break
      }
    }
  }
  for (const [i, step] of plan.always.entries())
    await apply(step, plan.steps.length + i, { ...uninterruptible, failure: ending.failure }).catch(failed)
  return ending
}

/** Runs `work` for each item, `width` at a time, and keeps the order of the results. */
export async function mapConcurrent<T, R>(items: T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i] as T)
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane))
  return results
}

/** Does what it is given when there is room for it. */
export type Limiter = <T>(work: () => Promise<T>) => Promise<T>

/** Whoever comes waits until fewer than `width` are at work, in the order in which they came. */
export function limiter(width: number): Limiter {
  let working = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (working < width) working++
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else working--
    }
  }
}

// TypeScript can't see that a step and the handler picked by its `do` belong together.
interface Handler<S> {
  apply(step: S, context: Context): Promise<void>
  undo?(step: S, context: Context): Promise<void>
}
function handlerOf<S extends Step>(handlers: Handlers<S>, step: S): Handler<S> {
  return handlers[step.do as S['do']] as unknown as Handler<S>
}
