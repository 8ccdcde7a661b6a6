import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RunRecord } from '../../src/state/record.gen.ts'
import { makeRepository } from '../lib/repository.ts'
import { watchedRestic } from '../lib/restics.ts'
import { type World, world } from '../lib/world.ts'

interface Listed {
  id: string
  hostname: string
  tags?: string[]
  paths: string[]
  time: string
}
const lastTwo = { last: 2, daily: 0, weekly: 0, monthly: 0 }

/** Services saved by us today, and before that on the first two days of 2020. */
async function saved(services: Record<string, object>, more: object = {}) {
  const w: World = await world()
  const declared = Object.entries(services).map(([name, service]) => [
    name,
    { paths: [w.write(`data/${name}/file`, name).replace(/\/file$/, '')], ...service },
  ])
  w.manifest({ services: Object.fromEntries(declared), retention: lastTwo, ...more })
  expect((await w.cli(['backup', '--all'])).exit).toBe(0)
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  const save = (tags: string, time: string, path: string, host = 'testhost') =>
    w.restic(['backup', '--host', host, '--tag', `${tags},install:${install}`, '--time', `${time} 02:00:00`, w.path(path)])
  for (const name of Object.keys(services)) for (const day of [1, 2]) await save(`service:${name}`, `2020-01-0${day}`, `data/${name}`)
  const change = (name: string, how: (record: RunRecord) => void) => {
    const file = w.path(`state/records/${name}.json`)
    // Without its checksum: written by a person, who means it.
    const { sum: _, ...record } = JSON.parse(readFileSync(file, 'utf8')) as RunRecord & { sum?: string }
    how(record)
    writeFileSync(file, JSON.stringify(record))
  }
  const all = async (): Promise<Listed[]> => {
    const listed: Listed[] = (await w.restic(['snapshots', '--json'])).json()
    // restic lists those of one time in any order.
    return listed.sort((a, b) => (a.id < b.id ? -1 : 1)).sort((a, b) => Date.parse(a.time) - Date.parse(b.time))
  }
  return { ...w, save, change, all }
}
const ends = (outcome: RunRecord['runs'][number]['outcome']) => (record: RunRecord) => {
  record.runs.push({ ...(record.runs[0] as RunRecord['runs'][number]), outcome })
}

describe('a repository of several services', () => {
  const spared: Record<string, string> = {
    failing: 'its newest backup ended as "failed"',
    partial: 'its newest backup ended as "partial"',
    halfway: 'its newest snapshot is partial',
    future: 'a snapshot is dated in the future: check the clock',
    fresh: 'this install has not backed it up yet',
    open: 'a restore is unfinished',
    killed: 'its newest backup ended as "failed"',
  }
  let w: Awaited<ReturnType<typeof saved>>
  let before: Listed[]
  let afterDry: Listed[]
  let after: Listed[]
  let dry: { text: string[]; json: { services: object[] } }
  let calls: { dry: string[]; real: string[] }
  let end: string | undefined

  beforeAll(async () => {
    const declared = { notes: {}, wiki: { retention: { last: 1 } }, zero: { retention: { last: 0 } } }
    w = await saved({ ...declared, ...Object.fromEntries(Object.keys(spared).map((name) => [name, {}])) })
    // The same service's, with other paths and tags; and what is nobody's business.
    await w.save('service:notes,manual', '2020-01-04', 'data/notes/file')
    await w.save('service:gone', '2020-01-01', 'data/notes')
    await w.save('mine', '2020-01-01', 'data/wiki')
    for (const day of ['01', '02', '03']) await w.save('service:notes', `2020-01-${day}`, 'data/notes', 'attic')
    await w.save('service:future', '2099-01-01', 'data/future')
    const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
    await w.restic(['backup', '--host', 'testhost', '--tag', `service:halfway,partial,install:${install}`, w.path('data/halfway')])
    w.change('failing', ends('failed'))
    w.change('partial', ends('partial'))
    w.change('fresh', (record) => record.runs.splice(0))
    w.write('state/journals/open.json', JSON.stringify({ version: 1, service: 'open', moves: [], folders: [] }))
    // A power cut: nobody has written down how it ended.
    const run = { kind: 'backup', started: new Date().toISOString(), pid: 1, startTime: '1', bootId: 'another' }
    w.write('state/running/killed.json', JSON.stringify({ run: 'cut', ...run }))
    // Its last line was written, and it ended right then.
    const [ended] = JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')).runs
    w.write('state/running/notes.json', JSON.stringify({ ...run, run: ended.run }))
    before = await w.all()
    const watched = watchedRestic(w)
    const text = await w.cli(['prune', '--dry-run'], { env: { ...watched.env, COLUMNS: '200' } })
    const json = await w.cli(['prune', '--dry-run', '--json'], { env: watched.env })
    expect([text.exit, json.exit]).toEqual([0, 0])
    dry = { text: text.stdout.trimEnd().split('\n'), json: json.json() }
    const first = watched.calls()
    afterDry = await w.all()
    const real = await w.cli(['prune'], { env: watched.env })
    expect(real.exit).toBe(0)
    end = real.stdout.trimEnd().split('\n').at(-1)
    calls = { dry: first, real: watched.calls() }
    after = await w.all()
  })
  afterAll(() => w.cleanup())

  const of = (listed: Listed[], name: string) => listed.filter(({ tags, hostname }) => hostname === 'testhost' && tags?.includes(`service:${name}`))

  test('[retention.1] keeps for each service its own number, whatever the tags and paths', () => {
    expect(['notes', 'wiki', 'zero'].map((name) => [of(before, name).length, of(after, name).length])).toEqual([
      [4, 2],
      [3, 1],
      [3, 3],
    ])
    // Of all of notes' the newest two, though their paths differ.
    expect(of(after, 'notes').map(({ time, paths }) => [time.slice(0, 10), paths])).toEqual([
      ['2020-01-04', [w.path('data/notes/file')]],
      [expect.not.stringMatching(/^2020/), [w.path('data/notes')]],
    ])
  })

  test('[retention.2] what is undeclared, another host’s or another program’s stays', () => {
    const others = (listed: Listed[]) =>
      listed.filter(({ tags, hostname }) => hostname !== 'testhost' || tags?.some((tag) => ['mine', 'service:gone'].includes(tag)))
    expect(others(after)).toEqual(others(before))
    expect(others(after)).toHaveLength(5)
  })

  test.each(Object.entries(spared))('[retention.3] [retention.4] nothing goes of a service that is %s: %s', (name, why) => {
    expect(of(after, name)).toEqual(of(before, name))
    expect(of(after, name).length).toBeGreaterThan(2)
    expect(dry.json.services).toContainEqual({ name, message: why, keep: [], remove: [], strangers: 0 })
    expect(dry.text).toContainEqual(expect.stringMatching(new RegExp(`^${name} +everything kept: ${why.replace('?', '\\?')}$`)))
  })

  test('[retention.5] a dry run shows what would go and why, to its end, and changes nothing', async () => {
    expect(afterDry).toEqual(before)
    expect(calls.dry.filter((call) => !/--no-lock|^forget .*--dry-run$/.test(call))).toEqual([])
    const notes = dry.text.filter((line) => line.startsWith('notes ')).map((line) => line.replace(/^notes +[0-9a-f]{8} +/, ''))
    expect(notes).toEqual([
      expect.stringMatching(/^today \d\d:\d\d +kept: last$/),
      'Sat 4 Jan 2020 02:00  kept: last',
      'Thu 2 Jan 2020 02:00  would be forgotten: no rule keeps it',
      'Wed 1 Jan 2020 02:00  would be forgotten: no rule keeps it',
    ])
    const { stdout } = await w.cli(['prune', '--dry-run'], { env: { COLUMNS: '60' } })
    for (const line of stdout.split('\n').filter((one) => !one.startsWith('main: '))) expect(line.length).toBeLessThanOrEqual(60)
    // To its last word, on however many lines.
    for (const why of Object.values(spared)) expect(stdout.replaceAll(/\s+/g, ' ')).toContain(`everything kept: ${why}`)
    expect(dry.text.at(-1)).toBe('main: 4 snapshots would be forgotten; nothing was changed')
  })

  test('[retention.5] [json.6] --json tells the same', () => {
    expect(dry.json).toMatchObject({ repository: 'main', dryRun: true })
    const id = expect.stringMatching(/^[0-9a-f]{64}$/)
    expect(dry.json.services).toContainEqual({
      name: 'notes',
      message: null,
      keep: Array(2).fill({ id, time: expect.stringMatching(/T.*(Z|[+-]\d\d:\d\d)$/), reasons: ['last snapshot'] }),
      remove: Array(2).fill({ id, time: expect.stringMatching(/^2020-01-0[12]T/) }),
      strangers: 0,
    })
    expect(dry.json.services).toContainEqual({
      name: 'zero',
      message: null,
      keep: Array(3).fill(expect.objectContaining({ reasons: ['no rule'] })),
      remove: [],
      strangers: 0,
    })
  })

  test('[lock.3] each call that takes a lock waits for it as long as declared', () => {
    const locking = calls.real.filter((call) => !/--no-lock|^(version|unlock|init)\b/.test(call))
    expect(locking.length).toBeGreaterThan(2)
    expect(locking.filter((call) => !call.includes('--retry-lock 0s'))).toEqual([])
  })

  test('[retention.6] space is freed once, after all services', async () => {
    expect(end).toBe('✓ main: 4 snapshots forgotten, pruned')
    expect(calls.real.map((call) => call.split(' ')[0]).filter((word) => word === 'forget' || word === 'prune')).toEqual([
      'forget',
      'forget',
      'prune',
    ])
    expect((await w.restic(['check'])).exit).toBe(0)
  })
})

describe('several repositories', () => {
  test('[retention.6] each is pruned once; one that fails doesn’t keep the others, and decides the exit code', async () => {
    const w = await saved({ notes: {}, wiki: {} })
    const usb = await makeRepository(w.path('usb'))
    const declare = (more: object) =>
      w.manifest({
        services: {
          notes: { paths: [w.path('data/notes')] },
          wiki: { paths: [w.path('data/wiki')] },
          photos: { paths: [w.path('data/photos')], enable: false, repository: 'usb' },
        },
        repositories: { usb: { ...usb, ...more } },
        retention: lastTwo,
      })
    declare({})
    const { env, calls } = watchedRestic(w)
    expect((await w.cli(['prune'], { env })).exit).toBe(0)
    expect(calls().filter((call) => call.startsWith('prune'))).toHaveLength(2)
    expect((await w.cli(['prune', '--repository', 'usb'], { env })).exit).toBe(0)
    expect(calls().filter((call) => call.startsWith('forget'))).toEqual([])
    declare({ passwordFile: w.write('wrong', 'wrong') })
    const { exit, stdout, stderr } = await w.cli(['prune'])
    expect({ exit, stdout, stderr }).toEqual({
      exit: 12,
      stdout: expect.stringContaining('main: nothing to forget'),
      stderr: expect.stringMatching(/^atelier-backup: repository usb .*\n$/),
    })
    expect(await w.cli(['prune', '--repository', 'usc'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('did you mean usb?') })
    w.cleanup()
  })

  test('nothing is forgotten in a repository that isn’t the one known before', async () => {
    const w = await saved({ notes: {} })
    const other = await makeRepository(w.path('other'))
    const env = { RESTIC_REPOSITORY: other.repository }
    for (let i = 0; i < 4; i++) await w.restic(['backup', '--host', 'testhost', '--tag', 'service:notes', w.path('data/notes')], { env })
    w.manifest({ services: { notes: { paths: [w.path('data/notes')] } }, repositories: { main: other }, retention: lastTwo })
    expect(await w.cli(['prune'])).toMatchObject({ exit: 1, stderr: expect.stringContaining('adopt --repository main') })
    expect((await w.restic(['snapshots', '--json'], { env })).json()).toHaveLength(4)
    w.cleanup()
  })
})

test('data kept by restores goes when it is old and a complete backup is newer', async () => {
  const w = await saved({ notes: {}, wiki: {} })
  const day = 86_400_000
  const ago = (days: number) => new Date(Date.now() - days * day).toISOString()
  for (const name of ['notes', 'notes', 'wiki']) expect((await w.cli(['restore', name, '--in-place', '--yes', '--snapshot', 'latest'])).exit).toBe(0)
  const kept: string[] = []
  const age = (name: string, ...days: number[]) =>
    w.change(name, ({ old }) => {
      for (const [i, data] of old.entries()) {
        kept.push(data.folder)
        data.since = ago(days[i] ?? 0)
      }
    })
  age('notes', 8, 6)
  age('wiki', 30)
  // None of its backups is newer.
  w.change('wiki', ({ runs }) => {
    for (const run of runs) run.started = ago(31)
  })
  const there = () => kept.map((folder) => existsSync(folder))
  expect((await w.cli(['prune', '--dry-run'])).exit).toBe(0)
  expect(there()).toEqual([true, true, true])
  const { exit, stderr } = await w.cli(['prune'])
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: `notes: the old data of a restore in ${kept[0]} was no longer needed and is deleted\n` })
  expect(there()).toEqual([false, true, true])
  expect((await w.cli(['status', 'notes', '--local', '--json'])).json().services[0].old).toEqual([{ folder: kept[1], since: expect.any(String) }])
  w.cleanup()
})
