// Paths through links, and files that are replaced whole or not at all.
import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { clearUnfinished, isWithin, outermost, realAsFarAsThere, resolveLinks, writeDurably } from '../../src/host/files.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  w.write('real/deep/file', 'x')
  symlinkSync('real', w.path('relative'))
  symlinkSync(w.path('relative/deep'), w.path('absolute'))
  symlinkSync('../real/../relative', w.path('real/up'))
  symlinkSync('loop', w.path('loop'))
  symlinkSync('nowhere', w.path('dangling'))
})
afterAll(() => w.cleanup())

test.each([
  ['a plain path', 'real/deep/file', [], 'real/deep/file'],
  ['a link', 'relative/deep', ['relative'], 'real/deep'],
  ['a link through a link', 'absolute/file', ['absolute', 'relative'], 'real/deep/file'],
  ['a link with ..', 'real/up/deep', ['real/up', 'relative'], 'real/deep'],
  ['a link that leads nowhere', 'dangling/x', ['dangling'], null],
  ['nothing', 'real/nothing', [], null],
  ['below a file', 'real/deep/file/x', [], null],
])('[snapshot.2] %s: every link on the way is named, and where it leads', async (_, path, links, real) => {
  expect(await resolveLinks(w.path(path))).toEqual({
    refused: null,
    foreign: null,
    links: links.map((link) => w.path(link)),
    real: real && w.path(real),
  })
})

test('a loop of links is an error, not an endless one', async () => {
  await expect(resolveLinks(w.path('loop/x'))).rejects.toMatchObject({ code: 'link-loop' })
})

test('a path that isn’t there yet is resolved as far as it is', async () => {
  expect(await realAsFarAsThere(w.path('relative/new/folder'))).toBe(w.path('real/new/folder'))
  expect(await realAsFarAsThere('/nothing/at/all')).toBe('/nothing/at/all')
})

test('what stands below what', () => {
  expect([isWithin('/a/b', '/a'), isWithin('/a', '/a'), isWithin('/ab', '/a'), isWithin('/a', '/'), isWithin('/a', '/a/b')]).toEqual([
    true,
    true,
    false,
    true,
    false,
  ])
  expect(outermost(['/a/b', '/a', '/ab', '/a', '/c/d'])).toEqual(['/a', '/ab', '/c/d'])
})

test('a file is replaced with mode 0600, and a failure leaves the old one and nothing beside it', async () => {
  mkdirSync(w.path('records'))
  const file = w.path('records/a.json')
  await writeDurably(file, 'one')
  await writeDurably(file, 'two')
  expect(readFileSync(file, 'utf8')).toBe('two')
  expect(statSync(file).mode & 0o777).toBe(0o600)
  mkdirSync(w.path('records/folder/full'), { recursive: true })
  await expect(writeDurably(w.path('records/folder'), 'x')).rejects.toThrow()
  expect(readdirSync(w.path('records')).sort()).toEqual(['a.json', 'folder'])
  // What a killed one leaves, by whose it is.
  const left = (name: string) => `.${name}.${randomUUID()}.new`
  const others = [left('b.json'), left('a.json.b'), '.a.json.mine.new']
  for (const name of [left('a.json'), left('a.json'), ...others]) writeFileSync(w.path('records', name), '')
  await clearUnfinished(file)
  expect(readdirSync(w.path('records')).sort()).toEqual(['a.json', 'folder', ...others].sort())
})
