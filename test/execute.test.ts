import { expect, test } from 'vitest'
import type { Context, EventBody, Handlers, Plan, RestoreStep } from '../src/core.ts'
import { type Code, Failure } from '../src/errors.ts'
import { execute } from '../src/execute.ts'
import fc from './lib/fuzz.ts'

type Kind = RestoreStep['do']
const kinds: Kind[] = ['stage', 'verify', 'flush', 'stop', 'carry', 'swap', 'start', 'health']
const undoable: Kind[] = ['stage', 'swap', 'start']

/** A world in which steps only leave their trace, and those named fail. */
function scene({ failing = [] as string[], signal = new AbortController().signal } = {}) {
  const did: string[] = []
  const events: EventBody[] = []
  const act = (what: string) => async (_: object, context: Context) => {
    did.push(what)
    if (failing.includes(what)) throw new Failure(`no-${what}` as Code, `${what} failed`)
    context.signal.throwIfAborted()
  }
  const handlerOf = (kind: Kind) => ({ apply: act(kind), ...(undoable.includes(kind) ? { undo: act(`un${kind}`) } : {}) })
  const handlers = Object.fromEntries(kinds.map((kind) => [kind, handlerOf(kind)])) as unknown as Handlers<RestoreStep>
  const context: Context = { now: () => new Date(0), signal, emit: (event) => void events.push(event) }
  const planOf = (steps: Kind[], always: Kind[]) =>
    ({
      run: 'r',
      service: 's',
      steps: steps.map((kind) => ({ do: kind })),
      always: always.map((kind) => ({ do: kind })),
      notes: [],
    }) as unknown as Plan<RestoreStep>
  return { did, events, run: (steps: Kind[], always: Kind[] = []) => execute(planOf(steps, always), handlers, context) }
}

test('steps run in order, then what runs always', async () => {
  const { did, run } = scene()
  expect(await run(['stage', 'verify', 'swap'], ['start'])).toEqual({ failure: null, undone: [] })
  expect(did).toEqual(['stage', 'verify', 'swap', 'start'])
})

test('a failing step is undone too, then those before it, the latest first, and the rest never begins', async () => {
  const { did, run } = scene({ failing: ['swap'] })
  const { failure, undone } = await run(['stage', 'stop', 'swap', 'start', 'health'], ['start'])
  expect(failure).toMatchObject({ code: 'no-swap' })
  expect(undone).toEqual(['swap', 'stage'])
  expect(did).toEqual(['stage', 'stop', 'swap', 'unswap', 'unstage', 'start'])
})

test('what could not be taken back outweighs why, stops the undoing, and names both', async () => {
  const { did, run } = scene({ failing: ['health', 'unswap'] })
  const { failure, undone } = await run(['stage', 'swap', 'start', 'health'], ['start'])
  expect(failure).toMatchObject({ code: 'undo-failed', message: 'unswap failed (while undoing "swap" after: health failed)' })
  expect(undone).toEqual(['start'])
  expect(did).toEqual(['stage', 'swap', 'start', 'health', 'unstart', 'unswap', 'start'])
})

test('interrupted, no further step begins, and neither undoing nor what runs always hears the signal', async () => {
  const interruption = new AbortController()
  const { did, run } = scene({ signal: interruption.signal })
  const running = run(['stage', 'swap'], ['start'])
  interruption.abort(new Failure('interrupted', 'interrupted by SIGINT'))
  expect((await running).failure).toMatchObject({ code: 'interrupted', exit: 130 })
  expect(did).toEqual(['stage', 'unstage', 'start'])
})

test('a failure of what runs always is the failure if there was none, and otherwise a warning', async () => {
  expect((await scene({ failing: ['start'] }).run(['verify'], ['start', 'flush'])).failure).toMatchObject({ code: 'no-start' })
  const { events, did, run } = scene({ failing: ['verify', 'start'] })
  expect((await run(['verify'], ['start', 'flush'])).failure).toMatchObject({ code: 'no-verify' })
  expect(events).toContainEqual({ type: 'warning', code: 'no-start', message: 'start failed' })
  expect(did).toEqual(['verify', 'start', 'flush'])
})

test('each step is told when it begins, when it is done, and when it is undone', async () => {
  const { events, run } = scene({ failing: ['verify'] })
  await run(['stage', 'verify'], ['start'])
  const told = events.flatMap((event) => (event.type === 'step' ? [`${event.n} ${event.do} ${event.state}`] : []))
  expect(told).toEqual(['0 stage begun', '0 stage done', '1 verify begun', '0 stage undone', '2 start begun', '2 start done'])
})

test('whatever fails, what runs always runs to its end, and what was done is undone in reverse', async () => {
  const some = fc.array(fc.constantFrom(...kinds), { maxLength: 6 })
  const failing = fc.subarray([...kinds, ...undoable.map((kind) => `un${kind}`)])
  await fc.assert(
    fc.asyncProperty(some, some, failing, async (steps, always, broken) => {
      const { did, run } = scene({ failing: broken })
      const { failure, undone } = await run(steps, always)
      expect(did.slice(did.length - always.length)).toEqual(always)
      const reached = steps.findIndex((kind) => broken.includes(kind))
      const done =
        reached < 0
          ? []
          : steps
              .slice(0, reached + 1)
              .filter((kind) => undoable.includes(kind))
              .reverse()
      const stuck = done.findIndex((kind) => broken.includes(`un${kind}`))
      expect(undone).toEqual(stuck < 0 ? done : done.slice(0, stuck))
      expect(failure === null).toBe(reached < 0 && !always.some((kind) => broken.includes(kind)))
    }),
  )
})
