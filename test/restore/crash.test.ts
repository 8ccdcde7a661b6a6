// Killed right before any of its changes, a restore in place can be finished, and can be taken back; so can a finishing or taking back that is killed.
import { chmodSync, existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Change, type Death, groupKilledAt, random } from '../lib/killed.ts'
import { living, until } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { type Notes, notes } from './notes.ts'

const inPlace = ['--in-place', '--yes']
const directions = ['--resume', '--rollback'] as const
/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)

/** Some of many, others with another seed. */
const seeded = <T>(all: T[], count: number) => Array.from({ length: count }, (_, i) => all[random(seed * 31 + i) % all.length] as T)

/** Figures for the log: how often a restore was killed, and how often its data was neither entirely old nor entirely new afterwards. */
const figures = { tried: 0, lost: 0 }
afterAll(() => console.log(`restores in place killed: tried ${figures.tried}, lost ${figures.lost}`))

/** Stands in for a mv that can exchange, which this machine's may not: the one that restores call is never killed in the middle. */
const exchangingMv = `#!/bin/bash
if test "$1" != --exchange; then exec /usr/bin/mv "$@"; fi
/usr/bin/mv -T "$6" "$6.moving"; /usr/bin/mv -T "$5" "$6"; /usr/bin/mv -T "$6.moving" "$5"; echo >>"$(dirname "$0")/exchanged"
`

describe.skipIf(!isRoot || !has('strace') || !has('sqlite3')).each([
  ['by two renames', false],
  ['at a stroke', true],
] as const)('exchanging %s, killed at each change', (_, atOnce) => {
  let w: Notes
  let changes: Change[]
  const looks = () => ({ paths: w.look(), around: w.look(true), rows: w.rows() })
  let old: ReturnType<typeof looks>
  let fresh: ReturnType<typeof looks>

  beforeAll(async () => {
    w = await notes()
    const mv = w.write('bin/mv', atOnce ? exchangingMv : '#!/bin/bash\ntest "$1" != --exchange && exec /usr/bin/mv "$@"\n')
    chmodSync(mv, 0o755)
    w.env.PATH = `${w.path('bin')}:${process.env.PATH}`
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
    expect(existsSync(w.path('bin/exchanged'))).toBe(atOnce)
  })
  afterAll(() => w.cleanup())

  /** Ends what a crash left, in one direction, and says how it must look now. */
  async function settled(direction: (typeof directions)[number]): Promise<void> {
    const open = w.journal()
    // Without a journal nothing was begun, or all is done; an open one may also be about putting the old data back.
    const isNew = direction === '--resume' && (open ? open.putsBack === null : w.rows() === fresh.rows)
    figures.tried += 1
    figures.lost += 1
    const { exit, stderr } = await w.restore(direction)
    // Where nothing was begun, and nothing is kept, there is nothing to do.
    expect([exit, stderr]).toEqual(open || exit === 0 ? [0, ''] : [2, expect.stringContaining('no restore is unfinished')])
    expect(looks()).toEqual(isNew ? fresh : old)
    figures.lost -= 1
    expect(w.journal()).toBe(null)
    expect(w.leftovers().length).toBe(w.record().old.length)
  }

  const numbers = soak ? Array.from({ length: 400 }, (_, i) => i) : Array.from({ length: atOnce ? 5 : 8 }, (_, i) => random(seed * 100 + i))
  test.for(numbers)('[restore.7] then finished or taken back, from instant %i', { timeout: soak ? 600_000 : 120_000 }, async (number) => {
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

  /** With its whole process group: restic and all other children die in the same moment, where they stand. */
  const deaths: Death[] = ['restic restore', 'sync', 'cp', 'sqlite3', 'touch'].flatMap((program) =>
    (['before', 'amid', 'after'] as const).flatMap((moment) => [1, 2].map((n): Death => [program, moment, n])),
  )
  const chosen = soak ? deaths : [['restic restore', 'amid', 1] as const, ...seeded(deaths, atOnce ? 1 : 3)]
  test.for(chosen)('[restore.7] with all its children, at %s (%s its work, call %i)', async (death) => {
    for (const direction of directions) {
      w.reset()
      const killed = await groupKilledAt(w, death, ['restore', 'notes', ...inPlace])
      // Not every program is called twice.
      if (death[2] === 1) expect(killed).toBe(true)
      await until(() => living(w).length === 0, 'all have ended')
      await settled(direction)
    }
  })
})
