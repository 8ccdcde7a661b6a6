// preBackup and postBackup around a run.
import { existsSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { living, resticBefore, until } from '../lib/live.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  w.write('data/file', 'x')
})
afterAll(() => w.cleanup())

let told: string
beforeEach((context) => {
  told = w.path(`told-${context.task.id}`)
})
const tell = () => `echo "$ATELIER_OUTCOME $ATELIER_SERVICE <$ATELIER_SNAPSHOT>" >>${told}`
const snapshots = async () => JSON.parse((await w.restic(['snapshots', '--json'])).stdout)
const lastRun = () => JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')).runs.at(-1)
const hear = () => (existsSync(told) ? readFileSync(told, 'utf8') : '')
function declare(fields: object) {
  w.manifest({ services: { notes: { paths: [w.path('data')], ...fields } } })
}

test('[hook.2] postBackup is told of a good backup and its snapshot, after it was made', async () => {
  declare({ preBackup: `date >${w.path('data/export')}`, postBackup: `${tell()}; rm ${w.path('data/export')}` })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  const [{ id }] = await snapshots()
  expect(hear()).toBe(`ok notes <${id}>\n`)
  expect((await w.restic(['ls', id])).stdout).toContain(w.path('data/export'))
  expect(existsSync(w.path('data/export'))).toBe(false)
})

test('[hook.1] [hook.2] a failing preBackup ends the run before restic starts, and postBackup hears that it failed', async () => {
  declare({ preBackup: 'echo no room >&2; exit 3', postBackup: tell() })
  const before = (await snapshots()).length
  const { env } = resticBefore(w, `[ "$command" = backup ] && touch ${w.path('saved')}`)
  const run = await w.cli(['run', 'notes'], { env })
  expect(run.exit).toBe(1)
  expect(run.stderr).toContain('no room')
  expect(run.stderr).toContain('notes: preBackup failed with exit code 3')
  expect(existsSync(w.path('saved'))).toBe(false)
  expect(await snapshots()).toHaveLength(before)
  expect(hear()).toBe('failed notes <>\n')
  expect(lastRun()).toMatchObject({ outcome: 'failed', code: 'hook-failed' })
})

test('[hook.2] postBackup is told of a partial backup', async () => {
  declare({ paths: [w.path('data'), w.path('gone')], postBackup: tell() })
  expect((await w.cli(['run', 'notes'])).exit).toBe(3)
  expect(hear()).toMatch(/^partial notes <[0-9a-f]{64}>\n$/)
})

test('[hook.2] postBackup hears of a repository that can’t be opened, though nothing else was begun', async () => {
  declare({ preBackup: `touch ${w.path('begun')}`, postBackup: tell() })
  const other = await world()
  try {
    other.write('secrets/password', 'wrong\n')
    other.manifest({ services: { notes: { paths: [w.path('data')], preBackup: `touch ${w.path('begun')}`, postBackup: tell() } } })
    const run = await other.cli(['run', 'notes', '--json'])
    expect(run.exit).toBe(12)
    expect(run.events()[0]).toMatchObject({ type: 'plan' })
    expect(existsSync(w.path('begun'))).toBe(false)
    expect(hear()).toBe('failed notes <>\n')
  } finally {
    other.cleanup()
  }
})

test('[hook.2] postBackup hears of an interruption, and comes to its end', async () => {
  declare({ preBackup: `touch ${told}.begun; sleep 300`, postBackup: `sleep 0.5; ${tell()}` })
  const { child, ended } = w.startCli(['run', 'notes'])
  await until(() => existsSync(`${told}.begun`))
  child.kill('SIGTERM')
  expect((await ended).exit).toBe(130)
  expect(hear()).toBe('interrupted notes <>\n')
})

test('[hook.2] a failing postBackup fails the run; the snapshot counts all the same', async () => {
  declare({ postBackup: 'exit 1' })
  const run = await w.cli(['run', 'notes'])
  expect(run.exit).toBe(1)
  expect(run.stderr).toContain('postBackup failed')
  const newest = (await snapshots()).at(-1)
  expect(newest.tags).not.toContain('failed')
  expect(JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')).lastSnapshot.id).toBe(newest.id)
})

test('[hook.3] a preBackup that takes too long fails the run and leaves nobody alive', async () => {
  declare({ preBackup: `sleep 300; : ${w.root}`, hookTimeoutSec: 1, postBackup: tell() })
  const run = await w.cli(['run', 'notes'])
  expect(run.exit).toBe(1)
  expect(run.stderr).toContain('preBackup took longer than 1 s')
  expect(run.stderr).toContain('hookTimeoutSec')
  expect(hear()).toBe('failed notes <>\n')
  expect(living(w)).toEqual([])
})

test.skipIf(existsSync('/run/systemd/system'))(
  '[manifest.3] what can’t be carried out here fails that service’s run, says why, and postBackup hears of it',
  async () => {
    const cases: [object, RegExp][] = [
      [{ postgres: ['notes'] }, /^notes: no snapshot was made.*postgres/im],
      [{ stopForBackup: true, units: ['notes.service'] }, /^notes: .*systemd/m],
    ]
    for (const [i, [fields, said]] of cases.entries()) {
      declare({ ...fields, postBackup: tell() })
      const before = (await snapshots()).length
      const run = await w.cli(['run', 'notes'])
      expect(run.exit).toBe(1)
      expect(run.stderr).toMatch(said)
      expect(await snapshots()).toHaveLength(before)
      expect(lastRun()).toMatchObject({ outcome: 'failed', snapshotId: null })
      expect(hear()).toBe('failed notes <>\n'.repeat(i + 1))
    }
  },
)
