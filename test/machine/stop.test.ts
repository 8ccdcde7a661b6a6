// Units that stop for their backup: which, for how long, and that they run again whatever happens.
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canMountDisks } from '../lib/disk.ts'
import { canHost, type TestHost } from '../lib/host.ts'
import { random } from '../lib/killed.ts'
import { makeNixosHost, mountDiskOn, rebuild } from './nixos.ts'
import { restic, snapshots } from './notes.ts'

const unit = 'restic-backups-app.service'
const events = '/var/lib/atelier-backup/running/app.ndjson'
const running = ['app.service', 'app.socket', 'helper.service', 'stack.target', 'web.service', 'worker.service']

/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)

describe.skipIf(!canHost || !canMountDisks)('units that stop for their backup', () => {
  let host: TestHost
  beforeAll(async () => {
    host = await makeNixosHost(declared())
    for (const type of ['btrfs', 'xfs'] as const) mountDiskOn(host, type)
    host.write('/opt/app.mjs', app)
    rmSync(host.path('/nix/store/restic/bin/restic'))
    host.write('/nix/store/restic/bin/restic', heldRestic, 0o755)
    host.write('/opt/client.mjs', client)
    for (const [name, text] of Object.entries(units)) host.write(`/etc/systemd/system/${name}`, text)
    await host.boot()
    await host.sh('btrfs subvolume create /mnt/btrfs/app; mkdir /mnt/xfs/app /srv/app; systemctl start app.socket web worker stack.target')
    await host.until('test -s /srv/app/file && test -s /mnt/btrfs/app/file && test -s /mnt/xfs/app/file')
  })
  afterAll(() => host.remove())

  const active = async () => {
    const { stdout } = await host.run(['systemctl', 'show', '--property=Id,ActiveState', ...running, 'idle.service'])
    const states = stdout
      .trim()
      .split('\n\n')
      .map((block) => block.split('\n').sort((a, b) => b.length - a.length))
    return states.flatMap((lines) => (lines.includes('ActiveState=active') ? [lines.find((line) => line.startsWith('Id='))?.slice(3)] : [])).sort()
  }
  const lastRun = async () => JSON.parse(host.read('/var/lib/atelier-backup/records/app.json')).runs.at(-1)
  const done = () => host.until(`systemctl show --property=ActiveState ${unit} | grep -qE 'inactive|failed'`)
  const left = () => host.sh("find /mnt /srv/app -name '.atelier-backup-*'; btrfs subvolume list /mnt/btrfs | grep -v 'path app$' || true")

  const views = [
    ['btrfs', '/mnt/btrfs/app'],
    ['reflink', '/mnt/xfs/app'],
  ]
  test.each(views)(
    '[stop.1] [stop.2] [stop.4] %s: stopped for moments, the upload goes on without it; files and databases agree',
    async (view, folder) => {
      await rebuild(host, declared(folder))
      await host.sh('rm -f /tmp/enough')
      const client = host.run(['/nix/store/nodejs', '/opt/client.mjs'])
      await host.sh(`touch /run/hold; systemctl start --no-block ${unit}`)
      await host.until('test -e /run/held')
      expect(await active()).toEqual(running)
      const n = await host.sh(`cat ${folder}/file`)
      await host.until(`test "$(cat ${folder}/file)" != ${n}`)
      await sleep(1500)
      await host.sh('rm /run/hold /run/held')
      await done()
      await host.sh('touch /tmp/enough')
      const { stdout } = await client
      const [worstGap = 0, own = 0] = stdout.split(' ').map(Number)
      const run = await lastRun()
      expect(run).toMatchObject({ outcome: 'ok', view })
      expect(run.seconds).toBeGreaterThan(1.5 + run.downtimeSeconds)
      // Measured from before the stop to after the start: no client waits longer, but for its own next try.
      expect(worstGap, `${own} s of it may be its own`).toBeLessThan(run.downtimeSeconds + own)
      expect(worstGap).toBeGreaterThan(0)
      const { services } = (await host.cli(['status', '--json'])).json()
      expect(services[0]).toMatchObject({ state: 'ok', lastRun: { downtimeSeconds: run.downtimeSeconds } })
      await agree((await snapshots(host)).at(-1)?.id ?? '', folder)
      expect(await left()).toBe('')
    },
  )

  test('[stop.1] [stop.3] where the filesystem holds nothing still: all that uses it is down while it is read, and then runs again', async () => {
    await rebuild(host, declared('/srv/app'))
    await host.sh(`touch /run/hold; systemctl start --no-block ${unit}`)
    await host.until('test -e /run/held')
    expect(await active()).toEqual([])
    // Nobody starts it by knocking.
    expect((await host.run(['/nix/store/nodejs', '-e', knock])).exit).toBe(1)
    await host.sh('rm /run/hold /run/held')
    await done()
    expect(await active()).toEqual(running)
    const run = await lastRun()
    expect(run).toMatchObject({ outcome: 'ok', view: 'stopped' })
    expect(run.downtimeSeconds).toBeLessThanOrEqual(run.seconds)
    await agree((await snapshots(host)).at(-1)?.id ?? '', '/srv/app')
    expect((await host.cli(['backup', 'app', '--json'])).stdout).toContain('stays stopped for the whole upload')
  })

  const instants: [instant: string, folder: string][] = [
    ['"do":"stop","state":"begun"', '/mnt/btrfs/app'],
    ['"do":"stop","state":"done"', '/mnt/xfs/app'],
    ['"do":"view","state":"begun"', '/mnt/xfs/app'],
    ['"do":"start","state":"begun"', '/mnt/btrfs/app'],
    ['"do":"snapshot","state":"begun"', '/mnt/btrfs/app'],
    ['"do":"snapshot","state":"begun"', '/srv/app'],
  ]
  test.each(instants)('[stop.5] killed at %s (%s): the same units run again, nothing is left, and the next run is clean', async (instant, folder) => {
    await rebuild(host, declared(folder))
    await host.sh(`rm -f ${events}; systemctl start --no-block ${unit}; ${killAt(instant, `systemctl kill --kill-whom=main --signal=KILL ${unit}`)}`)
    await done()
    expect(await active()).toEqual(running)
    expect(await left()).toBe('')
    expect(await lastRun()).toMatchObject({ outcome: 'failed', code: 'killed' })
    await host.sh(`systemctl start ${unit}`)
    expect([await active(), await left(), (await lastRun()).outcome]).toEqual([running, '', 'ok'])
  })

  test('[stop.5] killed outside of its unit: the next run starts what was stopped; and `run --cleanup` does', async () => {
    await rebuild(host, declared('/srv/app'))
    for (const next of ['run app', 'run --cleanup app']) {
      await host.sh(
        `rm -f ${events}; /nix/store/00000000000000000000000000000000-atelier-backup/bin/atelier-backup run app >/dev/null 2>&1 & ${killAt('"do":"stop","state":"done"', 'kill -KILL $!')}`,
      )
      await host.until('! systemctl --quiet is-active app')
      expect(await host.cli(next.split(' '))).toMatchObject({ exit: 0 })
      expect(await active()).toEqual(running)
    }
  })

  test('[stop.5] interrupted, or failed at a step: the same units run again', async () => {
    await rebuild(host, declared('/srv/app'))
    await host.sh(`touch /run/hold; systemctl start --no-block ${unit}`)
    await host.until('test -e /run/held')
    await host.sh(`systemctl stop --no-block ${unit}`)
    await host.sh('rm /run/hold /run/held')
    await done()
    await host.until('systemctl --quiet is-active app')
    expect([await active(), (await lastRun()).outcome]).toEqual([running, 'interrupted'])
    await host.sh('mv /srv/repository/config /srv/config')
    expect((await host.run(['systemctl', 'start', unit])).exit).not.toBe(0)
    await host.sh('mv /srv/config /srv/repository/config')
    expect([await active(), (await lastRun()).downtimeSeconds]).toEqual([running, null])
    await rebuild(host, declared('/srv/app', 'postgres = [ "none" ];'))
    expect((await host.run(['systemctl', 'start', unit])).exit).not.toBe(0)
    expect([await active(), (await lastRun()).outcome]).toEqual([running, 'failed'])
  })

  test('[stop.3] an idle service stays idle, and has no downtime', async () => {
    await rebuild(host, declared('/srv/app'))
    await host.sh('systemctl stop app.socket app web worker stack.target')
    await host.sh(`systemctl start ${unit}`)
    expect([await active(), (await lastRun()).downtimeSeconds]).toEqual([[], null])
    await host.sh('systemctl start app.socket web worker stack.target')
    expect(await active()).toEqual(running)
  })

  test('[stop.6] a unit that will not stop: no snapshot, and all the others run again; one that is killed for it counts as stopped', async () => {
    await rebuild(host, declared('/srv/app'))
    const before = await snapshots(host)
    await host.sh(
      'mkdir -p /run/systemd/system/worker.service.d; printf "[Service]\\nSendSIGKILL=no\\nExecStart=\\nExecStart=bash -c \\"trap : TERM; while true; do sleep 1; done\\"\\n" >/run/systemd/system/worker.service.d/stubborn.conf',
    )
    await host.sh('systemctl daemon-reload; systemctl restart worker')
    expect((await host.run(['systemctl', 'start', unit])).exit).toBe(1)
    expect(await lastRun()).toMatchObject({ outcome: 'failed', code: 'stop-failed', message: expect.stringMatching(/worker.service.* didn't stop/) })
    expect(await snapshots(host)).toEqual(before)
    // Itself it has never ended; systemd counts it as failed.
    expect((await active()).filter((name) => name !== 'worker.service')).toEqual(running.filter((name) => name !== 'worker.service'))
    await host.sh(
      'systemctl kill --signal=KILL worker; sed -i /SIGKILL/d /run/systemd/system/worker.service.d/stubborn.conf; systemctl daemon-reload; systemctl restart worker',
    )
    await host.sh(`systemctl start ${unit}`)
    expect([await active(), (await lastRun()).outcome]).toEqual([running, 'ok'])
    await host.sh('rm -r /run/systemd/system/worker.service.d; systemctl daemon-reload; systemctl restart worker')
  })

  test('[stop.6] a unit that fails to start again: the data is saved, and the run fails and names it', async () => {
    await rebuild(host, declared('/mnt/btrfs/app'))
    const before = await snapshots(host)
    await host.sh(
      'mkdir -p /run/systemd/system/worker.service.d; printf "[Service]\\nExecStartPre=test ! -e /run/broken\\n" >/run/systemd/system/worker.service.d/broken.conf',
    )
    await host.sh('systemctl daemon-reload; touch /run/broken')
    expect((await host.run(['systemctl', 'start', unit])).exit).toBe(1)
    expect(await lastRun()).toMatchObject({
      outcome: 'failed',
      code: 'start-failed',
      message: expect.stringContaining('worker.service'),
      snapshotId: expect.any(String),
    })
    expect(await snapshots(host)).toHaveLength(before.length + 1)
    expect(await active()).toEqual(running.filter((name) => name !== 'worker.service'))
    await host.sh(
      'rm -r /run/broken /run/systemd/system/worker.service.d; systemctl daemon-reload; systemctl reset-failed worker; systemctl start worker',
    )
  })

  test('[stop.6] a unit that systemd does not know, and one whose stop would stop the backup itself, are named before anything is stopped', async () => {
    await rebuild(host, declared('/srv/app', 'units = [ "app.service" "apq.service" ];'))
    expect((await host.run(['systemctl', 'start', unit])).exit).toBe(1)
    expect(await lastRun()).toMatchObject({ code: 'unknown-unit', message: expect.stringContaining('apq.service'), downtimeSeconds: null })
    await rebuild(host, declared('/srv/app'))
    await host.sh(
      `mkdir -p /run/systemd/system/${unit}.d; printf "[Unit]\\nRequires=app.service\\n" >/run/systemd/system/${unit}.d/bound.conf; systemctl daemon-reload`,
    )
    expect((await host.run(['systemctl', 'start', unit])).exit).toBe(1)
    expect(await lastRun()).toMatchObject({ code: 'stops-itself', message: expect.stringContaining(unit), downtimeSeconds: null })
    expect(await active()).toEqual(running)
    await host.sh(`rm -r /run/systemd/system/${unit}.d; systemctl daemon-reload`)
  })

  const folders = ['/mnt/btrfs/app', '/mnt/xfs/app', '/srv/app']
  const kills = soak ? 120 : 2
  const tries = folders.flatMap((folder) => Array.from({ length: kills }, (_, i): [string, number] => [folder, i]))
  /** The programs that a backup of a folder calls, in their order. */
  const called = new Map<string, string[]>()
  const callsOf = async (folder: string) => {
    const known = called.get(folder)
    if (known) return known
    for (const program of ['systemctl', 'btrfs', 'cp', 'rm', 'restic', 'sqlite3', 'mount']) host.write(`/opt/shims/${program}`, shim, 0o755)
    await host.sh(`sed -i 's#export PATH=/nix#export PATH=/opt/shims:/nix#' /nix/store/*-atelier-backup/bin/atelier-backup`)
    // Its manifest is stored, and what restic caches is there.
    await host.sh(`systemctl start ${unit}`)
    await host.sh(`rm -rf /run/kill; mkdir /run/kill; touch /run/kill/calls; systemctl start ${unit}; mv /run/kill /run/killed`)
    const calls = (await host.sh('cat /run/killed/calls; rm -r /run/killed')).split('\n')
    called.set(folder, calls)
    return calls
  }
  test.for(tries)('[stop.5] killed right before or after any of the programs that it calls (%s, %i)', async ([folder, i]) => {
    await rebuild(host, declared(folder))
    const calls = await callsOf(folder)
    const instants = calls.flatMap((call, n) => ['before', 'after'].map((when) => ({ call, at: `${n + 1} ${when}` })))
    const chance = (random(seed * 100 + tries.findIndex(([other, j]) => other === folder && j === i)) % 1000) / 1000
    const instant = soak ? instants[i] : instants[Math.floor(((i + chance) / kills) * instants.length)]
    if (instant) await killedAtCall(folder, instant)
  })

  test('[view.2] killed while it tries what its filesystem can: nothing of that is left', async () => {
    const folder = '/mnt/xfs/app'
    await rebuild(host, declared(folder))
    const n = (await callsOf(folder)).findIndex((call) => call.startsWith('cp --reflink=always'))
    await killedAtCall(folder, { call: 'cp', at: `${n + 1} after` })
  })

  /** `at`: the number of the call, and `before` or `after`. */
  async function killedAtCall(folder: string, { call, at }: { call: string; at: string }): Promise<void> {
    const before = await snapshots(host)
    await host.sh(`mkdir /run/kill; echo ${at} >/run/kill/at; touch /run/kill/calls`)
    const started = await host.run(['systemctl', 'start', unit])
    await done()
    const struck = await host.sh('test -e /run/kill/at || echo struck; rm -r /run/kill')
    // Of calls that are repeated until units have ended there may be fewer this time: it came to its end before.
    expect([started.exit, struck], `${at} ${call}`).toEqual(struck ? [1, 'struck'] : [0, ''])
    await allIsWell(call)
    await host.sh(`systemctl start ${unit}`)
    await allIsWell(call)
    expect((await lastRun()).outcome).toBe('ok')
    const after = await snapshots(host)
    // The killed one's, if it had come so far.
    expect([1, 2]).toContain(after.length - before.length)
    await agree(after.at(-1)?.id ?? '', folder)
  }

  /** The same units run, and nothing is stopped, masked, mounted, staged or announced any more. */
  async function allIsWell(what: string): Promise<void> {
    const staged = await host.sh('ls -A /var/lib/atelier-backup/staging; ls /var/lib/atelier-backup/running | grep "[.]json$" || true')
    const mounted = await host.sh("grep -lE 'atelier-backup-app|/staging/' /proc/[0-9]*/mountinfo || true")
    const masked = await host.sh('find /run/systemd -lname /dev/null')
    const locked = await host.sh('ls /srv/repository/locks')
    expect([await active(), await left(), staged, mounted, masked, locked], what).toEqual([running, '', '', '', '', ''])
  }

  /** Both databases and the file hold the same number: that of one instant between two rounds of the application. */
  async function agree(id: string, folder: string): Promise<void> {
    await restic(host, `restore ${id} --target /tmp/look`)
    const look = `/tmp/look${folder}`
    const numbers = await host.sh(
      `sqlite3 ${look}/a.db 'SELECT max(n) FROM t'; sqlite3 ${look}/b.db 'SELECT max(n) FROM t'; cat ${look}/file; rm -r /tmp/look`,
    )
    const [a, ...others] = numbers.split('\n')
    expect(Number(a)).toBeGreaterThan(0)
    expect(others).toEqual([a, a])
  }
})

/** Before a program: tells of the call, and kills the CLI right before or after the one that /run/kill/at names, once. */
const shim = `#!/usr/bin/bash
name=\${0##*/}
real=(/nix/store/*/bin/"$name")
# What goes on after the kill keeps its pid, as without this.
[[ -e /run/kill && ! -e /run/kill/struck ]] || exec "$real" "$@"
exec 9>>/run/kill/calls
/usr/bin/flock 9
echo "$name $*" >&9
n=$(/usr/bin/wc -l </run/kill/calls)
exec 9>&-
strike() {
  local cli=$PPID
  [[ -e /run/kill/at && $(</run/kill/at) == "$n $1" ]] || return 0
  /usr/bin/mv /run/kill/at /run/kill/struck
  until [[ $(/usr/bin/tr '\\0' ' ' </proc/$cli/cmdline) == *"atelier-backup.cjs run"* ]]; do cli=$(/usr/bin/sed 's/.*) . \\([0-9]*\\) .*/\\1/' /proc/$cli/stat); done
  kill -KILL "$cli"
  exit 137
}
strike before
"$real" "$@"
status=$?
strike after
exit "$status"
`

/** A restic that saves nothing as long as /run/hold is there. */
const heldRestic = `#!/usr/bin/bash
if [[ $1 == backup && -e /run/hold ]]; then
  touch /run/held
  while [[ -e /run/hold ]]; do sleep 0.02; done
fi
exec /usr/bin/restic "$@"
`

/** Shell: kills as soon as the run tells of an instant. */
function killAt(instant: string, kill: string): string {
  return `for i in {1..4000}; do ! grep -qs '${instant}' ${events} || break; done; ${kill}`
}

function declared(folder = '/srv/app', more = ''): string {
  return `[ {
    networking.hostName = "hearth";
    atelier.backup = {
      enable = true;
      schedule = { onCalendar = "yearly"; randomizedDelaySec = "0"; };
      services.app = {
        stopForBackup = true;
        shrinkThreshold = null;
        paths = [ "${folder}" ];
        sqlite = [ "${folder}/a.db" "${folder}/b.db" ];
        ${more}
      };
    };
  } ]`
}

const sleeper = '[Service]\nExecStart=sleep infinity\n'
const units = {
  'app.service': '[Service]\nType=notify\nNotifyAccess=all\nExecStart=/nix/store/nodejs /opt/app.mjs\nRestart=always\nKillMode=mixed\n',
  'app.socket': '[Socket]\nListenStream=8080\n',
  // Goes down with it.
  'web.service': `[Unit]\nRequires=app.service\nAfter=app.service\n${sleeper}`,
  'worker.service': `[Unit]\nPartOf=app.service\n${sleeper}TimeoutStopSec=2\n`,
  'idle.service': `[Unit]\nPartOf=app.service\n${sleeper}`,
  // A target goes down with what it requires, and takes along what is part of it.
  'stack.target': '[Unit]\nRequires=web.service\nAfter=web.service\nWants=helper.service\n',
  'helper.service': `[Unit]\nPartOf=stack.target\n${sleeper}`,
}

/** Answers on the socket it is given, and counts: in two databases and a file, one after the other. */
const app = `
import { spawn } from 'node:child_process'
import { existsSync, writeFileSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
createServer((socket) => socket.end('here')).listen({ fd: 3 }, () => spawn('/usr/bin/systemd-notify', ['--ready']))
let ends = false
process.on('SIGTERM', () => { ends = true })
const sql = (file, text) => new Promise((done) => spawn('/usr/bin/sqlite3', ['-cmd', '.timeout 5000', file, text]).on('close', done))
const number = '/opt/number'
for (let n = existsSync(number) ? Number(readFileSync(number)) : 1; !ends; n++) {
  for (const folder of ['/srv/app', '/mnt/btrfs/app', '/mnt/xfs/app']) {
    for (const name of ['a', 'b']) await sql(folder + '/' + name + '.db', 'PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(n); INSERT INTO t VALUES(' + n + ')')
    writeFileSync(folder + '/file', String(n))
  }
  writeFileSync(number, String(n + 1))
}
process.exit(0)
`
/** Prints the longest time, in seconds, between two answers; then how much of that may be its own: its pauses, and the time that an answer takes. */
const client = `
import { connect } from 'node:net'
import { existsSync } from 'node:fs'
const tries = []
const ask = () => new Promise((done) => {
  const one = { begun: performance.now(), answered: false }
  tries.push(one)
  const socket = connect(8080, '127.0.0.1').on('data', () => { one.answered = true })
  socket.on('error', () => {}).on('close', () => { one.ended = performance.now(); done() })
})
while (!existsSync('/tmp/enough')) { await ask(); await new Promise((done) => setTimeout(done, 10)) }
const answered = tries.filter((one) => one.answered)
const gaps = answered.slice(1).map((one, i) => ({ gap: one.ended - answered[i].ended, one }))
const worst = gaps.reduce((a, b) => (b.gap > a.gap ? b : a))
const pause = Math.max(...tries.slice(1).map((one, i) => one.begun - tries[i].ended))
const answer = Math.max(...answered.filter((one) => one !== worst.one).map((one) => one.ended - one.begun))
console.log(worst.gap / 1000, (2 * pause + answer) / 1000)
`
const knock = "require('node:net').connect(8080, '127.0.0.1').on('error', () => process.exit(1)).on('data', () => process.exit(0))"
