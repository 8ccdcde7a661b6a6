// Live data that can't be looked at keeps nothing from being restored: it is what one restores for.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { output } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { world } from '../lib/world.ts'

test.skipIf(!isRoot)('[restore.49] folders deeper than a path may be long move aside unseen, and the plan says so', async (t) => {
  const w = await world(t)
  w.manifest({ services: { s: { paths: [w.path('data')], exclude: ['*.tmp'] } } })
  w.write('data/file', 'saved')
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  w.write('data/file', 'live')
  output(['bash', '-c', 'cd "$1"; n=$(printf "d%.0s" {1..100}); for i in {1..60}; do mkdir $n; cd -P ./$n; done 2>/dev/null', 'x', w.path('data')])
  // A backup saves what it can, and names the rest in a few words.
  const partial = await w.cli(['run', 's'])
  expect(partial).toMatchObject({ exit: 3, stderr: expect.stringMatching(/too long/) })
  expect(partial.stderr).not.toMatch(/\S{400}/)
  const restored = await w.cli(['restore', 's', '--in-place', '--yes'])
  expect(restored).toMatchObject({ exit: 0, stdout: expect.stringContaining("can't be looked at") })
  expect(readFileSync(w.path('data/file'), 'utf8')).toBe('live')
  expect(await w.cli(['restore', 's', '--discard-old', '--yes'])).toMatchObject({ exit: 0 })
})
