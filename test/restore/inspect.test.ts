// Restores for a look.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resticBefore } from '../lib/live.ts'
import { fingerprint, makeHostileTree } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let id: string
let target = ''
beforeAll(async () => {
  w = await world()
  makeHostileTree(w.path('srv/data'))
  for (const name of ['b', 'b2', 'a*', 'abc', '[a]', 'a']) w.write(`srv/odd/${name}`, `this is ${name}`)
  w.manifest({ services: { tree: { paths: [w.path('srv/data'), w.path('srv/odd')] } } })
  expect(await w.cli(['run', 'tree'])).toMatchObject({ exit: 0 })
  id = JSON.parse((await w.restic(['snapshots', '--json'])).stdout)[0].id
  target = `/tmp/restore-tree-${id.slice(0, 8)}`
})
afterAll(() => {
  rmSync(target, { recursive: true, force: true })
  w.cleanup()
})
const restore = (...args: string[]) => w.cli(['restore', 'tree', '--snapshot', 'latest', ...args])
const files = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name)

test('[inspect.1] files stand below /tmp/restore-SERVICE-SNAPSHOT at their original path, for root alone, and the live data is left alone', async () => {
  const live = fingerprint(w.path('srv'))
  expect(await restore()).toMatchObject({ exit: 0, stdout: expect.stringContaining(target + w.path('srv/data')) })
  expect(statSync(target).mode & 0o777).toBe(0o700)
  expect(fingerprint(target + w.path('srv/data'))).toEqual(fingerprint(w.path('srv/data')))
  expect(fingerprint(w.path('srv'))).toEqual(live)
})

test('[inspect.2] a target that exists is refused, and left as it is', async () => {
  mkdirSync(target, { recursive: true })
  expect(await restore()).toMatchObject({ exit: 2, stderr: expect.stringContaining('exists already') })
  const mine = w.write('mine/file', 'precious')
  const before = fingerprint(w.path('mine'))
  for (const there of [w.path('mine'), mine]) expect(await restore('--target', there)).toMatchObject({ exit: 2 })
  expect(fingerprint(w.path('mine'))).toEqual(before)
  expect(await restore('--target', w.path('no/such/parent'))).toMatchObject({ exit: 2, stderr: expect.stringContaining("doesn't exist") })
  expect(await restore('--target', w.path('srv/data/inside'))).toMatchObject({ exit: 2, stderr: expect.stringContaining('live data') })
})

test.for([
  [['odd/b'], ['b']],
  [['odd/a*'], ['a*']],
  [['odd/[a]'], ['[a]']],
  [
    ['odd/a', 'odd/b2'],
    ['a', 'b2'],
  ],
  [
    ['data/back\\slash', 'data/line\nbreak', 'data/-rf'],
    ['back\\slash', '--help', 'line\nbreak'],
  ],
  [['odd/'], ['a', 'a*', 'abc', 'b', 'b2', '[a]']],
])('[inspect.3] --path %j is taken literally: %j and nothing else', async ([paths = [], expected = []]) => {
  const to = w.path('chosen')
  expect(await restore('--target', to, ...paths.flatMap((path) => ['--path', `${w.path('srv')}/${path}`]))).toMatchObject({ exit: 0 })
  expect(files(to).sort()).toEqual([...expected].sort())
  rmSync(to, { recursive: true })
})

test('[inspect.4] a path that the snapshot does not hold is an error, and nothing is left behind', async () => {
  const to = w.path('nothing')
  const missing = await restore('--target', to, '--path', w.path('srv/odd/b'), '--path', w.path('srv/odd/missing'))
  expect(missing).toMatchObject({ exit: 2, stderr: expect.stringMatching(/odd\/missing isn't in snapshot.*atelier-backup list tree/) })
  expect(existsSync(to)).toBe(false)
  expect(await restore('--target', to, '--path', 'odd/b')).toMatchObject({ exit: 2, stderr: expect.stringContaining('absolute') })
})

test('[inspect.4] nor after a failure or an interruption', async () => {
  const to = w.path('half')
  const fails = resticBefore(w, 'if [ "$command" = restore ]; then "$real" "$@" >/dev/null; exit 1; fi')
  expect(await w.cli(['restore', 'tree', '--target', to, '--snapshot', id], fails)).toMatchObject({ exit: 1 })
  expect(existsSync(to)).toBe(false)
  const waits = resticBefore(
    w,
    `if [ "$command" = restore ]; then "$real" "$@" >/dev/null; touch ${w.path('waits')}; while :; do sleep 0.05; done; fi`,
  )
  const { child, ended } = w.startCli(['restore', 'tree', '--target', to, '--snapshot', id], waits)
  while (!existsSync(w.path('waits'))) await new Promise((resolve) => setTimeout(resolve, 20))
  expect(files(to).length).toBeGreaterThan(10)
  child.kill('SIGINT')
  expect(await ended).toMatchObject({ exit: 130 })
  expect(existsSync(to)).toBe(false)
})

test('--dry-run says what would come where, and writes nothing', async () => {
  const to = w.path('dry')
  expect((await restore('--target', to, '--dry-run', '--json')).json()).toMatchObject({ service: 'tree', snapshot: id, target: to })
  expect(existsSync(to)).toBe(false)
  expect(readFileSync(w.path('srv/odd/a'), 'utf8')).toBe('this is a')
})

test('[newest.8] where the newest is partial the plan says so, and names the complete one before it', async () => {
  await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:tree,partial', w.path('srv/data'), w.path('srv/odd')])
  const day = (await w.cli(['list', 'tree', '--json'])).json().at(-1).time.slice(0, 10)
  const [told, short] = ['this snapshot is partial: something could not be read when it was made; the newest complete one is', id.slice(0, 8)]
  const words = (text: string) => text.replaceAll(/\s+/g, ' ')
  for (const how of [['--in-place'], ['--target', w.path('partial')]]) {
    expect(words((await restore(...how, '--dry-run')).stdout)).toContain(`${told} ${short} of ${day}: --snapshot ${short}`)
    const { plan = null, notes } = (await restore(...how, '--dry-run', '--json')).json()
    expect(plan?.notes ?? notes).toContainEqual(expect.stringContaining(told))
  }
  expect((await restore('--target', w.path('partial'), '--json')).events()[0]).toMatchObject({
    type: 'plan',
    plan: { notes: [expect.stringContaining(told)] },
  })
  expect((await restore('--in-place', '--yes', '--json')).events()[0]).toMatchObject({
    type: 'plan',
    plan: { notes: expect.arrayContaining([expect.stringContaining(told)]) },
  })
  expect((await w.cli(['restore', 'tree', '--snapshot', id, '--in-place', '--dry-run'])).stdout).not.toContain('partial')
  await w.restic(['forget', '--quiet', id])
  expect(words((await restore('--in-place', '--dry-run')).stdout)).toContain('there is no complete one before it')
})
