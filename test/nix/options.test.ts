// The option reference is what the options say today.
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { evaluate, hasNix, libs } from './nix.ts'

test.skipIf(!hasNix).each(libs)('nix/options.md is fresh (else run scripts/docs/options), with %s', async (_, lib) => {
  const options = `let lib = import ${lib}; in import ./nix/options-doc.nix { inherit lib; inherit (import ./test/nix/nixos.nix { inherit lib; }) options; }`
  expect(await readFile('nix/options.md', 'utf8')).toBe(await evaluate(options))
})

test('every property of the schema is in it', async () => {
  const schema = JSON.parse(await readFile('schema/backup-manifest.schema.json', 'utf8'))
  const reference = await readFile('nix/options.md', 'utf8')
  const names = [
    ...Object.keys(schema.properties).map((name) => name),
    ...Object.keys(schema.$defs.service.properties).map((name) => `services.<name>.${name}`),
  ]
  expect(names.filter((name) => !reference.includes(`## \`atelier.backup.${name}\`\n`))).toEqual([])
})
