import { afterEach, expect, test, vi } from 'vitest'
import { examine } from '../../src/checks/doctor.ts'
import { openSite, type Site } from '../../src/site.ts'
import { has } from '../lib/needs.ts'
import { leaveLock } from '../lib/restics.ts'
import { world } from '../lib/world.ts'

afterEach(() => {
  vi.useRealTimers()
})

const bad = async (site: Site) =>
  (await examine(site, new AbortController().signal)).filter(({ ok }) => !ok).map(({ name, message }) => [name, message])

test.skipIf(!has('strace'))('a shared lock is nothing to worry about until nobody has refreshed it for half an hour', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes', 'a')] } } })
  const { pid, end } = await leaveLock(w, 'alive', ['backup', w.path('notes')])
  t.onTestFinished(end)
  const site = await openSite({}, w.env)
  expect(await bad(site)).toEqual([])
  const later = (minutes: number): Site => ({ ...site, now: () => new Date(Date.now() + minutes * 60_000) })
  expect(await bad(later(29))).toEqual([])
  expect(await bad(later(31))).toEqual([['locks', expect.stringMatching(`^main is locked by .*, pid ${pid}, since 2`)]])
})

test.skipIf(!has('strace'))('a lock whose restic is gone is named at once, though it keeps out only what locks exclusively', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes', 'a')] } } })
  const { pid } = await leaveLock(w, 'killed', ['backup', w.path('notes')])
  expect(await bad(await openSite({}, w.env))).toEqual([['locks', expect.stringMatching(`^main is locked by .*, pid ${pid}, since 2`)]])
})

test('a clock that was never set is said to be so', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes', 'a')] } } })
  const site = await openSite({}, w.env)
  vi.useFakeTimers({ now: new Date('1970-01-02T00:00:00Z'), toFake: ['Date'] })
  expect(await bad(site)).toEqual([['clock', 'the clock says 1970-01-02T00:00:00.000Z']])
})

test('a manifest that declares nothing is in order', async (t) => {
  const w = await world(t)
  w.manifest()
  expect(await bad(await openSite({}, w.env))).toEqual([])
})
