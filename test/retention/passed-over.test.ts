// What a fresh install saved before it was recovered takes no place of what it was recovered from.
import { readFileSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { world } from '../lib/world.ts'

/** A host that keeps two snapshots; `save`: one of so many days ago; `days`: how old they are that are there. */
async function host(t: TestContext) {
  const w = await world(t)
  const keep = (last: number) =>
    w.manifest({ services: { notes: { paths: [w.path('data')] } }, retention: { last, daily: 0, weekly: 0, monthly: 0 } })
  keep(2)
  w.write('data/note', 'good')
  const save = (days: number, ...tags: string[]) => {
    const time = new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 19).replace('T', ' ')
    const more = ['service:notes', ...tags].flatMap((tag) => ['--tag', tag])
    return w.restic(['backup', '--quiet', '--host', 'testhost', '--time', time, ...more, w.path('data')], { env: { TZ: 'UTC' } })
  }
  const days = async () => {
    const all = (await w.restic(['snapshots', '--json', '--no-lock'])).json() as { time: string }[]
    return all.map(({ time }) => Math.round((Date.now() - Date.parse(time)) / 86_400_000)).sort((a, b) => b - a)
  }
  return { w, keep, save, days }
}

test('[newest.4] retention passes over the unadopted snapshots of a host that was recovered, and lets go of them in time', async (t) => {
  const { w, save, days } = await host(t)
  w.write('data/note', 'good')
  await save(30, 'install:0000000000000000')
  await save(20, 'install:0000000000000000')
  w.write('data/note', '')
  await save(3, 'install:1111111111111111', 'unadopted')
  await save(2, 'install:1111111111111111', 'unadopted')
  expect(await w.cli(['dr', '--yes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['backup', 'notes'])).toMatchObject({ exit: 0 })
  const { stdout } = await w.cli(['prune'])
  expect(stdout).toContain('everything kept: 2 unadopted snapshots would distort retention')
  expect(await days()).toEqual([30, 20, 3, 2, 0])

  // Older than what a restore keeps aside: they go first, and the rest ages as if they had never been.
  await w.restic(['forget', '--tag', 'unadopted', '--group-by', 'host', '--keep-last', '0', '--unsafe-allow-remove-all'])
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  await save(12, `install:${install}`, 'unadopted')
  expect((await w.cli(['prune', '--dry-run'])).stdout).toMatch(/would be forgotten: unadopted\n[\s\S]*2 snapshots would be forgotten/)
  expect((await w.cli(['prune'])).stdout).toMatch(/forgotten: unadopted\n[\s\S]*2 snapshots forgotten/)
  expect(await days()).toEqual([20, 0])
})

test('[newest.4] nor do those of another fresh install take the place of good ones after an adoption, nor those of runs that failed', async (t) => {
  const { w, keep, save, days } = await host(t)
  await save(40, 'install:0000000000000000')
  await save(30, 'install:1111111111111111', 'unadopted')
  await save(25, 'install:1111111111111111', 'unadopted')
  expect(await w.cli(['backup', 'notes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['adopt', 'notes', '--yes'])).toMatchObject({ exit: 0 })
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  // What this install saved before it was adopted counts.
  await save(20, `install:${install}`, 'unadopted')
  await save(1, `install:${install}`, 'failed')
  expect(await w.cli(['prune'])).toMatchObject({ exit: 0 })
  expect(await days()).toEqual([20, 0])
  keep(3)
  await save(40, 'install:0000000000000000')
  await save(1, `install:${install}`, 'failed')
  expect(await w.cli(['prune'])).toMatchObject({ exit: 0 })
  expect(await days()).toEqual([40, 20, 0])
})

test('[retention.9] snapshots of installs that this one doesn’t know neither count nor are forgotten, however many and of whatever time', async (t) => {
  const { w, save, days } = await host(t)
  expect(await w.cli(['backup', 'notes'])).toMatchObject({ exit: 0 })
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  for (const age of [30, 20]) await save(age, `install:${install}`)
  for (const age of [25, 2, 1]) await save(age, 'install:ffffffffffffffff')
  await save(3)
  const { stdout } = await w.cli(['prune'], { env: { COLUMNS: '200' } })
  expect(stdout).toContain('4 snapshots of other installs are there: they neither count nor are forgotten')
  expect(await days()).toEqual([25, 20, 3, 2, 1, 0])
  for (let n = 0; n < 6; n++) await save(50, 'install:eeeeeeeeeeeeeeee')
  const [told] = (await w.cli(['status', '--json'])).json().services
  expect(told).toMatchObject({ state: 'ok', message: expect.stringContaining("10 of its snapshots are of installs that this one doesn't know") })
  await w.restic(['forget', '--tag', 'install:eeeeeeeeeeeeeeee', '--group-by', 'host', '--keep-last', '0', '--unsafe-allow-remove-all'])
  // A person says that they are this host's.
  expect(await w.cli(['adopt', 'notes', '--yes'])).toMatchObject({ exit: 0 })
  expect((await w.cli(['prune'])).stdout).not.toContain('other install')
  expect(await days()).toEqual([1, 0])
  // What comes after that, with an older time, is a stranger's again.
  await save(40, 'install:ffffffffffffffff')
  expect((await w.cli(['prune', '--json'])).json().services[0]).toMatchObject({ strangers: 1 })
  expect(await days()).toEqual([40, 1, 0])
})

test('[retention.8] a manifest that is dated in the future is kept, told, and takes nobody’s place; others’ are counted apart', async (t) => {
  const { w } = await host(t)
  expect(await w.cli(['backup', 'notes'])).toMatchObject({ exit: 0 })
  const stored = w.path('state/repositories/main.manifest')
  const store = (time: string, ...tags: string[]) =>
    w.restic(['backup', '--host', 'testhost', '--time', time, ...['atelier:manifest', ...tags].flatMap((tag) => ['--tag', tag]), stored])
  const other = 'install:ffffffffffffffff'
  for (let n = 1; n <= 9; n++) await store(`2037-01-0${n} 00:00:00`, other)
  for (let n = 1; n <= 11; n++) await store(`2025-01-01 00:00:${n + 10}`, other)
  const all = async () => (await w.restic(['snapshots', '--json', '--tag', 'atelier:manifest'])).json() as { time: string; tags: string[] }[]
  const { stdout } = await w.cli(['prune'], { env: { COLUMNS: '200' } })
  expect(stdout.match(/\(manifest\).*dated in the future/g)).toHaveLength(9)
  const left = await all()
  expect(left.filter(({ time }) => time < '2037' && !time.startsWith('2025'))).toHaveLength(1)
  expect(left.filter(({ time }) => time.startsWith('2025'))).toHaveLength(10)
  expect(left.filter(({ time }) => time.startsWith('2037'))).toHaveLength(9)
})
