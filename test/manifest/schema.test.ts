import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, expectTypeOf, test } from 'vitest'
import type * as z from 'zod/mini'
import { Failure } from '../../src/errors.ts'
import { readManifest } from '../../src/manifest/load.ts'
import { ManifestInvalid } from '../../src/manifest/problems.ts'
import { manifestSchema } from '../../src/manifest/schema.gen.ts'
import type { Manifest } from '../../src/manifest/types.gen.ts'
import { type Version1, version1Schema } from '../../src/manifest/version1.gen.ts'
import { type RunRecord, runRecordSchema } from '../../src/state/record.gen.ts'
import fc from '../lib/fuzz.ts'
import { mutated } from './manifests.ts'

// Read by tsc: the validators give exactly the generated types.
test('what the validators give is assignable to the generated types, and the other way round', () => {
  expectTypeOf<z.output<typeof manifestSchema>>().toExtend<Manifest>()
  expectTypeOf<Manifest>().toExtend<z.output<typeof manifestSchema>>()
  expectTypeOf<z.output<typeof version1Schema>>().toExtend<Version1>()
  expectTypeOf<Version1>().toExtend<z.output<typeof version1Schema>>()
  expectTypeOf<z.output<typeof runRecordSchema>>().toExtend<RunRecord>()
  expectTypeOf<RunRecord>().toExtend<z.output<typeof runRecordSchema>>()
})

const ajv = new Ajv2020({ strict: false, formats: { 'absolute-path': true, 'secret-path': true } })
const schemas = {
  'backup-manifest': manifestSchema,
  'backup-manifest-1': version1Schema,
  'run-record': runRecordSchema,
}
const seeds: Record<keyof typeof schemas, object> = {
  'backup-manifest': {
    version: 2,
    host: 'cellar',
    repositories: { main: { repository: '/mnt/restic', environmentFile: null }, usb: { initialize: true, retryLock: '5m' } },
    services: {
      notes: {
        paths: ['/var/lib/notes'],
        sqlite: ['/var/lib/notes/n.db'],
        postgres: ['notes'],
        exclude: ['*.tmp'],
        tags: ['a:b'],
        units: ['a@b\\x2d.service'],
      },
      'w.iki': {
        enable: false,
        preBackup: 'true',
        hookTimeoutSec: 5,
        restoreAfter: ['notes'],
        formerNames: ['x'],
        retention: { last: 1, daily: null },
        schedule: {},
      },
    },
    schedule: { onCalendar: 'Mon *-*-* 03:00:00', persistent: false },
    retention: { last: 0, monthly: 100000 },
    prune: {},
    restore: { keepOldDays: 7 },
  },
  'backup-manifest-1': {
    version: 1,
    generated: 'nixos-rebuild',
    services: {
      notes: { dataDir: '/d', data: { sqlite: '/d/n.db', postgres: null, files: ['/f'], exclude: [] } },
      me: { paths: ['/home'], exclude: ['*.o'], manual: true },
    },
  },
  'run-record': {
    version: 1,
    service: 'notes',
    origin: { how: 'own', since: '2025-01-01T00:00:00Z' },
    lastSnapshot: null,
    runs: [
      {
        run: 'r',
        kind: 'backup',
        started: 's',
        seconds: 1.5,
        outcome: 'ok',
        code: null,
        message: null,
        snapshotId: 'i',
        downtimeSeconds: null,
        bytes: 5,
        files: 1,
        addedBytes: 0,
        view: 'live',
        warnings: [{ code: 'c', message: 'm' }],
      },
    ],
    old: [{ run: 'r', since: 's', folder: '/f', paths: ['/a'] }],
  },
}

for (const [name, schema] of Object.entries(schemas) as [keyof typeof schemas, (typeof schemas)[keyof typeof schemas]][]) {
  test(`${name}: the generated validator says what an independent one says of the schema`, () => {
    const accepts = ajv.compile(JSON.parse(readFileSync(`schema/${name}.schema.json`, 'utf8')))
    const verdicts = new Set<boolean>()
    fc.assert(
      fc.property(mutated(fc.constant(seeds[name])), (value) => {
        // Refused before: see json.ts.
        fc.pre(!JSON.stringify(value).includes('__proto__'))
        const expected = accepts(value)
        verdicts.add(expected)
        expect(schema.safeParse(value).success, JSON.stringify(ajv.errors ?? accepts.errors)).toBe(expected)
      }),
      { numRuns: 500 },
    )
    // The mutations reach both sides.
    expect([...verdicts].sort()).toEqual([false, true])
  })
}

test('[manifest.2] whatever stands in a manifest, it loads or gives short plain lines', () => {
  const texts = fc
    .oneof(mutated(fc.constant(seeds['backup-manifest'])), mutated(fc.constant(seeds['backup-manifest-1'])), fc.jsonValue())
    .map((value) => JSON.stringify(value))
  fc.assert(
    fc.property(texts, (text) => {
      try {
        expect(readManifest(text, 'm.json', 'cellar').version).toBe(2)
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        expect(error).toBeInstanceOf(ManifestInvalid)
        for (const line of [error.message, ...(error as ManifestInvalid).problems]) {
          expect(line).toMatch(/^[^\p{Cc}\p{Cf}\p{Cs}]{1,500}$/u)
          expect(line).not.toContain('undefined')
        }
      }
    }),
    { numRuns: 500 },
  )
})
