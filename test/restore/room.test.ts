// Room for a restore: what restic will really write counts, and a person may begin where there seems to be too little.
import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { output } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let disk: string
beforeAll(async () => {
  w = await world()
  disk = w.path('disk')
  output(['mkdir', disk])
  if (isRoot) output(['mount', '-t', 'tmpfs', '-o', 'size=160M', 'none', disk])
})
afterAll(() => {
  if (isRoot) output(['umount', disk])
  w.cleanup()
})

test.skipIf(!isRoot)('[room.1] holes, and further names of a file, need no room, for one service as for a whole host', async () => {
  const service = (name: string) => {
    const file = (entry: string) => w.path('disk', name, entry)
    w.write(`disk/${name}/a`, randomBytes(10_000_000))
    for (const link of ['b', 'c', 'd', 'e', 'f', 'g']) linkSync(file('a'), file(link))
    w.write(`disk/${name}/sparse`, 'begin')
    truncateSync(file('sparse'), 1_000_000_000)
    return { paths: [w.path('disk', name)], units: [] }
  }
  w.manifest({ services: { one: service('one'), two: service('two') } })
  expect(await w.cli(['backup', 'one', 'two'])).toMatchObject({ exit: 0 })
  const plan = JSON.parse((await w.cli(['restore', 'one', '--in-place', '--dry-run', '--json'])).stdout)
  expect(plan.facts.roots[0]).toMatchObject({ bytes: 1_070_000_000 })
  expect(plan.facts.roots[0].written).toBeLessThan(12_000_000)
  w.write('disk/one/sparse', 'live')
  expect(await w.cli(['restore', 'one', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
  const check = () => {
    const { size, blocks } = statSync(w.path('disk/one/sparse'))
    expect([size, blocks * 512 < 2_000_000]).toEqual([1_000_000_000, true])
    expect(statSync(w.path('disk/one/a'))).toMatchObject({ nlink: 7, size: 10_000_000 })
  }
  check()
  for (const folder of ['disk/one', 'disk/two', 'state']) rmSync(w.path(folder), { recursive: true })
  output(['bash', '-c', `rm -rf ${disk}/.atelier*`])
  expect(await w.cli(['dr', '--yes', '--json'])).toMatchObject({ exit: 0 })
  check()
  output(['bash', '-c', `rm -rf ${disk}/* ${disk}/.atelier*`])
})

test.skipIf(!isRoot)(
  '[room.2] --ignore-space begins and says what it risks; if the room runs out, the live data stays, and a reserve is left',
  async () => {
    w.write('disk/large/file', randomBytes(50_000_000))
    w.manifest({ services: { large: { paths: [w.path('disk/large')], units: [] } } })
    expect(await w.cli(['run', 'large'])).toMatchObject({ exit: 0 })
    writeFileSync(w.path('disk/large/file'), 'live')
    w.write('disk/other', randomBytes(60_000_000))
    const restore = (...more: string[]) => w.cli(['restore', 'large', '--in-place', '--yes', ...more])
    expect(await restore()).toMatchObject({ exit: 1, stderr: expect.stringContaining('--ignore-space') })
    const begun = await restore('--ignore-space')
    expect(begun).toMatchObject({ exit: 0, stdout: expect.stringContaining('if the disk gets full, the restore stops') })
    expect(statSync(w.path('disk/large/file')).size).toBe(50_000_000)
    const before = fingerprint(w.path('disk/large'))
    const ended = await restore('--ignore-space')
    expect(ended).toMatchObject({ exit: 1, stderr: expect.stringMatching(/^large: no space left on the disk of .*not touched\n$/) })
    expect(fingerprint(w.path('disk/large'))).toEqual(before)
    const { bavail, bsize } = statfsSync(disk)
    expect(bavail * bsize).toBeGreaterThan(40_000_000)
    expect(readFileSync(w.path('disk/other'))).toHaveLength(60_000_000)
  },
)
