// The test hosts themselves: apart from each other, and gone without a trace.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { canHost, imageTimeout, makeHost } from '../lib/host.ts'

const traces = () => [
  readFileSync('/proc/self/mountinfo', 'utf8'),
  ...['/sys/fs/cgroup', '/sys/fs/cgroup/unified', '/sys/fs/cgroup/systemd', '/run/systemd/nspawn/propagate']
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).filter((name) => name.startsWith(`atelier-host-${process.pid}-`))),
]

describe.skipIf(!canHost)('test hosts', () => {
  test('two at once are two machines, and nothing is left of them', { timeout: imageTimeout }, async () => {
    const before = traces()
    const hosts = await Promise.all([makeHost(), makeHost()])
    const [one, other] = hosts
    one.write('/etc/motd', 'one')
    await Promise.all(hosts.map((host) => host.boot()))
    await one.sh('systemctl stop dbus.socket dbus.service; mkdir /run/mine')
    expect(await other.sh('systemctl is-active dbus.socket; ls -d /run/mine 2>/dev/null || true; cat /etc/motd')).not.toMatch(/mine|one|inactive/)
    expect(traces()).not.toEqual(before)
    await Promise.all(hosts.map((host) => host.remove()))
    expect(traces()).toEqual(before)
    expect(existsSync(one.path('/'))).toBe(false)
  })
})
