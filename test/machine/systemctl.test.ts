// Killed at any of its calls of systemctl, where sockets, timers, dependents and restarts are: whatever is typed next, units and data are as they should be.
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { type Moment, random } from '../lib/killed.ts'
import { output } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { attributes, fingerprint } from '../lib/tree.ts'
import { makeNotesHost, pidsOf } from './notes.ts'

const units = 'notes.service notes.timer knock.service knock.socket reader.service part.service'
const declared = `
  atelier.backup.services.notes.units = [ "notes.service" "knock.service" ];
  systemd.services.notes.serviceConfig.Restart = "always";
  systemd.services.reader = { unitConfig = { Requires = "notes.service"; After = "notes.service"; }; serviceConfig.ExecStart = "/usr/bin/sleep inf"; };
  systemd.services.part = { unitConfig.PartOf = "notes.service"; serviceConfig.ExecStart = "/usr/bin/sleep inf"; };
  systemd.services.knock.serviceConfig.ExecStart = "/usr/bin/sleep inf";
  systemd.timers.notes.timerConfig = { OnActiveSec = "1s"; OnUnitInactiveSec = "1s"; AccuracySec = "10ms"; };`
const control = '/run/systemd/system.control'
const killNode = `kill -KILL ${pidsOf('nodejs')}`

/** The CLI's own systemctl: it notes each call that changes something, and at one of them kills who has called it. */
const systemctl = `#!/usr/bin/bash
PATH=/usr/bin
if [ "$1" = daemon-reload ] && [ -L ${control}/notes.service ]; then systemctl is-active ${units} | xargs >/closed; fi
[ "$1" != show ] && [ -e /calls ] || exec /usr/bin/systemctl "$@"
echo "$*" >>/calls
[ "$(wc -l </calls)" = "$(cut -d ' ' -f 2 /kill)" ] || exec /usr/bin/systemctl "$@"
case $(cut -d ' ' -f 1 /kill) in
  before) ${killNode}; sleep 1 ;;
  amid) /usr/bin/systemctl "$@" & sleep 0.03; ${killNode}; kill $!; sleep 1 ;;
  after) /usr/bin/systemctl "$@"; ${killNode}; sleep 1 ;;
esac
`
/** With ATELIER_SOAK at each call, at each moment, both ways; otherwise at some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)
const directions = ['--resume', '--rollback'] as const
const moments: Moment[] = ['before', 'amid', 'after']
/** Stop of what starts others, stop, mask; unmask, start counters, stop before sockets, start of sockets, start; and again, as always at the end. */
const calls = ['stop', 'stop', 'daemon-reload', 'daemon-reload', 'reset-failed', 'stop', 'start', 'start', 'reset-failed', 'start', 'start']
const all = moments.flatMap((moment) => calls.map((_, i) => [moment, i + 1] as const))
const chosen = soak
  ? all
  : [['after', calls.length] as const, ...Array.from({ length: 3 }, (_, i) => all[(random(seed) + i * 10) % all.length] as (typeof all)[number])]

const figures = { tried: 0, lost: 0 }
afterAll(() => console.log(`restores killed at systemctl: tried ${figures.tried}, lost ${figures.lost}`))

describe.skipIf(!canHost || !has('setfattr'))('a restore that is killed at its call of systemctl', () => {
  let host: TestHost
  let before: string
  const states = () => host.sh(`systemctl is-active ${units} | xargs || true`)
  const masks = () => host.sh(`ls ${control} 2>/dev/null || true`)
  const journal = async () => (await host.run(['cat', '/var/lib/atelier-backup/journals/notes.json'])).stdout
  /** What doesn't change by itself: content, modes, owners, links, attributes. */
  const still = '/var/lib/notes/still'
  const look = () => JSON.stringify([fingerprint(host.path(still), { times: false }), attributes(host.path(still))])
  const change = async (version: string) => {
    await host.sh(
      `mkdir -p ${still}; cd ${still}; rm -rf -- *; echo ${version} >file; ln file twin; ln -s ${version} link; mkdir -m 2751 ${version}; chown 33:44 ${version}; chmod ${version === 'old' ? 600 : 640} file`,
    )
    output(['setfattr', '--name=trusted.is', `--value=${version}`, host.path(`${still}/${version}`)])
  }
  const rows = () => host.sh("sqlite3 -readonly -cmd '.timeout 10000' /var/lib/notes/notes.db 'PRAGMA integrity_check'")
  const running = async () => {
    await host.until(`test "$(systemctl is-active ${units} | xargs)" = "${before}"`)
    const count = "sqlite3 -readonly -cmd '.timeout 10000' /var/lib/notes/notes.db 'SELECT count(*) FROM note'"
    const now = await host.sh(count)
    await host.until(`test "$(${count})" -gt ${now}`)
  }
  const [texts, restored] = [{ old: '', fresh: '' }, () => host.cli(['restore', 'notes', '--in-place', '--yes'])]

  beforeAll(async () => {
    host = await makeNotesHost(declared)
    rmSync(host.path('/nix/store/systemd/bin/systemctl'))
    host.write('/nix/store/systemd/bin/systemctl', systemctl, 0o755)
    host.write('/etc/systemd/system/knock.socket', '[Socket]\nListenStream=127.0.0.1:7777\n')
    await host.sh(`systemctl daemon-reload; systemctl start ${units.replace('knock.service', '')}`)
    before = await states()
    expect(before).toBe('active active inactive active active active')
    await change('old')
    await host.sh('systemctl start restic-backups-notes')
    texts.fresh = look()
    await change('new')
    texts.old = look()
    // Without a kill it is the snapshot's, by so many calls.
    await host.sh('touch /calls; echo never 0 >/kill')
    expect(await restored()).toMatchObject({ exit: 0 })
    expect(
      host
        .read('/calls')
        .trim()
        .split('\n')
        .map((call) => call.split(' ')[0]),
    ).toEqual(calls)
    expect([look(), texts.fresh === texts.old]).toEqual([texts.fresh, false])
    await running()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test.for(chosen)('[restore.35] %s call %i', async ([moment, n]) => {
    for (const direction of directions) {
      await host.sh('rm -f /calls')
      await change('new')
      await running()
      await host.sh(`touch /calls; echo ${moment} ${n} >/kill`)
      expect((await restored()).exit).toBe(137)
      await host.sh('rm -f /calls /closed')
      figures.tried += 1
      figures.lost += 1
      const { phase } = JSON.parse(await journal())
      const { exit, stderr } = await host.cli(['restore', 'notes', direction, '--yes'])
      expect([exit, stderr]).toEqual([0, ''])
      // Begun anew, or gone on with: nothing runs, and nothing could be started by a socket or a timer, while data is exchanged.
      if (phase === 'swapping' || direction === '--resume') expect(host.read('/closed')).toMatch(/^((inactive|failed)\s){6}$/)
      expect([look(), await rows(), await masks(), await journal()]).toEqual([direction === '--resume' ? texts.fresh : texts.old, 'ok', '', ''])
      await running()
      figures.lost -= 1
      await host.cli(['restore', 'notes', '--discard-old', '--yes'])
    }
  })
})
