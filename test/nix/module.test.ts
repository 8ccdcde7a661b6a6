// What a declaration becomes: manifest, units, timers.
import { describe, expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { evaluate, hasNix, host, libs } from './nix.ts'

const nixList = (words: string[]) => `[ ${words.map((word) => JSON.stringify(word)).join(' ')} ]`

describe.skipIf(!hasNix).each(libs)('with %s', (_, lib) => {
  const backup = (config: string, more = '') => host(lib, `[ { atelier.backup = { enable = true; ${config} }; ${more} } ]`)

  test('the manifest holds every field of every service, disabled ones too, and is what the loader makes of it', async () => {
    const { manifest } = await backup('services = { notes.paths = [ "/var/lib/notes" ]; off = { enable = false; }; };')
    expect({ ...readManifest(JSON.stringify(manifest), 'manifest.json') }).toMatchObject(manifest)
    expect(manifest).toMatchObject({
      version: 2,
      host: 'cellar',
      services: { notes: { paths: ['/var/lib/notes'], preBackup: null }, off: { enable: false } },
    })
  })

  test("nothing is made where the module isn't enabled", async () => {
    const r = `(import ./test/nix/nixos.nix { lib = import ${lib}; modules = [ { atelier.backup.services.a.paths = [ "/a" ]; } ]; }).config`
    const made = 'c.systemd.services c.systemd.timers c.environment.etc c.environment.systemPackages c.assertions'
    expect(await evaluate(`let c = ${r}; in [ ${made} ]`)).toEqual([{}, {}, {}, [], []])
  })

  test('adding a repository keeps main', async () => {
    const { manifest } = await backup('repositories.offsite.repository = "rclone:store:x";')
    expect(manifest.repositories).toMatchObject({
      main: { repository: null, repositoryFile: '/run/agenix/restic/repo', passwordFile: '/run/agenix/restic/password' },
      offsite: { repository: 'rclone:store:x' },
    })
  })

  test("a service's own retention and schedule leave the other fields to the host", async () => {
    const { manifest, units } = await backup(
      'retention.daily = 14; schedule.persistent = false; services.a = { paths = [ "/a" ]; retention.daily = 30; schedule.onCalendar = "hourly"; };',
    )
    expect(manifest.retention).toEqual({ last: 3, daily: 14, weekly: 5, monthly: 12 })
    expect(manifest.services.a?.retention).toEqual({ last: null, daily: 30, weekly: null, monthly: null })
    expect(units.timers['restic-backups-a']).toEqual({
      wantedBy: ['timers.target'],
      timerConfig: { OnCalendar: ['hourly'], RandomizedDelaySec: '2h', FixedRandomDelay: false, Persistent: false },
    })
  })

  test('[unit.30] no calendar event means no timer, and partialIsFailure lets a partial backup fail its unit', async () => {
    const { units, manifest } = await backup(`
      prune.onCalendar = [ ];
      services = {
        a = { paths = [ "/a" ]; schedule.onCalendar = [ ]; };
        b = { paths = [ "/b" ]; schedule.onCalendar = [ "Mon..Fri 03:30" "Sat 05:00" ]; partialIsFailure = true; };
      };
    `)
    expect(Object.keys(units.timers)).toEqual(['restic-backups-b'])
    expect(units.timers['restic-backups-b']?.timerConfig.OnCalendar).toEqual(['Mon..Fri 03:30', 'Sat 05:00'])
    const exits = ['a', 'b'].map((name) => units.services[`restic-backups-${name}`]?.serviceConfig.SuccessExitStatus)
    expect([exits, manifest.services.b?.partialIsFailure]).toEqual([[[3], []], true])
  })

  test('modules add lines to the commands of others', async () => {
    const { manifest } = await host(
      lib,
      `[
        { atelier.backup = { enable = true; services.a = { paths = [ "/a" ]; preBackup = "one"; }; }; }
        { atelier.backup.services.a = { preBackup = "two"; }; }
      ]`,
    )
    expect(manifest.services.a?.preBackup).toBe('one\ntwo')
  })

  test('existing declarations evaluate unchanged', async () => {
    const declaration = { paths: ['/srv/my'], exclude: ['*.log'], tags: ['x'], preBackup: 'a\nb\n', postBackup: '' }
    const { manifest, assertions } = await backup(`services.my_app = builtins.fromJSON ''${JSON.stringify(declaration)}'';`)
    expect(assertions).toEqual([])
    expect(manifest.services.my_app).toMatchObject(declaration)
  })

  test('definitions of several modules are merged, and mkForce wins', async () => {
    const { manifest } = await host(
      lib,
      `[
        { atelier.backup = { enable = true; services.a = { paths = [ "/a" ]; tags = [ "x" ]; }; } ; }
        ({ lib, ... }: { atelier.backup.services.a = { paths = [ "/b" ]; tags = lib.mkForce [ "y" ]; preBackup = lib.mkIf false "no"; }; })
      ]`,
    )
    expect(manifest.services.a?.paths).toHaveLength(2)
    expect(manifest.services.a).toMatchObject({ tags: ['y'], preBackup: null })
  })

  test('a unit and a timer for each enabled service, and none for a disabled one', async () => {
    const { units } = await backup('services = { a.paths = [ "/a" ]; "b.c_D".sqlite = [ "/b" ]; off = { enable = false; paths = [ "/o" ]; }; };')
    const names = ['restic-backups-a', 'restic-backups-b.c_D', 'restic-prune']
    const recover = ['a', 'b.c_D', 'off'].map((name) => `atelier-backup-recover-${name}`)
    expect([Object.keys(units.services), Object.keys(units.timers)]).toEqual([[...recover, ...names], names])
  })

  test('[postgres.12] at boot those with databases wait for the server, and nobody else with them', async () => {
    const services = `services.a.paths = [ "/a" ]; services.b = { paths = [ "/b" ]; postgres = [ "b" ]; units = [ "b.service" "b-worker.service" ]; };`
    const { units } = await backup(services)
    const of = (name: string) => units.services[name] ?? expect.fail()
    const server = ['postgresql.service', 'postgresql.target']
    const [a, b] = [of('atelier-backup-recover-a'), of('atelier-backup-recover-b')]
    expect([a.before, a.serviceConfig.ExecStart]).toEqual([['shutdown.target', 'a.service'], expect.stringMatching(/ boot a$/)])
    expect([b.before, b.serviceConfig.ExecStart]).toEqual([['shutdown.target', 'b.service', 'b-worker.service'], expect.stringMatching(/ boot b$/)])
    expect([server.filter((unit) => a.after.includes(unit)), server.filter((unit) => b.after.includes(unit))]).toEqual([[], server])
    // So do backups that are made up for at boot.
    expect(of('restic-backups-b').after).toEqual(expect.arrayContaining([...server, 'atelier-backup-recover-b.service']))
  })

  test('[unit.21] the end of an interrupted restore stands before services alone: for a socket, a timer, a path, a target that which it starts', async () => {
    const units = ['a.service', 'b.socket', 'c.socket', 'd.timer', 'e.path', 'f.path', 'g.target', 'srv-a.mount', 'postgresql.service']
    const declared = `systemd = {
      sockets.c.socketConfig.Service = "c-server.service";
      paths.e.pathConfig.Unit = "e-work.service";
      paths.f.pathConfig.Unit = "f.target";
      services = { g1.partOf = [ "g.target" ]; g2.requires = [ "g.target" ]; g3.wantedBy = [ "g.target" ]; };
    };`
    const made = (await backup(`services.a = { paths = [ "/a" ]; units = ${nixList(units)}; };`, declared)).units
    expect(made.services['atelier-backup-recover-a']?.before).toEqual([
      'shutdown.target',
      ...['a', 'b', 'c-server', 'd', 'e-work', 'g1', 'g2'].map((name) => `${name}.service`),
    ])
  })

  test('[unit.22] it waits for the mounts of its own service, and neither mounts nor starts anything without a journal', async () => {
    const disks = `fileSystems = builtins.mapAttrs (_: _: { fsType = "ext4"; }) { "/" = 1; "/srv" = 1; "/srv/a-b/in" = 1; "/mnt" = 1; }; systemd.mounts = [ { where = "/srv/a-b"; what = "x"; } ];`
    const services = 'services.a = { paths = [ "/srv/a-b/" ]; formerNames = [ "old" ]; }; services.b.sqlite = [ "/var/b/db" ];'
    const { units } = await backup(services, disks)
    const { after, unitConfig, ...unit } = units.services['atelier-backup-recover-a'] ?? expect.fail()
    expect(after.filter((name) => name.endsWith('.mount')).sort()).toEqual(['srv-a\\x2db-in.mount', 'srv-a\\x2db.mount', 'srv.mount'])
    expect(units.services['atelier-backup-recover-b']?.after.filter((name) => name.endsWith('.mount'))).toEqual([])
    expect(unit).not.toHaveProperty('wants')
    expect(unitConfig).toEqual({
      DefaultDependencies: false,
      ConditionPathExists: ['a', 'old'].map((name) => `|/var/lib/atelier-backup/journals/${name}.json`),
    })
  })

  test('a unit runs the CLI once, cleans up after it, and takes partial for success', async () => {
    const { units } = await backup('services.a.paths = [ "/a" ];')
    const { serviceConfig, ...unit } = units.services['restic-backups-a'] ?? expect.fail()
    expect(serviceConfig).toMatchObject({
      Type: 'oneshot',
      ExecStart: expect.stringMatching(/^\/nix\/store\/\S+\/bin\/atelier-backup run a$/),
      ExecStopPost: expect.stringMatching(/^\/nix\/store\/\S+\/bin\/atelier-backup run --cleanup a$/),
      SuccessExitStatus: [3],
      StateDirectory: 'atelier-backup',
      StateDirectoryMode: '0700',
      CacheDirectory: 'atelier-backup',
      IOSchedulingClass: 'idle',
    })
    expect(unit).toMatchObject({ restartIfChanged: false, wants: ['network-online.target'] })
    expect(unit.after).toEqual([
      'network-online.target',
      'agenix-install-secrets.service',
      'sops-install-secrets.service',
      'atelier-backup-recover-a.service',
    ])
  })

  test('timeouts, priorities and each part of the sandbox can be set for each unit, without mkForce', async () => {
    const set =
      'systemd.services.restic-backups-a.serviceConfig = { TimeoutStartSec = "3h"; Nice = 0; IOSchedulingClass = "best-effort"; PrivateDevices = false; CapabilityBoundingSet = [ "CAP_LEASE" ]; };'
    const { units } = await backup('services.a.paths = [ "/a" ];', set)
    expect(units.services['restic-backups-a']?.serviceConfig).toMatchObject({
      ...{ TimeoutStartSec: '3h', TimeoutStopSec: '10min', Type: 'oneshot' },
      ...{ Nice: 0, IOSchedulingClass: 'best-effort', PrivateDevices: false, ProtectClock: true },
      CapabilityBoundingSet: expect.arrayContaining(['CAP_LEASE', 'CAP_SYS_ADMIN']),
    })
    expect(units.services['restic-prune']?.serviceConfig).toMatchObject({ TimeoutStartSec: 'infinity' })
  })

  test('what must be mounted before: the data, and a repository that is a folder of this host', async () => {
    const { units } = await backup(`
      repositories.disk.repository = "local:/mnt/50% full";
      services.a = { paths = [ "/srv/a b" ]; sqlite = [ "/var/db" ]; repository = "disk"; };
      services.b = { paths = [ "/q\\"uote" "/z" ]; };`)
    const mounts = (name: string) => units.services[name]?.unitConfig.RequiresMountsFor
    expect(mounts('restic-backups-a')).toEqual(['"/srv/a b"', '"/var/db"', '"/mnt/50%% full"'])
    expect(mounts('restic-backups-b')).toEqual(['"/z"'])
    expect(mounts('restic-prune-disk')).toEqual(['"/mnt/50%% full"'])
  })

  test('each repository is pruned weekly; main only if it is used', async () => {
    const { units } = await backup('repositories.disk.repository = "/mnt"; services.a = { paths = [ "/a" ]; repository = "disk"; };')
    expect(units.services['restic-prune-disk']?.serviceConfig.ExecStart).toMatch(/ prune --repository disk$/)
    expect(units.services).not.toHaveProperty('restic-prune')
    expect(units.timers['restic-prune-disk']?.timerConfig).toEqual({ OnCalendar: ['Sun 05:00'], RandomizedDelaySec: '1h', Persistent: true })
  })

  test("the host's PostgreSQL is there for services that declare databases", async () => {
    const { units } = await backup(
      'services = { a.postgres = [ "a" ]; b.paths = [ "/b" ]; };',
      'services.postgresql = { enable = true; package = "/nix/store/p-postgresql"; };',
    )
    expect(units.services['restic-backups-a']?.path).toEqual(['/nix/store/p-postgresql', '/run/current-system/sw'])
    expect(units.services['restic-backups-b']?.path).toEqual(['/run/current-system/sw'])
  })

  test("agenix's secrets are found where the host has them put", async () => {
    const { manifest } = await backup(
      'repositories.other.passwordFile = "/root/password";',
      'age.secrets = { "restic/repo".path = "/run/a/repo"; "restic/password".path = "/run/a/password"; };',
    )
    expect(manifest.repositories.main).toMatchObject({
      repositoryFile: '/run/a/repo',
      passwordFile: '/run/a/password',
      environmentFile: '/run/agenix/restic/env',
    })
    expect(manifest.repositories.other).toMatchObject({ repositoryFile: '/run/a/repo', passwordFile: '/root/password' })
  })
})

// The stand-in is only worth something while it says what the real one says.
if (libs.length > 1) {
  describe("the stand-in and nixpkgs' lib give the same", () => {
    test.each(['nix/examples/small.nix', 'nix/examples/twenty-services.nix'])('%s', async (file) => {
      const [standIn, real] = await Promise.all(libs.map(([, lib]) => host(lib, `[ ./${file} ]`)))
      expect(standIn).toEqual(real)
    })
  })
}
