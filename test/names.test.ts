// Names from snapshots are somebody else's: whatever stands in them, a terminal shows it and never obeys it.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { printable } from '../src/text.ts'
import fc, { runs } from './lib/fuzz.ts'
import { type World, world } from './lib/world.ts'

const escapes = [
  '\n',
  '\r',
  '\t',
  '\x1b]0;title\x07',
  '\x1b[2J',
  '\x9b31m',
  '\x7f',
  '\u202e',
  '\u2066',
  '\u200b',
  '\ufeff',
  '\u2028',
  '\u0085',
  '\x1bP',
  '\x08',
]
const oddNames = fc.array(fc.oneof(fc.constantFrom(...escapes), fc.string({ unit: 'grapheme', maxLength: 3 })), { minLength: 1, maxLength: 6 })
const names = [
  ...escapes.map((obeyed) => `a${obeyed}b`),
  ...fc.sample(
    oddNames.map((parts) => parts.join('').replaceAll(/[/\0]/g, '')),
    runs(40),
  ),
  'x'.repeat(255),
].filter((name) => !/^\.{0,2}$/.test(name) && Buffer.byteLength(name) <= 255)

let w: World
let folder: string
let deep: string
beforeAll(async () => {
  w = await world()
  folder = w.path('notes')
  mkdirSync(folder)
  for (const name of names) writeFileSync(join(folder, name), 'x')
  deep = folder
  while (deep.length < 4085) deep = join(deep, 'd'.repeat(Math.min(200, 4094 - deep.length)))
  mkdirSync(deep, { recursive: true })
  w.manifest({ services: { notes: { paths: [folder], exclude: ['*\u202e*'] }, wiki: { paths: [w.path('wiki')] } } })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  const foreign = ['backup', '--tag', 'service:notes', '--tag', 'tag\x1b]0;title\x07\u202e', '--host', 'testhost', folder]
  expect((await w.restic(foreign)).exit).toBe(0)
  expect((await w.restic(['backup', '--tag', 'service:wiki', '--host', 'host\x1b[2J\u202e', folder])).exit).toBe(0)
})
afterAll(() => w.cleanup())

/** What a terminal would obey, but for the ends of lines. */
const obeyed = /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u

describe('[names.1] what stands in a snapshot never reaches a terminal raw', () => {
  const evil = () => join(folder, 'no\x1b]0;title\x07such')
  test.each<[string, () => string[]]>([
    ['status', () => ['status']],
    ['status --json', () => ['status', '--json']],
    ['list', () => ['list', 'notes']],
    ['list --json', () => ['list', 'notes', '--json']],
    ['a listing of files', () => ['list', 'notes', '--snapshot', 'latest']],
    ['a listing of files --json', () => ['list', 'notes', '--snapshot', 'latest', '--json']],
    ['what is found', () => ['find', '*']],
    ['what is found --json', () => ['find', '*', '--json']],
    ['what isn’t found', () => ['find', 'no\x1b[2Jsuch\u202e']],
    ['a path that isn’t there', () => ['list', 'notes', '--path', evil()]],
    ['the plan of a restore', () => ['restore', 'notes', '--in-place', '--dry-run']],
    ['the plan of a restore --json', () => ['restore', 'notes', '--in-place', '--dry-run', '--json']],
    ['the plan of another host’s restore', () => ['restore', 'wiki', '--host', 'host\x1b[2J\u202e', '--in-place', '--dry-run']],
    ['a restore for a look', () => ['restore', 'notes', '--path', evil()]],
    ['a recovery', () => ['dr', '--dry-run', '--overwrite']],
    ['a recovery of another host', () => ['dr', '--dry-run', '--host', 'host\x1b[2J\u202e']],
    ['retention', () => ['prune', '--dry-run']],
    ['a wrong command line', () => ['list', 'no\x1b[2Jte', '--snapshot', '\u202e']],
  ])('%s', async (_, args) => {
    const { exit, stdout, stderr } = await w.cli(args())
    expect([0, 1, 2, 4]).toContain(exit)
    expect(`${stdout}${stderr}`).not.toMatch(obeyed)
    expect(`${stdout}${stderr}`).not.toBe('')
  })

  test('and yet nothing of a name is lost', async () => {
    const { stdout } = await w.cli(['list', 'notes', '--snapshot', 'latest'])
    const { json } = await w.cli(['list', 'notes', '--snapshot', 'latest', '--json'])
    const listed = json().map(({ path }: { path: string }) => path)
    expect(listed).toEqual(expect.arrayContaining([...names.filter((name) => !name.includes('\u202e')).map((name) => join(folder, name)), deep]))
    for (const name of names) if (!name.includes('\u202e')) expect(stdout).toContain(printable(join(folder, name)))
  })

  test('a name comes back as it was', async () => {
    const [name = ''] = names
    expect((await w.cli(['restore', 'notes', '--snapshot', 'latest', '--path', join(folder, name), '--target', w.path('look'), '--json'])).exit).toBe(
      0,
    )
  })
})
