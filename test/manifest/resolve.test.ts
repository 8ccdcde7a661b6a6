import { expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { retentionOf, scheduleOf, unitsOf } from '../../src/manifest/resolve.ts'
import type { Service } from '../../src/manifest/types.gen.ts'

const manifest = readManifest(
  JSON.stringify({
    version: 2,
    host: 'cellar',
    retention: { daily: 30 },
    schedule: { persistent: true },
    services: {
      notes: { paths: ['/n'], retention: { last: 0, monthly: 1 }, schedule: { onCalendar: 'hourly', persistent: false } },
      wiki: { paths: ['/w'], units: [] },
    },
  }),
  'm.json',
)
const { notes, wiki } = manifest.services as { notes: Service; wiki: Service }

test('a service has its own retention and schedule, and the host’s where it states none', () => {
  expect(retentionOf(manifest, notes)).toEqual({ last: 0, daily: 30, weekly: 5, monthly: 1 })
  expect(retentionOf(manifest, wiki)).toEqual({ last: 3, daily: 30, weekly: 5, monthly: 12 })
  expect(scheduleOf(manifest, notes)).toEqual({ onCalendar: ['hourly'], randomizedDelaySec: '2h', fixedRandomDelay: false, persistent: false })
  expect(scheduleOf(manifest, wiki)).toEqual({ onCalendar: ['02:00'], randomizedDelaySec: '2h', fixedRandomDelay: false, persistent: true })
})

test('units left out mean the one named like the service, an empty list means none', () => {
  expect(unitsOf('notes', notes)).toEqual(['notes.service'])
  expect(unitsOf('wiki', wiki)).toEqual([])
})

test('the server whose databases a service declares is none of its units', () => {
  const units = ['shop.service', 'postgresql.service', 'postgresql@15-main.service', 'postgresql.target', 'postgresql-exporter.service']
  expect(unitsOf('shop', { ...notes, postgres: ['shop'], units })).toEqual(['shop.service', 'postgresql-exporter.service'])
  expect(unitsOf('postgresql', { ...notes, postgres: ['shop'] })).toEqual([])
  expect(unitsOf('postgresql', notes)).toEqual(['postgresql.service'])
})
