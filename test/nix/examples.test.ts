// Each example under nix/examples evaluates, and the CLI's loader takes its manifest.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadManifest } from '../../src/manifest/load.ts'
import type { Manifest } from '../../src/manifest/types.gen.ts'
import { type Host, hasNix, host, libs } from './nix.ts'

// What each is an example of.
const examples: Record<string, (host: Host, manifest: Manifest) => void> = {
  'small.nix'({ units }, { host, services, repositories }) {
    expect([host, Object.keys(services), Object.keys(repositories)]).toEqual(['hearth', ['notes'], ['main']])
    expect(Object.keys(units.timers)).toEqual(['restic-backups-notes', 'restic-prune'])
  },
  'twenty-services.nix'({ units }, { services }) {
    expect(Object.keys(services)).toHaveLength(20)
    expect(services.wiki).toMatchObject({ enable: false, paths: ['/var/lib/wiki'] })
    expect(Object.keys(units.timers)).toHaveLength(19 + 2)
    expect(units.timers['restic-backups-vaultwarden']?.timerConfig).toMatchObject({ OnCalendar: ['hourly'], RandomizedDelaySec: '5min' })
    expect(units.services['restic-backups-immich']?.unitConfig.RequiresMountsFor).toEqual(['"/srv/photos"', '"/mnt/backup/restic"'])
  },
}

test('each example has its test', async () => {
  expect(await readdir('nix/examples')).toEqual(Object.keys(examples))
})

describe.skipIf(!hasNix).each(libs)('with %s', (_, lib) => {
  test.each(Object.entries(examples))('%s', async (name, check) => {
    const result = await host(lib, `[ ./nix/examples/${name} ]`)
    expect(result.assertions).toEqual([])
    const folder = await mkdtemp(join(tmpdir(), 'example-'))
    try {
      const file = join(folder, 'manifest.json')
      await writeFile(file, JSON.stringify(result.manifest))
      check(result, await loadManifest(file))
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('the machine of nix/vm-test.nix', async () => {
    const { assertions, warnings, units } = await host(
      lib,
      '[ (import ./nix/vm-test.nix { package = { type = "derivation"; outPath = "/p"; meta.mainProgram = "m"; }; }).nodes.machine ]',
    )
    expect([assertions, warnings]).toEqual([[], []])
    expect(Object.keys(units.services)).toEqual(['atelier-backup-recover-notes', 'notes', 'restic-backups-notes', 'restic-prune'])
  })
})
