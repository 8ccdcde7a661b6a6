// Killed at any instant, a restore of files and databases can be finished, and can be taken back: all of it, never a mixture.
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Change, changesOf, killedAt, random } from '../lib/killed.ts'
import { living, until } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { canPostgres } from '../lib/postgres.ts'
import { type Shop, shop } from './shop.ts'

const inPlace = ['restore', 'shop', '--in-place', '--yes']
const directions = ['--resume', '--rollback'] as const
/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)

// A server is copied and started for each test.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

describe.skipIf(!canPostgres || !has('strace'))('files and databases', () => {
  let s: Shop
  let old: object
  let fresh: object
  let changes: Change[]

  beforeAll(async () => {
    s = await shop()
    old = s.look()
    const unkilled = await changesOf(s, inPlace)
    expect(unkilled.ended).toMatchObject({ exit: 0 })
    changes = unkilled.changes
    fresh = s.look()
    expect(fresh).not.toEqual(old)
  })
  afterAll(() => s.cleanup())
  beforeEach(() => s.reset())

  /** Ends what a crash left, in one direction, and looks how it is now. */
  async function settled(direction: (typeof directions)[number]): Promise<void> {
    const open = s.journal()
    const { exit, stderr } = await s.restore(direction, ...(direction === '--rollback' ? ['--yes'] : []))
    // Where nothing was begun, or all was done, there may be nothing to do.
    if (exit !== 0) expect([open, exit, stderr]).toEqual([null, 2, expect.stringContaining('no restore is unfinished')])
    if (open || exit === 0) expect(s.look()).toEqual(direction === '--resume' ? fresh : old)
    else expect([old, fresh]).toContainEqual(s.look())
    const kept = s.record().oldDatabases.flatMap((database) => database.kept ?? [])
    expect([s.journal(), s.databases().filter((name) => name.startsWith('atelier-'))]).toEqual([null, kept.sort()])
  }

  const numbers = soak ? Array.from({ length: 300 }, (_, i) => i) : Array.from({ length: 4 }, (_, i) => random(seed * 100 + i))
  test.for(numbers)('[postgres.12] killed before change %i, then finished or taken back', async (number) => {
    const change = soak ? changes[number] : changes[number % changes.length]
    if (!change) return
    for (const direction of soak ? directions : [directions[number % 2] ?? '--resume']) {
      s.reset()
      expect(await killedAt(s, change, inPlace)).toBe(true)
      // Killed in that, too.
      if (number % 3 === 0)
        await killedAt(s, { call: 'rename', n: 1 + (random(number) % 6) }, [
          'restore',
          'shop',
          direction,
          ...(direction === '--rollback' ? ['--yes'] : []),
        ])
      await settled(direction)
    }
  })

  /** A program of PostgreSQL's that stops at `reached`, told by a file; then the restore is killed. */
  async function killedIn(program: string, script: (stop: string) => string, args = inPlace): Promise<void> {
    const reached = join(s.server.declared.socketDir, 'reached')
    rmSync(reached, { force: true })
    const stop = `touch ${reached}; exec sleep 300`
    const { child } = s.startCli(args, s.instead(program, script(stop)))
    await until(() => existsSync(reached), `${program} has come so far`)
    child.kill('SIGKILL')
    await until(() => living({ ...s, root: s.path('instead') }).length === 0, 'what it started has ended')
    rmSync(s.path('instead'), { recursive: true })
  }
  const before = (stop: string) =>
    `script=$(cat); case $script in *RENAME*) "$real" "$@" <<<"\${script%%BEGIN;*}"; ${stop} ;; esac; exec "$real" "$@" <<<"$script"`
  const after = (stop: string) => `script=$(cat); "$real" "$@" <<<"$script" || exit; case $script in *RENAME*) ${stop} ;; esac`
  const halfway = (stop: string) => `case "$*" in *--use-list=*) "$real" --section=pre-data "$@"; ${stop} ;; esac; exec "$real" "$@"`
  const instants: [when: string, program: string, script: (stop: string) => string][] = [
    ['half-way through loading', 'pg_restore', halfway],
    ['when connections have ended, and names are old', 'psql', before],
    ['when names are new, and nobody knows', 'psql', after],
  ]
  test.each(instants.flatMap((instant) => directions.map((direction) => [...instant, direction] as const)))(
    '[postgres.12] killed %s (%s)',
    async (_, program, script, direction) => {
      await killedIn(program, script)
      expect(s.journal()).not.toBe(null)
      await settled(direction)
    },
  )

  test.each([before, after])('[postgres.12] killed while the old databases are put back, it puts them back all the same', async (script) => {
    expect((await s.cli(inPlace)).exit).toBe(0)
    const back = ['restore', 'shop', '--rollback', '--yes']
    await killedIn('psql', script, back)
    expect(s.journal()).toMatchObject({ phase: 'exchanging' })
    expect((await s.cli(back)).exit).toBe(0)
    expect([s.look(), s.journal()]).toEqual([old, null])
    // And what was put away for it comes back.
    expect((await s.cli(back)).exit).toBe(0)
    expect(s.look()).toEqual(fresh)
  })

  test('[postgres.12] at boot it waits for the server: until then nothing is taken for done, and nothing is a mixture', async () => {
    await killedIn('psql', before)
    s.server.stop()
    const { exit, stderr } = await s.cli(['boot'])
    expect([exit, stderr]).toEqual([1, expect.stringContaining('does not answer')])
    expect(s.journal()).toMatchObject({ phase: 'exchanging' })
    s.server.start()
    expect((await s.cli(['boot'])).exit).toBe(0)
    expect([s.look(), s.journal()]).toEqual([fresh, null])
  })
})
