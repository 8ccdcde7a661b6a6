// A file through all snapshots: what is told of it, and one of its versions brought back.
import { readFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keys } from '../lib/terminal.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  const paths = [w.path('data')]
  w.manifest({ services: { notes: { paths, formerNames: ['memos'] }, wiki: { paths: [w.path('wiki')] } } })
  const save = (service: string, time: string, host = 'testhost') =>
    w.restic(['backup', '--host', host, '--tag', `service:${service}`, '--time', time, w.path(service === 'wiki' ? 'wiki' : 'data')])
  w.write('data/Budget 2026.txt', 'one')
  w.write('data/budgets/plan.txt', 'plan')
  w.write('wiki/budget.md', 'page')
  await save('memos', '2025-03-01 10:00:00')
  await save('wiki', '2025-03-02 10:00:00')
  await save('notes', '2025-03-03 10:00:00')
  w.write('data/Budget 2026.txt', 'second')
  await save('notes', '2025-03-04 10:00:00')
  await save('notes', '2025-03-05 10:00:00', 'elsewhere')
  await save('undeclared', '2025-03-06 10:00:00')
})
afterAll(() => w.cleanup())

interface Found {
  service: string
  snapshot: string
  time: string
  path: string
  type: string
  bytes: number
  mtime: string
}
const find = async (...args: string[]) => {
  const { exit, stdout } = await w.cli(['find', ...args, '--json'])
  const found = JSON.parse(stdout) as Found[]
  return { exit, found, lines: found.map(({ service, time, path, bytes }) => [service, time.slice(8, 10), path.replace(`${w.root}/`, ''), bytes]) }
}

test('[cli.15] each snapshot of this host that holds it, newest first, by a part of its name', async () => {
  const { exit, found, lines } = await find('budget')
  expect(exit).toBe(0)
  expect(lines).toEqual([
    ['notes', '04', 'data/Budget 2026.txt', 6],
    ['notes', '04', 'data/budgets', 0],
    ['notes', '03', 'data/Budget 2026.txt', 3],
    ['notes', '03', 'data/budgets', 0],
    ['wiki', '02', 'wiki/budget.md', 4],
    ['notes', '01', 'data/Budget 2026.txt', 3],
    ['notes', '01', 'data/budgets', 0],
  ])
  expect(found[1]).toEqual({
    service: 'notes',
    snapshot: expect.stringMatching(/^[0-9a-f]{64}$/),
    time: expect.stringMatching(/^2025-03-04T10:00:00/),
    path: w.path('data/budgets'),
    type: 'dir',
    bytes: 0,
    mtime: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  })
})

test('[cli.15] patterns are restic’s; a service, or another host, may be named', async () => {
  expect((await find('*.md')).lines).toEqual([['wiki', '02', 'wiki/budget.md', 4]])
  expect((await find('/**/budgets/*')).lines.map(([, day, path]) => [day, path])).toEqual(
    ['04', '03', '01'].map((day) => [day, 'data/budgets/plan.txt']),
  )
  expect((await find('budget', 'wiki')).lines).toEqual([['wiki', '02', 'wiki/budget.md', 4]])
  expect((await find('2026', 'notes', '--host', 'elsewhere')).lines).toEqual([['notes', '05', 'data/Budget 2026.txt', 6]])
})

test('[cli.15] where nothing is called so: exit 1, in words', async () => {
  expect(await find('nowhere')).toMatchObject({ exit: 1, found: [] })
  const { exit, stdout, stderr } = await w.cli(['find', 'nowhere', 'wiki'])
  expect([exit, stdout, stderr]).toEqual([1, '', 'atelier-backup: nothing matches "nowhere" in 1 snapshot of wiki\n'])
  expect(await w.cli(['find', '['])).toMatchObject({ exit: 2, stderr: expect.stringContaining('"[" is no pattern') })
  expect(await w.cli(['find', ' '])).toMatchObject({ exit: 2 })
  expect(await w.cli(['find'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('give a pattern') })
  expect(await w.cli(['find', 'a', 'wikki'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('did you mean wiki?') })
})

test('without a terminal a line for each version, with the snapshots that hold it', async () => {
  const { stdout } = await w.cli(['find', '2026'])
  expect(
    stdout
      .replaceAll(w.root, '/ROOT')
      .replaceAll(/[0-9a-f]{8}/g, 'ID______')
      .replaceAll(/today \d\d:\d\d/g, 'today TIME_'),
  ).toBe(
    [
      'SERVICE  SIZE  CHANGED      SNAPSHOT     PATH',
      'notes     6 B  today TIME_  ID______     /ROOT/data/Budget 2026.txt',
      'notes     3 B  today TIME_  ID______ +1  /ROOT/data/Budget 2026.txt',
      '',
    ].join('\n'),
  )
})

test('at a terminal a version is chosen and restored, to look at; Esc leaves', async () => {
  const t = w.terminal([])
  await t.waitFor('? testhost')
  t.type('find')
  await t.waitFor(/❯ Find a file/)
  t.type(keys.enter)
  await t.waitFor('? Find which file?')
  t.type(`2026${keys.enter}`)
  const screen = await t.waitFor('2 versions of 2026')
  expect(screen).toMatch(/\n❯ notes +6 B {2}today \d\d:\d\d {2}[0-9a-f]{8} .*\n {2}notes +3 B {2}today \d\d:\d\d {2}[0-9a-f]{8} \+1 .*2026\.txt\n/)
  t.type(keys.down)
  await t.waitFor(/❯ notes +3 B/)
  t.type(keys.enter)
  await t.waitFor('Inspect: into')
  t.type(keys.enter)
  await t.waitFor(/restored[\s\S]*\? testhost/)
  const [, target = ''] = /(\/tmp\/restore-notes-[0-9a-f]{8})\//.exec(t.all().replaceAll('\n', '')) ?? []
  expect(readFileSync(target + w.path('data/Budget 2026.txt'), 'utf8')).toBe('one')
  rmSync(target, { recursive: true })
  t.type(keys.escape)
  expect(await t.exit).toBe(0)
})
