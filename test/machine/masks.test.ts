// While data is exchanged nothing starts its units: no client, timer, dependency, person or rebuild; and afterwards everything is as it was.
import { existsSync, renameSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, type TestHost } from '../lib/host.ts'
import { rebuild } from './nixos.ts'
import { makeNotesHost, notes, pidsOf } from './notes.ts'

const units = 'notes.service notes.timer knock.service knock.socket reader.service part.service'
const declared = `
  atelier.backup.services.notes.units = [ "notes.service" "knock.service" "other.service" ];
  systemd.services.notes.serviceConfig.Restart = "always";
  systemd.services.reader = { unitConfig = { Requires = "notes.service"; After = "notes.service"; }; serviceConfig.ExecStart = "/usr/bin/sleep inf"; };
  systemd.services.part = { unitConfig.PartOf = "notes.service"; serviceConfig.ExecStart = "/usr/bin/sleep inf"; };
  systemd.services.knock.serviceConfig.ExecStart = "/usr/bin/sleep inf";
  systemd.services.other.serviceConfig.ExecStart = "/usr/bin/sleep inf";
  systemd.timers.notes.timerConfig = { OnActiveSec = "1s"; OnUnitInactiveSec = "1s"; AccuracySec = "10ms"; };`
const control = '/run/systemd/system.control'

const systemctl = `#!/usr/bin/bash
/usr/bin/systemctl "$@" || exit
if test "$1" = daemon-reload -a -e /hold -a -L ${control}/notes.service; then
  touch /held
  while test -e /hold; do sleep 0.05; done
fi
`

describe.skipIf(!canHost)('units of a restore in place', () => {
  let host: TestHost
  const states = (names: string) => host.sh(`systemctl is-active ${names} | tr '\\n' ' ' || true`)
  const masks = () => host.sh(`ls ${control} 2>/dev/null || true`)
  const knock = "timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/7777 && read -r <&3'"
  /** Begins a restore that waits as soon as its units are masked: `go` lets it, or kills it. */
  const heldWhileMasked = async () => {
    await host.sh('echo new >/var/lib/notes/file; touch /hold')
    const restored = host.cli(['restore', 'notes', '--in-place', '--yes'])
    await host.until('test -e /held')
    const go = (signal: 'CONT' | 'KILL') => host.sh(`${signal === 'KILL' ? `kill -KILL ${pidsOf('nodejs')};` : ''} rm -f /hold /held`)
    return { restored, go }
  }
  beforeAll(async () => {
    host = await makeNotesHost(declared)
    // The CLI's own systemctl, which a test can let wait once units are masked.
    rmSync(host.path('/nix/store/systemd/bin/systemctl'))
    host.write('/nix/store/systemd/bin/systemctl', systemctl, 0o755)
    host.write('/etc/systemd/system/knock.socket', '[Socket]\nListenStream=127.0.0.1:7777\n')
    await host.sh(`systemctl daemon-reload; systemctl start ${units.replace('knock.service', '')}`)
    // Somebody else's mask, and a unit that nobody has started.
    await host.sh(`mkdir -p ${control}; ln -s /dev/null ${control}/other.service; systemctl daemon-reload`)
    await host.sh('echo old >/var/lib/notes/file; systemctl start restic-backups-notes')
  })
  afterAll(() => host?.remove())

  test('[restore.15] client, timer, dependents, a person and a rebuild start nothing meanwhile; then exactly what ran runs', async () => {
    const before = await states(`${units} other`)
    expect(before).toBe('active active inactive active active active inactive')
    const { restored, go } = await heldWhileMasked()
    expect(await states(units)).toMatch(/^((inactive|failed) ?){6}$/)
    const refused = async (script: string) => expect((await host.run(['bash', '-c', script])).exit).not.toBe(0)
    for (const unit of ['notes', 'reader', 'knock.socket', 'notes.timer']) await refused(`systemctl start ${unit}`)
    await refused(knock)
    await rebuild(host, notes(`${declared} systemd.services.notes.serviceConfig.TimeoutStopSec = 80;`))
    expect(await states('notes.service reader.service knock.service')).toMatch(/^((inactive|failed) ?){3}$/)
    await go('CONT')
    expect(await restored).toMatchObject({ exit: 0 })
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
    expect([await states(`${units} other`), await masks()]).toEqual([before, 'other.service'])
    expect(await host.sh('systemctl show --property=TimeoutStopUSec --value notes')).toBe('1min 20s')
  })

  test.for([
    ['--resume', 'old'],
    ['--rollback', 'new'],
  ])('[restore.15] killed meanwhile, the masks stay until %s takes them away, and no others', async ([direction, text]) => {
    const before = await states(units)
    const { restored, go } = await heldWhileMasked()
    await go('KILL')
    await restored
    expect((await masks()).split('\n')).toEqual(expect.arrayContaining(['notes.service', 'notes.timer', 'knock.socket', 'other.service']))
    expect(await host.cli(['restore', 'notes', direction ?? '', '--yes'])).toMatchObject({ exit: 0 })
    expect(host.read('/var/lib/notes/file')).toBe(`${text}\n`)
    expect([await states(units), await masks()]).toEqual([before, 'other.service'])
  })

  test('[restore.15] so does the next restore, and the boot unit at a rebuild', async () => {
    const before = await states(units)
    const first = await heldWhileMasked()
    await first.go('KILL')
    await first.restored
    expect(await host.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
    expect([await states(units), await masks()]).toEqual([before, 'other.service'])
    const second = await heldWhileMasked()
    await second.go('KILL')
    await second.restored
    await rebuild(host, notes(declared))
    await host.until(`test "$(systemctl is-active ${units} | xargs)" = "${before}"`)
    expect([await masks(), existsSync(host.path('/var/lib/atelier-backup/journals/notes.json'))]).toEqual(['other.service', false])
  })

  test('[restore.15] a unit that leaves a process behind: nothing is replaced, and all runs again, unmasked', async () => {
    await host.sh('echo new >/var/lib/notes/file')
    const before = await states(units)
    await host.sh(`mkdir -p /run/systemd/system/reader.service.d; printf '[Service]\\nKillMode=none\\n' >/run/systemd/system/reader.service.d/x.conf`)
    await host.sh('systemctl daemon-reload; systemctl show --property=MainPID --value reader >/left')
    const { exit, stderr } = await host.cli(['restore', 'notes', '--in-place', '--yes'])
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/reader.service didn't stop.*the live data was not touched/)])
    await host.sh('kill "$(cat /left)"; rm -r /run/systemd/system/reader.service.d; systemctl daemon-reload; systemctl restart reader')
    expect([host.read('/var/lib/notes/file'), await states(units), await masks()]).toEqual(['new\n', before, 'other.service'])
  })

  test('[restore.16] who still has a file open, or works in a folder, is named, and nothing is replaced', async () => {
    await host.sh('echo new >/var/lib/notes/file')
    const before = await states(units)
    for (const script of [
      'exec 3</var/lib/notes/file',
      'cd /var/lib/notes',
      'mkdir -p /elsewhere; mount --bind /var/lib/notes /elsewhere; exec 3</elsewhere/file',
    ]) {
      const held = host.run([
        'unshare',
        '--mount',
        '--propagation',
        'private',
        'bash',
        '-c',
        `${script}; echo $$ >/held; until test -e /let-go; do sleep 0.1; done`,
      ])
      await host.until('test -s /held')
      const { exit, stderr } = await host.cli(['restore', 'notes', '--in-place', '--yes'])
      expect([exit, stderr]).toEqual([
        1,
        expect.stringMatching(new RegExp(`bash \\(pid ${host.read('/held').trim()}\\) has .*the live data was not touched`)),
      ])
      await host.sh('touch /let-go')
      await held
      await host.sh('rm /let-go /held')
    }
    expect([host.read('/var/lib/notes/file'), await states(units), await masks()]).toEqual(['new\n', before, 'other.service'])
    expect(await host.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
  })

  test('[restore.14] a boot that can not end a restore starts no unit on what may be a mixture', async () => {
    await host.sh('echo new >/var/lib/notes/file')
    await rebuild(host, notes(`${declared} atelier.backup.services.notes.healthCheck = "touch /run/checking; sleep 1000";`))
    const broken = host.cli(['restore', 'notes', '--in-place', '--yes'])
    await host.until('test -e /run/checking')
    await host.powerCut()
    await broken
    // As where a disk is missing.
    renameSync(host.path('/var/lib/notes'), host.path('/var/lib/gone'))
    await host.boot()
    expect(await states('notes.service')).toBe('inactive')
    expect(await host.sh('journalctl --boot --output cat -u atelier-backup-recover-notes')).toContain("isn't at")
    expect((await host.run(['systemctl', 'start', 'notes'])).stderr).toContain('masked')
    renameSync(host.path('/var/lib/gone'), host.path('/var/lib/notes'))
    // Now it can.
    await rebuild(host, notes(declared))
    await host.until('systemctl is-active notes')
    expect([host.read('/var/lib/notes/file'), await states('notes.service'), await masks()]).toEqual(['old\n', 'active', ''])
  })
})
