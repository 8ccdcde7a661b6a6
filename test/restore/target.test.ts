// A restore for a look into a folder of somebody else's.
import { chownSync, existsSync, mkdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { isRoot } from '../lib/needs.ts'
import { world } from '../lib/world.ts'

test.skipIf(!isRoot)('[inspect.5] a target in a folder of another user is refused, and nothing is written', async (t) => {
  const w = await world(t)
  w.manifest({ services: { s: { paths: [w.path('data')] } } })
  w.write('data/file', 'saved')
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  mkdirSync(w.path('home/below'), { recursive: true })
  chownSync(w.path('home'), 4242, 4242)
  for (const target of ['home/look', 'home/below/look']) {
    const refused = await w.cli(['restore', 's', '--target', w.path(target)])
    expect(refused).toMatchObject({ exit: 1, stderr: expect.stringContaining('others than root can write') })
    expect(existsSync(w.path(target))).toBe(false)
  }
  expect(await w.cli(['restore', 's', '--target', w.path('look')])).toMatchObject({ exit: 0 })
})
