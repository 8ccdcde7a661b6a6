// What a schema of ours must keep to, so that Nix options, types, validator and manual pages can all come from it. A rule's name says it.
import { Ajv2020 } from 'ajv/dist/2020.js'
import { formats } from './expectations.ts'
import { deref, type Part, parts, type Schema, typeOf } from './schema.ts'

/** Broken rules, one line each: place, rule, and what is wrong where the rule doesn't say it. */
export function lint(root: Schema): string[] {
  const accepts = validator(root)
  return [...parts(root)].flatMap((part) =>
    [...rules].flatMap(([name, breaks]) => {
      const broken = breaks(part, root, accepts)
      return broken === false ? [] : [`#${part.place}: ${name}${broken === true ? '' : ` (${broken})`}`]
    }),
  )
}

/** Says whether, or in which way, a part breaks the rule. */
type Rule = (part: Part, root: Schema, accepts: ReturnType<typeof validator>) => boolean | string
export const rules = new Map<string, Rule>()

rules.set('Properties and objects have a description that ends with a full stop', ({ schema, role }) => {
  const due = role === 'property' || role === 'root' || role === 'definition'
  return due && !schema.$ref && !schema.description?.endsWith('.')
})

rules.set('Objects that others refer to have a title', ({ schema, role }) => (role === 'root' || role === 'definition') && !schema.title)

rules.set('Properties are required or have a default', ({ schema, role, required }) => role === 'property' && !required && !('default' in schema))

rules.set('Required names are among the properties', ({ schema }) => listed(schema.required?.filter((name) => !schema.properties?.[name])))

rules.set('Objects say whether they are open', ({ schema }) => isA('object', schema) && schema.additionalProperties === undefined)

rules.set('Constrained text shows an example', ({ schema, place, role }, root) => {
  if (!isA('string', schema) || !schema.pattern) return false
  // A list or an object shows its entries' and names' example as part of its own.
  const shown = role === 'item' || role === 'name' ? at(root, place.slice(0, place.lastIndexOf('/'))) : schema
  return !shown.examples?.length && typeof shown.default !== 'string'
})

rules.set(
  'Integers are bounded',
  ({ schema: { minimum, maximum, ...schema } }) => isA('integer', schema) && !(Number.isSafeInteger(minimum) && Number.isSafeInteger(maximum)),
)

rules.set('Formats are known ones and have a pattern too', ({ schema }) => {
  return schema.format !== undefined && !(formats[schema.format] && (schema.pattern || schema.format === 'shell-commands'))
})

rules.set(
  'Lists whose entries must differ hold text',
  ({ schema }) => schema.uniqueItems !== undefined && !(schema.uniqueItems === true && isA('string', schema.items ?? {})),
)

rules.set(
  'A text that stands for a list of one is constrained as an entry',
  ({ schema: { $ref, items, pattern, minLength, maxLength, ...schema } }) => {
    const alike = pattern === items?.pattern && minLength === items?.minLength && maxLength === items?.maxLength
    return !$ref && typeOf(schema).single && !(isA('string', items ?? {}) && alike)
  },
)

rules.set('Patterns mean the same to POSIX (Nix) and to ECMAScript', ({ schema }) => schema.pattern !== undefined && !portable(schema.pattern))

rules.set('Nothing but notes stands beside a reference', ({ schema }) => {
  const beside = Object.keys(schema).filter((keyword) => !['$ref', 'default', 'description', 'examples', 'readOnly'].includes(keyword))
  return schema.$ref !== undefined && listed(beside)
})

rules.set('Definitions are used', ({ place, role }, root) => {
  return role === 'definition' && ![...parts(root)].some(({ schema }) => schema.$ref === `#${place}`)
})

rules.set('Defaults and examples are valid', ({ schema, place }, _, accepts) => {
  const values = [...('default' in schema ? [schema.default] : []), ...(schema.examples ?? [])]
  return listed(values.filter((value) => !accepts(place, value)).map((value) => JSON.stringify(value)))
})

/** What the schema at a place accepts, by a validator that isn't ours. */
function validator(root: Schema): (place: string, value: unknown) => boolean {
  const known: Record<string, true> = Object.fromEntries(Object.keys(formats).map((name) => [name, true]))
  const ajv = new Ajv2020({ strict: false, logger: false, formats: known }).addSchema({ ...root, $id: 'root' })
  return (place, value) => {
    try {
      return ajv.validate({ $ref: `root#${place}` }, value)
    } catch {
      // Another rule says what is wrong with a pattern or a reference.
      return false
    }
  }
}

function isA(type: string, schema: Schema): boolean {
  return !schema.$ref && typeOf(schema).type === type
}

function at(root: Schema, place: string): Schema {
  const step = (schema: unknown, key: string) => (schema as Record<string, unknown>)[key]
  return deref(
    place
      .split('/')
      .slice(1)
      .reduce(step, root as unknown) as Schema,
    root,
  )
}

function listed(wrong: string[] = []): string | false {
  return wrong.length > 0 && wrong.join(', ')
}

/**
 * Anchored at both ends (Nix matches the whole), ASCII, no dot, no lazy or look-around syntax, no class like `\d` or `[:alpha:]`;
 * in brackets a backslash only doubled, and no repetition counts after a negated one (bytes in Nix, characters here).
 */
function portable(pattern: string): boolean {
  const atom = pattern
    .replace(/\[\^(?:[^\]\\[]|\\\\)+\](?![{])/g, 'a')
    .replace(/\[(?:[^\]\\[^]|\\\\)(?:[^\]\\[]|\\\\)*\]/g, 'a')
    .replace(/\\[\^$.*+?()[{|\\]/g, 'a')
  const times = String.raw`(?:[*+?]|\{\d+(?:,\d*)?\})?`
  const run = `(?:[^\\^$.*+?()[\\]{}|\\\\]${times})*`
  let flat = atom
  for (let before = ''; before !== flat; ) {
    before = flat
    flat = flat.replace(new RegExp(`\\(${run}(?:\\|${run})*\\)`, 'g'), 'a')
  }
  return /^[\n -~]*$/.test(pattern) && new RegExp(`^\\^${run}\\$$`).test(flat)
}
