// JSON Schema → the TypeScript type of the parsed value: what has a default is there.
import { compile, type JSONSchema } from 'json-schema-to-typescript'
import { type Schema, typeOf } from './schema.ts'

export async function typesSource(root: Schema): Promise<string> {
  const { $id: _id, $schema: _schema, ...bare } = parsed(root)
  return compile(bare as JSONSchema, root.title ?? '', {
    bannerComment: '',
    ignoreMinAndMaxItems: true,
    style: { semi: false, singleQuote: true, printWidth: 150 },
  })
}

function parsed(schema: Schema): Schema {
  // What stands beside a reference would make a second type of the same shape.
  if (schema.$ref) return { $ref: schema.$ref }
  const { title, ...rest } = schema
  const { type, nullable, single } = typeOf(schema)
  return {
    ...rest,
    ...(single ? { type: nullable ? ['array', 'null'] : 'array' } : {}),
    ...(title && type === 'object' ? { title } : {}),
    ...(schema.properties ? { properties: mapped(schema.properties), required: Object.keys(schema.properties) } : {}),
    ...(schema.$defs ? { $defs: mapped(schema.$defs) } : {}),
    ...(schema.items ? { items: parsed(schema.items) } : {}),
    ...(typeof schema.additionalProperties === 'object' ? { additionalProperties: parsed(schema.additionalProperties) } : {}),
  }
}

function mapped(schemas: Record<string, Schema>): Record<string, Schema> {
  return Object.fromEntries(Object.entries(schemas).map(([name, inner]) => [name, parsed(inner)]))
}
