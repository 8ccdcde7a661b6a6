// The module as a provider of other people's contracts, beside their real modules.
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { cliFile, start } from '../../lib/cli.ts'
import { world } from '../../lib/world.ts'
import { evaluate, hasInput } from './nixos.ts'

const secrets = 'atelier.backup = { enable = true; repositories.main = { repository = "/r"; passwordFile = "/p"; environmentFile = null; }; };'
// Scripts by their names, as they would stand in the PATH.
const scripts = `{
  scripts = lib.listToAttrs (map (script: lib.nameValuePair script.name script.text) (
    lib.filter (script: lib.hasPrefix "atelier-backup-" (script.name or "") && script ? text) config.environment.systemPackages));
  program = lib.getExe config.atelier.backup.package;
  jq = lib.getExe pkgs.jq;
  inherit told;
}`

test.skipIf(!hasInput('selfhostblocks'))('[elsewhere.5] selfhostblocks: the steps of its own tests of both contracts', async (context) => {
  const w = await world(context)
  const [a, b] = [w.path('files/A'), w.path('files/B')]
  const host = await evaluate<{ scripts: Record<string, string>; program: string; jq: string; told: Record<string, { [key: string]: string }> }>(
    `[ "\${inputs}/selfhostblocks/modules/blocks/postgresql.nix" "\${inputs}/selfhostblocks/modules/services/vaultwarden.nix" ./nix/shb.nix
      ({ lib, ... }: {
        # selfhostblocks patches these into nixpkgs.
        options.services.lldap = lib.genAttrs
          [ "ensureGroupFields" "ensureGroups" "ensureUserFields" "ensureUsers" "enforceGroups" "enforceUserMemberships" "enforceUsers" ]
          (_: lib.mkOption { type = lib.types.anything; });
      })
      ({ config, ... }: {
        ${secrets}
        shb = {
          vaultwarden.backup.result = config.shb.atelier-backup.instances.vaultwarden.result;
          atelier-backup = {
            instances = {
              vaultwarden = { request = config.shb.vaultwarden.backup.request; settings = { schedule.onCalendar = "hourly"; units = [ "vaultwarden.service" ]; }; };
              mytest.request = { user = "nobody"; sourceDirectories = [ "${a}" "${b}" ]; excludePatterns = [ "*.tmp" ]; hooks.beforeBackup = [ "id -un >${w.path('told')}" ]; };
            };
            databases = {
              postgres.request = config.shb.postgresql.databasebackup.request;
              numbers.request = { user = "root"; backupName = "numbers.txt"; backupCmd = "cat ${w.path('database')}"; restoreCmd = "cat >${w.path('database')}"; };
            };
          };
        };
      }) ]`,
    scripts.replace('inherit told;', 'told = lib.mapAttrs (_: instance: instance.result) config.shb.atelier-backup.instances;'),
  )
  expect([host.failed, host.warnings.filter((text) => /atelier/.test(text) && !/vaultwarden.service/.test(text))]).toEqual([[], []])
  const { services } = host.manifest
  expect(services.vaultwarden).toMatchObject({ paths: ['/var/lib/vaultwarden'], schedule: { onCalendar: 'hourly' }, units: ['vaultwarden.service'] })
  expect(services['postgres-database']?.preBackup).toMatch(/runuser -u postgres -- bash -eo pipefail -c '.*pg_dumpall/)
  expect(host.told.mytest).toEqual({ restoreScript: 'atelier-backup-of-mytest', backupService: 'restic-backups-mytest.service' })
  expect(host.units).toHaveProperty('restic-backups-mytest.service')

  // As on that host, but in the scratch world: its repository, its command, no systemd, and the dumps' folder in it.
  const inWorld = (text: string) => text.replaceAll('/var/cache/atelier-backup-databases', w.path('dumps'))
  w.manifest({ ...host.manifest, repositories: { main: w.repository }, services: JSON.parse(inWorld(JSON.stringify(services))) })
  mkdirSync(w.path('bin'))
  const put = (name: string, text: string) => {
    writeFileSync(w.path('bin', name), `#!/usr/bin/env bash\n${text}`)
    chmodSync(w.path('bin', name), 0o755)
  }
  put('atelier-backup', `exec ${process.execPath} ${cliFile} "$@"`)
  put('systemctl', 'exec atelier-backup run "$(basename "$3" .service | sed s/restic-backups-//)"')
  for (const [name, text] of Object.entries(host.scripts))
    put(name, `set -euo pipefail\n${inWorld(text).replaceAll(host.program, 'atelier-backup').replaceAll(host.jq, 'jq')}`)
  const sh = async (...argv: string[]) => {
    const { exit, stdout, stderr } = await start(argv, { env: { ...w.env, PATH: `${w.path('bin')}${delimiter}${process.env.PATH}` } }).ended
    expect(exit, stderr).toBe(0)
    return stdout.trim().split('\n')
  }
  const snapshots = async (script: string) => (await sh(w.path('bin', script), 'snapshots')).map((line) => line.split(' ')[0] as string)

  chmodSync(w.root, 0o755)
  const contents = (n: number) => {
    for (const folder of [a, b]) w.write(join(folder.slice(w.root.length), 'file'), `${n}`)
    w.write('database', `${n}`)
  }
  const seen = () => [readFileSync(join(a, 'file'), 'utf8'), readFileSync(join(b, 'file'), 'utf8'), readFileSync(w.path('database'), 'utf8')]
  writeFileSync(w.path('told'), '')
  chmodSync(w.path('told'), 0o666)
  for (const n of [1, 2]) {
    contents(n)
    await sh('systemctl', 'start', '--wait', host.told.mytest?.backupService ?? '')
    await sh(w.path('bin/atelier-backup-of-numbers-database'), 'backup')
  }
  expect(readFileSync(w.path('told'), 'utf8')).toBe('nobody\n')
  for (const folder of [a, b]) for (const name of readdirSync(folder)) rmSync(join(folder, name))
  const [files, dumps] = [await snapshots('atelier-backup-of-mytest'), await snapshots('atelier-backup-of-numbers-database')]
  expect([files.length, dumps.length]).toEqual([2, 2])
  for (const n of [2, 1]) {
    await sh(w.path('bin/atelier-backup-of-mytest'), 'restore', files[n - 1] as string)
    await sh(w.path('bin/atelier-backup-of-numbers-database'), 'restore', dumps[n - 1] as string)
    expect(seen()).toEqual([`${n}`, `${n}`, `${n}`])
  }
})

test.skipIf(!hasInput('clan-core'))("[elsewhere.5] a clan's state, and what `clan backups` calls", async () => {
  const { failed, manifest, ...host } = await evaluate<{ scripts: Record<string, string>; told: object }>(
    `[ "\${inputs}/clan-core/nixosModules/clanCore/backups.nix" ./nix/clan.nix
      ({ lib, ... }: {
        ${secrets}
        clan.core.state = {
          notes = { folders = [ "/var/lib/notes" ]; preBackupScript = "export"; };
          empty.folders = [ ];
        };
      }) ]`,
    scripts.replace('inherit told;', 'told = config.clan.core.backups.providers;'),
  )
  expect(failed).toEqual([])
  expect(Object.keys(manifest.services)).toEqual(['notes'])
  expect(manifest.services.notes).toMatchObject({ paths: ['/var/lib/notes'], preBackup: 'pre-backup-notes', postBackup: null, units: [] })
  expect(host.told).toEqual({
    'atelier-backup': {
      name: 'atelier-backup',
      list: 'atelier-backup-clan-list',
      create: 'atelier-backup-clan-create',
      restore: 'atelier-backup-clan-restore',
    },
  })
  expect(Object.keys(host.scripts).sort()).toEqual(['atelier-backup-clan-create', 'atelier-backup-clan-list', 'atelier-backup-clan-restore'])
})
