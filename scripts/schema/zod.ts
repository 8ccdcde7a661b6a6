// JSON Schema → zod source, by a closed table of keywords: one that isn't in it throws, so that nothing in a schema is without effect.
import { camel, definitionOf, deref, type Schema, typeOf } from './schema.ts'

/** `export const titleSchema = …`, with the definitions it needs before it. zod/mini: a bundle carries 30 KB of it instead of 157. */
export function zodSource(root: Schema): string {
  const definitions = new Map<string, string>()
  const main = expression(root, { root, definitions, open: [] })
  const consts = [...definitions].map(([name, source]) => `const ${name} = ${source}\n`)
  const body = [...consts, `export const ${camel(root.title)}Schema = ${main}\n`].join('\n')
  const needed = Object.entries(helpers).filter(([name]) => body.includes(`${name}(`))
  return ["import * as z from 'zod/mini'\n", ...needed.map(([, source]) => source), body].join('\n')
}

interface Scope {
  root: Schema
  definitions: Map<string, string>
  /** Definitions being written: a reference to one of them is a cycle. */
  open: string[]
}

const notes = ['$schema', '$id', '$defs', 'title', 'description', 'examples', 'readOnly', 'default', 'type']

/** Type → what it becomes, the keywords that this uses up, and the checks that further keywords become. */
const types: Record<
  string,
  { base: (schema: Schema, scope: Scope) => string; uses?: string[]; checks?: Record<string, (value: unknown) => string> }
> = {
  const: { base: ({ const: value }) => `z.literal(${JSON.stringify(value)})`, uses: ['const'] },
  enum: { base: ({ enum: values }) => `z.enum(${JSON.stringify(values)})`, uses: ['enum'] },
  boolean: { base: () => 'z.boolean()' },
  integer: { base: () => 'z.int()', checks: { minimum: (n) => `z.minimum(${n})`, maximum: (n) => `z.maximum(${n})` } },
  number: { base: () => 'z.number()', checks: { minimum: (n) => `z.minimum(${n})`, maximum: (n) => `z.maximum(${n})` } },
  string: {
    base: () => 'z.string()',
    uses: ['format'],
    checks: {
      pattern: (pattern) => `z.regex(${new RegExp(String(pattern), 'u')})`,
      minLength: (n) => `atLeast(${n})`,
      maxLength: (n) => `atMost(${n})`,
    },
  },
  array: {
    base: ({ items = {} }, scope) => `z.array(${expression(items, scope)})`,
    uses: ['items'],
    checks: { minItems: (n) => `z.minLength(${n})`, maxItems: (n) => `z.maxLength(${n})`, uniqueItems: () => 'different()' },
  },
  object: { base: object, uses: ['properties', 'required', 'additionalProperties', 'propertyNames'] },
}

/**
 * JSON Schema counts characters, zod UTF-16 units; zod has no set-like arrays, and no names beside a catch-all. `listOf`: a text stands
 * for a list of one.
 */
const helpers = {
  atLeast: 'const atLeast = (length: number) => z.refine<string>((text) => [...text].length >= length)\n',
  atMost: 'const atMost = (length: number) => z.refine<string>((text) => text.length <= length || [...text].length <= length)\n',
  listOf:
    "const listOf = <T extends z.core.$ZodType<unknown, unknown>>(list: T) => z.pipe(z.transform((one: unknown) => (typeof one === 'string' ? [one] : one)), list)\n",
  different: 'const different = () => z.refine<unknown[]>((list) => new Set(list).size === list.length)\n',
  named: `const named = (pattern: RegExp) =>
  z.check<Record<string, unknown>>(({ value, issues }) => {
    for (const key of Object.keys(value)) if (!pattern.test(key)) issues.push({ code: 'invalid_key', origin: 'record', issues: [], input: value, path: [key] })
  })
`,
}

function expression(schema: Schema, scope: Scope): string {
  if (schema.$ref !== undefined) {
    closed(schema, ['$ref'])
    return withDefault(reference(schema.$ref, scope), schema)
  }
  const { type, nullable, single } = typeOf(schema)
  const { base, uses = [], checks = {} } = types[type] ?? fail(`no type that we know: ${JSON.stringify(schema)}`)
  // What such a text must be, its entry must be.
  closed(schema, [...uses, ...Object.keys(checks), ...(single ? Object.keys(types.string?.checks ?? {}) : [])])
  const checked = Object.keys(checks).flatMap((keyword) => (keyword in schema ? [checks[keyword]?.(schema[keyword])] : []))
  const strict = base(schema, scope) + (checked.length > 0 ? `.check(${checked.join(', ')})` : '')
  const plain = single ? `listOf(${strict})` : strict
  return withDefault(nullable ? `z.nullable(${plain})` : plain, schema)
}

/** A default object is parsed (`prefault`), so that the defaults within it are filled, as Nix does. */
function withDefault(source: string, schema: Schema): string {
  if (!('default' in schema)) return source
  const value = JSON.stringify(schema.default)
  return value.startsWith('{') ? `z.prefault(${source}, ${value})` : `z._default(${source}, ${value})`
}

function object(schema: Schema, scope: Scope): string {
  const { properties, additionalProperties: others, propertyNames: names, required = [] } = schema
  const shape = Object.entries(properties ?? {}).map(([name, inner]) => {
    // What is required has no default here: that one is for Nix.
    const { default: _, ...bare } = inner
    return `  ${name}: ${expression(required.includes(name) ? bare : inner, scope).replaceAll('\n', '\n  ')},\n`
  })
  const fields = `{\n${shape.join('')}}`
  if (typeof others !== 'object') {
    if (names || others !== false) fail(`an object of which additionalProperties don't say what else it holds: ${Object.keys(properties ?? {})}`)
    return `z.strictObject(${fields})`
  }
  if (!names?.pattern) return fail('names that may be anything: state propertyNames')
  return properties
    ? `z.catchall(z.object(${fields}), ${expression(others, scope)}).check(named(${new RegExp(names.pattern, 'u')}))`
    : `z.record(${expression(names, scope)}, ${expression(others, scope)})`
}

function reference(ref: string, scope: Scope): string {
  const name = definitionOf(ref, scope.root)
  if (scope.open.includes(name)) fail(`${[...scope.open, name].join(' → ')}: a cycle of definitions`)
  if (!scope.definitions.has(name)) {
    const source = expression(deref({ $ref: ref }, scope.root), { ...scope, open: [...scope.open, name] })
    scope.definitions.set(name, source)
  }
  return name
}

function closed(schema: Schema, known: string[]): void {
  const unknown = Object.keys(schema).filter((keyword) => !notes.includes(keyword) && !known.includes(keyword))
  if (unknown.length > 0) fail(`keyword without a rule here: ${unknown.join(', ')} (in ${JSON.stringify(schema).slice(0, 120)})`)
}

function fail(message: string): never {
  throw new Error(message)
}
