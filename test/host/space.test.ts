// Room that several runs claim at the same time.
import { mkdirSync, rmSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { claimRoom } from '../../src/host/space.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async () => {
  w = await world()
  for (const name of ['a', 'b', 'c', 'dead']) mkdirSync(w.path('staging', name), { recursive: true })
})
afterEach(() => w.cleanup())

test('[room.3] what runs beside has claimed before, and not yet written, counts; what a killed run has claimed does not', async () => {
  const claim = (name: string, bytes: number) => claimRoom(w.path('staging', name), bytes)
  w.write('staging/dead/claim', '4194305 5000')
  expect(await claim('b', 1000)).toBe(0)
  w.write('staging/b/0.db', 'x'.repeat(300))
  expect(await claim('a', 700)).toBeGreaterThan(650)
  expect(await claim('a', 700)).toBeLessThanOrEqual(700)
  expect(await claim('c', 1)).toBeGreaterThan(1300)
  rmSync(w.path('staging/b/claim'))
  expect(await claim('c', 1)).toBeLessThanOrEqual(700)
})
