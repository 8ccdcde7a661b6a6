// The examples as a user would take them: declared, booted, backed up by their units.
import { readdirSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Manifest } from '../../src/manifest/types.gen.ts'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { makeNixosHost } from './nixos.ts'

describe.skipIf(!canHost)('an example', () => {
  test.each(readdirSync('nix/examples'))('[unit.14] %s: each of its services is backed up', { timeout: imageTimeout }, async (example) => {
    const host = await makeNixosHost(`[ ./nix/examples/${example} ]`)
    onTestFinished(() => host.remove())
    const manifest = JSON.parse(host.read('/etc/atelier/backup-manifest.json')) as Manifest
    // Databases of a PostgreSQL need one.
    const services = Object.entries(manifest.services).filter(([, { enable, postgres }]) => enable && postgres.length === 0)
    for (const [name, service] of services) await populate(host, name, service)
    // Programs that hooks call.
    host.write('/opt/sw/bin/mcrcon', '#!/usr/bin/bash\n', 0o755)
    await host.boot()
    await host.sh(
      'mkdir -p /run/secrets /mnt/backup; cp /srv/secrets/repo /run/secrets/restic-main; mkdir -p /run/current-system; ln -s /opt/sw /run/current-system',
    )
    for (const { sqlite } of services.map(([, service]) => service))
      for (const file of sqlite)
        await host.sh(`sqlite3 ${file} 'PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (1);' >/dev/null`)

    const names = services.map(([name]) => name)
    const { exit, stdout, stderr } = await host.cli(['backup', '--jobs', '4', ...names])
    expect([exit, stderr]).toEqual([0, ''])
    expect(stdout.trim().split('\n')).toHaveLength(names.length)
    const status = (await host.cli(['status', ...names, '--json'])).json()
    expect(status.services.filter(({ state }: { state: string }) => state !== 'ok')).toEqual([])
  })
})

/** Data where the declaration says that it is, and units that do nothing. */
async function populate(host: TestHost, name: string, { paths, sqlite, units }: Manifest['services'][string]): Promise<void> {
  for (const path of paths) host.write(`${path}/a-file`, name)
  for (const file of sqlite) host.write(`${file}.note`, '')
  const idle = '[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n'
  for (const unit of units ?? [`${name}.service`]) if (unit.endsWith('.service')) host.write(`/etc/systemd/system/${unit}`, idle)
}
