// Turns of timers as systemd reckons them: in a zone whose clocks change, too.
import { expect, test } from 'vitest'
import { elapsesAfter } from '../../src/host/jobs.ts'
import { has } from '../lib/needs.ts'

const turns: [calendar: string, from: string, turns: string[]][] = [
  ['02,14:00 UTC', '2026-11-23T03:00:00Z', ['2026-11-23T14:00', '2026-11-24T02:00', '2026-11-24T14:00']],
  ['Mon..Fri 02:00 UTC', '2026-11-20T02:00:00Z', ['2026-11-23T02:00', '2026-11-24T02:00']],
  // The day of 25 hours, and that of 23.
  ['02:00 Europe/Berlin', '2026-10-24T00:00:00Z', ['2026-10-25T00:00', '2026-10-26T01:00']],
  ['02:00 Europe/Berlin', '2026-03-27T01:00:00Z', ['2026-03-28T01:00']],
  ['04:00 Europe/Berlin', '2026-03-28T03:00:00Z', ['2026-03-29T02:00', '2026-03-30T02:00']],
]
test.skipIf(!has('systemd-analyze')).each(turns)('[state.9] %s after %s', async (calendar, from, expected) => {
  const found = await elapsesAfter(calendar, new Date(from))
  expect(found.slice(0, expected.length).map((turn) => turn.toISOString().slice(0, 16))).toEqual(expected)
})

test('[state.9] an expression that means nothing, or that never comes, has no turns', async () => {
  for (const calendar of ['whenever', '2001-01-01', '--version']) expect(await elapsesAfter(calendar, new Date())).toEqual([])
})
