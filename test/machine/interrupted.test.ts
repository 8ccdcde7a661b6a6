// A backup that is broken off: whatever it was, the next one runs, nothing is left mounted or locked, and `status` tells.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { rebuild } from './nixos.ts'
import { goOn, holdMidway, makeBulk, makeNotesHost, notes, pidsOf, restic, snapshots, statusOf } from './notes.ts'

const unit = 'restic-backups-notes.service'

describe.skipIf(!canHost)('a backup half-way', () => {
  let host: TestHost
  let before: number
  let attempt = 0
  beforeAll(async () => {
    // Whenever something is forgotten it shows: there are always more.
    host = await makeNotesHost('atelier.backup.retention = { last = 1; daily = 0; weekly = 0; monthly = 0; };')
    for (let i = 0; i < 2; i++) await host.sh(`systemctl start ${unit}`)
  }, imageTimeout)
  afterAll(() => host?.remove())
  beforeEach(async () => {
    attempt += 1
    // What a test left that failed.
    await host.run(['bash', '-c', `kill -CONT ${pidsOf('restic')}; systemctl stop ${unit} restic-prune`])
    // New data each time, or there would be nothing to save.
    await makeBulk(host)
    before = (await snapshots(host)).length
    await host.sh(`systemctl start --no-block ${unit}`)
    await holdMidway(host)
  })

  /** Nothing of the broken run hinders what comes after it. */
  async function nothingIsLeft(): Promise<void> {
    expect(await snapshots(host)).toHaveLength(before)
    expect(await host.sh('findmnt --raw --noheadings --output TARGET | grep /notes || true')).toBe('')
    expect(await host.sh('systemctl is-active notes')).toBe('active')
    // It needs the repository for itself, and forgets nothing after a failure.
    await host.sh('systemctl start restic-prune')
    expect(await snapshots(host)).toHaveLength(before)
    await host.sh(`systemctl start ${unit}`)
    expect(await snapshots(host)).toHaveLength(before + 1)
    expect(await host.sh('ls -A /var/lib/atelier-backup/staging')).toBe('')
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
    await restic(host, 'check')
  }

  test('[unit.8] killed outright: its unit fails and tidies up, status says so, and the next one runs', async () => {
    await host.sh(`systemctl kill --kill-whom=main --signal=KILL ${unit}`)
    await host.until(`systemctl --quiet is-failed ${unit}`)
    expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringContaining('killed') })
    await nothingIsLeft()
  })

  test('[unit.8] stopped by systemctl: restic takes its lock away, status says so, and the next one runs', async () => {
    const stopped = host.sh(`systemctl stop ${unit}`)
    await host.until(`systemctl show --property=SubState ${unit} | grep -q stop-sigterm`)
    await goOn(host)
    await stopped
    expect(await host.sh('ls /srv/repository/locks')).toBe('')
    expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringContaining('interrupted') })
    await nothingIsLeft()
  })

  test('[unit.8] the host reboots: status says so, and the next one runs', async () => {
    const rebooted = host.reboot()
    await host.until(`systemctl show --property=SubState ${unit} | grep -q stop-sigterm`)
    await goOn(host)
    await rebooted
    expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringContaining('interrupted') })
    await nothingIsLeft()
  })

  test('[unit.8] the power fails: status says so, and the next one runs', async () => {
    await host.powerCut()
    await host.boot()
    expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringContaining('killed') })
    await nothingIsLeft()
  })

  test('[unit.8] a prune that is killed does not keep the next backup out', async () => {
    await goOn(host)
    await rebuild(host, notes('atelier.backup = { repositories.main.retryLock = "1s"; retention.last = 1000; };'))
    await host.until(`! systemctl --quiet is-active ${unit}; systemctl show --property=ActiveState ${unit} | grep -q inactive`)
    await host.sh('systemctl start --no-block restic-prune')
    await host.sh(`until test "$(ls /srv/repository/locks)"; do sleep 0.01; done; kill -STOP ${pidsOf('restic')}`)
    await host.sh('systemctl kill --signal=KILL restic-prune')
    await host.until('systemctl --quiet is-failed restic-prune')
    expect(await host.sh('ls /srv/repository/locks')).not.toBe('')
    await host.sh(`systemctl start ${unit}`)
    expect(await snapshots(host)).toHaveLength(before + 2)
    expect(await host.sh('ls /srv/repository/locks')).toBe('')
  })

  test('[unit.9] a rebuild that changes its unit, its timer and the manifest neither ends it nor starts another', async () => {
    await rebuild(
      host,
      notes(`
        atelier.backup.services.notes = { schedule.onCalendar = "daily"; tags = [ "new-${attempt}" ]; };
        systemd.services.restic-backups-notes.serviceConfig.TimeoutStartSec = "${attempt}h";`),
    )
    expect(await host.run(['systemctl', 'is-active', unit])).toMatchObject({ stdout: 'activating\n' })
    expect(await statusOf(host)).toMatchObject({ state: 'running' })
    await goOn(host)
    await host.until(`! systemctl --quiet is-active ${unit}`)
    await host.until(`systemctl show --property=ActiveState,Result ${unit} | tr '\\n' ' ' | grep -q 'Result=success ActiveState=inactive'`)
    const all = await snapshots(host)
    expect(all).toHaveLength(before + 1)
    expect(all.at(-1)?.tags).not.toContain(`new-${attempt}`)
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })
  })
})
