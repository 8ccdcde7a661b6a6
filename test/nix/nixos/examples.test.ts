// Each example is a NixOS: every option it sets is one of NixOS's own modules or ours, and the whole system has a derivation.
import { expect, test } from 'vitest'
import { evaluate } from './nixos.ts'

test.each([
  ['small', 1],
  ['twenty-services', 19],
])('nix/examples/%s.nix', async (name, enabled) => {
  const { failed, manifest, units, toplevel } = await evaluate<{ toplevel: string }>(`[ ./nix/examples/${name}.nix ]`, '{ inherit toplevel; }')
  expect(failed).toEqual([])
  expect(Object.values(manifest.services).filter(({ enable }) => enable)).toHaveLength(enabled)
  expect(Object.keys(units).filter((unit) => /^restic-backups-.*\.timer$/.test(unit))).toHaveLength(enabled)
  expect(toplevel).toMatch(/\.drv$/)
})
