// JSON Schema → what is expected at each path, in English: the second half of an error message. Its keys are the keys that a manifest may have.
import { camel, deref, type Schema, typeOf } from './schema.ts'

/** `export const titleExpectations`: path → expectation. In a path `.*` is any name, `[]` any entry, `.(name)` the names themselves. */
export function expectationsSource(root: Schema): string {
  const table = Object.fromEntries(places(root, '', root))
  return `export const ${camel(root.title)}Expectations: Record<string, string> = ${JSON.stringify(table, null, 2)}\n`
}

export const formats: Record<string, string> = {
  'absolute-path': 'an absolute path',
  'secret-path': 'the absolute path of a file',
  'shell-commands': 'shell commands',
}

function* places(outer: Schema, place: string, root: Schema, example = outer.examples?.[0] ?? outer.default): Generator<[string, string]> {
  const schema = deref(outer, root)
  yield [place, expectation(schema, example)]
  for (const [name, inner] of Object.entries(schema.properties ?? {})) yield* places(inner, place ? `${place}.${name}` : name, root)
  if (schema.items) yield* places(schema.items, `${place}[]`, root, Array.isArray(example) ? example[0] : undefined)
  if (schema.propertyNames) yield [`${place}.(name)`, expectation(schema.propertyNames, Object.keys(example ?? {})[0])]
  if (typeof schema.additionalProperties === 'object') yield* places(schema.additionalProperties, `${place}.*`, root)
}

const byType: Record<string, (schema: Schema) => string> = {
  const: ({ const: value }) => JSON.stringify(value),
  enum: ({ enum: values }) => `one of ${values?.map((value) => JSON.stringify(value)).join(', ')}`,
  boolean: () => 'true or false',
  integer: ({ minimum, maximum }) => `a whole number from ${minimum} to ${maximum}`,
  number: () => 'a number',
  string: ({ format = '', maxLength }) => formats[format] ?? (maxLength ? `text of at most ${maxLength} characters` : 'text'),
  array: ({ uniqueItems, maxItems }) =>
    `a list${maxItems ? ` of at most ${maxItems}` : ''}${uniqueItems ? ' different' : ''}${maxItems || uniqueItems ? ' entries' : ''}`,
  object: () => 'an object',
}

function expectation(schema: Schema, example: unknown): string {
  const { type, nullable } = typeOf(schema)
  const described = type !== 'object' && schema.title ? schema.title : byType[type]?.(schema)
  const such = typeof example === 'string' && type === 'string' ? ` such as ${JSON.stringify(example)}` : ''
  return `${described}${such}${nullable ? ', or null' : ''}`
}
