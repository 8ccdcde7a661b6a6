// A clock that jumps: no time has gone by because the clock says so.
import { readFileSync } from 'node:fs'
import { uptime } from 'node:os'
import { expect, test } from 'vitest'
import { haveGoneBy, tick } from '../../src/state/clock.ts'
import type { Run } from '../../src/state/record.gen.ts'
import { world } from '../lib/world.ts'

const day = 86_400_000
const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
const from = Date.parse('2026-11-20T02:00:00.000Z')
const at = (days: number) => new Date(from + days * day)
/** Written so many days before now, in this boot or in an earlier one. */
const written = (days: number, ...seen: { now: number; since: number; boot?: string }[]) =>
  seen.map(({ now, since, boot: of = boot }) => ({
    clock: { boot: of, uptime: of === boot ? uptime() - since * 86_400 : 1000, time: at(days).toISOString(), set: [] },
    now: at(now),
  }))

test.each([
  ['that runs', { now: 8, since: 8 }, true],
  ['that is set ahead by ten days', { now: 10, since: 0.001 }, false],
  ['that was behind for six years when the data was replaced', { now: 2200, since: 0.001 }, false],
  ['of a host that is started again after a day', { now: 8, since: 0, boot: 'other' }, false],
] as const)('[retention.11] by a clock %s', (_, seen, expected) => {
  const [{ clock, now } = { clock: null, now: at(0) }] = written(0, seen)
  expect(haveGoneBy(7, at(0).toISOString(), { clock, runs: [] }, now)).toBe(expected)
})

test('[retention.11] what a host can’t prove because it is off each night is proved by a backup on each day', () => {
  const clock = { boot, uptime: uptime(), time: at(40).toISOString(), set: [{ at: at(30).toISOString(), ms: 30 * day }] }
  const runs = Array.from({ length: 8 }, (_, i) => ({ kind: 'backup', outcome: 'ok', started: at(30.1 + i).toISOString() })) as Run[]
  const gone = (...some: Run[]) =>
    haveGoneBy(7, at(25).toISOString(), { clock: { ...clock, set: [{ at: at(30).toISOString(), ms: 14 * day }] }, runs: some }, at(40))
  expect([gone(), gone(...runs.slice(0, 6)), gone(...runs)]).toEqual([false, false, true])
  // Several on one day are of one day.
  expect(gone(...Array(9).fill(runs[0]))).toBe(false)
})

test('[retention.11] what lies between two runs of a host that is started again isn’t noted', () => {
  const [{ clock, now } = { clock: null, now: at(0) }] = written(0, { now: 1, since: 0, boot: 'other' })
  expect(tick(clock, now)).toMatchObject({ boot, time: at(1).toISOString(), set: [] })
})

test('[retention.11] minutes after a restore a clock that jumps ahead deletes nothing of what was replaced', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.path('data')] } } })
  w.write('data/a', 'saved')
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  expect(await w.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
  const shim = w.write(
    'ahead.mjs',
    `const Real = Date
globalThis.Date = class extends Real {
  constructor(...given) { super(...(given.length > 0 ? given : [Real.now() + ${10 * day}])) }
  static now() { return Real.now() + ${10 * day} }
}`,
  )
  const env = { NODE_OPTIONS: `--import ${shim}` }
  expect((await w.cli(['run', 'notes'], { env })).exit).toBe(0)
  expect(JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')).clock.set).toMatchObject([{ ms: expect.closeTo(10 * day, -7) }])
  expect(await w.cli(['prune'], { env })).toMatchObject({ exit: 0 })
  expect(JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')).old).toHaveLength(1)
})
