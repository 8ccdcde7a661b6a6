import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { ServiceStatus, Status } from '../../src/status/query.ts'
import { makeRepository } from '../lib/repository.ts'
import { watchedRestic } from '../lib/restics.ts'
import { type World, world } from '../lib/world.ts'

describe('[state.1] a host with a service in each state', () => {
  // Which exit code each state stands for.
  const exits = {
    'unfinished-restore': 1,
    running: 0,
    unknown: 1,
    failed: 1,
    never: 4,
    unadopted: 4,
    overdue: 4,
    partial: 3,
    ok: 0,
    disabled: 0,
  } as const
  type Name = keyof typeof exits
  const names = Object.keys(exits) as Name[]
  let w: World
  let running: ReturnType<World['startCli']>
  let all: { exit: number; stdout: string; value: Status }
  const of = (name: string) => all.value.services.find((service) => service.name === name) as ServiceStatus

  beforeAll(async () => {
    w = await world()
    const service = (name: Name, more: object = {}) => [name, { paths: [w.write(`data/${name}/file`, name)], ...more }] as const
    const more: Partial<Record<Name, object>> = {
      failed: { preBackup: 'exit 7' },
      partial: { paths: [w.write('data/partial/file', ''), w.path('missing')] },
      disabled: { enable: false },
    }
    const declare = (changed: Partial<Record<Name, object>> = {}) =>
      w.manifest({ services: Object.fromEntries(names.map((name) => service(name, { ...more[name], ...changed[name] }))) })
    declare()
    // Somebody else's, and one of the distant past.
    const tag = (name: string) => ['backup', '--host', 'testhost', '--tag', `service:${name}`]
    await w.restic([...tag('unadopted'), w.path('data/unadopted')])
    const saved = names.filter((name) => !['never', 'failed', 'running', 'disabled'].includes(name))
    expect((await w.cli(['backup', ...saved, 'failed'])).exit).toBe(1)
    await w.restic(['forget', '--tag', 'service:overdue', '--unsafe-allow-remove-all'])
    await w.restic([
      ...tag('overdue'),
      '--tag',
      `install:${readFileSync(w.path('state/install-id'), 'utf8').trim()}`,
      '--time',
      '2020-01-01 02:00:00',
      w.path('data/overdue'),
    ])
    w.write('state/journals/unfinished-restore.json', JSON.stringify({ version: 1, service: 'unfinished-restore', moves: [], folders: [] }))
    w.write('state/records/unknown.json', 'damaged')
    declare({ running: { preBackup: `touch ${w.path('begun')}; sleep 60` } })
    running = w.startCli(['run', 'running'])
    const isShown = async () => expect((await w.cli(['status', 'running', '--local'])).stdout).toMatch(/ running +running /)
    await vi.waitFor(isShown, 60_000)
    const { exit, stdout, json } = await w.cli(['status', '--json'])
    all = { exit, stdout, value: json() }
  })
  afterAll(async () => {
    running.child.kill('SIGTERM')
    await running.ended
    w.cleanup()
  })

  test('names each', () => {
    expect(all.value.services.map(({ name, state }) => [name, state])).toEqual(names.map((name) => [name, name]))
  })

  test('[exit.1] each has its exit code, alone and in --json', async () => {
    expect(all.value.services.map(({ name, exit }) => [name, exit])).toEqual(Object.entries(exits))
    for (const name of ['ok', 'partial', 'never', 'failed'] as const) expect((await w.cli(['status', name])).exit).toBe(exits[name])
  })

  test('[exit.2] together they exit with the worst', async () => {
    expect(all.exit).toBe(1)
    expect((await w.cli(['status', 'ok', 'partial', 'overdue', 'disabled'])).exit).toBe(3)
    expect((await w.cli(['status', 'overdue', 'ok', '--local'])).exit).toBe(0)
    expect((await w.cli(['status', 'never', 'ok', 'running'])).exit).toBe(4)
  })

  test('[json.1] every state has the same keys', () => {
    expect(Object.keys(all.value)).toEqual(['host', 'repositories', 'services'])
    expect(all.value.host).toBe('testhost')
    expect(all.value.repositories).toEqual([{ name: 'main', location: w.repository.repository, reachable: true, error: null, exit: 0 }])
    for (const service of all.value.services) {
      expect(Object.keys(service)).toEqual(['name', 'state', 'latest', 'nextRun', 'lastRun', 'message', 'exit', 'days', 'old', 'oldDatabases'])
      if (service.latest) expect(Object.keys(service.latest)).toEqual(['id', 'time', 'host', 'bytes', 'files'])
      if (service.lastRun) expect(Object.keys(service.lastRun)).toEqual(['outcome', 'started', 'seconds', 'downtimeSeconds'])
      expect(service.days).toHaveLength(30)
    }
  })

  test('[json.6] what is absent is null; times have a zone, sizes are bytes', () => {
    expect(of('never')).toMatchObject({ latest: null, nextRun: null, lastRun: null, old: [], days: Array(30).fill(null) })
    expect(of('ok')).toMatchObject({
      latest: {
        id: expect.stringMatching(/^[0-9a-f]{64}$/),
        time: expect.stringMatching(/T.*(Z|[+-]\d\d:\d\d)$/),
        host: 'testhost',
        bytes: 2,
        files: 1,
      },
      lastRun: { outcome: 'ok', started: expect.stringMatching(/Z$/), seconds: expect.any(Number), downtimeSeconds: null },
      message: null,
    })
    expect(of('ok').days.at(-1)).toBe('ok')
    expect(of('failed')).toMatchObject({ latest: null, lastRun: { outcome: 'failed' } })
    expect(JSON.stringify(all.value)).not.toContain('undefined')
  })

  test('messages say what to type', () => {
    expect(of('unfinished-restore').message).toMatch(/--rollback takes it back.*: atelier-backup restore unfinished-restore --resume$/)
    expect(of('never').message).toContain('atelier-backup backup never')
    expect(of('overdue').message).toContain('journalctl -u restic-backups-overdue -n 50')
    expect(of('partial').message).toContain(`${w.path('missing')} doesn't exist`)
    expect(of('failed').message).toContain('preBackup')
    expect(of('unknown').message).toContain(w.path('state/records/unknown.json'))
  })

  test('[cli.19] the detail of one names all that could not be read', async () => {
    const { exit, stdout } = await w.cli(['status', 'partial'])
    expect([exit, stdout]).toEqual([3, expect.stringMatching(/ RUN .*\n.* backup +partial .*[0-9a-f]{8}\n/)])
    expect(stdout).toContain(`  warned    ${w.path('missing')} doesn't exist`)
    expect((await w.cli(['status', 'partial', 'ok'])).stdout).not.toContain(' RUN ')
  })

  test('[newest.6] what is backed up on another host alone is told with the way to it: a fresh install under another name has nothing to save', async () => {
    await w.restic(['backup', '--quiet', '--host', 'dead', '--tag', 'service:never', w.path('data')])
    const { services } = (await w.cli(['status', 'never', '--json'])).json()
    expect(services[0]).toMatchObject({ state: 'never', message: 'never backed up here, but on dead: atelier-backup dr --host dead' })
  })

  test('[newest.4] unadopted names dr and adopt', () => {
    expect(of('unadopted').message).toContain('atelier-backup dr --only unadopted')
    expect(of('unadopted').message).toContain('atelier-backup adopt unadopted')
  })

  test('by the records alone it knows of every state that records know of', async () => {
    const { services } = (await w.cli(['status', '--local', '--json'])).json() as Status
    const different = services.filter(({ name, state }) => name !== state).map(({ name, state }) => [name, state])
    // The record can't know that its snapshot was taken away.
    expect(different).toEqual([['overdue', 'ok']])
  })

  test('for people: a row for each, what needs them last, each with its service', async () => {
    const { stdout } = await w.cli(['status'], { env: { COLUMNS: '100' } })
    const lines = stdout.split('\n')
    for (const name of names) expect(lines).toContainEqual(expect.stringMatching(new RegExp(`^[✓!✗?·] ${name} +${name} `)))
    const [, below = ''] = stdout.split(/disabled +disabled.*\n\n/)
    expect(
      below
        .trimEnd()
        .split('\n')
        .flatMap((line) => line.split(' ')[0] || []),
    ).toEqual(['unfinished-restore', 'unknown', 'failed', 'never', 'unadopted', 'overdue', 'partial'])
  })
})

describe('[state.2] running', () => {
  let w: World
  beforeAll(async () => {
    w = await world()
    w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')], preBackup: `echo $$ >${w.path('hook')}; exec sleep 60` } } })
    mkdirSync(w.path('state/running'), { recursive: true })
  })
  afterAll(() => w.cleanup())
  const state = async () => (await w.cli(['status', '--local', '--json'])).json().services[0].state

  const stat = readFileSync(`/proc/${process.pid}/stat`, 'utf8')
  const alive = {
    run: 'r',
    kind: 'backup',
    started: new Date().toISOString(),
    pid: process.pid,
    startTime: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19],
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    plan: null,
  }
  test.each([
    ['a process that is alive', alive, 'running'],
    ['another process with its pid', { ...alive, startTime: '1' }, 'failed'],
    ['a process before the reboot', { ...alive, bootId: '00000000-0000-0000-0000-000000000000' }, 'failed'],
    ['a process that is gone', { ...alive, pid: 4_194_303 }, 'failed'],
    ['nothing that can be read', '{"pid":', 'unknown'],
  ])('%s', async (_, running, expected) => {
    w.write('state/running/notes.json', typeof running === 'string' ? running : JSON.stringify(running))
    expect(await state()).toBe(expected)
  })

  test('what a killed run left isn’t running', async () => {
    rmSync(w.path('state/running/notes.json'), { force: true })
    const { child, ended } = w.startCli(['run', 'notes'])
    while ((await state()) !== 'running') await sleep(50)
    child.kill('SIGKILL')
    await ended
    expect(await state()).toBe('failed')
    expect((await w.cli(['run', '--cleanup', 'notes'])).exit).toBe(0)
    expect(await state()).toBe('failed')
  })
})

describe('[state.3] a repository that doesn’t open', () => {
  let w: World
  beforeAll(async () => {
    w = await world()
    w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } } })
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  })
  afterAll(() => w.cleanup())

  test.each<[string, () => object, number, string]>([
    ['isn’t there', () => ({ repository: w.path('gone') }), 10, 'existed before and was not found'],
    ['has another password', () => ({ passwordFile: w.write('secrets/other', 'wrong') }), 12, "doesn't open it"],
    ['has no password file', () => ({ passwordFile: w.path('secrets/none') }), 1, "doesn't exist"],
    ['is damaged', () => ({ repository: damaged() }), 1, 'config'],
  ])('[exit.1] that %s', async (_, change, exit, words) => {
    w.manifest({ services: { notes: { paths: [w.path('notes/a')] } }, repositories: { main: { ...w.repository, ...change() } } })
    const status = await w.cli(['status', '--json'])
    expect(status.exit).toBe(exit)
    // What was saved last is known here.
    const { lastSnapshot, runs } = JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8'))
    const { started, bytes, files } = runs.at(-1)
    const remembered = { id: lastSnapshot.id, time: started, host: 'testhost', bytes, files }
    expect((await w.cli(['status', '--local', '--json'])).json().services).toMatchObject([{ state: 'ok', latest: remembered }])
    expect(status.json().repositories).toEqual([
      expect.objectContaining({ name: 'main', reachable: false, error: expect.stringContaining(words), exit }),
    ])
    expect(status.json().services).toMatchObject([
      { state: 'unknown', latest: remembered, lastRun: { outcome: 'ok' }, message: expect.stringContaining(words) },
    ])
    const text = (await w.cli(['status'])).stdout
    expect(text).not.toMatch(/never|no backups/)
    // Said once, however many services.
    expect(text.split(words)).toHaveLength(2)
    expect((await w.cli(['status', '--local'])).exit).toBe(0)
  })

  function damaged(): string {
    cpSync(w.repository.repository, w.path('damaged'), { recursive: true })
    rmSync(w.path('damaged/config'))
    writeFileSync(w.path('damaged/config'), 'x'.repeat(200))
    return w.path('damaged')
  }

  test('[repository.1] behind which another one stands', async () => {
    const other = await makeRepository(w.path('elsewhere'))
    w.manifest({ services: { notes: { paths: [w.path('notes/a')] } }, repositories: { main: other } })
    const status = await w.cli(['status', '--json'])
    expect(status.exit).toBe(1)
    expect(status.json().services).toMatchObject([{ state: 'unknown', message: expect.stringContaining('adopt --repository main') }])
    const backup = await w.cli(['run', 'notes'])
    expect({ exit: backup.exit, stderr: backup.stderr }).toEqual({ exit: 1, stderr: expect.stringContaining('is another one') })
    expect((await w.restic(['snapshots', '--json'], { env: { RESTIC_REPOSITORY: other.repository } })).json()).toEqual([])
    // Told so, it is the right one.
    expect((await w.cli(['adopt', '--repository', 'main', '--yes'])).exit).toBe(0)
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
    expect((await w.cli(['status'])).exit).toBe(0)
  })
})

describe('[state.12] a first look, before the repository is there', () => {
  test('tells that nothing was ever backed up, and who creates it, as doctor does', async (t) => {
    const w = await world(t)
    const main = { ...w.repository, repository: w.path('new'), initialize: true }
    w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } }, repositories: { main } })
    const words = `main (${main.repository}) doesn't exist yet: the first backup creates it`
    const look = async () => {
      const { exit, json } = await w.cli(['status', '--json'])
      return { exit, ...json() }
    }
    expect(await look()).toMatchObject({
      exit: 4,
      repositories: [{ name: 'main', reachable: false, error: null, exit: 0 }],
      services: [{ state: 'never', exit: 4, message: `${words}: atelier-backup backup notes` }],
    })
    expect((await w.cli(['doctor', '--json'])).json().checks).toContainEqual({ name: 'repository', ok: true, message: words, remedy: null })
    expect((await w.cli(['status'])).stdout).toContain('the first backup creates it')
    // Where its folder is missing (a disk that isn't mounted), and where nobody may create it, nothing is known.
    w.manifest({ services: { notes: { paths: [w.path('notes')] } }, repositories: { main: { ...main, repository: w.path('none/new') } } })
    const missing = expect.stringContaining(`${w.path('none')} doesn't exist: no repository is created`)
    expect(await look()).toMatchObject({ exit: 10, services: [{ state: 'unknown', message: missing }] })
    w.manifest({ services: { notes: { paths: [w.path('notes')] } }, repositories: { main: { ...main, initialize: false } } })
    expect(await look()).toMatchObject({ exit: 10, services: [{ state: 'unknown' }] })
    // Once there was one, it is missing.
    w.manifest({ services: { notes: { paths: [w.path('notes')] } }, repositories: { main } })
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
    expect(await look()).toMatchObject({ exit: 0, services: [{ state: 'ok' }] })
    rmSync(main.repository, { recursive: true })
    expect(await look()).toMatchObject({ exit: 10, services: [{ state: 'unknown', message: expect.stringContaining('existed before') }] })
  })
})

test('[newest.2] the minute that is listed names its snapshot, for each command that takes a time', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } } })
  const save = async (time: string) =>
    (await w.restic(['backup', '--json', '--host', 'testhost', '--tag', 'service:notes', '--time', time, w.path('notes')])).stdout.match(
      /"snapshot_id":"(\w{8})/,
    )?.[1] as string
  await save('2026-01-20 13:04:30')
  const meant = await save('2026-01-20 14:04:30')
  await save('2026-01-20 14:05:00')
  expect((await w.cli(['list', 'notes'])).stdout).toMatch(new RegExp(`14:04 .* ${meant}`))
  for (const args of [['restore', 'notes', '--target', w.path('look')], ['dr']])
    expect((await w.cli([...args, '--dry-run', '--at', '2026-01-20 14:04'])).stdout, args.join(' ')).toContain(meant)
})

describe('[state.8] how often restic is called', () => {
  test('once for each repository by status, never by status --local, once by a backup that isn’t the first', async (t) => {
    const w = await world(t)
    const usb = await makeRepository(w.path('usb'))
    const services = Object.fromEntries(
      Array.from({ length: 8 }, (_, i) => [`s${i}`, { paths: [w.write(`data/s${i}/file`, 'x')], repository: i % 4 === 0 ? 'usb' : 'main' }]),
    )
    w.manifest({ services, repositories: { usb } })
    const { env, calls } = watchedRestic(w)
    // The first time, before anything is known of the repositories.
    expect((await w.cli(['status'], { env })).exit).toBe(4)
    expect(calls()).toHaveLength(2)
    expect((await w.cli(['backup', '--all'], { env })).exit).toBe(0)
    calls()
    expect((await w.cli(['status'], { env })).exit).toBe(0)
    expect(calls()).toEqual(Array(2).fill('snapshots --no-lock --json'))
    expect((await w.cli(['status', 's1', 's2'], { env })).exit).toBe(0)
    expect(calls()).toHaveLength(1)
    expect((await w.cli(['status', '--local'], { env })).exit).toBe(0)
    expect(calls()).toEqual([])
    expect((await w.cli(['run', 's1'], { env })).exit).toBe(0)
    expect(calls()).toEqual([expect.stringMatching(/^backup --json /)])
  })
})

test('a manifest without services says what to do', async (t) => {
  const w = await world(t)
  w.manifest()
  expect(await w.cli(['status'])).toMatchObject({ exit: 0, stdout: expect.stringContaining('add one under atelier.backup.services') })
  expect((await w.cli(['status', '--json'])).json()).toEqual({ host: 'testhost', repositories: [], services: [] })
})
