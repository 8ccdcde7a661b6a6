import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openRestic } from '../../src/restic/client.ts'
import { escapePattern, excluded } from '../../src/restic/patterns.ts'
import type { Restic } from '../../src/restic/types.ts'
import fc from '../lib/fuzz.ts'
import { makeRepository, resticPrograms } from '../lib/repository.ts'

describe('what an exclude pattern matches', () => {
  const root = '/srv/x'
  it.each([
    ['*.tmp', '/srv/x/a.tmp', true],
    ['*.tmp', '/srv/x/deep/a.tmp', true],
    ['cache', '/srv/x/cache/below', true],
    ['cache', '/srv/x/caches', false],
    ['/cache', '/srv/x/cache', false],
    ['/srv/x/cache/', '/srv/x/cache', true],
    ['/srv/**/a', '/srv/x/y/a', true],
    ['/srv/**/a', '/srv/a', true],
    ['a/**/b', '/srv/x/a/b', true],
    ['a/**', '/srv/x/a', true],
    ['[a-c]?', '/srv/x/b1', true],
    ['[^a-c]?', '/srv/x/b1', false],
    ['[c-a]', '/srv/x/b', false],
    ['\\*', '/srv/x/*', true],
    ['\\*', '/srv/x/a', false],
    ['*', '/srv/x', true],
    ['/', '/srv', true],
    ['ä?', '/srv/x/ä😀', true],
    ['./a/../b', '/srv/x/b', true],
    ['[', '/srv/x/[', false],
    ['', '/srv/x/a', false],
    ['**/a/**/b/**', '/srv/x/a/y/b', true],
    ['a*b*c', '/srv/x/abbcbc', true],
    ['a*b*c', '/srv/x/abbcb', false],
    [`${'**/a/'.repeat(100)}b`, `/${'a/'.repeat(500)}a`, false],
  ])('%s, %s: %s', (pattern, path, expected) => {
    expect(excluded([pattern], path)).toBe(expected)
  })

  it('a later ! takes back what isn’t below an excluded folder', () => {
    expect(excluded(['*.log', '!keep.log'], `${root}/keep.log`)).toBe(false)
    expect(excluded(['logs', '!keep.log'], `${root}/logs/keep.log`)).toBe(true)
    expect(excluded(['!keep.log', '*.log'], `${root}/keep.log`)).toBe(true)
  })
})

describe('restic itself agrees', () => {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-patterns-'))
  const [program = 'restic'] = resticPrograms()
  const tree = join(folder, 'tree')
  const names = [
    'a',
    'b',
    'ab',
    'a.b',
    '.a',
    'A',
    'ä',
    '*',
    '?',
    '[a]',
    'a\\',
    'a b',
    ' a',
    'a ',
    '!a',
    '-a',
    '**',
    'b\n',
    '$a',
    '#a',
    '😀',
    ']',
    '^',
  ]
  const paths: string[] = []
  let restic: Restic

  beforeAll(async () => {
    for (const first of names) {
      for (const rest of ['file', ...names.slice(0, 6).map((name) => `${name}/file`), 'a/b/a/*', 'a/b/a/b']) add(join(tree, first, rest))
    }
    restic = openRestic({ name: 'main', repository: await makeRepository(folder), cacheDir: join(folder, 'cache'), program })
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  function add(file: string) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, '')
    for (let path = file; path !== tree; path = dirname(path)) if (!paths.includes(path)) paths.push(path)
  }

  async function leftOut(exclude: string[]): Promise<string[]> {
    const { snapshotId } = await restic.backup({ paths: [tree], exclude, tags: [], host: 'test' })
    const saved = new Set<string>()
    for await (const { path } of restic.ls(snapshotId)) saved.add(path)
    return paths.filter((path) => !saved.has(path)).sort()
  }

  const part = fc.oneof(
    fc.constantFrom(
      '**',
      '*',
      '?',
      'a*',
      '*b',
      '?b',
      '[ab]',
      '[^a]',
      '[a-]',
      '[b-a]',
      '[\\]]',
      '\\[a\\]',
      '[[]a]',
      '\\\\',
      'a\\\\',
      '*\\**',
      '!a',
      '..',
      '.',
    ),
    fc.constantFrom(...names),
    fc.constantFrom(...names.map(escapePattern)),
  )
  const pattern = fc
    .tuple(
      fc.constantFrom('', '', '', '!'),
      fc.constantFrom('', '', '/', `${escapePattern(tree)}/`),
      fc.array(part, { minLength: 1, maxLength: 3 }),
      fc.constantFrom('', '/'),
    )
    .map(([negation, start, parts, end]) => `${negation}${start}${parts.join('/')}${end}`)
    // Malformed ones restic refuses.
    .filter((text) => !text.includes('[a-]') && !/(^|[^\\])(\\\\)*\\($|\/)/.test(text))

  it('on a tree of strange names, for patterns of all kinds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(pattern, { minLength: 1, maxLength: 4 }), async (patterns) => {
        const expected = paths.filter((path) => excluded(patterns, path)).sort()
        expect(await leftOut(patterns)).toEqual(expected)
      }),
      { numRuns: Number(process.env.ATELIER_RUNS ?? 30), seed: Number(process.env.ATELIER_SEED ?? 7) },
    )
  })

  it('that an escaped path excludes itself and nothing else', async () => {
    for (const path of [join(tree, '*'), join(tree, '[a]'), join(tree, 'a\\', 'file'), join(tree, '**', 'a'), join(tree, ' a')]) {
      const expected = paths.filter((other) => other === path || other.startsWith(`${path}/`)).sort()
      expect(await leftOut([escapePattern(path)])).toEqual(expected)
    }
  })

  it('that a malformed pattern is refused, never ignored', async () => {
    await expect(leftOut(['[a-]'])).rejects.toMatchObject({ code: 'restic-failed', message: expect.stringContaining('invalid pattern') })
  })
})
