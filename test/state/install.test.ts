import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { installId, installIdIfThere, makeState, requireFolder, stateFolders, statePath } from '../../src/state/install.ts'
import { cli } from '../lib/cli.ts'
import { world } from '../lib/world.ts'

test('[state.7] the install’s id is made once, and kept', async (t) => {
  const { path } = await world(t)
  expect(await installIdIfThere(path('state'))).toBeNull()
  const id = await installId(path('state'))
  expect(id).toMatch(/^[0-9a-f]{16}$/)
  expect(await installId(path('state'))).toBe(id)
  expect(await installIdIfThere(path('state'))).toBe(id)
  expect(statSync(path('state/install-id')).mode & 0o777).toBe(0o600)
})

test('[state.7] many that start at once get one id, and leave nothing else', async (t) => {
  const { path } = await world(t)
  for (let round = 0; round < 20; round++) {
    const state = path(`state-${round}`)
    await makeState(state)
    const ids = await Promise.all(Array.from({ length: 8 }, () => installId(state)))
    expect(new Set(ids).size).toBe(1)
    expect(readdirSync(state).sort()).toEqual(['install-id', ...stateFolders].sort())
  }
})

test('[state.7] a folder that another run makes at that moment is good', async (t) => {
  const { path } = await world(t)
  await makeState(path('state'))
  const looks = Array.from({ length: 10 }, async () => {
    for (let round = 0; round < 60; round++) await requireFolder(path('state'))
  })
  let done = false
  const ended = Promise.all(looks).finally(() => (done = true))
  while (!done) {
    await rmdir(path('state/running'))
    await mkdir(path('state/running'))
  }
  await ended
})

test('[state.7] two processes that start at once tag their snapshots alike', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] }, wiki: { paths: [w.write('wiki/b', 'b')] } } })
  const ended = await Promise.all(['notes', 'wiki'].map((name) => w.cli(['run', name])))
  expect(ended.map(({ exit }) => exit)).toEqual([0, 0])
  const snapshots: { tags: string[] }[] = (await w.restic(['snapshots', '--json'])).json()
  const ids = snapshots.flatMap(({ tags }) => tags.filter((tag) => tag.startsWith('install:')))
  const id = readFileSync(w.path('state/install-id'), 'utf8').trim()
  expect(ids).toEqual([`install:${id}`, `install:${id}`])
})

test.each([
  ['empty', ''],
  ['cut', '0123456789abcde\n'],
  ['cut after its last digit', '0123456789abcdef'],
  ['garbage', '0123456789abcdeX\n'],
  ['followed by more', '0123456789abcdef\nmore'],
])('[state.7] an id that is %s is an error, not a new one', async (_, text) => {
  const w = await world()
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } } })
  w.write('state/install-id', text)
  for (const command of [['run', 'notes'], ['status']]) {
    const { exit, stderr, stdout } = await w.cli(command)
    expect({ exit, text: stdout + stderr }).toMatchObject({
      exit: 1,
      text: expect.stringContaining(`${w.path('state/install-id')} doesn't hold an install id`),
    })
  }
  expect(readFileSync(w.path('state/install-id'), 'utf8')).toBe(text)
  expect((await w.restic(['snapshots', '--json'])).json()).toEqual([])
  w.cleanup()
})

test('a name can’t lead out of the state folder', () => {
  for (const name of ['../x', '.', '..', 'a/b', '/etc'])
    expect(() => statePath('/s', 'records', name)).toThrow(`"${name}" is not a valid name of a service or repository`)
  expect(statePath('/s', 'records', 'a.b')).toBe('/s/records/a.b')
})

test('a state folder that can’t be made is said to be so', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } } })
  writeFileSync(w.path('file'), '')
  const { exit, stderr } = await cli(['backup', 'notes'], { env: { ...w.env, STATE_DIRECTORY: join(w.path('file'), 'state') } })
  expect(exit).toBe(1)
  expect(stderr).toContain('notes: ')
})
