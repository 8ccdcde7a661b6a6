// Hooks: ended within their time, with every process of their group.
import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runHook } from '../../src/host/hooks.ts'
import { living, until } from '../lib/live.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async () => {
  w = await world()
})
afterEach(() => w.cleanup())

/** Runs a script whose processes all have WORLD in their environment, by which `living` finds them. */
async function hook(script: string, { timeoutSeconds = 30, signal = new AbortController().signal } = {}) {
  const lines: string[] = []
  const environment = { WORLD: w.root }
  const started = performance.now()
  const failure = await runHook(script, {
    service: 'notes',
    name: 'preBackup',
    timeoutSeconds,
    signal,
    environment,
    output: (line) => lines.push(line),
  }).then(
    () => null,
    (error) => error,
  )
  return { failure, lines, seconds: (performance.now() - started) / 1000 }
}

test('a hook’s output comes in lines, from both streams, and its exit code counts', async () => {
  const { lines, failure } = await hook('echo one; echo two >&2; echo "$ATELIER_SERVICE"; exit 7')
  expect(lines.sort()).toEqual(['notes', 'one', 'two'])
  expect(failure).toMatchObject({ code: 'hook-failed', message: 'notes: preBackup failed with exit code 7' })
  expect((await hook('true')).failure).toBeNull()
})

test.each([
  ['that sleeps', 'sleep 300'],
  ['with children', 'sleep 300 & (sleep 300; true) | cat; true'],
  ['whose shell has ended, while a child holds its output', 'sleep 300 & exit 0'],
])('[hook.3] a hook %s is ended with all its children when its time is over, and counts as failed', async (_, script) => {
  const { failure, seconds } = await hook(script, { timeoutSeconds: 1 })
  expect(failure).toMatchObject({ code: 'hook-timeout' })
  expect(failure.message).toContain('took longer than 1 s')
  expect(seconds).toBeLessThan(60)
  expect(living(w)).toEqual([])
})

test('[hook.3] a hook may tidy up when it is ended', async () => {
  const { failure } = await hook(`trap 'touch ${w.path('tidy')}; exit' TERM; sleep 300 & wait`, { timeoutSeconds: 1 })
  expect(failure).toMatchObject({ code: 'hook-timeout' })
  expect(existsSync(w.path('tidy'))).toBe(true)
  expect(living(w)).toEqual([])
})

test('[hook.3] a child that ignores SIGTERM is killed; a daemon that has left the group isn’t waited for', async () => {
  const deaf = `bash -c 'trap "" TERM; while :; do sleep 0.2; done'`
  const { failure, seconds } = await hook(`setsid sleep 300 & ${deaf} & wait`, { timeoutSeconds: 1 })
  expect(failure).toMatchObject({ code: 'hook-timeout' })
  expect(seconds).toBeLessThan(60)
  await until(() => living(w).length === 1)
  const [daemon] = living(w)
  expect(daemon?.argv).toEqual(['sleep', '300'])
  process.kill(daemon?.pid ?? 0, 'SIGKILL')
})

test('an interrupted hook is ended with all its children', async () => {
  const interruption = new AbortController()
  const running = hook(`touch ${w.path('begun')}; sleep 300; true`, { signal: interruption.signal })
  await until(() => existsSync(w.path('begun')))
  interruption.abort()
  expect((await running).failure).toMatchObject({ code: 'interrupted' })
  expect(living(w)).toEqual([])
})
