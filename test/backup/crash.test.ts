// Killed right before any of its changes, or with any of its programs killed, a backup leaves nothing that hinders the next one.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Run } from '../../src/state/record.gen.ts'
import { type Change, changesOf, killedAt, random } from '../lib/killed.ts'
import { instead, living, nobodyLives, sql } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { canPostgres, makeServer, type Server } from '../lib/postgres.ts'
import { type World, world } from '../lib/world.ts'

/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)
const run = ['run', 'notes']

describe.skipIf(!isRoot || !has('strace') || !canPostgres)('killed', () => {
  let w: World
  let server: Server
  let changes: Change[]
  beforeAll(async () => {
    server = makeServer()
    server.sql('postgres', 'CREATE DATABASE shop')
    server.sql('shop', 'CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n')
    w = await world()
    for (const name of ['a', 'b']) sql(w.write(`data/${name}.db`, ''), 'PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1);')
    w.write('data/file', 'x')
    const notes = {
      paths: [w.path('data')],
      sqlite: [w.path('data/a.db'), w.path('data/b.db')],
      postgres: ['shop'],
      preBackup: `touch ${w.path('prepared')}`,
      postBackup: `rm -f ${w.path('prepared')}`,
    }
    w.manifest({ services: { notes }, postgresql: server.declared })
    expect(await w.cli(run, { env: env() })).toMatchObject({ exit: 0 })
    const unkilled = await changesOf(w, run, env())
    expect(unkilled.ended).toMatchObject({ exit: 0, stderr: '' })
    changes = unkilled.changes
    expect(new Set(changes.map(({ call }) => call))).toEqual(new Set(['fsync', 'rename', 'unlink', 'mkdir', 'rmdir']))
  })
  afterEach(() => {
    for (const { pid } of living(w)) process.kill(pid, 'SIGKILL')
  })
  afterAll(() => {
    server.remove()
    w.cleanup()
  })

  const env = () => ({ PATH: server.path })
  const snapshots = () => readdirSync(`${w.repository.repository}/snapshots`).length
  const runs = (): Run[] => JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')).runs
  const staged = () => readdirSync(w.path('state/staging'))

  /** Nobody lives, and nothing of what the run made is there any more. */
  async function nothingIsLeft(): Promise<void> {
    await nobodyLives(w)
    expect(readdirSync(w.path('state'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.new'))).toEqual([])
    expect([staged(), existsSync(w.path('prepared')), existsSync(w.path('state/running/notes.json'))]).toEqual([[], false, false])
  }

  /** The next run saves, each has one line in the record, and the repository is whole, and open to everybody. */
  async function theNextIsFine(): Promise<void> {
    const before = snapshots()
    expect(await w.cli(run, { env: env() })).toMatchObject({ exit: 0, stderr: '' })
    await nothingIsLeft()
    expect(snapshots()).toBe(before + 1)
    expect(runs().at(-1)).toMatchObject({ outcome: 'ok', snapshotId: expect.any(String) })
    const ids = runs().map((one) => one.run)
    expect(ids).toEqual([...new Set(ids)])
    expect(await w.restic(['check'])).toMatchObject({ exit: 0 })
  }

  const instants = soak ? 100 : 10
  test.for(Array.from({ length: instants }, (_, i) => i))('[snapshot.9] [state.5] right before one of its changes (%i)', async (i) => {
    // One out of each tenth.
    const change = soak ? changes[i] : changes[Math.floor(((i + (random(seed * 100 + i) % 1000) / 1000) / instants) * changes.length)]
    if (!change) return
    expect(await killedAt(w, change, run, env())).toBe(true)
    if (i % 2 === 0) {
      // As the unit's ExecStopPost.
      expect(await w.cli(['run', '--cleanup', 'notes'])).toMatchObject({ exit: 0 })
      await nothingIsLeft()
    }
    await theNextIsFine()
  })

  test('[snapshot.9] once its line is in the record: that it came to its end counts', async () => {
    const last = changes.at(-1) as Change
    const known = runs().length
    expect(await killedAt(w, last, run, env())).toBe(true)
    expect(existsSync(w.path('state/running/notes.json'))).toBe(true)
    expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'ok', lastRun: { outcome: 'ok' } })
    expect(await w.cli(['run', '--cleanup', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
    await nothingIsLeft()
    expect(runs().slice(known)).toMatchObject([{ outcome: 'ok', code: null }])
    await theNextIsFine()
  })

  // Without one of its databases a backup is partial.
  const atWork: [program: string, call: string, most: number, exit: number, said: string, which?: string][] = [
    ['mount', 'mount', 1, 1, 'restic failed', 'a.db'],
    ['mount', 'mount', 1, 1, 'restic failed', 'b.db'],
    ['sqlite3', 'pwrite64', 3, 3, 'ended with exit code 137'],
    ['sqlite3', 'unlink', 1, 3, 'ended with exit code 137'],
    ['pg_dump', 'sendto', 8, 1, 'exit code 137'],
    ['restic', '?mkdir,?mkdirat', 1, 1, 'restic failed'],
    ['restic', '?rename,?renameat', 5, 1, 'restic failed'],
    ['restic', 'fsync', 8, 1, 'restic failed'],
    ['restic', '?unlink,?unlinkat', 1, 1, 'restic failed'],
  ]
  test.for(atWork)(
    '[snapshot.9] of its programs %s alone, right before one of its calls of %s',
    async ([program, call, most, exit, said, which = '']) => {
      for (const n of soak ? Array.from({ length: most }, (_, i) => i + 1) : [program === 'restic' ? 1 : most]) {
        // It keeps its own pid: the tracer is nobody's parent.
        const killed = `strace -D -f -qq -o /dev/null --inject=${call}:signal=KILL:when=${n} "$real"`
        const path = instead(w, server.path, program, `if [[ "$*" == *'${which}'* ]]; then exec ${killed} "$@"; fi; exec "$real" "$@"`)
        const ended = await w.cli(run, { env: { PATH: path } })
        // Each thread's calls are counted apart, and no thread of restic's need come to so many.
        const expected = n > 1 && ended.exit === 0 ? [0, ''] : [exit, expect.stringContaining(said)]
        expect([ended.exit, ended.stderr], `${call} ${n}`).toEqual(expected)
        await nothingIsLeft()
        await theNextIsFine()
      }
    },
  )
})
