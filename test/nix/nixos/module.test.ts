// What the module takes from NixOS's other modules, and leaves to them.
import { expect, test } from 'vitest'
import { evaluate, hasInput } from './nixos.ts'

test('[nix.3] an option that another module adds to a service isn’t in the manifest', async () => {
  const more = `({ lib, ... }: {
    options.atelier.backup.services = lib.mkOption {
      type = lib.types.attrsOf (lib.types.submodule { options.dashboard = lib.mkOption { default = true; }; });
    };
  })`
  const host = await evaluate<{ extra: boolean; packageText: string }>(
    `[ { atelier.backup = { enable = true; services.a.paths = [ "/a" ]; }; } ${more} ]`,
    '{ extra = config.atelier.backup.services.a.dashboard; packageText = options.atelier.backup.package.defaultText.text; }',
  )
  expect(host).toMatchObject({ failed: [], extra: true, packageText: 'pkgs.atelier-backup' })
  expect(host.manifest.services.a).toMatchObject({ paths: ['/a'] })
  expect(host.manifest.services.a).not.toHaveProperty('dashboard')
})

test.skipIf(!hasInput('agenix'))('secrets are where agenix puts them', async () => {
  const { manifest } = await evaluate(`[
    "\${inputs}/agenix/modules/age.nix"
    { age.secrets = { "restic/repo".file = "/repo.age"; "restic/password" = { file = "/password.age"; path = "/run/other/password"; }; }; }
    { age.secretsDir = "/run/mine"; atelier.backup = { enable = true; services.a.paths = [ "/a" ]; }; }
  ]`)
  expect(manifest.repositories.main).toMatchObject({ repositoryFile: '/run/mine/restic/repo', passwordFile: '/run/other/password' })
})
