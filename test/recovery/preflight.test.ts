// What a disaster recovery says before it asks, and in its report: checks, consents, room, times; and what is left to do.
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { output, resticBefore, withMounts } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { watchedRestic } from '../lib/restics.ts'
import { keys } from '../lib/terminal.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
const path = (name: string) => w.path('srv', name)
const services = (more: Record<string, object> = {}) => ({
  base: { paths: [path('base')], healthCheck: 'true' },
  notes: { paths: [path('notes')], restoreAfter: ['base'] },
  wiki: { paths: [path('wiki')] },
  ...more,
})
interface Check {
  name: string
  service: string | null
  ok: boolean
  message: string
  remedy: string | null
}

beforeAll(async () => {
  w = await world()
  w.manifest({ services: services() })
  for (const name of ['base', 'notes', 'wiki']) w.write(`srv/${name}/file`, name.repeat(1000))
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  output(['cp', '-a', w.path('secrets'), w.path('saved')])
})
afterAll(() => w.cleanup())
beforeEach(() => {
  for (const folder of ['srv', 'state', 'secrets']) rmSync(w.path(folder), { recursive: true, force: true })
  for (const folder of ['srv', 'state']) mkdirSync(w.path(folder), { mode: 0o700 })
  output(['cp', '-a', w.path('saved'), w.path('secrets')])
  w.manifest({ services: services() })
})
const plan = async (args: string[] = []) => {
  const ended = await w.cli(['dr', '--dry-run', '--json', ...args])
  const recovery = ended.json()
  const checks = recovery.checks as Check[]
  return {
    ...ended,
    recovery,
    checks,
    of: (name: string, service: string | null = null) => checks.filter((check) => check.name === name && check.service === service),
  }
}
const save = (name: string, tags: string, ...args: string[]) =>
  w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', `service:${name}${tags}`, ...args, path(name)])
const report = (stdout: string) => JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '').services as Record<string, unknown>[]

describe.skipIf(!isRoot)('before it asks, dr', () => {
  test('[dr.7] checks secrets, repository, password, clock, room, snapshots, users and units, as data', async () => {
    const { exit, checks, recovery, of } = await plan()
    expect(exit).toBe(0)
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
    for (const check of checks) expect(Object.keys(check).sort()).toEqual(['message', 'name', 'ok', 'remedy', 'service'])
    for (const name of ['secrets', 'repository', 'password', 'clock', 'room']) expect(of(name), name).toHaveLength(1)
    for (const name of ['snapshot', 'units', 'users']) for (const service of ['base', 'notes', 'wiki']) expect(of(name, service)).toHaveLength(1)
    expect(recovery.room).toEqual([{ mount: expect.any(String), needed: expect.any(Number), free: expect.any(Number) }])
    expect(recovery.room[0].needed).toBeGreaterThanOrEqual(13_000)
    expect(fingerprint(w.path('srv'))).toHaveLength(1)
  })

  test.each([
    ['the password file is missing', () => rmSync(w.path('secrets/password')), 'secrets', /doesn't exist/],
    ['the password is wrong', () => writeFileSync(w.path('secrets/password'), 'wrong\n'), 'password', /doesn't open it/],
    ['the repository is gone', () => rmSync(w.path('secrets/repository'), { recursive: true }), 'repository', /no repository found/],
  ])('[dr.7] says that %s, and does nothing', async (_, damage, name, words) => {
    damage()
    const { exit, of } = await plan()
    expect(exit).toBeGreaterThan(0)
    expect(of(name)).toContainEqual(expect.objectContaining({ ok: false, message: expect.stringMatching(words), remedy: expect.any(String) }))
    const real = await w.cli(['dr', '--yes'])
    expect(real).toMatchObject({ exit, stderr: expect.stringMatching(/^atelier-backup: .*\n$/) })
    expect(fingerprint(w.path('srv'))).toHaveLength(1)
  })

  test('[dr.7] says that the clock is behind the newest snapshot', async () => {
    const future = new Date(Date.now() + 48 * 3_600_000).toISOString().slice(0, 10)
    writeFileSync(w.path('srv/f'), 'x')
    await w.restic(['backup', '--quiet', '--host', 'elsewhere', '--time', `${future} 02:00:00`, w.path('srv/f')])
    const { of } = await plan()
    expect(of('clock')).toEqual([expect.objectContaining({ ok: false, message: expect.stringContaining(future) })])
    await w.restic(['forget', '--quiet', '--host', 'elsewhere', '--unsafe-allow-remove-all'])
  })

  test('[dr.7] says which owner of the data is unknown here, by the name that the lost host had', async () => {
    w.write('srv/wiki/file', 'of gone')
    output(['chown', '-R', '4711:0', path('wiki')])
    const users = w.write('passwd', `${readFileSync('/etc/passwd', 'utf8')}gone:x:4711:0::/:\n`)
    const secrets = { RESTIC_REPOSITORY: w.repository.repository, RESTIC_PASSWORD_FILE: w.repository.passwordFile }
    const onTheLostHost = `mount --bind ${users} /etc/passwd; restic backup --quiet --host testhost --tag service:wiki ${path('wiki')}`
    expect(await withMounts(w, onTheLostHost, secrets)).toMatchObject({ exit: 0 })
    rmSync(path('wiki'), { recursive: true })
    const { of } = await plan()
    expect(of('users', 'wiki')).toEqual([expect.objectContaining({ ok: false, message: expect.stringContaining('gone owned some') })])
    expect(of('users', 'base')).toEqual([expect.objectContaining({ ok: true })])
    await w.restic(['forget', '--quiet', '--tag', 'service:wiki', '--keep-last', '1', '--group-by', 'paths'])
  })

  test('[dr.7] units that systemd does not know are passed over by consent alone', async () => {
    w.manifest({ services: services({ wiki: { paths: [path('wiki')], units: ['no-such-thing.service'] } }) })
    const { of } = await plan()
    expect(of('units', 'wiki')).toEqual([expect.objectContaining({ ok: false, remedy: expect.stringContaining('--without-units') })])
    const without = await w.cli(['dr', '--yes', '--json', '--only', 'wiki'])
    expect(without.exit).toBe(1)
    expect(report(without.stdout)).toEqual([expect.objectContaining({ name: 'wiki', next: 'atelier-backup dr --only wiki --without-units' })])
    expect(await w.cli(['dr', '--yes', '--only', 'wiki', '--without-units'])).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('srv/wiki/file'), 'utf8')).not.toBe('')
  })

  test('[dr.7] what has no room beside what comes before it is left alone, and the others come back', async () => {
    const disk = w.path('disk')
    const big = { one: { paths: [`${disk}/one`] }, two: { paths: [`${disk}/two`] } }
    w.manifest({ services: { ...services(), ...big } })
    for (const name of ['one', 'two']) w.write(`disk/${name}/file`, randomBytes(4_000_000))
    expect(await w.cli(['backup', 'one', 'two'])).toMatchObject({ exit: 0 })
    for (const folder of ['disk', 'state']) rmSync(w.path(folder), { recursive: true })
    mkdirSync(disk)
    // Each fits beside the 64 MiB that stay free for everybody else, but not both.
    const { stdout } = await withMounts(
      w,
      `mount -t tmpfs -o size=70m none ${disk}; $cli dr --yes --json --only one --only two; ls ${disk} >${w.path('there')}`,
    )
    expect(report(stdout)).toEqual([
      expect.objectContaining({ name: 'one', outcome: 'ok' }),
      expect.objectContaining({ name: 'two', code: 'no-space', message: expect.stringContaining(`${disk} has no room`) }),
    ])
    expect(readFileSync(w.path('there'), 'utf8')).toBe('one\n')
  })

  test('[dr.17] restic is called once for the snapshots, once for what small ones hold, once for its id, and once to restore each', async () => {
    const { env, calls } = watchedRestic(w)
    expect(await w.cli(['dr', '--yes'], { env })).toMatchObject({ exit: 0 })
    expect(calls().map((call) => call.split(' ')[0])).toEqual(['snapshots', 'find', 'cat', 'restore', 'restore', 'restore'])
    // The repository's id is pinned now.
    expect(await w.cli(['dr', '--yes', '--overwrite', '--only', 'wiki'], { env })).toMatchObject({ exit: 0 })
    expect(calls().map((call) => call.split(' ')[0])).toEqual(['snapshots', 'find', 'restore'])
  })

  test('[dr.10] a service that has only partial snapshots is left alone without consent, with exit 3, and so is what comes after it', async () => {
    await w.restic(['tag', '--quiet', '--tag', 'service:base', '--add', 'partial'])
    const { exit, stdout } = await w.cli(['dr', '--yes', '--json'])
    expect(exit).toBe(1)
    expect(report(stdout)).toEqual([
      expect.objectContaining({ name: 'base', outcome: 'skipped', exit: 3, code: 'only-partial', next: 'atelier-backup dr --only base --partial' }),
      expect.objectContaining({ name: 'notes', code: 'waits' }),
      expect.objectContaining({ name: 'wiki', outcome: 'ok' }),
    ])
    expect((await w.cli(['dr', '--yes', '--json', '--only', 'base', '--partial'])).exit).toBe(0)
    expect(readFileSync(w.path('srv/base/file'), 'utf8')).toBe('base'.repeat(1000))
    // A person can say so where it is asked for.
    rmSync(path('base'), { recursive: true })
    rmSync(w.path('state'), { recursive: true })
    const terminal = w.terminal(['dr', '--only', 'base'])
    await terminal.waitFor('Type partial')
    terminal.type(`partial${keys.enter}`)
    await terminal.waitFor('Type testhost')
    terminal.type(`testhost${keys.enter}`)
    expect(await terminal.exit).toBe(0)
    await w.restic(['tag', '--quiet', '--tag', 'service:base', '--remove', 'partial'])
  })

  test('[dr.11] shows between which times the snapshots lie, and warns where they lie far apart', async () => {
    expect((await plan()).recovery.spread).toMatchObject({ farApart: false })
    w.write('srv/wiki/file', 'long ago')
    await save('wiki', '', '--time', '2020-01-02 02:00:00')
    rmSync(path('wiki'), { recursive: true })
    const { recovery } = await plan(['--only', 'wiki', '--at', '2021-01-01'])
    expect(recovery.spread).toEqual({ oldest: '2020-01-02T02:00:00Z', newest: '2020-01-02T02:00:00Z', farApart: false })
    const newest = (await w.restic(['snapshots', '--json', '--tag', 'service:wiki'])).json().at(-1).id
    await w.restic(['forget', '--quiet', newest])
    const { stdout } = await w.cli(['dr', '--dry-run'])
    expect(stdout).toMatch(/snapshots +from Thu 2 Jan 2020 \d\d:\d\d to today/)
    expect(stdout).toMatch(/! the snapshots are far apart in time \(\d+ d\)/)
  })

  test('[dr.11] estimates the time by the speed of earlier restores, and says so where there was none', async () => {
    const unknown = /time +unknown: no large restore was made here yet/
    expect((await plan()).recovery.estimate).toBe(null)
    expect((await w.cli(['dr', '--dry-run'])).stdout).toMatch(unknown)
    // What small ones take says nothing of large ones.
    expect(await w.cli(['dr', '--yes', '--only', 'notes'])).toMatchObject({ exit: 0 })
    expect((await w.cli(['dr', '--dry-run', '--only', 'wiki'])).stdout).toMatch(unknown)
    w.write('srv/base/file', 'base'.repeat(1000))
    w.write('srv/base/large', Buffer.alloc(17 * 1024 * 1024, 'x'))
    await save('base', '')
    rmSync(path('base'), { recursive: true })
    expect(await w.cli(['dr', '--yes', '--only', 'base'])).toMatchObject({ exit: 0 })
    await w.restic(['forget', '--quiet', '--tag', 'service:base', '--group-by', 'host', '--keep-last', '1'])
    const { estimate } = (await plan(['--only', 'wiki'])).recovery
    const [run] = JSON.parse(readFileSync(w.path('state/records/base.json'), 'utf8')).runs
    expect(estimate.bytesPerSecond).toBeCloseTo(run.bytes / run.seconds)
    expect((await w.cli(['dr', '--dry-run', '--only', 'wiki'])).stdout).toMatch(/time +about \d.* of earlier restores here/)
  })

  test('[dr.18] where all lives here the plan says so, and why, and neither sums nor times', async () => {
    expect((await w.cli(['dr', '--yes'])).exit).toBe(0)
    const all = await w.cli(['dr', '--dry-run'])
    expect(all.exit).toBe(0)
    expect(all.stdout.split('\n')[0]).toBe('All 3 services live here already on testhost: nothing would be touched')
    expect(all.stdout).toMatch(/base, notes, wiki: it lives here \(recovered since .*--overwrite restores it anyway/)
    expect(all.stdout).not.toMatch(/Recover 0|isn't known|0 B|moved aside/)
    const none = await w.cli(['dr', '--dry-run', '--overwrite', '--at', '2001-01-01'])
    expect(none.stdout.split('\n')[0]).toBe('None of the 3 services can be recovered on testhost: nothing would be touched')
    expect(none.stdout).toMatch(/no snapshots on testhost at that time/)
    expect(none.stdout).not.toMatch(/Recover 0|isn't known|0 B|moved aside/)
  })

  test('[dr.12] the report names snapshot, bytes, seconds, units and health of each service, on screen, as JSON and as a file', async () => {
    const { exit, stdout } = await w.cli(['dr', '--yes', '--json'])
    expect(exit).toBe(0)
    const results = report(stdout)
    const whole = {
      snapshotId: expect.stringMatching(/^[0-9a-f]{64}$/),
      bytes: expect.any(Number),
      seconds: expect.any(Number),
      units: [],
      next: null,
    }
    expect(results).toEqual(['passed', 'unchecked', 'unchecked'].map((health) => expect.objectContaining({ ...whole, health, outcome: 'ok' })))
    rmSync(w.path('state'), { recursive: true })
    const shown = await w.cli(['dr', '--yes'])
    expect(shown.stdout).toMatch(/SERVICE +SNAPSHOT +SIZE +TIME +UNITS +HEALTH\n✓ base +[0-9a-f]{8} +4.0 kB +\d.* s +– +passed/)
    const [, file = ''] = /Report: +(\S+)/.exec(shown.stdout) ?? []
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
      checks: expect.any(Array),
      results: results.map(({ name, health }) => ({ name, health })),
    })
  })

  test('[dr.12] meanwhile a terminal shows how far each service is, and all of them together', async () => {
    const { env } = resticBefore(
      w,
      `if [ "$command" = restore ] && [[ "$*" != *srv/base* ]]; then while [ ! -e ${w.path('go')} ]; do sleep 0.02; done; fi`,
    )
    const terminal = w.terminal(['dr', '--yes', '--jobs', '1', '--only', 'base', '--only', 'notes'], { env })
    await terminal.waitFor(/base +✓ +recovered[\s\S]*notes .*fetching[^\n]*\n *total +·/)
    w.write('go', '')
    expect(await terminal.exit).toBe(0)
    expect(terminal.all()).not.toMatch(/^ *total .*\n[\s\S]*Recovered/m)
    rmSync(w.path('go'))
  })
})
