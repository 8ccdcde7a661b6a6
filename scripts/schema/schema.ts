// A JSON Schema (2020-12, the part of it that we use) as data.

export interface Schema {
  $id?: string
  $ref?: string
  $defs?: Record<string, Schema>
  title?: string
  description?: string
  type?: string | string[]
  format?: string
  pattern?: string
  default?: unknown
  examples?: unknown[]
  enum?: unknown[]
  const?: unknown
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
  propertyNames?: Schema
  [keyword: string]: unknown
}

/** A schema within a schema: `place` as a JSON pointer, `role` what it is to its parent. */
export interface Part {
  schema: Schema
  place: string
  role: 'root' | 'definition' | 'property' | 'additional' | 'name' | 'item'
  required: boolean
}

/** The schema and all schemas within it; references are not followed. */
export function* parts(schema: Schema, place = '', role: Part['role'] = 'root', required = false): Generator<Part> {
  yield { schema, place, role, required }
  for (const [name, inner] of Object.entries(schema.$defs ?? {})) yield* parts(inner, `${place}/$defs/${name}`, 'definition')
  for (const [name, inner] of Object.entries(schema.properties ?? {}))
    yield* parts(inner, `${place}/properties/${name}`, 'property', schema.required?.includes(name))
  if (typeof schema.additionalProperties === 'object') yield* parts(schema.additionalProperties, `${place}/additionalProperties`, 'additional')
  if (schema.propertyNames) yield* parts(schema.propertyNames, `${place}/propertyNames`, 'name')
  if (schema.items) yield* parts(schema.items, `${place}/items`, 'item')
}

/** The name in `#/$defs/NAME`. */
export function definitionOf(ref: string, root: Schema): string {
  const name = /^#\/\$defs\/(\w+)$/.exec(ref)?.[1]
  if (name === undefined || !root.$defs?.[name]) throw new Error(`${ref} isn't one of the schema's $defs`)
  return name
}

/** The schema that a reference names, or the schema itself. */
export function deref(schema: Schema, root: Schema): Schema {
  return schema.$ref === undefined ? schema : (root.$defs?.[definitionOf(schema.$ref, root)] as Schema)
}

/**
 * Its type without `null`, and whether null is allowed. `enum` and `const` need none. `single`: a text stands for a list of one (`["array", "string"]`),
 * as in versions of a field that took a text alone.
 */
export function typeOf(schema: Schema): { type: string; nullable: boolean; single: boolean } {
  const types = [schema.type ?? []].flat()
  const [type, ...others] = types.filter((one) => one !== 'null')
  const single = type === 'array' && others.join() === 'string'
  if (others.length > 0 && !single) throw new Error(`several types: ${types.join(', ')}`)
  return { type: type ?? (schema.enum ? 'enum' : 'const' in schema ? 'const' : ''), nullable: types.includes('null'), single }
}

export function camel(title = ''): string {
  return title.charAt(0).toLowerCase() + title.slice(1)
}
