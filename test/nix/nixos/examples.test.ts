// Each example is a NixOS: every option it sets is one of NixOS's own modules or ours, and the whole system has a derivation.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { evaluate, value } from './nixos.ts'

test.each([
  ['small', 1],
  ['twenty-services', 19],
])('[nix.2] nix/examples/%s.nix', async (name, enabled) => {
  const { failed, manifest, units, toplevel, checks } = await evaluate<{ toplevel: string; checks: string[] }>(
    `[ ./nix/examples/${name}.nix ]`,
    '{ inherit toplevel; checks = map (check: check.name) config.system.checks; }',
  )
  expect(failed).toEqual([])
  expect(Object.values(manifest.services).filter(({ enable }) => enable)).toHaveLength(enabled)
  expect(Object.keys(units).filter((unit) => /^restic-backups-.*\.timer$/.test(unit))).toHaveLength(enabled)
  expect(toplevel).toMatch(/\.drv$/)
  expect(checks).toContain('atelier-backup-check')
})

test("the README's flake", async () => {
  const [, flake] = /```nix\n(\{\n {2}inputs[\s\S]*?)```/.exec(readFileSync('README.md', 'utf8')) ?? expect.fail()
  const host = await value(`
    let
      nixpkgs' = (import (nixpkgs + "/flake.nix")).outputs { self = nixpkgs' // { outPath = toString nixpkgs; }; };
      ours = (import ./flake.nix).outputs { self = ours; nixpkgs = nixpkgs'; };
      inherit (${flake}.outputs { nixpkgs = nixpkgs'; atelier-backup = ours; }) nixosConfigurations;
      host = nixosConfigurations.terebithia.extendModules { modules = [ ./test/nix/nixos/base.nix ]; };
    in
    { failed = builtins.filter (a: !a.assertion) host.config.assertions; toplevel = host.config.system.build.toplevel.drvPath; }`)
  expect(host).toEqual({ failed: [], toplevel: expect.stringMatching(/nixos-system-terebithia-.*\.drv$/) })
})
