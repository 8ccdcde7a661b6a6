// What a fresh install saved before it was recovered takes no place of what it was recovered from.
import { expect, test } from 'vitest'
import { world } from '../lib/world.ts'

test('[newest.4] retention passes over the unadopted snapshots of a host that was recovered, and lets go of them in time', {
  timeout: 60_000,
}, async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.path('data')] } }, retention: { last: 2, daily: 0, weekly: 0, monthly: 0 } })
  const save = (days: number, ...tags: string[]) => {
    const time = new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 19).replace('T', ' ')
    const more = ['service:notes', ...tags].flatMap((tag) => ['--tag', tag])
    return w.restic(['backup', '--quiet', '--host', 'testhost', '--time', time, ...more, w.path('data')], { env: { TZ: 'UTC' } })
  }
  const days = async () => {
    const all = (await w.restic(['snapshots', '--json', '--no-lock'])).json() as { time: string }[]
    return all.map(({ time }) => Math.round((Date.now() - Date.parse(time)) / 86_400_000)).sort((a, b) => b - a)
  }
  w.write('data/note', 'good')
  await save(30, 'install:0000000000000000')
  await save(20, 'install:0000000000000000')
  w.write('data/note', '')
  await save(3, 'install:1111111111111111', 'unadopted')
  await save(2, 'install:1111111111111111', 'unadopted')
  expect(await w.cli(['dr', '--yes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['backup', 'notes'])).toMatchObject({ exit: 0 })
  const { stdout } = await w.cli(['prune'])
  expect(stdout).toContain('everything kept: 2 unadopted snapshots would count')
  expect(await days()).toEqual([30, 20, 3, 2, 0])

  // Older than what a restore keeps aside: they go first, and the rest ages as if they had never been.
  await w.restic(['forget', '--tag', 'unadopted', '--group-by', 'host', '--keep-last', '0', '--unsafe-allow-remove-all'])
  await save(12, 'install:1111111111111111', 'unadopted')
  expect(await w.cli(['prune'])).toMatchObject({ exit: 0 })
  expect(await days()).toEqual([20, 0])
})
