import { existsSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Event } from '../../src/core.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  w.write('notes/text', 'hello')
  w.write('notes/folder/more', '')
  const failing = { paths: [w.write('failing', 'x')], preBackup: 'echo no; exit 3' }
  const slow = { paths: [w.write('slow', 'x')], preBackup: `touch ${w.path('begun')}; sleep 60` }
  w.manifest({ services: { notes: { paths: [w.path('notes')] }, partial: { paths: [w.write('partial', 'x'), w.path('missing')] }, failing, slow } })
  for (const time of ['2020-01-02 02:00:00', '2020-01-01 02:00:00', '2020-01-03 02:00:00'])
    await w.restic(['backup', '--host', 'testhost', '--tag', 'service:notes', '--time', time, w.path('notes')])
})
afterAll(() => {
  rmSync(join(tmpdir(), `atelier-look-${process.pid}`), { recursive: true, force: true })
  w.cleanup()
})

/** Whatever is called so, wherever it stands, has the promised form; null where it is absent. */
const forms: [names: RegExp, holds: (value: unknown) => boolean][] = [
  [
    /^(time|started|since|mtime|nextRun|newest|oldest)$/,
    (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value),
  ],
  [/^(bytes|files|doneBytes|totalBytes)$/, (value) => Number.isInteger(value) && Number(value) >= 0],
  [/^(seconds|downtimeSeconds|secondsLeft)$/, (value) => typeof value === 'number' && value >= 0],
]
function misshapen(value: unknown, place = ''): string[] {
  if (typeof value !== 'object' || value === null) return value === undefined ? [place] : []
  return Object.entries(value).flatMap(([key, inner]) => {
    const form = Array.isArray(value) ? undefined : forms.find(([names]) => names.test(key))
    const wrong = form && inner !== null && !form[1](inner) ? [`${place}.${key}: ${JSON.stringify(inner)}`] : []
    return [...wrong, ...misshapen(inner, `${place}.${key}`)]
  })
}

test('[json.2] list gives snapshots newest first', async () => {
  const { exit, json } = await w.cli(['list', 'notes', '--json'])
  expect(exit).toBe(0)
  const common = {
    id: expect.stringMatching(/^[0-9a-f]{64}$/),
    host: 'testhost',
    paths: [w.path('notes')],
    tags: ['service:notes'],
    bytes: 5,
    files: 2,
  }
  expect(json()).toEqual(['03', '02', '01'].map((day) => ({ ...common, time: expect.stringContaining(`2020-01-${day}T02:00:00`) })))
  for (const snapshot of json()) expect(Object.keys(snapshot)).toEqual(['id', 'time', 'host', 'paths', 'tags', 'bytes', 'files'])
  expect((await w.cli(['list', 'partial', '--json'])).json()).toEqual([])
})

test.each([['list', 'notes'], ['list'], ['find', 'text'], ['restore', 'notes', '--dry-run']])(
  '[cli.2] %s %s of a host that the repository does not know: which it knows',
  async (...args) => {
    const { exit, stdout, stderr } = await w.cli([...args.filter(Boolean), '--host', 'testhots'])
    expect([exit, stdout, stderr]).toEqual([
      2,
      '',
      expect.stringMatching(/^atelier-backup: the repository main holds nothing of a host "testhots"; did you mean testhost\?; it knows testhost\n$/),
    ])
  },
)

test('[cli.2] of a host that others know, its services without snapshots say whose are there; nobody is told to make them here', async () => {
  await w.restic(['backup', '--host', 'otherhost', '--tag', 'service:strange', w.path('failing')])
  const { exit, stdout } = await w.cli(['list', 'notes', '--host', 'otherhost'])
  expect([exit, stdout]).toEqual([0, 'notes: no snapshots of host otherhost; there are some of testhost: --host testhost\n'])
  expect((await w.cli(['list', 'failing'])).stdout).toContain('make one with: atelier-backup backup failing')
})

test('[json.2] list --snapshot gives its files, --path those below it', async () => {
  const files = (await w.cli(['list', 'notes', '--snapshot', 'latest', '--json'])).json()
  const entry = (type: string, bytes: number) => ({ type, bytes, mtime: expect.stringMatching(/T.*(Z|[+-]\d\d:\d\d)$/) })
  expect(files.filter(({ path }: { path: string }) => path.startsWith(w.path('notes')))).toEqual([
    { path: w.path('notes'), ...entry('dir', 0) },
    { path: w.path('notes/folder'), ...entry('dir', 0) },
    { path: w.path('notes/folder/more'), ...entry('file', 0) },
    { path: w.path('notes/text'), ...entry('file', 5) },
  ])
  const below = (await w.cli(['list', 'notes', '--snapshot', 'latest', '--path', w.path('notes/folder'), '--json'])).json()
  expect(below.map(({ path }: { path: string }) => path)).toEqual([w.path('notes/folder'), w.path('notes/folder/more')])
})

const types = (events: Event[]) => events.map(({ type }) => type)

describe('[json.4] long work prints a line for each event', () => {
  test.each([
    ['ok', ['backup', 'notes'], 0, 'ok'],
    ['partial', ['backup', 'partial'], 3, 'partial'],
    ['failed', ['run', 'failing'], 1, 'failed'],
    ['two services', ['backup', 'notes', 'failing'], 1, 'failed'],
    ['a restore', ['restore', 'notes', '--in-place', '--yes', '--snapshot', 'latest'], 0, 'ok'],
    ['a restore for a look', ['restore', 'notes', '--target', join(tmpdir(), `atelier-look-${process.pid}`)], 0, 'ok'],
    ['one that fails', ['restore', 'notes', '--target', tmpdir()], 2, 'failed'],
    ['a restore that is taken back', ['restore', 'notes', '--rollback', '--yes'], 0, 'ok'],
    ['a recovery', ['dr', '--yes', '--only', 'notes', '--overwrite'], 0, 'ok'],
  ])('%s: the plan first, the report last, and only there', async (_, args, exit, outcome) => {
    const ended = await w.cli([...args, '--json'])
    const events = ended.events()
    expect(ended.exit).toBe(exit)
    expect(types(events)[0]).toBe('plan')
    expect(types(events).indexOf('report')).toBe(events.length - 1)
    expect(events.at(-1)).toMatchObject({ outcome, exit, service: null })
    for (const event of events) expect(Object.keys(event)).toEqual(expect.arrayContaining(['time', 'service', 'type']))
  })

  test('interrupted: the report all the same', async () => {
    const { child, ended } = w.startCli(['backup', 'slow', '--json'])
    while (!existsSync(w.path('begun'))) await sleep(20)
    child.kill('SIGTERM')
    const events = (await ended).events()
    expect(types(events)[0]).toBe('plan')
    expect(events.at(-1)).toMatchObject({ type: 'report', outcome: 'interrupted', exit: 130, services: [{ name: 'slow', code: 'interrupted' }] })
  })

  test('failed before anything could be planned: a plan without steps', async () => {
    w.write('secrets/wrong', 'wrong')
    const other = w.write('other.json', readFileSync(w.path('manifest.json'), 'utf8').replace(w.repository.passwordFile, w.path('secrets/wrong')))
    const { exit, events } = await w.cli(['backup', 'notes', '--json', '--manifest', other, '--state-dir', w.path('other-state')])
    expect(exit).toBe(12)
    expect(events()).toMatchObject([
      { type: 'plan', plan: { steps: [] } },
      { type: 'report', outcome: 'failed', exit: 12, services: [{ name: 'notes', code: 'wrong-password' }] },
    ])
  })

  test('the report has every key for every outcome', async () => {
    const report = (await w.cli(['backup', 'notes', 'partial', 'failing', '--json'])).events().at(-1)
    if (report?.type !== 'report') throw new Error('no report')
    const keys = ['name', 'outcome', 'exit', 'code', 'message', 'snapshotId', 'seconds', 'downtimeSeconds', 'bytes', 'addedBytes']
    for (const service of report.services) expect(Object.keys(service).sort()).toEqual([...keys].sort())
    expect(report.services).toMatchObject([
      { name: 'notes', code: null, message: null, bytes: 5, addedBytes: expect.any(Number), downtimeSeconds: null },
      { name: 'partial', code: 'missing-path', snapshotId: expect.stringMatching(/^[0-9a-f]{64}$/) },
      { name: 'failing', snapshotId: null, bytes: null, addedBytes: null },
    ])
  })
})

test('[json.5] a run leaves the same lines in the state folder', async () => {
  for (const name of ['notes', 'partial', 'failing']) {
    const { stdout } = await w.cli(['run', name, '--json'])
    const lines = (text: string) =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Event)
    const kept = lines(readFileSync(w.path(`state/running/${name}.ndjson`), 'utf8'))
    const printed = lines(stdout)
    expect(kept.slice(0, -1)).toEqual(printed.slice(0, -1))
    // There it is the service's own, here that of all.
    expect(kept.at(-1)).toMatchObject({ type: 'report', service: name })
    const told = (event?: Event) =>
      event?.type === 'report' && { ...event, time: '', service: '', services: event.services.map((result) => ({ ...result, seconds: 0 })) }
    expect(told(kept.at(-1))).toEqual(told(printed.at(-1)))
  }
})

test('[json.6] everywhere times have a zone, sizes are bytes, durations seconds, and absent is null', async () => {
  const work = (await w.cli(['backup', 'notes', 'partial', 'failing', '--json'])).events()
  const values = await Promise.all(
    [
      ['status'],
      ['status', '--local'],
      ['list'],
      ['list', 'notes'],
      ['list', 'notes', '--snapshot', 'latest'],
      ['doctor'],
      ['prune', '--dry-run'],
      ['unlock'],
    ].map(async (args) => [args, (await w.cli([...args, '--json'])).json()]),
  )
  expect(misshapen({ values, work })).toEqual([])
  expect(misshapen([{ time: '2026-11-20 02:00' }, { bytes: '5' }, { seconds: undefined }])).toHaveLength(4)
})
