// Executes plans: emits an event for each step, undoes steps after a failure, and runs the `always` steps whatever happens.
import type { Context, Handlers, Plan, Step } from './core.ts'
import { asFailure, Failure } from './errors.ts'

/** `undone`: the kinds of steps that were undone after the failure, latest first. */
export interface ExecuteResult {
  failure: Failure | null
  undone: Step['do'][]
}

/**
 * Runs the steps of a plan in order. If one throws, it and those before it are undone in reverse order: an `undo` must work even if its step was
 * not completed. Then every `always` step runs. Undoing and `always` steps ignore `context.signal`: stopped units must be started again.
 * Never throws: the first failure is returned, later ones are emitted as warnings.
 */
export async function execute<S extends Step>(plan: Plan<S>, handlers: Handlers<S>, context: Context): Promise<ExecuteResult> {
  const result: ExecuteResult = { failure: null, undone: [] }
  const uninterruptible: Context = { ...context, signal: new AbortController().signal }
  const addFailure = (error: unknown) => {
    const failure = asFailure(error)
    if (result.failure) context.emit({ type: 'warning', code: failure.code, message: failure.message })
    else result.failure = failure
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
    addFailure(error)
    for (let n = begun - 1; n >= 0; n--) {
      const step = plan.steps[n] as S
      const { undo } = handlerOf(handlers, step)
      if (!undo) continue
      try {
        await undo(step, uninterruptible)
        result.undone.push(step.do)
        context.emit({ type: 'step', n, do: step.do, state: 'undone' })
      } catch (undoError) {
        // The failed undo replaces the first failure: it needs a person. Its message names both.
        const failure = asFailure(undoError)
        result.failure = new Failure('undo-failed', `${failure.message} (while undoing "${step.do}" after: ${result.failure?.message})`, {
          cause: undoError,
        })
        break
      }
    }
  }
  for (const [i, step] of plan.always.entries())
    await apply(step, plan.steps.length + i, { ...uninterruptible, failure: result.failure }).catch(addFailure)
  return result
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

/** Runs `work` as soon as fewer than the limit are running. */
export type Limiter = <T>(work: () => Promise<T>) => Promise<T>

/** At most `width` run at a time; the others wait in the order of their calls. */
export function limiter(width: number): Limiter {
  let running = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (running < width) running++
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
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
