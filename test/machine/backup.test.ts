// Backups as a host makes them: by timer, by unit, by a person who watches.
import { utimesSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { keys } from '../lib/terminal.ts'
import { rebuild } from './nixos.ts'
import { goOn, holdMidway, makeBulk, makeNotesHost, notes, pidsOf, restic, snapshots, statusOf } from './notes.ts'

const unit = 'restic-backups-notes.service'

describe.skipIf(!canHost)('a host', () => {
  let host: TestHost
  beforeAll(async () => {
    host = await makeNotesHost()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test('[unit.3] a timer fires by itself, and a snapshot with the declared tags and paths appears', async () => {
    await rebuild(
      host,
      notes(`
        atelier.backup.services.notes.schedule.onCalendar = "*:*:0/2";
        systemd.timers.restic-backups-notes.timerConfig.AccuracySec = "1us";`),
    )
    expect(await snapshots(host)).toEqual([])
    await host.until('test "$(ls /srv/repository/snapshots)"')
    await rebuild(host, notes())
    await host.until(`! systemctl --quiet is-active ${unit}`)
    const [saved] = await snapshots(host)
    expect(saved).toMatchObject({ hostname: 'hearth', paths: ['/var/lib/notes'] })
    expect(saved?.tags).toEqual(['service:notes', expect.stringMatching(/^install:[0-9a-f]{16}$/), 'kept'])
    expect(await statusOf(host)).toMatchObject({ state: 'ok', message: null, nextRun: expect.stringMatching(/^\d{4}-01-01T/) })
  })

  test('[unit.4] a start that was missed while the host was off is made up for', async () => {
    await rebuild(host, notes('atelier.backup.services.notes.schedule.onCalendar = "daily";'))
    const before = await snapshots(host)
    await host.shutdown()
    // As if it had been off for two days.
    const days = Date.now() / 1000 - 2 * 86_400
    utimesSync(host.path('/var/lib/systemd/timers/stamp-restic-backups-notes.timer'), days, days)
    await host.boot()
    await host.until(`test "$(ls /srv/repository/snapshots | wc -l)" -gt ${before.length}`)
    await host.until(`! systemctl --quiet is-active ${unit}`)
    await rebuild(host, notes())
    await host.reboot()
    expect(await snapshots(host)).toHaveLength(before.length + 1)
  })

  test('[state.9] by the turns of its real timer a backup is overdue, whatever the manifest says', async () => {
    await rebuild(host, notes())
    await host.sh(`rm -rf /etc/systemd/system/restic-backups-notes.timer.d; systemctl daemon-reload; systemctl start ${unit}`)
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
    const all = (await snapshots(host)).map(({ id }) => id)
    const { stdout } = await host.run(['date', '--utc', '--date=5 hours ago', '+%F %T'])
    await restic(host, `backup --host hearth --tag service:notes --time '${stdout.trim()}' /var/lib/notes`)
    await restic(host, `forget ${all.join(' ')}`)
    // As if the forgotten ones had never been: a lost backup is a failure of its own.
    const record = '/var/lib/atelier-backup/records/notes.json'
    const { sum: _, ...known } = JSON.parse(host.read(record))
    host.write(record, JSON.stringify({ ...known, lastSnapshot: null }))
    // Yearly by the manifest.
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
    host.write('/etc/systemd/system/restic-backups-notes.timer.d/often.conf', '[Timer]\nOnCalendar=*-*-* 00/2:00\n')
    await host.sh('systemctl daemon-reload')
    expect(await statusOf(host)).toMatchObject({ state: 'overdue', message: expect.stringContaining('one was due by') })
    await host.sh('rm -r /etc/systemd/system/restic-backups-notes.timer.d; systemctl daemon-reload')
    await host.sh(`systemctl start ${unit}`)
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
  })

  test('[state.10] a unit whose program is missing has failed, until the next one is well', async () => {
    const broken = `/etc/systemd/system/${unit}.d/broken.conf`
    await host.sh(`rm -f ${broken}; systemctl daemon-reload; systemctl start ${unit}`)
    host.write(broken, '[Service]\nExecStart=\nExecStart=/nowhere/atelier-backup run notes\n')
    await host.sh('systemctl daemon-reload')
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
    // Seconds are all that systemd tells.
    await host.sh('sleep 1')
    expect((await host.run(['systemctl', 'start', unit])).exit).not.toBe(0)
    expect(await statusOf(host)).toMatchObject({
      state: 'failed',
      message: expect.stringMatching(/^its unit was started at .* and failed \(exit-code\)/),
    })
    await host.sh(`rm ${broken}; systemctl daemon-reload; systemctl start ${unit}`)
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
  })

  test('[unit.5] in its unit a database is copied that another user owns and nobody has open, and nothing is left behind', async () => {
    await host.sh('systemctl stop notes; ls /var/lib/notes')
    expect(await host.sh('ls /var/lib/notes')).toBe('notes.db')
    const rows = await host.sh("sqlite3 -readonly /var/lib/notes/notes.db 'SELECT count(*) FROM note'")
    await host.sh(`systemctl start ${unit}`)
    const [latest] = (await snapshots(host)).slice(-1)
    await restic(host, `dump ${latest?.id} /var/lib/notes/notes.db > /tmp/copy.db`)
    expect(await host.sh("sqlite3 /tmp/copy.db 'PRAGMA integrity_check; SELECT count(*) FROM note'")).toBe(`ok\n${rows}`)
    expect(await restic(host, `ls -l ${latest?.id} | grep notes.db`)).toContain(await host.sh('echo "$(id -u notes)"'))
    expect(await host.sh('find /var/lib/notes ! -user notes; findmnt --raw --noheadings --output TARGET | grep notes || true')).toBe('')
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
    await host.sh('systemctl start notes')
  })

  test('[unit.6] hooks run in the world of the host, out of the sandbox; one that takes too long is ended with all its children', async () => {
    const hooks = (pre: string, more = '') =>
      rebuild(
        host,
        notes(
          `atelier.backup.services.notes = { preBackup = ''${pre}''; postBackup = "echo $ATELIER_OUTCOME >/etc/outcome"; shrinkThreshold = null; ${more} };`,
        ),
      )
    await host.sh('ln -s /usr/bin/sleep /nix/store/coreutils/bin/atelier-sleep')
    await hooks('install -d -o notes /var/lib/notes/export && echo "$ATELIER_SERVICE\\$5" >/etc/hook && readlink /proc/self/ns/mnt; echo said')
    await host.sh(`systemctl start ${unit}`)
    expect([host.read('/etc/hook'), host.read('/etc/outcome')]).toEqual(['notes$5\n', 'ok\n'])
    const log = await host.sh(`journalctl --output cat -u ${unit}`)
    expect(log).toContain(await host.sh('readlink /proc/1/ns/mnt'))
    expect(log).toContain('said')

    await hooks('atelier-sleep 1000 & atelier-sleep 1000', 'hookTimeoutSec = 1;')
    expect((await host.run(['systemctl', 'start', unit])).exit).toBe(1)
    expect(await host.sh(`echo ${pidsOf('atelier-sleep')}`)).toBe('')
    expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringContaining('preBackup took longer than 1 s') })
    expect(host.read('/etc/outcome')).toBe('failed\n')

    await hooks('atelier-sleep 1000 & atelier-sleep 1000')
    await host.sh(`systemctl start --no-block ${unit}`)
    await host.until(`test "${pidsOf('atelier-sleep')}"`)
    await host.sh(`systemctl kill --kill-whom=main --signal=KILL ${unit}`)
    await host.until(`systemctl --quiet is-failed ${unit}`)
    expect(await host.sh(`echo ${pidsOf('atelier-sleep')}`)).toBe('')
    await rebuild(host, notes())
  })

  test('[unit.7] `backup` starts the unit and shows how far it is; Ctrl-C leaves it running and says so; a second `backup` says that one runs', async () => {
    await makeBulk(host)
    const before = await snapshots(host)
    const terminal = host.terminal(['backup', 'notes'])
    await holdMidway(host)
    await terminal.waitFor(/notes .* [1-9]\d? %/)
    expect(await host.run(['systemctl', 'is-active', unit])).toMatchObject({ stdout: 'activating\n' })
    expect(await statusOf(host)).toMatchObject({ state: 'running' })
    const second = host.terminal(['backup', 'notes'])
    await second.waitFor(/notes: a backup has been running since/)
    terminal.type(keys.ctrlC)
    expect(await terminal.exit).toBe(130)
    expect(terminal.all()).toContain('keeps running')
    expect(await host.run(['systemctl', 'is-active', unit])).toMatchObject({ stdout: 'activating\n' })
    await goOn(host)
    expect(await second.exit).toBe(0)
    expect(await snapshots(host)).toHaveLength(before.length + 1)
  })

  test('[cli.8] `backup` starts the unit that runs this manifest; with another manifest it runs the job itself', async () => {
    const invocation = () => host.sh(`systemctl show --property=InvocationID --value ${unit}`)
    const begun = await invocation()
    const before = (await snapshots(host)).length
    await host.sh('cp /etc/atelier/backup-manifest.json /etc/another.json')
    expect(await host.cli(['backup', 'notes', '--manifest', '/etc/another.json'])).toMatchObject({ exit: 0 })
    expect(await invocation()).toBe(begun)
    expect(await snapshots(host)).toHaveLength(before + 1)
    expect(await host.cli(['backup', 'notes'])).toMatchObject({ exit: 0 })
    expect(await invocation()).not.toBe(begun)
    expect(await snapshots(host)).toHaveLength(before + 2)
  })
})
