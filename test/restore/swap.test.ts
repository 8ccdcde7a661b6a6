// The exchange alone, from states that only two crashes in a row can leave.
import { linkSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { identifyMoves, swapBackward, swapForward } from '../../src/restore/swap.ts'
import type { JournalMove } from '../../src/state/journal.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let moves: JournalMove[]
/** Each file's content by its place below the world's root. */
const looks = () =>
  Object.fromEntries(
    ['live', 'staged', 'old'].flatMap((side) =>
      readdirSync(w.path(side)).map((name) => [`${side}/${name}`, readFileSync(w.path(side, name), 'latin1')]),
    ),
  )
const database = (content: string) => `SQLite format 3\0 ${content}`

beforeEach(async () => {
  w = await world()
  w.write('live/app.db', database('old'))
  w.write('live/app.db-wal', 'rows of the old')
  w.write('staged/app.db', database('new'))
  w.write('old/.keep', '')
  const [live, staged, old] = ['live', 'staged', 'old'].map((side) => w.path(side, 'app.db')) as [string, string, string]
  moves = await identifyMoves([{ live, staged, old }])
})
afterEach(() => w.cleanup())

const before = { 'live/app.db': database('old'), 'live/app.db-wal': 'rows of the old', 'staged/app.db': database('new'), 'old/.keep': '' }
const after = { 'live/app.db': database('new'), 'old/app.db': database('old'), 'old/app.db-wal': 'rows of the old', 'old/.keep': '' }

describe('[restore.5] a -wal that has two names, one of them without its database', () => {
  const ways = { forward: swapForward, backward: swapBackward }
  /** Killed between the database's rename and the removal of the -wal's first name; in the one direction, or the other. */
  const crashes = {
    'on the way forward': async () => {
      linkSync(w.path('live/app.db-wal'), w.path('old/app.db-wal'))
      renameSync(w.path('live/app.db'), w.path('old/app.db'))
    },
    'on the way back': async () => {
      await swapForward(moves)
      renameSync(w.path('live/app.db'), w.path('staged/app.db'))
      linkSync(w.path('old/app.db-wal'), w.path('live/app.db-wal'))
    },
  }
  test.each(
    Object.keys(crashes).flatMap((crash) =>
      [['forward'], ['backward'], ['backward', 'forward'], ['forward', 'backward']].map((then) => [crash, then] as const),
    ),
  )('%s, then %j', async (crash, then) => {
    await crashes[crash as keyof typeof crashes]()
    for (const way of then) await ways[way as keyof typeof ways](moves)
    expect(looks()).toEqual(then.at(-1) === 'forward' ? after : before)
  })
})
