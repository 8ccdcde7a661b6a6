// Restores where units run: stopped and confirmed, started again, rolled back if the service isn't well; a lost host rebuilt; the menu.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { keys } from '../lib/terminal.ts'
import { rebuild } from './nixos.ts'
import { makeNotesHost, notes, pidsOf, statusOf } from './notes.ts'

const rows = "sqlite3 -readonly -cmd '.timeout 10000' /var/lib/notes/notes.db 'SELECT count(*) FROM note'"

const hangs = 'healthCheck = "touch /run/checking-$ATELIER_SERVICE; sleep 1000";'
/** Its disk isn't mounted at boot. */
const away = (more = '') => `
  atelier.backup.services.away = { paths = [ "/srv/away/data" ]; units = [ ]; ${more} };
  systemd.mounts = [ { where = "/srv/away"; what = "/opt/away"; type = "none"; options = "bind"; } ];`
/** Its mount takes a while, and fails. */
const lost = `
  atelier.backup.services.lost = { paths = [ "/srv/lost" ]; units = [ ]; };
  systemd.services.slow.serviceConfig = { Type = "oneshot"; ExecStart = [ "/usr/bin/sleep 3" "/usr/bin/false" ]; };
  systemd.mounts = [ {
    where = "/srv/lost"; what = "tmpfs"; wantedBy = [ "multi-user.target" ];
    after = [ "slow.service" ]; requires = [ "slow.service" ]; unitConfig.DefaultDependencies = false;
  } ];`

describe.skipIf(!canHost)('a host that lost data', () => {
  let host: TestHost
  let saved: number
  const count = async () => Number(await host.sh(rows))
  const changed = async () => {
    await host.sh('echo new >/var/lib/notes/file')
    await host.until(`test "$(${rows})" -gt ${saved + 20}`)
  }
  beforeAll(async () => {
    host = await makeNotesHost()
    await host.sh('echo old >/var/lib/notes/file; systemctl start restic-backups-notes')
    saved = await count()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test('[unit.10] a restore in place stops the unit, which writes all the time, and starts it again on the old data', async () => {
    await changed()
    const before = await host.sh('systemctl show --property=InvocationID notes')
    const { exit, stdout, stderr } = await host.cli(['restore', 'notes', '--in-place', '--yes'])
    expect([exit, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/stops +notes.service +running now/)
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
    expect(await count()).toBeLessThan(saved + 20)
    expect(await host.sh('systemctl show --property=InvocationID notes')).not.toBe(before)
    await host.until(`test "$(${rows})" -gt ${saved + 3}`)
    expect(await host.sh('systemctl is-active notes')).toBe('active')
  })

  test('[unit.10] a unit that systemd does not know is refused before anything is touched', async () => {
    await rebuild(host, notes('atelier.backup.services.notes.units = [ "notes.service" "nots.service" ];'))
    await changed()
    const { exit, stderr } = await host.cli(['restore', 'notes', '--in-place', '--yes'])
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/^atelier-backup: notes: systemd doesn't know nots.service.*\n$/)])
    expect(host.read('/var/lib/notes/file')).toBe('new\n')
    expect(await host.sh('systemctl is-active notes')).toBe('active')
  })

  test('[unit.11] a health check that fails brings the new data back, with the unit running on it', async () => {
    await rebuild(host, notes('atelier.backup.services.notes.healthCheck = "systemctl is-active notes && grep new /var/lib/notes/file";'))
    await changed()
    const now = await count()
    const { exit, stderr } = await host.cli(['restore', 'notes', '--in-place', '--yes'])
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/healthCheck.*the old data is back in place/)])
    expect(host.read('/var/lib/notes/file')).toBe('new\n')
    expect(await count()).toBeGreaterThanOrEqual(now)
    expect(await host.sh('systemctl is-active notes')).toBe('active')
    await rebuild(host, notes())
  })

  test('[unit.15] [unit.22] after a power cut in the middle of a restore the boot ends it before the service starts, whatever disks others lack', async () => {
    await rebuild(host, notes(`atelier.backup.services.notes.${hangs}`))
    await changed()
    const broken = host.cli(['restore', 'notes', '--in-place', '--yes'])
    await host.until('test -e /run/checking-notes')
    await host.sh('mkdir /opt/away')
    await rebuild(host, notes(`atelier.backup.services.notes.${hangs} } { ${away()} } { ${lost}`))
    await host.powerCut()
    await broken
    await host.boot()
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
    const log = await host.sh('journalctl --boot --output cat -u notes -u atelier-backup-recover-notes')
    expect(log).toMatch(/an interrupted restore was completed[\s\S]*Started notes.service/)
    const at = (property: string, unit: string) => host.sh(`systemctl show --property=${property} --value ${unit}`)
    const [started, failed] = await Promise.all([at('ActiveEnterTimestampMonotonic', 'notes'), at('InactiveEnterTimestampMonotonic', 'slow')])
    expect(Number(started)).toBeLessThan(Number(failed))
    // It has no journal, so nothing mounts its disk.
    expect(await at('ActiveState', 'srv-away.mount')).toBe('inactive')
    await host.sh('rm /etc/systemd/system/multi-user.target.wants/srv-lost.mount')
    await host.until(`test "$(${rows})" -gt ${saved + 3}`)
    await rebuild(host, notes())
    expect(await statusOf(host)).toMatchObject({ state: 'ok', old: expect.arrayContaining([expect.anything()]) })
  })

  test('[unit.12] the menu, walked by keystrokes: status, a backup by its unit, a restore in place, and out', async () => {
    await changed()
    const terminal = host.terminal([], { rows: 60 })
    /** Chooses the n-th entry, once the menu is there again. */
    const choose = async (n: number, then: string | RegExp) => {
      await terminal.waitFor('Leave')
      terminal.type(keys.down.repeat(n) + keys.enter)
      await terminal.waitFor(then)
    }
    await choose(0, /STATE[\s\S]* notes +ok/)
    await choose(3, 'Snapshots of notes')
    terminal.type(keys.enter)
    await terminal.waitFor('In place:')
    terminal.type(keys.down + keys.enter)
    await terminal.waitFor('Type notes')
    terminal.type(`notes${keys.enter}`)
    await terminal.waitFor(/notes .*restored/)
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
    await choose(2, '◉ notes')
    terminal.type(keys.enter)
    await terminal.waitFor(/notes +✓ +[0-9.]+ kB/)
    await terminal.waitFor('Leave')
    terminal.type(keys.escape)
    expect(await terminal.exit).toBe(0)
    expect(await host.sh('systemctl show --property=Result,ExecMainStatus restic-backups-notes')).toBe('Result=success\nExecMainStatus=0')
  })

  test('[unit.13] after a reinstall `dr` brings data and units back, and the next backup counts', async () => {
    await host.sh('systemctl stop notes; rm -rf /var/lib/notes /var/lib/atelier-backup /var/cache/atelier-backup; systemctl start notes')
    await host.until('test -s /var/lib/notes/notes.db')
    const { exit, stdout } = await host.cli(['dr', '--yes'])
    expect([exit, stdout]).toEqual([0, expect.stringContaining('Recovered 1 of 1 services')])
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
    expect(await host.sh('systemctl is-active notes')).toBe('active')
    await host.until(`test "$(${rows})" -gt ${saved + 3}`)
    await host.sh('systemctl start restic-backups-notes')
    expect((await host.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'ok' })
  })

  test('[unit.15] after a power cut in the middle of `dr` the boot ends what it was at before the service starts, and --resume goes on', async () => {
    await rebuild(host, notes(`atelier.backup.services.notes.${hangs} } { ${away(hangs)}`))
    await host.sh('systemctl start srv-away.mount; mkdir /srv/away/data; systemctl start restic-backups-away')
    await changed()
    const broken = host.cli(['dr', '--yes', '--overwrite'])
    await host.until('test -e /run/checking-notes -a -e /run/checking-away')
    await host.powerCut()
    await broken
    await host.boot()
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
    const log = await host.sh('journalctl --boot --output cat -u notes -u atelier-backup-recover-notes -u atelier-backup-recover-away')
    expect(log).toMatch(/an interrupted restore was completed[\s\S]*Started notes.service/)
    // Its disk, which nothing mounts at boot, was mounted for this.
    expect(await host.sh('systemctl is-active srv-away.mount; ls /var/lib/atelier-backup/journals')).toBe('active')
    await rebuild(host, notes(`} { ${away()}`))
    const { exit, stdout } = await host.cli(['dr', '--resume', '--yes'])
    expect([exit, stdout]).toEqual([0, expect.stringContaining('Recovered 2 of 2 services')])
    expect([host.read('/var/lib/notes/file'), await host.sh('systemctl is-active notes')]).toEqual(['old\n', 'active'])
    await host.until(`test "$(${rows})" -gt ${saved + 3}`)
    // What was restored beneath a disk that isn't mounted is ended there.
    await rebuild(host, notes(`} { ${away(hangs)}`))
    await host.sh('systemctl stop srv-away.mount; rm --force /run/checking-away')
    const beneath = host.cli(['restore', 'away', '--in-place', '--yes', '--onto-unmounted'])
    await host.until('test -e /run/checking-away')
    await host.sh(`kill -KILL ${pidsOf('nodejs')}`)
    await beneath
    await host.sh('systemctl start atelier-backup-recover-away')
    const left = 'ls -d /srv/away/data; ls /var/lib/atelier-backup/journals; systemctl is-active srv-away.mount || :'
    expect(await host.sh(left)).toBe('/srv/away/data\ninactive')
  })
})
