// Killed right before any of its changes, a restore in place can be finished, and can be taken back; so can a finishing or taking back that is killed.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Change, random } from '../lib/killed.ts'
import { has, isRoot } from '../lib/needs.ts'
import { type Notes, notes } from './notes.ts'

const inPlace = ['--in-place', '--yes']
const directions = ['--resume', '--rollback'] as const
/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)

describe.skipIf(!isRoot || !has('strace') || !has('sqlite3'))('killed at each change', () => {
  let w: Notes
  let changes: Change[]
  const looks = () => ({ paths: w.look(), around: w.look(true), rows: w.rows() })
  let old: ReturnType<typeof looks>
  let fresh: ReturnType<typeof looks>

  beforeAll(async () => {
    w = await notes()
    old = looks()
    const unkilled = await w.changesOf(...inPlace)
    changes = unkilled.changes
    fresh = looks()
    // Without this nothing below means anything.
    expect(unkilled.ended).toMatchObject({ exit: 0 })
    expect(old.rows).toBe('ok\nof the snapshot\ncommitted, in the -wal alone')
    expect(fresh.rows).toBe('ok\nof the snapshot')
    expect(fresh.paths).not.toEqual(old.paths)
    expect(changes.length).toBeGreaterThan(60)
  })
  afterAll(() => w.cleanup())

  /** Ends what a crash left, in one direction, and says how it must look now. */
  async function settled(direction: (typeof directions)[number]): Promise<void> {
    const open = w.journal()
    // Without a journal nothing was begun, or all is done; an open one may also be about putting the old data back.
    const isNew = direction === '--resume' && (open ? open.putsBack === null : w.rows() === fresh.rows)
    const { exit, stderr } = await w.restore(direction)
    // Where nothing was begun, and nothing is kept, there is nothing to do.
    expect([exit, stderr]).toEqual(open || exit === 0 ? [0, ''] : [2, expect.stringContaining('no restore is unfinished')])
    expect(looks()).toEqual(isNew ? fresh : old)
    expect(w.journal()).toBe(null)
    expect(w.leftovers().length).toBe(w.record().old.length)
  }

  const numbers = soak ? Array.from({ length: 400 }, (_, i) => i) : Array.from({ length: 8 }, (_, i) => random(seed * 100 + i))
  test.for(numbers)('[restore.7] then finished or taken back, from instant %i', { timeout: 60_000 }, async (number) => {
    const change = soak ? changes[number] : changes[number % changes.length]
    if (!change) return
    for (const direction of soak ? directions : [directions[number % 2] ?? '--resume']) {
      w.reset()
      expect(await w.killedAt(change, ...inPlace)).toBe(true)
      await settled(direction)
      // Killed in that, too, and then the other way.
      w.reset()
      await w.killedAt(change, ...inPlace)
      const opposite = direction === '--resume' ? '--rollback' : '--resume'
      await w.killedAt({ call: 'rename', n: 1 + (random(number) % 12) }, opposite)
      await settled(direction)
    }
  })
})
