// Restores that are killed where units run: whatever is typed next, the unit runs again in the end, on one version of its data.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, type TestHost } from '../lib/host.ts'
import { makeNotesHost, pidsOf } from './notes.ts'

/** Kills the CLI once, where the unit is stopped or started: `touch /at-stop`, `touch /at-start`. */
const killer = `test -e /at-$1 || exit 0
rm /at-$1
kill -KILL ${pidsOf('nodejs')}
sleep 1`
const hooks = 'ExecStopPost = "-+/usr/bin/bash /opt/killer stop"; ExecStartPre = "-+/usr/bin/bash /opt/killer start";'

describe.skipIf(!canHost)('a restore that is killed', () => {
  let host: TestHost
  const rows = "sqlite3 -readonly -cmd '.timeout 10000' /var/lib/notes/notes.db 'SELECT count(*) FROM note'"
  const runs = async () => {
    const before = Number(await host.sh(rows))
    await host.until(`test "$(${rows})" -gt ${before}`)
    return host.sh('systemctl is-active notes')
  }
  const journal = async () => (await host.run(['cat', '/var/lib/atelier-backup/journals/notes.json'])).stdout
  const killed = async (when: string) => {
    await host.sh(`echo new >/var/lib/notes/file; touch /at-${when}`)
    expect((await host.cli(['restore', 'notes', '--in-place', '--yes'])).exit).toBe(137)
    return JSON.parse(await journal()).phase
  }
  beforeAll(async () => {
    host = await makeNotesHost(`systemd.services.notes.serviceConfig = { ${hooks} };`)
    host.write('/opt/killer', killer)
    await host.sh('echo old >/var/lib/notes/file; systemctl start restic-backups-notes')
  })
  afterAll(() => host?.remove())

  test.for([
    ['stop', 'staging', '--rollback', 'new'],
    ['stop', 'staging', '--resume', 'old'],
    ['start', 'swapping', '--rollback', 'new'],
    ['start', 'swapping', '--resume', 'old'],
  ] as const)('[restore.7] at the %s of its unit, in phase %s: %s, and the unit runs on the %s data', async ([when, phase, direction, text]) => {
    expect(await killed(when)).toBe(phase)
    expect((await host.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'unfinished-restore' })
    expect(await host.cli(['restore', 'notes', direction, '--yes'])).toMatchObject({ exit: 0 })
    expect(host.read('/var/lib/notes/file')).toBe(`${text}\n`)
    expect(await runs()).toBe('active')
    expect(await journal()).toBe('')
    await host.cli(['restore', 'notes', '--discard-old', '--yes'])
  })

  test('[restore.7] nor does the next restore forget a unit that a killed one has stopped', async () => {
    expect(await killed('stop')).toBe('staging')
    expect(await host.sh('systemctl is-active notes || true')).not.toBe('active')
    expect(await host.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
    expect(await runs()).toBe('active')
  })

  test('[restore.7] a unit that does not start on the restored data gets the old data back, and runs', async () => {
    const strict = '[Service]\\nExecStartPre=/usr/bin/grep new /var/lib/notes/file\\n'
    const folder = '/run/systemd/system/notes.service.d'
    await host.sh(`echo new >/var/lib/notes/file; mkdir -p ${folder}; printf '${strict}' >${folder}/strict.conf; systemctl daemon-reload`)
    const { exit, stderr } = await host.cli(['restore', 'notes', '--in-place', '--yes'])
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/notes: notes.service didn't start.*the old data is back in place/)])
    expect(host.read('/var/lib/notes/file')).toBe('new\n')
    expect(await runs()).toBe('active')
  })
})
