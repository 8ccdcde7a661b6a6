import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { lint, rules } from '../../scripts/schema/lint.ts'
import type { Schema } from '../../scripts/schema/schema.ts'

const text: Schema = { type: 'string', description: 'Text.', default: '' }
const ref: Schema = { $ref: '#/$defs/part', default: {} }
const part: Schema = { title: 'Part', type: 'object', description: 'Part.', additionalProperties: false, properties: {} }
const schema = (a: Schema, more: Schema = {}): Schema => ({
  title: 'Thing',
  type: 'object',
  description: 'Thing.',
  additionalProperties: false,
  properties: { a },
  ...more,
})
const pattern = (source: string) => schema({ ...text, pattern: source, default: null, type: ['string', 'null'], examples: [] })

/** Rule → schemas that break it. */
const breaking: Record<string, Schema[]> = {
  'Properties and objects have a description that ends with a full stop': [
    schema({ type: 'string', default: '' }),
    schema({ ...text, description: 'Text' }),
    schema(text, { description: '' }),
  ],
  'Objects that others refer to have a title': [schema(ref, { $defs: { part: { ...part, title: '' } } })],
  'Properties are required or have a default': [schema({ type: 'string', description: 'Text.' })],
  'Required names are among the properties': [schema(text, { required: ['b'] })],
  'Objects say whether they are open': [schema({ type: 'object', description: 'Open?', default: {} })],
  'Constrained text shows an example': [
    schema({ ...text, default: null, type: ['string', 'null'], pattern: '^a$' }),
    schema({ type: 'array', description: 'List.', default: [], items: { type: 'string', pattern: '^a$' } }),
  ],
  'Integers are bounded': [
    schema({ type: 'integer', description: 'Number.', default: 1, minimum: 0 }),
    schema({ type: ['integer', 'null'], description: 'Number.', default: 1, minimum: 0, maximum: 2 ** 60 }),
  ],
  'Formats are known ones and have a pattern too': [schema({ ...text, format: 'absolute-path' }), schema({ ...text, format: 'uri', pattern: '^$' })],
  'Lists whose entries must differ hold text': [
    schema({ type: 'array', description: 'List.', default: [], uniqueItems: true, items: { type: 'boolean' } }),
    schema({ type: 'array', description: 'List.', default: [], uniqueItems: false, items: { type: 'string' } }),
  ],
  // biome-ignore format: a table
  'Patterns mean the same to POSIX (Nix) and to ECMAScript': [
    'a', '^a', 'a$', '^a|b$', '^.*$', '^\\d$', '^\\w+$', '^[\\d]$', '^[[:alpha:]]$', '^[]a]$', '^[^]$', '^a*?$', '^(?:a)$', '^(?=a)a$', '^a{2}{3}$', '^é$', '^[^a]{1,3}$', '^(a$', '^\\/$', '^a**$',
  ].map(pattern),
  'A text that stands for a list of one is constrained as an entry': [
    schema({ type: ['array', 'string'], description: 'List.', default: [], pattern: '^a$', items: { type: 'string' } }),
    schema({ type: ['array', 'string'], description: 'List.', default: [], items: { type: 'boolean' } }),
  ],
  'Nothing but notes stands beside a reference': [schema({ ...ref, type: 'object' }, { $defs: { part } })],
  'Definitions are used': [schema(text, { $defs: { part } })],
  'Defaults and examples are valid': [
    schema({ ...text, default: 5 }),
    schema({ ...text, pattern: '^$', examples: ['b'] }),
    schema({ ...ref, default: { b: 1 } }, { $defs: { part } }),
  ],
}

describe.each([...rules.keys()])('%s', (rule) => {
  test('is broken by', () => {
    expect(breaking[rule]).toBeDefined()
    for (const broken of breaking[rule] ?? []) expect(lint(broken).join('\n'), JSON.stringify(broken)).toContain(`: ${rule}`)
  })
})

test.each(['^$', '^a$', '^[^\n]*$', '^[A-Za-z_][A-Za-z0-9_$-]{0,62}$', '^[a\\\\-]+[.](b|c|d)$', '^(a(b|c)?)+x{2,}$', '^\\.\\[a$', '^[^/]+/[0-9]+$'])(
  'the pattern %j means the same everywhere',
  (source) => {
    expect(lint(pattern(source)).filter((line) => line.includes('Patterns'))).toEqual([])
  },
)

test('a broken rule is told with its place', () => {
  expect(lint(schema(text, { required: ['b'] }))).toEqual(['#: Required names are among the properties (b)'])
  expect(lint(schema({ ...text, default: 5 }))).toEqual(['#/properties/a: Defaults and examples are valid (5)'])
})

test('our own schemas break none', () => {
  for (const file of readdirSync('schema')) expect(lint(JSON.parse(readFileSync(`schema/${file}`, 'utf8')))).toEqual([])
})
