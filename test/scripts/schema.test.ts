import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generated, stale } from '../../scripts/schema/generate.ts'
import type { Schema } from '../../scripts/schema/schema.ts'
import { zodSource } from '../../scripts/schema/zod.ts'
import { run } from '../../src/host/shell.ts'

describe('[manifest.4] generated files', () => {
  let root = ''
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'generate-'))
    for (const part of ['schema', 'scripts', 'src', 'package.json']) await cp(part, join(root, part), { recursive: true })
    await run(['ln', '-s', resolve('node_modules'), join(root, 'node_modules')])
  })
  afterAll(() => rm(root, { recursive: true }))
  const check = () => run([join(root, 'scripts/generate'), '--check'])

  test('are what the schemas give today', async () => {
    expect([...(await stale('.')).keys()]).toEqual([])
  })

  test('that are stale are named by --check, with the command that mends them', async () => {
    expect(await check()).toMatchObject({ exit: 0, stdout: '' })
    const schema = join(root, 'schema/backup-manifest.schema.json')
    await writeFile(schema, (await readFile(schema, 'utf8')).replace('"default": "2h"', '"default": "3h"'))
    expect(await check()).toMatchObject({ exit: 1, stdout: 'src/manifest/schema.gen.ts is stale: run scripts/generate\n' })
    expect(await run([join(root, 'scripts/generate')])).toMatchObject({ exit: 0, stdout: 'src/manifest/schema.gen.ts written\n' })
    expect(await check()).toMatchObject({ exit: 0, stdout: '' })
  })

  test('are not written from a schema that breaks a rule', async () => {
    const schema = join(root, 'schema/run-record.schema.json')
    await writeFile(schema, (await readFile(schema, 'utf8')).replace('"minimum": 0, ', ''))
    expect(await check()).toMatchObject({
      exit: 1,
      stderr: 'schema/run-record.schema.json#/$defs/run/properties/bytes: Integers are bounded\n',
    })
  })

  test('come out the same each time', async () => {
    expect(await generated('.')).toEqual(await generated('.'))
  })
})

const object = (properties: Record<string, Schema>, more: Schema = {}): Schema => ({
  title: 'Thing',
  type: 'object',
  additionalProperties: false,
  properties,
  ...more,
})

test.each<[string, Schema, RegExp]>([
  ['misspelled', object({ a: { type: 'string', patern: '^a$' } }), /keyword without a rule here: patern/],
  ['of another type', object({ a: { type: 'integer', pattern: '^a$' } }), /keyword without a rule here: pattern/],
  ['oneOf', object({ a: { oneOf: [{ type: 'string' }] } }), /no type that we know/],
  ['if', object({ a: { type: 'string', if: {} } }), /keyword without a rule here: if/],
  ['dependentRequired', object({}, { dependentRequired: {} }), /keyword without a rule here: dependentRequired/],
  ['a constraint beside a reference', object({ a: { $ref: '#/$defs/b', maxLength: 3 } }, { $defs: { b: { type: 'string' } } }), /maxLength/],
  ['a reference to nothing', object({ a: { $ref: '#/$defs/b' } }), /isn't one of the schema's \$defs/],
  [
    'a circle of references',
    object({ a: { $ref: '#/$defs/b' } }, { $defs: { b: { type: 'array', items: { $ref: '#/$defs/b' } } } }),
    /b → b: a cycle/,
  ],
  ['several types', object({ a: { type: ['string', 'integer'] } }), /several types: string, integer/],
  ['an object that may hold anything', object({}, { additionalProperties: true }), /don't say what else it holds/],
  ['names that may be anything', object({}, { additionalProperties: { type: 'string' } }), /state propertyNames/],
])('a keyword that the generator has no rule for throws: %s', (_, schema, message) => {
  expect(() => zodSource(schema)).toThrow(message)
})
