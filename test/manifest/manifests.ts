// Manifests by the thousand: valid ones, made from the schema itself, and ones that something was done to.
import { readFileSync } from 'node:fs'
import { deref, type Schema, typeOf } from '../../scripts/schema/schema.ts'
import fc from '../lib/fuzz.ts'

type Values = Record<string, unknown>

/** What a schema allows. Each property is there or left out, unless it is required. */
export function allowedBy(file: string): fc.Arbitrary<Values> {
  const root = JSON.parse(readFileSync(file, 'utf8')) as Schema
  return allowed(root) as fc.Arbitrary<Values>

  function allowed(written: Schema): fc.Arbitrary<unknown> {
    const schema = deref(written, root)
    const { type, nullable } = typeOf(schema)
    const value = ofType(type, schema)
    return nullable ? fc.option(value) : value
  }

  function ofType(type: string, { properties = {}, additionalProperties, required = [], ...schema }: Schema): fc.Arbitrary<unknown> {
    if (type === 'const') return fc.constant(schema.const)
    if (type === 'boolean') return fc.boolean()
    if (type === 'integer') return fc.integer({ min: schema.minimum as number, max: schema.maximum as number })
    if (type === 'string') return text(schema)
    if (type === 'array') return (schema.uniqueItems ? fc.uniqueArray : fc.array)(allowed(schema.items as Schema), { maxLength: 4 })
    const known = Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, allowed(inner)]))
    const fields = fc.record(known, { requiredKeys: required })
    if (typeof additionalProperties !== 'object') return fields
    const more = fc.dictionary(text(schema.propertyNames as Schema), allowed(additionalProperties), { maxKeys: 4, noNullPrototype: true })
    return fc.tuple(more, fields).map(([others, own]) => ({ ...others, ...own }))
  }
}

function text({ pattern, minLength = 0, maxLength = 100 }: Schema): fc.Arbitrary<string> {
  const some = pattern === undefined ? fc.string({ unit: 'binary' }) : fc.stringMatching(new RegExp(pattern, 'u'))
  return some.filter(
    (value) => value !== '__proto__' && !/\p{Cs}/u.test(value) && value.length <= Number(maxLength) && value.length >= Number(minLength),
  )
}

/** The same manifest with nothing in it that only its meaning forbids: each service has data of its own, and names only what is there. */
export function meaningful(manifest: Values): Values {
  const { repositories = {}, services } = manifest as { repositories?: Record<string, Values>; services: Record<string, Values> }
  const named = Object.keys(services).filter((name) => !name.includes('..'))
  const places = Object.entries(repositories).map(([name, repository]) => [
    name,
    { ...repository, repository: '/mnt/restic', passwordFile: '/p', repositoryFile: '/r', environmentFile: null },
  ])
  const usual = ['main', ...Object.keys(repositories)]
  const own = named.map((name, i) => [
    name,
    {
      ...services[name],
      paths: [`/srv/${i}/${(services[name]?.paths as string[] | undefined)?.length ?? 0}//`],
      sqlite: [`/srv/${i}/n.db`],
      ...(services[name]?.repository === undefined ? {} : { repository: usual[i % usual.length] }),
      ...{ postgres: [], tags: [], formerNames: [], restoreAfter: i > 0 ? named.slice(0, 1) : [] },
    },
  ])
  return { ...manifest, repositories: Object.fromEntries(places), services: Object.fromEntries(own) }
}

/** The value after up to three changes anywhere in it: something else put there, taken away, renamed, or doubled. */
export function mutated(seed: fc.Arbitrary<object>): fc.Arbitrary<unknown> {
  // biome-ignore format: a table
  const odd = fc.constantFrom<unknown[]>(
    null, true, 0, -1, 1, 7, 1.5, 1e20, 2 ** 53, '', '/', '/a', 'a', 'a\nb', '/a\n', 'é', '😀', '\ud800', 'x'.repeat(4096), '😀'.repeat(4097), 'x'.repeat(63), 'x'.repeat(64),
    [], {}, ['/a'], ['/a', '/a'], [null], { a: 1 }, { paths: ['/p'] }, 'a.service', '1h', '02:00', 2, 3,
  )
  // biome-ignore format: a table
  const key = fc.constantFrom('a', 'a b', '', 'constructor', 'toString', 'paths', 'host', 'x'.repeat(63), 'x'.repeat(64), '😀', '..', 'main', '-a', 'a\n')
  const change = fc.tuple(fc.nat(), fc.constantFrom('put', 'put', 'cut', 'rename', 'double'), fc.oneof(odd, fc.jsonValue()), key)
  return fc.tuple(seed, fc.array(change, { maxLength: 3 })).map(([value, changes]) => {
    const holder = { value: structuredClone(value) as unknown }
    for (const [at, how, put, name] of changes) {
      const spots = [...spotsOf(holder)]
      const [parent, old] = spots[at % spots.length] as Spot
      const here = parent[old]
      if (how === 'put' || parent === holder) parent[old] = structuredClone(put)
      else if (how === 'double' && Array.isArray(parent)) parent.push(structuredClone(here))
      else if (Array.isArray(parent)) parent.splice(Number(old), 1)
      else {
        delete parent[old]
        if (how !== 'cut') parent[name] = here
      }
    }
    return JSON.parse(JSON.stringify(holder.value)) as unknown
  })
}

type Spot = [Record<string, unknown>, string]
function* spotsOf(value: unknown): Generator<Spot> {
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    yield [value as Record<string, unknown>, key]
    yield* spotsOf(inner)
  }
}
