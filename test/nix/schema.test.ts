// A field is declared in the schema and nowhere else; what Nix couldn't hold is refused there.
import { describe, expect, test } from 'vitest'
import { evaluate, hasNix, libs } from './nix.ts'

const [[, lib] = expect.fail()] = libs.slice(-1)

/** Options of a schema with the properties of a service given here, and what a configuration makes of them. */
const settings = (properties: string, config: string) =>
  evaluate(`
    let
      lib = import ${lib};
      base = builtins.fromJSON (builtins.readFile ./schema/backup-manifest.schema.json);
      schema = lib.recursiveUpdate base { "$defs".service.properties = builtins.fromJSON ''${properties}''; };
      derived = import ./nix/schema-to-options.nix { inherit lib schema; };
      evaluated = lib.evalModules { modules = [ { inherit (derived) options; } { services.a = ${config}; host = "h"; } ]; };
      assertions = import ./nix/schema-assertions.nix { inherit lib schema; inherit (derived) deref regex; };
    in
    { a = evaluated.config.services.a; failed = map (a: a.message) (assertions "it" evaluated.config); }`) as Promise<{
    a: Record<string, unknown>
    failed: string[]
  }>

const errorOf = (properties: string) =>
  settings(properties, '{ }').then(
    () => '',
    (error: Error) => error.message,
  )

describe.skipIf(!hasNix)('a schema', () => {
  test('gives an option, its default and its check for each new field', async () => {
    const fields = JSON.stringify({
      colour: { enum: ['red', 'blue'], default: 'red', description: 'A colour.' },
      ports: { type: 'array', items: { type: 'integer', minimum: 1, maximum: 65535 }, minItems: 2, default: [1, 2], description: 'Ports.' },
      limits: {
        type: 'object',
        additionalProperties: false,
        default: {},
        description: 'Limits.',
        properties: { rate: { type: ['integer', 'null'], minimum: 0, maximum: 9, default: null, description: 'A rate.' } },
      },
    })
    expect(await settings(fields, '{ limits.rate = 3; }')).toMatchObject({ a: { colour: 'red', ports: [1, 2], limits: { rate: 3 } }, failed: [] })
    expect((await settings(fields, '{ ports = [ 7 ]; }')).failed).toEqual(['it.services.a.ports: needs at least 2 entries'])
    await expect(settings(fields, '{ colour = "green"; }')).rejects.toThrow('is not of type')
  })

  test.each([
    [
      'a keyword that Nix has no counterpart for',
      { x: { type: 'string', default: '', description: 'X.', contentEncoding: 'base64' } },
      'schema #/services/*/x: no Nix counterpart for contentEncoding; add it to nix/schema-to-options.nix',
    ],
    [
      'a type that Nix has no counterpart for',
      { x: { type: 'number', default: 1, description: 'X.' } },
      'schema #/services/*/x: no Nix counterpart for the type number',
    ],
    [
      'two types',
      { x: { type: ['string', 'integer'], default: '', description: 'X.' } },
      'schema #/services/*/x: exactly one type besides null is needed',
    ],
    [
      "a pattern with syntax that POSIX doesn't have",
      { x: { type: 'string', pattern: '^(?:a)$', default: 'a', description: 'X.' } },
      "schema #/services/*/x: the pattern ^(?:a)$ uses syntax that POSIX doesn't have; write classes as [0-9]",
    ],
    [
      'a pattern with open ends',
      { x: { type: 'string', pattern: '^a', default: 'a', description: 'X.' } },
      'schema #/services/*/x: the pattern ^a must begin with ^ and end with $',
    ],
    ['a field without a default', { x: { type: 'string', description: 'X.' } }, 'schema #/services/*/x: must have a default or be required'],
    [
      'an object that is open by omission',
      { x: { type: 'object', properties: {}, default: {}, description: 'X.' } },
      'schema #/services/*/x: additionalProperties must be set, because its default in JSON Schema differs from that in Nix',
    ],
    ['a reference to nothing', { x: { $ref: '#/$defs/gone', default: {} } }, 'schema: $ref names #/$defs/gone, which is missing'],
  ])('with %s is refused', async (_, properties, text) => {
    expect(await errorOf(JSON.stringify(properties))).toContain(text)
  })

  test('[nix.3] what it doesn’t know is left out of the manifest, at each depth', async () => {
    const value = `{
      host = "h";
      enable = true;
      repositories.r = { repository = "/r"; extra = 1; };
      services.a = { paths = [ "/a" ]; extra = 2; schedule = { onCalendar = null; extra = 3; }; };
    }`
    const schema = 'lib.importJSON ./schema/backup-manifest.schema.json'
    expect(
      await evaluate(`let lib = import ${lib}; in (import ./nix/schema-to-options.nix { inherit lib; schema = ${schema}; }).declared ${value}`),
    ).toEqual({
      host: 'h',
      repositories: { r: { repository: '/r' } },
      services: { a: { paths: ['/a'], schedule: { onCalendar: null } } },
    })
  })

  test("every property has a description, and each one's documentation can be written", async () => {
    const described = await evaluate(`
      let lib = import ${lib}; r = import ./test/nix/nixos.nix { inherit lib; };
      in map (o: o.description) (lib.optionAttrSetToDocList r.options.atelier.backup)`)
    expect(described).toEqual(expect.arrayContaining([expect.stringMatching(/^Files and folders to back up/)]))
  })
})
