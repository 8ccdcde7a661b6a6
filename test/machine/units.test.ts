// systemd's own opinion of the units that the module declares.
import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { makeNixosHost, rebuild } from './nixos.ts'

/** What is in `units`, and how it comes up at boot: a data disk of the network's kind comes after basic.target, an early service before it. */
const kinds = `[ ./nix/examples/small.nix {
  atelier.backup.services = {
    socket = { paths = [ "/srv/net" ]; units = [ "knock.socket" ]; };
    path = { paths = [ "/srv/path" ]; units = [ "watch.path" ]; };
    timer = { paths = [ "/srv/timer" ]; units = [ "tick.timer" ]; };
    target = { paths = [ "/srv/target" ]; units = [ "all.target" ]; };
    mount = { paths = [ "/srv/disk" ]; units = [ "srv-disk.mount" ]; };
    early = { paths = [ "/srv/early" ]; units = [ "early.service" ]; };
  };
  systemd = {
    services = builtins.mapAttrs (_: more: { serviceConfig.ExecStart = "/usr/bin/sleep inf"; } // more) {
      knock = { };
      watch = { };
      tick = { };
      part = { partOf = [ "all.target" ]; wantedBy = [ "all.target" ]; };
      early = { before = [ "sysinit.target" ]; wantedBy = [ "sysinit.target" ]; unitConfig.DefaultDependencies = false; };
    };
    sockets.knock = { wantedBy = [ "sockets.target" ]; socketConfig.ListenStream = "/run/knock"; };
    paths.watch = { wantedBy = [ "paths.target" ]; pathConfig.PathExists = "/run/knock"; };
    timers.tick = { wantedBy = [ "timers.target" ]; timerConfig.OnBootSec = "1ms"; };
    targets.all.wantedBy = [ "multi-user.target" ];
    mounts = [
      { where = "/srv/net"; what = "tmpfs"; type = "tmpfs"; after = [ "basic.target" ]; wantedBy = [ "remote-fs.target" ]; unitConfig.DefaultDependencies = false; }
      { where = "/srv/disk"; what = "tmpfs"; type = "tmpfs"; wantedBy = [ "local-fs.target" ]; }
    ];
  };
} ]`

describe.skipIf(!canHost)('the units of an example', () => {
  let host: TestHost
  beforeAll(async () => {
    host = await makeNixosHost('[ ./nix/examples/small.nix ]')
    await host.boot()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test.each(readdirSync('nix/examples'))('[unit.1] %s: systemd accepts each unit without a word', async (example) => {
    await rebuild(host, `[ ./nix/examples/${example} ]`)
    expect(await host.run(['bash', '-c', 'systemd-analyze verify /etc/systemd/system/{restic,atelier}-*'])).toMatchObject({
      exit: 0,
      stdout: '',
      stderr: '',
    })
  })

  test('[unit.2] they are closed as far as copying databases, mounting and dumping allow', async () => {
    const lines = (
      await host.sh('systemd-analyze security --no-pager {restic-backups-notes,restic-prune,atelier-backup-recover-notes}.service')
    ).split('\n')
    const scores = lines.flatMap((line) => /exposure level for (\S+): ([0-9.]+)/.exec(line)?.slice(1, 3).join(' ') ?? [])
    console.info(`systemd-analyze security (0 closed, 10 open): ${scores.join(', ')}`)
    expect(scores).toHaveLength(3)
    for (const score of scores) expect(Number(score.split(' ')[1])).toBeLessThan(6)
  })

  test('[unit.21] whatever stands in units, nothing of the boot is in a cycle: sockets, paths, timers, targets, mounts, early services', async () => {
    await rebuild(host, kinds)
    await host.reboot()
    // What systemd takes out of a boot to break a cycle is told before there is a journal: its conditions were never looked at.
    const recover = ['socket', 'path', 'timer', 'target', 'mount', 'early'].map((name) => `atelier-backup-recover-${name}`).join(' ')
    const looked = await host.sh(`systemctl show --property=ConditionTimestampMonotonic --value ${recover} | xargs`)
    expect(looked).toMatch(/^([1-9]\d* ?){6}$/)
    const units = ['knock.socket', 'watch.path', 'watch.service', 'tick.timer', 'all.target', 'part.service', 'early.service']
    // is-active succeeds where one of several is.
    await host.until(`test "$(systemctl is-active ${units.join(' ')} srv-net.mount srv-disk.mount | sort -u)" = active`)
    expect(await host.sh('systemctl is-system-running')).toBe('running')
  })
})
