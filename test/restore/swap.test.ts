// The exchange alone, killed again and again: before any change that it makes to a filesystem, in either direction, several times in a row.
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import type { Move } from '../../src/core.ts'
import { identifyMoves, swapBackward, swapForward } from '../../src/restore/swap.ts'
import type { JournalMove } from '../../src/state/journal.ts'
import { random } from '../lib/killed.ts'

/** What is left until the process is dead: then nothing that it would do happens any more. Null: it lives. */
const fate = vi.hoisted(() => ({ left: null as number | null, changes: 0 }))
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>()
  const mortal =
    (call: (...args: never[]) => Promise<unknown>, isChange: boolean) =>
    async (...args: never[]) => {
      if (isChange) fate.changes += 1
      if (fate.left !== null && fate.left <= 0) throw new Error('dead')
      if (fate.left !== null && isChange && --fate.left <= 0) throw new Error('dead')
      return call(...args)
    }
  const changes = ['rename', 'link', 'rm', 'rmdir', 'mkdir']
  return Object.fromEntries(
    Object.entries(fs).map(([name, value]) => [name, typeof value === 'function' ? mortal(value as never, changes.includes(name)) : value]),
  )
})
// No mv that can exchange, and no time that is set: two renames are the harder way.
vi.mock('../../src/host/shell.ts', () => ({ run: async () => ({ exit: 1, stdout: '', stderr: '', interrupted: false, timedOut: false }) }))

// In memory, where there is one: each of thousands of exchanges syncs what it does.
const root = realpathSync(mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'atelier-swap-')))
afterAll(() => rmSync(root, { recursive: true }))
const figures = { tried: 0, lost: 0 }
afterAll(() => console.log(`exchanges killed: tried ${figures.tried}, lost ${figures.lost}`))

/** Files by their names below a folder, with their content; folders end in /, links name their target. */
type Tree = Record<string, string>
const database = (content: string) => `SQLite format 3\0 ${content}`
function make(folder: string, tree: Tree): void {
  mkdirSync(folder, { recursive: true })
  for (const [name, content] of Object.entries(tree)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    if (name.endsWith('/')) mkdirSync(join(folder, name), { recursive: true })
    else if (content.startsWith('-> ')) symlinkSync(content.slice(3), join(folder, name))
    else writeFileSync(join(folder, name), content)
  }
}
function look(folder: string, at = ''): Tree {
  const names = readdirSync(join(folder, at)).sort()
  return Object.assign(
    {},
    ...names.map((name): Tree => {
      const path = join(at, name)
      const stat = lstatSync(join(folder, path))
      if (stat.isDirectory()) return { [`${path}/`]: '', ...look(folder, path) }
      return { [path]: stat.isFile() ? readFileSync(join(folder, path), 'latin1') : '-> ' }
    }),
  )
}

/** What is live, what comes in its place, and the moves by which it does. */
interface Case {
  live: Tree
  staged: Tree
  moves: Pick<Move, 'live' | 'keeps'>[]
}
const cases: Record<string, Case> = {
  'a database with rows in its -wal': {
    live: { 'app.db': database('old'), 'app.db-wal': 'rows of the old', 'app.db-shm': 'index of the old' },
    staged: { 'app.db': database('new') },
    moves: [{ live: 'app.db' }],
  },
  'a database for another, both with sidecars': {
    live: { 'app.db': database('old'), 'app.db-wal': 'rows of the old' },
    staged: { 'app.db': database('new'), 'app.db-wal': 'rows of the new' },
    moves: [{ live: 'app.db' }],
  },
  'a database where only a stale -wal stands': {
    live: { 'app.db-wal': 'rows of the lost' },
    staged: { 'app.db': database('new') },
    moves: [{ live: 'app.db' }],
  },
  'folders, a link, and what was not there': {
    live: { 'a/file': 'old', 'a/only/old': '', link: '-> /old', 'x/': '' },
    staged: { 'a/file': 'new', 'a/only/new': '', link: '-> /new', 'b/c/deep': 'new', 'x/file': 'new' },
    moves: [{ live: 'a' }, { live: 'link' }, { live: 'b/c/deep' }, { live: 'x' }],
  },
  'the entries of a folder that stays, a database among them': {
    live: { 'm/app.db': database('old'), 'm/app.db-wal': 'rows of the old', 'm/file': 'old', 'm/kept/inner': 'mounted', 'm/gone': 'old' },
    staged: { 'm/app.db': database('new'), 'm/file': 'new', 'm/more/file': 'new' },
    moves: [{ live: 'm', keeps: ['m/kept'] }],
  },
}

let n = 0
/** The live folder after these passes, each killed before its nth change, and a last one that comes to its end. */
async function outcomeOf({ live, staged, moves: given }: Case, killed: [Way, number][], last: Way): Promise<{ live: Tree; old: Tree }> {
  const at = (...names: string[]) => join(root, String(n), ...names)
  n += 1
  make(at('live'), live)
  make(at('.stage/new'), staged)
  make(at('.stage/old'), {})
  const moves = await identifyMoves(
    given.map((move) => ({
      ...{ live: at('live', move.live), staged: at('.stage/new', move.live), old: at('.stage/old', move.live) },
      ...(move.keeps && { keeps: move.keeps.map((path) => at('live', path)) }),
    })),
  )
  for (const [way, change] of killed) {
    fate.left = change
    await pass(way, moves).catch(() => {})
    fate.left = null
  }
  fate.changes = 0
  await pass(last, moves)
  const seen = { live: look(at('live')), old: look(at('.stage/old')) }
  rmSync(at(), { recursive: true })
  return seen
}
type Way = 'forward' | 'backward'
function pass(way: Way, moves: JournalMove[]): Promise<void> {
  return way === 'forward' ? swapForward(moves) : swapBackward(moves)
}

describe.each(Object.entries(cases))('[restore.7] %s', (_, given) => {
  /** As it is without any kill: of the two directions, and how many changes each takes. */
  async function whole() {
    const forward = await outcomeOf(given, [], 'forward')
    const changes = fate.changes
    const backward = await outcomeOf(given, [['forward', Number.POSITIVE_INFINITY]], 'backward')
    return { forward, backward, changes: Math.max(changes, fate.changes) }
  }

  test('the live data is the new, the old is kept; and back', async () => {
    const { forward, backward, changes } = await whole()
    const kept = Object.fromEntries(Object.entries(forward.live).filter(([, content]) => content === 'mounted'))
    for (const [name, content] of Object.entries(given.staged)) expect(forward.live[name]).toBe(content.startsWith('-> ') ? '-> ' : content)
    for (const content of Object.values(forward.live)) expect(content === 'mounted' || !content.includes('old')).toBe(true)
    for (const content of Object.values(given.live))
      expect([...Object.values(forward.old), ...Object.values(kept)]).toContain(content.startsWith('-> ') ? '-> ' : content)
    make(join(root, 'as-it-was'), given.live)
    expect(backward.live).toEqual(look(join(root, 'as-it-was')))
    rmSync(join(root, 'as-it-was'), { recursive: true })
    expect(changes).toBeGreaterThan(1)
  })

  /** With ATELIER_SOAK each pair of instants, and a third by chance; otherwise some of them, others with another ATELIER_SEED. */
  test('killed once, twice, thrice in either direction, it is entirely new or entirely old', { timeout: 3_600_000 }, async () => {
    const { forward, backward, changes } = await whole()
    const ways: Way[] = ['forward', 'backward']
    const pairs = Array.from({ length: changes * (changes + 1) }, (_, i) => [1 + (i % changes), Math.floor(i / changes)] as const)
    const seed = Number(process.env.ATELIER_SEED ?? 1)
    const chosen = process.env.ATELIER_SOAK ? pairs : pairs.filter((_, i) => random(seed * 7919 + i) % Math.ceil(pairs.length / 12) === 0)
    for (const [first, second] of chosen)
      for (const way of ways)
        for (const last of ways) {
          const killed: [Way, number][] = [['forward', first]]
          // 0: not even once more.
          if (second > 0) killed.push([way, second])
          const third = random(first * 1000 + second) % (changes * 2)
          if (second > 0 && third <= changes && third > 0) killed.push([ways[third % 2] as Way, third])
          figures.tried += 1
          figures.lost += 1
          expect(await outcomeOf(given, killed, last), JSON.stringify([killed, last])).toEqual(
            last === 'forward' ? forward : { ...backward, old: expect.anything() },
          )
          figures.lost -= 1
        }
  })
})

test('[restore.5] a -wal that has two names goes along with none but its own database', async () => {
  // Killed between the database's rename and the removal of the -wal's first name, and then taken back and brought on.
  const at = (...names: string[]) => join(root, 'twin', ...names)
  make(at('live'), { 'app.db-wal': 'rows of the old' })
  make(at('new'), { 'app.db': database('new') })
  make(at('old'), { 'app.db': database('old') })
  linkSync(at('live/app.db-wal'), at('old/app.db-wal'))
  const ino = (path: string) => String(lstatSync(path, { bigint: true }).ino)
  const move: JournalMove = {
    ...{ live: at('live/app.db'), staged: at('new/app.db'), old: at('old/app.db'), parent: at('live') },
    ...{ liveId: ino(at('old/app.db')), stagedId: ino(at('new/app.db')), database: true, stays: null },
  }
  await swapBackward([move])
  await swapForward([move])
  expect([look(at('live')), look(at('old'))]).toEqual([{ 'app.db': database('new') }, { 'app.db': database('old'), 'app.db-wal': 'rows of the old' }])
})
