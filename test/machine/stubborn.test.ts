// Units that don't do what they are told, and units that others have masked: a restore gives up in time, and leaves them as they were.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { rebuild } from './nixos.ts'
import { makeNotesHost, notes, pidsOf, snapshots, statusOf } from './notes.ts'

const sleeper = 'serviceConfig.ExecStart = "/usr/bin/sleep inf";'
/** What hangs on a service in earnest: a socket, a timer, what requires it, what is part of it. */
const around = `
  systemd.services.reader = { unitConfig = { Requires = "notes.service"; After = "notes.service"; }; ${sleeper} };
  systemd.services.part = { unitConfig.PartOf = "notes.service"; ${sleeper} };
  systemd.services.knock = { ${sleeper} };
  systemd.timers.notes.timerConfig = { OnActiveSec = "1h"; };`
const control = '/run/systemd/system.control'
const inPlace = ['restore', 'notes', '--in-place', '--yes']

describe.skipIf(!canHost)('a restore in place, and', () => {
  let host: TestHost
  /** How units stand: running or not, with which process, enabled, disabled or masked. */
  const standing = (units: string) => host.sh(`systemctl show --property=Id,ActiveState,MainPID,UnitFileState,LoadState ${units}`)
  const states = (units: string) => host.sh(`systemctl is-active ${units} | xargs || true`)
  const masks = () => host.sh(`ls ${control} 2>/dev/null || true`)
  const journal = async () => (await host.run(['cat', '/var/lib/atelier-backup/journals/notes.json'])).stdout
  const file = () => host.read('/var/lib/notes/file')
  const lastRun = async () => JSON.parse(host.read('/var/lib/atelier-backup/records/notes.json')).runs.at(-1)

  beforeAll(async () => {
    host = await makeNotesHost(around)
    host.write('/etc/systemd/system/knock.socket', '[Socket]\nListenStream=127.0.0.1:7777\n')
    await host.sh('systemctl daemon-reload; systemctl start reader part knock.socket notes.timer')
    await host.sh('echo old >/var/lib/notes/file; systemctl start restic-backups-notes')
  }, imageTimeout)
  afterAll(() => host?.remove())
  beforeEach(() => void host.write('/var/lib/notes/file', 'new\n'))

  describe('[restore.31] a unit that does not stop', () => {
    const hanging = 'notes.service notes.timer reader.service part.service knock.socket'
    const declared = (more = 'stopTimeoutSec = 2;') => `${around}
      atelier.backup.services.notes = { units = [ "notes.service" "knock.service" "stubborn.service" ]; ${more} };
      systemd.services.stubborn.serviceConfig = { ExecStart = "/usr/bin/bash -c 'trap \\"\\" TERM; while true; do sleep 0.2; done'"; TimeoutStopSec = "infinity"; };`
    /** It still has its first process; ended by force it starts again by itself. */
    const stillThere = async (pid: string) => {
      expect(await host.sh('systemctl show --property=MainPID --value stubborn')).toBe(pid)
      expect(await states('stubborn')).toBe('deactivating')
      await host.sh(`kill -KILL ${pid}`)
      await host.until('test "$(systemctl is-active stubborn)" = active')
      expect(await host.sh('systemctl show --property=MainPID --value stubborn')).not.toBe(pid)
    }
    const begun = async (more?: string) => {
      await host.sh('systemctl kill --signal=KILL stubborn 2>/dev/null || true')
      await rebuild(host, notes(declared(more)))
      await host.sh('systemctl start stubborn')
      return host.sh('systemctl show --property=MainPID --value stubborn')
    }

    test('is given up: one line, nothing is touched, all else runs again, and it too once it has stopped', async () => {
      const pid = await begun()
      const before = await states(hanging)
      const { exit, stderr } = await host.cli(inPlace)
      expect([exit, stderr]).toEqual([
        1,
        expect.stringMatching(/^notes: stubborn.service didn't stop within 2 s \(stopTimeoutSec\).*; the live data was not touched\n$/m),
      ])
      expect(stderr.trim().split('\n')).toHaveLength(1)
      expect([file(), await states(hanging), await masks(), await journal()]).toEqual(['new\n', before, '', ''])
      await stillThere(pid)
      // Once it may be ended, the same works.
      await host.sh(
        `mkdir -p /run/systemd/system/stubborn.service.d; printf '[Service]\\nTimeoutStopSec=1\\n' >/run/systemd/system/stubborn.service.d/x.conf`,
      )
      await host.sh('systemctl daemon-reload')
      expect(await host.cli(inPlace)).toMatchObject({ exit: 0 })
      expect([file(), await states(hanging), await states('stubborn')]).toEqual(['old\n', before, 'active'])
      await host.sh('rm -r /run/systemd/system/stubborn.service.d; systemctl daemon-reload')
    })

    test('Ctrl-C does not wait for it', async () => {
      const pid = await begun('stopTimeoutSec = 100000;')
      const before = await states(hanging)
      const restored = host.cli(inPlace)
      await host.until('test "$(systemctl is-active stubborn)" = deactivating')
      await host.sh(`kill -INT ${pidsOf('nodejs')}`)
      await host.sh(`sleep 1; kill -KILL ${pid}`)
      expect((await restored).exit).toBe(130)
      expect([file(), await states(hanging), await masks(), await journal()]).toEqual(['new\n', before, '', ''])
      await host.until('test "$(systemctl is-active stubborn)" = active')
    })

    test('[stop.6] nor is a snapshot made of what does not stop for it', async () => {
      const pid = await begun('stopTimeoutSec = 2; stopForBackup = true;')
      const [before, saved] = [await states(hanging), (await snapshots(host)).length]
      expect((await host.run(['systemctl', 'start', 'restic-backups-notes'])).exit).toBe(1)
      expect(await lastRun()).toMatchObject({ kind: 'backup', code: 'stop-failed', snapshotId: null })
      expect([await states(hanging), (await snapshots(host)).length]).toEqual([before, saved])
      await stillThere(pid)
    })
  })

  test.for([
    [
      'a unit that hangs while it starts on the restored data',
      'systemd.services.notes.serviceConfig = { ExecStartPre = "/usr/bin/bash -c \'grep new /var/lib/notes/file || sleep inf\'"; TimeoutStartSec = 2; };',
      /notes: notes.service.* didn't start.*the old data is back in place/,
    ],
    [
      'a health check that never ends, and ignores that it is told to',
      'atelier.backup.services.notes = { hookTimeoutSec = 1; healthCheck = "touch /run/checked; trap \'\' TERM; while true; do /usr/bin/sleep 0.5; done"; };',
      /notes: healthCheck took longer than 1 s.*the old data is back in place/,
    ],
  ] as const)('[restore.32] %s: given up, the old data is back, and units run on it', async ([, declared, words]) => {
    await rebuild(host, notes(`${around} ${declared}`))
    await host.sh('systemctl reset-failed; systemctl start reader part')
    host.write('/var/lib/notes/file', 'new\n')
    const units = 'notes.service reader.service part.service'
    expect(await states(units)).toBe('active active active')
    const { exit, stderr } = await host.cli(inPlace)
    expect([exit, stderr]).toEqual([1, expect.stringMatching(words)])
    expect([file(), await states(units), await masks(), await journal()]).toEqual(['new\n', 'active active active', '', ''])
    expect(await lastRun()).toMatchObject({ outcome: 'rolled-back' })
    expect(await host.sh("grep -l '[/]run/checked' /proc/[0-9]*/cmdline 2>/dev/null || true")).toBe('')
    await rebuild(host, notes(around))
  })

  describe('[restore.33] what others have masked or disabled', () => {
    const masked = { etc: 'systemctl mask m-etc', run: 'systemctl mask --runtime m-run', control: `ln -s /dev/null ${control}/m-control.service` }
    const idle = Object.keys(masked).map((name) => `m-${name}.service`)
    const all = `${idle.join(' ')} runs.service rests.service`
    const links = () => host.sh(`ls -l /etc/systemd/system /run/systemd/system ${control} | grep -E ' m-|runs|rests' | awk '{print $9, $10, $11}'`)
    beforeAll(async () => {
      for (const name of [...idle, 'runs.service', 'rests.service'])
        host.write(`/usr/lib/systemd/system/${name}`, '[Service]\nExecStart=/usr/bin/sleep inf\n[Install]\nWantedBy=multi-user.target\n')
      const units = ['notes.service', ...all.split(' ')].map((unit) => `"${unit}"`).join(' ')
      await rebuild(host, notes(`${around} atelier.backup.services.notes.units = [ ${units} ];`))
      await host.sh(`mkdir -p ${control}; ${Object.values(masked).join('; ')}; systemctl daemon-reload; systemctl start runs`)
    })

    test('stays so, and is not started; what is disabled stays disabled, running or not', async () => {
      const before = [await host.sh(`systemctl is-enabled ${all} | xargs || true`), await states(all), await links()]
      expect(before.slice(0, 2)).toEqual(['masked masked-runtime masked-runtime disabled disabled', 'inactive inactive inactive active inactive'])
      const now = async () => [await host.sh(`systemctl is-enabled ${all} | xargs || true`), await states(all), await links()]
      expect(await host.cli(inPlace)).toMatchObject({ exit: 0 })
      expect([file(), ...(await now())]).toEqual(['old\n', ...before])
      expect(await host.cli(['restore', 'notes', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
      expect([file(), ...(await now())]).toEqual(['new\n', ...before])
    })

    test.for(Object.entries(masked))('one that runs although it is masked (%s) is named, and nothing is touched', async ([name, mask]) => {
      const unit = `m-${name}.service`
      // Started before it was masked.
      await host.sh(
        `rm -f /etc/systemd/system/${unit} /run/systemd/system/${unit} ${control}/${unit}; systemctl daemon-reload; systemctl start ${unit}`,
      )
      await host.sh(`${mask}; systemctl daemon-reload`)
      const before = [await standing(`notes ${all}`), await links()]
      const { exit, stderr } = await host.cli(inPlace)
      expect([exit, stderr]).toEqual([1, expect.stringMatching(new RegExp(`^atelier-backup: notes: ${unit} runs although it is masked.*\n$`))])
      expect([file(), await standing(`notes ${all}`), await links()]).toEqual(['new\n', ...before])
      await host.sh(`systemctl stop ${unit}`)
    })
  })

  describe('units that are stopped for a backup, and', () => {
    const unit = (name: string, section: string, more = '') =>
      host.write(`/etc/systemd/system/${name}.service`, `[Unit]\n${section}\n[Service]\nExecStart=/usr/bin/sleep inf\n${more}`)
    const begun = async (...units: string[]) => {
      const named = units.map((name) => `"${name}.service"`).join(' ')
      await rebuild(host, notes(`${around} atelier.backup.services.notes = { stopForBackup = true; units = [ "notes.service" ${named} ]; };`))
    }
    const backUp = () => host.run(['systemctl', 'start', 'restic-backups-notes'])

    test('[stop.7] may be started a few times a day: each backup starts them, and so does a restore', async () => {
      unit('limit', 'StartLimitIntervalSec=86400\nStartLimitBurst=2')
      await begun('limit')
      await host.sh('systemctl start limit')
      for (let n = 0; n < 3; n++) expect([(await backUp()).exit, await states('limit')]).toEqual([0, 'active'])
      expect([(await host.cli(inPlace)).exit, await states('limit')]).toEqual([0, 'active'])
    })

    test('[stop.8] don’t run at its end: this run fails, and each later one, and status tells what to type, until they are started', async () => {
      unit('needy', 'ConditionPathExists=/run/ready', "ExecStopPost=-/usr/bin/bash -c 'test -e /run/once && rm /run/once /run/ready'")
      await begun('needy')
      await host.sh('touch /run/ready /run/once; systemctl start needy')
      const saved = (await snapshots(host)).length
      const told = /needy.service.* doesn't run.*systemctl start needy.service/
      for (const [n, words] of [/needy.service was started and doesn't run \(.*its conditions aren't met\)/, told].entries()) {
        expect((await backUp()).exit).toBe(1)
        expect(await lastRun()).toMatchObject({
          outcome: 'failed',
          code: 'start-failed',
          message: expect.stringMatching(words),
          snapshotId: expect.any(String),
        })
        expect((await snapshots(host)).length).toBe(saved + n + 1)
      }
      expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringMatching(told) })
      await host.sh('touch /run/ready; systemctl start needy')
      expect((await backUp()).exit).toBe(0)
      // One that dies later is told by the next look; one that somebody stops is not.
      await host.sh('systemctl kill --signal=ABRT needy; sleep 1')
      expect(await statusOf(host)).toMatchObject({ state: 'failed', message: expect.stringMatching(told) })
      await host.sh('systemctl reset-failed needy; systemctl start needy; systemctl stop needy')
      expect(await statusOf(host)).toMatchObject({ state: 'ok' })
    })

    test('[stop.11] have a condition that isn’t met now: named, and nothing is stopped; of the data that a restore brings it isn’t asked', async () => {
      // A file that is there while a unit runs is no such condition.
      unit('alone', 'ConditionPathExists=!/run/alone', 'ExecStartPost=/usr/bin/touch /run/alone\nExecStopPost=/usr/bin/rm /run/alone')
      unit(
        'needs',
        'ConditionPathExists=/run/needed\nConditionPathExists=|/run/never\nConditionPathExists=|/etc\nAssertPathExists=/var/lib/notes/file',
      )
      await begun('needs', 'alone')
      await host.sh('touch /run/needed; systemctl start needs alone')
      expect([(await backUp()).exit, await states('needs alone')]).toEqual([0, 'active active'])
      await host.sh('rm /run/needed')
      const before = await standing('notes reader needs')
      expect((await backUp()).exit).toBe(1)
      const told = 'needs.service runs, and could not be started again: its ConditionPathExists=/run/needed '
      expect(await lastRun()).toMatchObject({ code: 'conditions-unmet', message: expect.stringContaining(told), snapshotId: null })
      expect(await host.cli(inPlace)).toMatchObject({ exit: 1, stderr: expect.stringContaining(told) })
      expect(await standing('notes reader needs')).toBe(before)
      await host.sh('touch /run/needed; rm /var/lib/notes/file')
      expect([(await host.cli(inPlace)).exit, await states('needs')]).toEqual([0, 'active'])
      await host.sh('systemctl stop needs alone; rm /etc/systemd/system/{needs,alone}.service; systemctl daemon-reload')
    })

    test('[restore.32] aren’t started by the restored data: it is taken back, and they run on the old', async () => {
      unit('wants', 'ConditionPathExists=/var/lib/notes/ready')
      await begun('wants')
      await host.sh('touch /var/lib/notes/ready; systemctl start wants')
      const before = await masks()
      const { exit, stderr } = await host.cli(inPlace)
      expect([exit, stderr]).toEqual([1, expect.stringMatching(/wants.service was started and doesn't run.*the old data is back in place/)])
      expect([file(), await states('notes wants'), await masks(), await journal()]).toEqual(['new\n', 'active active', before, ''])
    })

    test.for(['RefuseManualStart', 'RefuseManualStop'])(
      '[stop.9] nobody may start or stop by hand (%s): named, and nothing is stopped',
      async (setting) => {
        unit('proud', `${setting}=yes`)
        host.write('/etc/systemd/system/proud.target', '[Unit]\nWants=proud.service\n')
        await begun('proud')
        await host.sh('systemctl start proud.target')
        const before = await standing('notes reader part proud')
        expect((await backUp()).exit).toBe(1)
        expect(await lastRun()).toMatchObject({
          code: 'refuses-manual',
          message: expect.stringContaining(`proud.service runs, and can't be`),
          snapshotId: null,
        })
        expect(await host.cli(inPlace)).toMatchObject({ exit: 1, stderr: expect.stringContaining(`${setting}=yes`) })
        expect(await standing('notes reader part proud')).toBe(before)
        await host.sh(`rm /etc/systemd/system/proud.*; systemctl daemon-reload; systemctl stop proud || true`)
      },
    )

    test('[stop.10] are upheld by another: that is stopped too, and runs again', async () => {
      unit('upheld', '')
      unit('keeper', 'Upholds=upheld.service')
      await begun('upheld')
      await host.sh('systemctl start keeper; sleep 1')
      expect(await states('upheld keeper')).toBe('active active')
      const since = () => host.sh('systemctl show --property=ActiveEnterTimestampMonotonic keeper')
      const before = await since()
      await backUp()
      expect(await lastRun()).toMatchObject({ outcome: 'ok', message: null })
      expect([await states('upheld keeper'), (await since()) === before]).toEqual(['active active', false])
      expect([(await host.cli(inPlace)).exit, await states('upheld keeper')]).toEqual([0, 'active active'])
    })
  })
})
