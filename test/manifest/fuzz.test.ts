// Ten thousand manifests: what the schema allows, and what it doesn't.
import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Failure } from '../../src/errors.ts'
import { readManifest } from '../../src/manifest/load.ts'
import { ManifestInvalid } from '../../src/manifest/problems.ts'
import { manifestSchema } from '../../src/manifest/schema.gen.ts'
import fc, { fuzzTimeout, runs } from '../lib/fuzz.ts'
import { type World, world } from '../lib/world.ts'
import { allowedBy, meaningful, mutated } from './manifests.ts'

const file = 'schema/backup-manifest.schema.json'
const options = { strict: false, formats: { 'absolute-path': true, 'secret-path': true } } as const
const schema = JSON.parse(readFileSync(file, 'utf8'))
const accepts = new Ajv2020(options).compile(schema)
const fills = new Ajv2020({ ...options, useDefaults: true }).compile(schema)
const allowed = allowedBy(file)

/** It loads, or it is refused in short plain lines. */
function loads(text: string): boolean {
  try {
    readManifest(text, 'm.json', 'cellar')
    return true
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    expect(error).toBeInstanceOf(ManifestInvalid)
    for (const line of [error.message, ...(error as ManifestInvalid).problems]) {
      expect(line).toMatch(/^[^\p{Cc}\p{Cf}\p{Cs}]{1,1000}$/u)
      expect(line).not.toMatch(/undefined|\[object|\bat .*:\d+:\d+/)
    }
    return false
  }
}

test('[manifest.1] what the schema allows is taken, with every default filled as an independent validator fills them', {
  timeout: fuzzTimeout,
}, () => {
  fc.assert(
    fc.property(allowed, (manifest) => {
      expect(accepts(manifest), JSON.stringify(accepts.errors)).toBe(true)
      const filled = structuredClone(manifest)
      fills(filled)
      expect(manifestSchema.parse(manifest)).toEqual(filled)
      expect(loads(JSON.stringify(meaningful(manifest)))).toBe(true)
    }),
    { numRuns: runs(2000) },
  )
})

test('[manifest.2] what was changed anywhere is judged as an independent validator judges it, and refused in one line', {
  timeout: fuzzTimeout,
}, () => {
  const verdicts = { taken: 0, refused: 0 }
  fc.assert(
    fc.property(mutated(allowed), (manifest) => {
      const text = JSON.stringify(manifest)
      // The loader refuses it before: JavaScript would lose the key.
      fc.pre(!text.includes('__proto__'))
      const expected = accepts(manifest)
      verdicts[expected ? 'taken' : 'refused'] += 1
      expect(manifestSchema.safeParse(manifest).success, `${text} ${JSON.stringify(accepts.errors)}`).toBe(expected)
      loads(text)
    }),
    { numRuns: runs(4000) },
  )
  expect(Math.min(verdicts.taken, verdicts.refused)).toBeGreaterThan(400)
})

/** A text with bytes changed, cut off, doubled or from elsewhere. */
function damaged(whole: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const change = fc.tuple(
    fc.nat(),
    fc.constantFrom('put', 'cut', 'drop', 'double'),
    fc.oneof(fc.constantFrom(...'{}[]",:\\0-eE.\u0000\n\u001b'), fc.string({ unit: 'binary' })),
  )
  return fc.tuple(whole, fc.array(change, { minLength: 1, maxLength: 3 })).map(([text, changes]) =>
    changes.reduce((now, [at, how, put]) => {
      const i = at % (now.length + 1)
      if (how === 'cut') return now.slice(0, i)
      return (
        now.slice(0, i) +
        (how === 'put' ? put : how === 'double' ? now.slice(i, i + 20).repeat(2) : '') +
        now.slice(how === 'double' ? i + 20 : i + 1)
      )
    }, text),
  )
}

test('[manifest.2] whatever happens to its text, it loads or is refused in one line', { timeout: fuzzTimeout }, () => {
  const outcomes = new Set<boolean>()
  const text = damaged(allowed.map((manifest) => JSON.stringify(meaningful(manifest), null, 1)))
  fc.assert(
    fc.property(text, (damage) => void outcomes.add(loads(damage))),
    { numRuns: runs(4000) },
  )
  expect([...outcomes].sort()).toEqual([false, true])
})

let w: World
beforeAll(async () => {
  w = await world()
})
afterAll(() => w.cleanup())

test('[cli.4] no manifest brings the command line to more than one line', { timeout: fuzzTimeout }, async () => {
  const texts = fc.oneof(
    mutated(allowed).map((value) => JSON.stringify(value)),
    damaged(allowed.map((manifest) => JSON.stringify(manifest))),
  )
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      w.write('manifest.json', text)
      const { exit, stdout, stderr } = await w.cli(['status', '--local'])
      expect([0, 1, 4]).toContain(exit)
      expect(`${stdout}${stderr}`).not.toMatch(/^\s+at |[^\P{Cc}\n]/mu)
      if (stdout === '') expect(stderr).toMatch(/^atelier-backup: [^\n]+\n$/)
    }),
    { numRuns: runs(8) },
  )
})
