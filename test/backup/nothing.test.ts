// Nothing to do, paths that a hook makes, and data that shrank.
import { existsSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { beforeEach, expect, test } from 'vitest'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async (test) => {
  w = await world(test)
  for (const name of ['a', 'b', 'c', 'd']) w.write(`data/${name}`, name.repeat(1000))
})
const declare = (fields: object) => w.manifest({ services: { notes: { paths: [w.path('data')], ...fields } } })
const snapshots = async () => (await w.restic(['snapshots', '--json'])).json()
const status = async () => (await w.cli(['status', '--json'])).json().services[0]
const told = () => readFileSync(w.path('told'), 'utf8')
const tell = () => ({ postBackup: `echo "$ATELIER_SERVICE $ATELIER_OUTCOME \${ATELIER_SNAPSHOT:0:8}" >${w.path('told')}` })

test('[hook.4] a preBackup that exits with 75 has nothing to do: no snapshot, exit 0, `skipped`, and the state stays ok', async () => {
  declare({})
  await w.cli(['run', 'notes'])
  const before = await snapshots()
  declare({ preBackup: 'exit 75', ...tell() })
  const { exit, stdout, stderr } = await w.cli(['run', 'notes'])
  expect([exit, stdout, stderr]).toEqual([0, expect.stringContaining('skipped'), ''])
  expect(await snapshots()).toEqual(before)
  expect(told()).toBe('notes skipped \n')
  expect(await status()).toMatchObject({ state: 'ok', lastRun: { outcome: 'skipped' } })
})

test('[hook.5] a path that preBackup makes may be missing before', async () => {
  declare({ paths: [w.path('data'), w.path('export')], preBackup: `mkdir ${w.path('export')}; echo made >${w.path('export/file')}` })
  expect(existsSync(w.path('export'))).toBe(false)
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
  expect((await w.restic(['dump', 'latest', w.path('export/file')])).stdout).toBe('made\n')
})

test('[shrink.1] data that fell by more than shrinkThreshold is saved, and flagged as partial until it is saved again', async () => {
  declare({ ...tell() })
  await w.cli(['run', 'notes'])
  rmSync(w.path('data/a'))
  rmSync(w.path('data/b'))
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  rmSync(w.path('data/c'))
  rmSync(w.path('data/d'))
  w.write('data/e', 'small')
  const { exit, stderr } = await w.cli(['run', 'notes'])
  expect([exit, stderr]).toEqual([
    3,
    expect.stringMatching(
      /it shrank from 2 files and 2000 bytes to 1 and 5: is something missing\? If the new size is right: atelier-backup adopt notes/,
    ),
  ])
  expect(await snapshots()).toHaveLength(3)
  expect(told()).toMatch(/^notes partial /)
  expect(await status()).toMatchObject({ state: 'partial', message: expect.stringContaining('shrank') })
  // A run in between that saved nothing isn't what is compared with, and neither is the small one: it stays flagged until somebody says that it is right.
  declare({ preBackup: 'exit 1' })
  await w.cli(['run', 'notes'])
  declare({})
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 3 })
  expect(await w.cli(['adopt', 'notes', '--yes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  rmSync(w.path('data/e'))
  utimesSync(w.path('data'), 1, 1)
  declare({ shrinkThreshold: null })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
})

test('[shrink.2] a partial backup, which may be larger, is not what the next one is compared with', async () => {
  const database = w.write('data/db/app.db', 'x'.repeat(100_000))
  const sound = { paths: [w.path('data')], exclude: [w.path('data/db')] }
  declare(sound)
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  declare({ sqlite: [database] })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 3, stderr: expect.stringContaining('the file itself is saved') })
  declare(sound)
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
})

test('[shrink.2] where every backup was partial, the newest of them is compared with', async () => {
  declare({ paths: [w.path('data'), w.path('missing')] })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 3, stderr: expect.stringMatching(/missing doesn't exist\n/) })
  for (const name of ['a', 'b', 'c']) rmSync(w.path(`data/${name}`))
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 3, stderr: expect.stringMatching(/missing doesn't exist \(and 1 more\)\n/) })
})
