// Disaster recovery: a host with nothing left but its manifest, its secrets and its repository.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Result } from '../../src/core.ts'
import { output, resticBefore, sql } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { type Entry, fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const names = ['base', 'notes', 'wiki', 'off', 'data']
let w: World
const path = (name: string) => w.path('srv', name)
const declared = () => ({
  base: { paths: [path('base')] },
  notes: { paths: [path('notes')], restoreAfter: ['base'] },
  wiki: { paths: [path('wiki')], restoreAfter: ['notes'] },
  off: { paths: [path('off')], enable: false },
  data: { paths: [path('data')], sqlite: [w.path('srv/db/data.db')] },
})
/** Two backups of each service, at two times. */
let first: Date
let saved: Entry[]

beforeAll(async () => {
  w = await world()
  w.manifest({ services: declared() })
  mkdirSync(w.path('srv/db'), { recursive: true })
  sql(w.path('srv/db/data.db'), 'CREATE TABLE t (a); INSERT INTO t VALUES (1)')
  for (const [i, text] of ['first', 'second'].entries()) {
    for (const name of names) w.write(`srv/${name}/file`, `${text} of ${name}`)
    expect(await w.cli(['backup', ...names])).toMatchObject({ exit: 0 })
    if (i > 0) continue
    first = new Date()
    await sleep(1100)
  }
  saved = look()
  output(['cp', '-a', w.path('secrets'), w.path('saved-secrets')])
})
afterAll(() => w.cleanup())

/** A machine after its reinstallation: no data, no state, a new install's id. */
beforeEach(() => {
  for (const folder of ['srv', 'state', 'secrets', 'bin']) rmSync(w.path(folder), { recursive: true, force: true })
  mkdirSync(w.path('state'), { mode: 0o700 })
  mkdirSync(w.path('srv'))
  output(['cp', '-a', w.path('saved-secrets'), w.path('secrets')])
})
afterEach(() => void w.manifest({ services: declared() }))

function look(): Entry[] {
  return fingerprint(w.path('srv')).flatMap((entry) =>
    entry.type === 'folder' || entry.path.includes('.atelier-backup')
      ? []
      : { ...entry, sha256: entry.path.endsWith('.db') ? null : entry.sha256, mtime: entry.path.endsWith('.db') ? '' : entry.mtime },
  )
}
async function dr(...args: string[]): Promise<{ exit: number; results: Record<string, Result>; steps: string[] }> {
  const { exit, stdout } = await w.cli(['dr', '--yes', '--json', ...args])
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const report = events.at(-1)
  expect(report).toMatchObject({ type: 'report', exit })
  const steps = events.filter(({ type, state }) => type === 'step' && state === 'done').map((event) => `${event.service} ${event.do}`)
  return { exit, results: Object.fromEntries(report.services.map((result: Result) => [result.name, result])), steps }
}
const file = (name: string) => (existsSync(w.path('srv', name, 'file')) ? readFileSync(w.path('srv', name, 'file'), 'utf8') : null)
/** A restic that fails where a service's data is restored. */
const failing = (name: string) => resticBefore(w, `if [ "$command" = restore ] && [[ "$*" == *srv/${name}* ]]; then echo broken >&2; exit 1; fi`)

describe.skipIf(!isRoot)('dr', () => {
  test('[dr.1] brings back every declared service from its newest snapshot, disabled ones too', async () => {
    const { exit, results } = await dr()
    expect(exit).toBe(0)
    expect(Object.keys(results).sort()).toEqual([...names].sort())
    for (const name of names) expect(results[name]).toMatchObject({ outcome: 'ok', exit: 0, snapshotId: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(look()).toEqual(saved)
    expect(sql(w.path('srv/db/data.db'), 'SELECT a FROM t')).toBe('1')
  })

  test('[dr.1] a partial snapshot counts only where there is no complete one, and so does what a fresh install saved', async () => {
    for (const name of ['base', 'wiki']) w.write(`srv/${name}/file`, 'newer, and empty')
    await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:base,partial', path('base')])
    await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:wiki,unadopted,install:0123456789abcdef', path('wiki')])
    expect((await dr('--only', 'base', '--only', 'wiki')).exit).toBe(0)
    expect([file('base'), file('wiki')]).toEqual(['second of base', 'second of wiki'])
    const { stdout } = await w.cli(['dr', '--dry-run', '--only', 'base', '--overwrite'])
    expect(stdout).toContain('is partial')
  })

  test('[dr.2] what was recovered counts as recovered: the next backup is not unadopted', async () => {
    expect((await dr('--only', 'base')).exit).toBe(0)
    for (const name of ['base', 'off']) {
      w.write(`srv/${name}/file`, 'of the new install')
      expect(await w.cli(['run', name])).toMatchObject({ exit: 0 })
    }
    const snapshots = JSON.parse((await w.restic(['snapshots', '--json'])).stdout) as { tags: string[]; paths: string[] }[]
    const tagsOf = (name: string) => snapshots.filter(({ paths }) => paths.includes(path(name))).at(-1)?.tags
    expect(tagsOf('base')).not.toContain('unadopted')
    expect(tagsOf('off')).toContain('unadopted')
  })

  test('[repository.2] what gave data back is known: gone, it is never created anew', async () => {
    expect((await dr('--only', 'base')).exit).toBe(0)
    renameSync(w.repository.repository, w.path('away'))
    mkdirSync(w.repository.repository)
    for (const name of ['base', 'wiki'])
      expect(await w.cli(['run', name])).toMatchObject({ exit: 10, stderr: expect.stringContaining('existed before and was not found') })
    expect(readdirSync(w.repository.repository)).toEqual([])
    rmdirSync(w.repository.repository)
    renameSync(w.path('away'), w.repository.repository)
  })

  test('[dr.3] a service that lives here is left alone unless --overwrite, and those that come after it go on', async () => {
    expect((await dr('--only', 'base')).exit).toBe(0)
    w.write('srv/base/file', 'lived on')
    w.write('srv/notes/file', 'of the fresh install')
    const { exit, results } = await dr('--only', 'base', '--only', 'notes')
    expect(exit).toBe(3)
    expect(results.base).toMatchObject({ outcome: 'skipped', code: 'protected', message: expect.stringContaining('--overwrite') })
    expect(results.notes).toMatchObject({ outcome: 'ok' })
    expect([file('base'), file('notes')]).toEqual(['lived on', 'second of notes'])
    expect((await dr('--only', 'base', '--overwrite')).exit).toBe(0)
    expect(file('base')).toBe('second of base')
    // Whose data is gone has nothing to protect.
    rmSync(path('base'), { recursive: true })
    expect((await dr('--only', 'base')).exit).toBe(0)
    expect(file('base')).toBe('second of base')
  })

  test('[dr.3] adopted, and first saved here, count as living here too', async () => {
    for (const name of ['base', 'wiki']) w.write(`srv/${name}/file`, 'lives here')
    expect(await w.cli(['adopt', 'base', '--yes'])).toMatchObject({ exit: 0 })
    await w.restic(['forget', '--quiet', '--tag', 'service:wiki', '--unsafe-allow-remove-all'])
    expect(await w.cli(['run', 'wiki'])).toMatchObject({ exit: 0 })
    w.write('srv/wiki/file', 'lives on')
    const { results } = await dr('--only', 'base', '--only', 'wiki')
    expect([results.base?.code, results.wiki?.code]).toEqual(['protected', 'protected'])
    expect([file('base'), file('wiki')]).toEqual(['lives here', 'lives on'])
  })

  test('[dr.3] data of which a damaged record can’t tell whether it lives here is left alone, unless --overwrite says otherwise', async () => {
    w.write('srv/base/file', 'lives here')
    w.write('state/records/base.json', '{"trunc')
    const { exit, results } = await dr('--only', 'base')
    expect([exit, results.base?.code, file('base')]).toEqual([3, 'protected', 'lives here'])
    expect((await dr('--only', 'base', '--overwrite')).results.base?.outcome).toBe('ok')
    expect(file('base')).toBe('second of base')
  })

  test('[dr.4] a service that fails stops no other, keeps its old data, is named, and the exit is not 0', async () => {
    w.write('srv/data/file', 'of the fresh install')
    const { exit, stdout, stderr } = await w.cli(['dr', '--yes'], failing('data'))
    expect(exit).toBe(1)
    expect(stdout + stderr).toMatch(/✗ data: .*live data was not touched/)
    expect(stdout).toContain('atelier-backup dr --resume')
    expect(names.map(file)).toEqual(names.map((name) => (name === 'data' ? 'of the fresh install' : `second of ${name}`)))
    const [report = ''] = readdirSync(w.path('state/reports'))
    expect(JSON.parse(readFileSync(w.path('state/reports', report), 'utf8')).results).toContainEqual(
      expect.objectContaining({ name: 'data', outcome: 'failed' }),
    )
  })

  test('[dr.4] --resume repeats nothing that is done, and ends what is not', async () => {
    expect(await w.cli(['dr', '--yes'], failing('base'))).toMatchObject({ exit: 1 })
    for (const name of ['data', 'off']) w.write(`srv/${name}/file`, 'lived on since')
    const { exit, results } = await dr('--resume')
    expect(exit).toBe(0)
    expect(names.map((name) => results[name]?.outcome)).toEqual(names.map(() => 'ok'))
    expect(names.map(file)).toEqual(names.map((name) => (['data', 'off'].includes(name) ? 'lived on since' : `second of ${name}`)))
    expect(await w.cli(['dr', '--resume', '--yes'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('no disaster recovery is unfinished') })
  })

  test('[dr.4] --resume brings back what came after a service that isn’t declared any more', async () => {
    expect(await w.cli(['dr', '--yes'], failing('base'))).toMatchObject({ exit: 1 })
    expect([file('notes'), file('wiki')]).toEqual([null, null])
    const { base: _, ...left } = declared()
    w.manifest({ services: { ...left, notes: { paths: [path('notes')] } } })
    const { exit, results } = await dr('--resume')
    expect([exit, results.notes?.outcome, results.wiki?.outcome]).toEqual([0, 'ok', 'ok'])
    expect([file('notes'), file('wiki')]).toEqual(['second of notes', 'second of wiki'])
  })

  test('[dr.4] a part that a person restores in between does not count as the whole', async () => {
    expect(await w.cli(['dr', '--yes', '--only', 'base'], failing('base'))).toMatchObject({ exit: 1 })
    expect(await w.cli(['restore', 'base', '--path', w.path('srv/base/file'), '--in-place', '--yes'])).toMatchObject({ exit: 0 })
    const { exit, steps } = await dr('--resume')
    expect([exit, steps]).toEqual([0, expect.arrayContaining(['base swap'])])
  })

  test('[dr.4] a repository that was not reachable is asked again by --resume', async () => {
    const there = { ...w.repository }
    const elsewhere = { ...declared(), base: { paths: [path('base')], repository: 'other' } }
    const other = { repositories: { other: { ...there, repository: w.path('not/there') } } }
    w.manifest({ services: elsewhere, ...other })
    const { exit, results } = await dr()
    expect(exit).toBe(1)
    expect(results.base?.outcome).toBe('failed')
    expect(results.notes?.code).toBe('waits')
    expect(file('off')).toBe('second of off')
    w.manifest({ services: elsewhere, repositories: { other: there } })
    expect((await dr('--resume')).exit).toBe(0)
    expect(look()).toEqual(saved)
  })

  test('[dr.5] services come back in the order of restoreAfter', async () => {
    const { steps } = await dr('--jobs', '4')
    const at = (step: string) => steps.indexOf(step)
    expect(at('base swap')).toBeLessThan(at('notes stage'))
    expect(at('notes swap')).toBeLessThan(at('wiki stage'))
  })

  test('[dr.21] what takes its time after its data has come holds up nobody else, unless one at a time is asked for', async () => {
    const flag = w.path('srv/flag')
    const slow = (name: string) => ({ paths: [path(name)], healthCheck: `until [ -e '${flag}' ]; do sleep 0.05; done`, hookTimeoutSec: 20 })
    // Two fill both lanes until the third is there.
    w.manifest({ services: { base: slow('base'), notes: slow('notes'), wiki: { paths: [path('wiki')], healthCheck: `touch '${flag}'` } } })
    expect(await dr()).toMatchObject({ exit: 0, results: { base: { outcome: 'ok' }, notes: { outcome: 'ok' }, wiki: { outcome: 'ok' } } })
    rmSync(w.path('srv'), { recursive: true })
    rmSync(w.path('state'), { recursive: true })
    mkdirSync(w.path('srv'))
    w.manifest({ services: declared() })
    const { steps } = await dr('--jobs', '1')
    expect(steps.filter((step) => / (stage|swap)$/.test(step))).toEqual(
      ['base', 'notes', 'wiki', 'off', 'data'].flatMap((name) => [`${name} stage`, `${name} swap`]),
    )
  })

  test('[dr.21] two restore data at a time, however many are begun', async () => {
    const log = w.path('restores')
    const slowly = resticBefore(
      w,
      `if [ "$command" = restore ]; then echo 1 >>${log}; "$real" "$@"; exit=$?; sleep 1; echo -1 >>${log}; exit $exit; fi`,
    )
    const names = ['one', 'two', 'three', 'four', 'five']
    w.manifest({ services: Object.fromEntries(names.map((name) => [name, { paths: [path(name)] }])) })
    for (const name of names) w.write(`srv/${name}/file`, 'data')
    expect((await w.cli(['backup', '--all'])).exit).toBe(0)
    for (const name of names) rmSync(path(name), { recursive: true })
    expect((await w.cli(['dr', '--yes', '--overwrite'], slowly)).exit).toBe(0)
    const steps = readFileSync(log, 'utf8').trim().split('\n').map(Number)
    rmSync(log)
    expect(steps).toHaveLength(10)
    expect(Math.max(...steps.map((_, i) => steps.slice(0, i + 1).reduce((sum, step) => sum + step)))).toBe(2)
  })

  test('[dr.5] one that waits for a failed one is left alone, says so, and so does what waits for that', async () => {
    const { exit, stdout } = await w.cli(['dr', '--yes', '--json'], failing('base'))
    expect(exit).toBe(1)
    const { services } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
    const of = (name: string) => services.find((result: Result) => result.name === name)
    expect(of('notes')).toMatchObject({ outcome: 'skipped', exit: 1, code: 'waits', message: "notes: waits for base, which isn't recovered" })
    expect(of('wiki')).toMatchObject({ code: 'waits', message: "wiki: waits for notes, which isn't recovered" })
    expect([file('notes'), file('wiki'), file('off')]).toEqual([null, null, 'second of off'])
  })

  test('[dr.6] --only, --except and --at choose', async () => {
    expect(Object.keys((await dr('--only', 'wiki', '--only', 'off')).results).sort()).toEqual(['off', 'wiki'])
    expect([file('base'), file('wiki'), file('off')]).toEqual([null, 'second of wiki', 'second of off'])
    expect(Object.keys((await dr('--except', 'wiki', '--except', 'off', '--at', first.toISOString())).results).sort()).toEqual([
      'base',
      'data',
      'notes',
    ])
    expect([file('base'), file('data')]).toEqual(['first of base', 'first of data'])
    expect(await dr('--only', 'base', '--overwrite', '--at', '2001-01-01')).toMatchObject({
      exit: 1,
      results: { base: { code: 'unknown-snapshot', next: null } },
    })
    expect(await w.cli(['dr', '--yes', '--only', 'wkii'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('wiki') })
  })

  test('[dr.6] --host takes the snapshots of another host', async () => {
    w.manifest({ services: declared(), host: 'newhost' })
    const other = { code: 'unknown-snapshot', next: 'atelier-backup dr --host testhost' }
    expect(await dr()).toMatchObject({ exit: 1, results: { base: other } })
    const [flags, again] = [['--state-dir', w.path('state')], `atelier-backup dr --state-dir ${w.path('state')} --host testhost`]
    expect((await dr(...flags)).results).toMatchObject({ base: { next: again }, wiki: { next: again } })
    expect((await dr('--host', 'testhost')).exit).toBe(0)
    expect(look()).toEqual(saved)
  })

  test('[dr.6] a name that no repository knows is a slip, and what is to be typed next chooses as this call did', async () => {
    expect(await w.cli(['dr', '--yes', '--host', 'testhots', '--json'])).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/holds nothing of a host "testhots".*did you mean testhost\?/),
    })
    expect(file('base')).toBeNull()
    w.manifest({ services: declared(), host: 'newhost' })
    const at = first.toISOString()
    const { exit, stdout } = await w.cli(['dr', '--yes', '--host', 'testhost', '--at', at, '--state-dir', w.path('state')], failing('base'))
    expect(exit).toBe(1)
    const [, again = ''] = /^Next: +atelier-backup (.*)$/m.exec(stdout) ?? []
    expect(again).toBe(`dr --state-dir ${w.path('state')} --host testhost --at ${at} --resume`)
    expect(await w.cli([...again.split(' '), '--yes'])).toMatchObject({ exit: 0 })
    expect([file('base'), file('wiki')]).toEqual(['first of base', 'first of wiki'])
  })

  test('[dr.11] a snapshot that holds much less than the one before it is shown as one', async () => {
    for (let i = 0; i < 5; i++) w.write(`srv/base/${i}`, '')
    const save = () => w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:base', path('base')])
    w.write('srv/base/file', 'second of base')
    await save()
    for (let i = 0; i < 5; i++) rmSync(path(`base/${i}`))
    await save()
    rmSync(path('base'), { recursive: true })
    try {
      const { choices } = (await w.cli(['dr', '--dry-run', '--json'])).json()
      expect(choices.find((choice: { name: string }) => choice.name === 'base').shrunk).toEqual({
        ...{ files: 1, bytes: 14 },
        before: { files: 6, bytes: 14, id: expect.any(String) },
      })
      expect(choices.filter((choice: { shrunk?: object }) => choice.shrunk)).toHaveLength(1)
      expect((await w.cli(['dr', '--dry-run'])).stdout).toMatch(
        /^! base: 1 file with 14 B, where [0-9a-f]{8} before it has 6 files with 14 B: is something missing in it\?$/m,
      )
    } finally {
      const all = JSON.parse((await w.restic(['snapshots', '--json', '--tag', 'service:base'])).stdout)
      await w.restic(['forget', '--quiet', all.at(-1).id, all.at(-2).id])
    }
  })

  test('[dr.12] a report that can’t be kept as a file is told all the same', async () => {
    const reports = w.path('state/reports')
    const { exit, stdout } = await w.cli(
      ['dr', '--yes', '--only', 'base'],
      resticBefore(w, `if [ "$command" = restore ]; then rm -rf '${reports}'; touch '${reports}'; fi`),
    )
    expect(exit).toBe(0)
    expect(stdout).toMatch(/Recovered 1 of 1 services[\s\S]*Report: {2}can't be written: /)
    expect(file('base')).toBe('second of base')
  })

  test('[dr.12] where everything lives here nothing is left to do', async () => {
    expect((await dr()).exit).toBe(0)
    const { exit, stdout } = await w.cli(['dr', '--yes'])
    expect({ exit, again: stdout.includes('Next:') }).toEqual({ exit: 3, again: false })
    expect(stdout).toMatch(/All 5 services live here already/)
  })

  test('[dr.6] a service comes back from what was saved under its former name, and what the shell version saved, tagged or not', async () => {
    const declared = {
      renamed: { paths: [path('renamed')], formerNames: ['before'] },
      tagged: { paths: [path('tagged')] },
      untagged: { paths: [path('untagged')] },
    }
    const was = { renamed: 'service:before', tagged: 'service:tagged', untagged: 'nightly' }
    w.manifest({ services: declared })
    for (const [name, tag] of Object.entries(was)) {
      w.write(`srv/${name}/file`, `once ${name}`)
      await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', tag, path(name)])
      rmSync(path(name), { recursive: true })
    }
    expect((await dr()).exit).toBe(0)
    expect(Object.keys(was).map(file)).toEqual(['once renamed', 'once tagged', 'once untagged'])
  })

  test('[dr.6] --dry-run shows the plan and changes nothing', async () => {
    const { exit, stdout } = await w.cli(['dr', '--dry-run'])
    expect(exit).toBe(0)
    for (const name of names) expect(stdout).toContain(name)
    expect((await w.cli(['dr', '--dry-run', '--json'])).json().choices.map(({ name }: { name: string }) => name)).toEqual(names)
    expect(readdirSync(w.path('srv'))).toEqual([])
    expect(readdirSync(w.path('state'))).toEqual([])
    expect(await w.cli(['dr'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('--yes') })
  })

  test('[dr.4] interrupted, it says what is not begun, and --resume goes on', async () => {
    const { env } = resticBefore(
      w,
      `if [ "$command" = restore ]; then touch ${w.path('begun')}; while [ ! -e ${w.path('go')} ]; do sleep 0.05; done; fi`,
    )
    const { child, ended } = w.startCli(['dr', '--yes', '--json', '--jobs', '1'], { env })
    while (!existsSync(w.path('begun'))) await sleep(20)
    child.kill('SIGINT')
    const { exit, stdout } = await ended
    expect(exit).toBe(130)
    expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ type: 'report', outcome: 'interrupted', exit: 130 })
    expect(names.map(file)).toEqual(names.map(() => null))
    expect((await dr('--resume')).exit).toBe(0)
    expect(look()).toEqual(saved)
  })
})
