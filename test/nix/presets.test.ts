// Presets as a mechanism: what is chosen, and who wins. test/nix/nixos/presets.test.ts has each one beside its real module.
import { readdir, readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { hasNix, host, libs } from './nix.ts'

test('[preset.4] each preset says in the option reference what it saves and what it leaves out', async () => {
  const reference = await readFile('nix/options.md', 'utf8')
  const names = (await readdir('nix/presets')).map((file) => file.replace(/\.nix$/, ''))
  const silent = (name: string) => {
    const [, said = ''] = reference.split(`\n## \`atelier.backup.presets.${name}.enable\`\n`)
    return !/^\nWhether to back up .*(: its|: the|[Ll]eaves out)/.test(said.split('\n## ')[0] ?? '')
  }
  expect(names.filter(silent)).toEqual([])
})

// Two services of nixpkgs, with what their presets read.
const services = `({ lib, ... }: {
  options.services = lib.genAttrs [ "mosquitto" "murmur" "vaultwarden" ] (_: lib.mkOption { type = lib.types.anything; });
  config.services = {
    mosquitto.enable = false;
    murmur = { enable = true; stateDir = "/srv/murmur"; };
    vaultwarden = { enable = true; dbBackend = "mysql"; backupDir = null; config.DATA_FOLDER = "/srv/vault"; };
  };
  config.systemd.services = { murmur = { }; vaultwarden = { }; };
})`

describe.skipIf(!hasNix).each(libs)('with %s', (_, lib) => {
  const backup = async (config: string, more = '{ }') => {
    const { manifest, assertions, warnings } = await host(lib, `[ ${services} ${more} { atelier.backup = { enable = true; ${config} }; } ]`)
    expect(assertions).toEqual([])
    readManifest(JSON.stringify(manifest), 'manifest.json')
    return { ...manifest, warnings }
  }
  const lacks = /^atelier\.backup\.presets\.vaultwarden: the preset doesn't save its mysql database/

  test('[preset.1] nothing is saved that nobody asked for, and all that is there by one line', async () => {
    expect(await backup('')).toMatchObject({ services: {}, warnings: [] })
    const { services, warnings } = await backup('presets.enable = true;')
    expect(Object.keys(services)).toEqual(['murmur', 'nixos', 'vaultwarden'])
    expect(services.murmur).toMatchObject({ paths: ['/srv/murmur'], sqlite: ['/srv/murmur/murmur.sqlite'], units: ['murmur.service'] })
    expect(warnings).toEqual([expect.stringMatching(lacks)])
  })

  test('[preset.1] one alone, and all but one; one of a service that is not there is warned of', async () => {
    expect(Object.keys((await backup('presets.murmur.enable = true;')).services)).toEqual(['murmur'])
    expect(Object.keys((await backup('presets = { enable = true; vaultwarden.enable = false; };')).services)).toEqual(['murmur', 'nixos'])
    expect(await backup('presets.mosquitto.enable = true;')).toMatchObject({
      services: {},
      warnings: ["atelier.backup.presets.mosquitto.enable: this host doesn't have that service; enable it, or remove the line"],
    })
  })

  test('[preset.2] what anybody declares for a field wins, by mkDefault too', async () => {
    const { services } = await backup(
      'presets.enable = true; services.vaultwarden = { paths = [ "/mine" ]; preBackup = "dump"; };',
      `({ lib, ... }: {
        atelier.services.murmur.data.files = [ "/other" ];
        atelier.backup.services.murmur.units = lib.mkDefault [ "mumble.service" ];
      })`,
    )
    expect(services.vaultwarden).toMatchObject({ paths: ['/mine'], units: ['vaultwarden.service'], preBackup: 'dump' })
    expect(services.murmur).toMatchObject({ paths: ['/other'], sqlite: [], units: ['mumble.service'] })
  })

  test('[preset.3] a database that a preset cannot save is warned of, until a hook saves it', async () => {
    const { warnings } = await backup('presets.vaultwarden.enable = true;')
    expect(warnings).toEqual([expect.stringMatching(lacks)])
    expect((await backup('presets.vaultwarden.enable = true; services.vaultwarden.preBackup = "dump";')).warnings).toEqual([])
  })
})
