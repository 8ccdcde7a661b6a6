import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { RunRecord } from '../../src/state/record.gen.ts'
import { emptyRecord, lastRun, pinnedRepository, pinRepository, readRecord, setAsideRecords, updateRecord } from '../../src/state/records.ts'
import { cliFile, start } from '../lib/cli.ts'
import { output } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let file: string
let good: string
beforeAll(async () => {
  w = await world()
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } } })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  file = w.path('state/records/notes.json')
  good = readFileSync(file, 'utf8')
})
afterAll(() => w.cleanup())
beforeEach(async () => {
  // A test puts a folder or a pipe in its place.
  rmSync(file, { recursive: true, force: true })
  writeFileSync(file, good, { mode: 0o600 })
  for (const aside of await setAsideRecords(w.path('state'))) rmSync(aside)
})

describe('[state.5] what is remembered', () => {
  test('is readable by root alone, and nothing else is left beside it', () => {
    for (const name of ['state/records/notes.json', 'state/repositories/main.json', 'state/running/notes.ndjson', 'state/locks/notes.lock'])
      expect([name, statSync(w.path(name)).mode & 0o777]).toEqual([name, 0o600])
    for (const folder of ['state/records', 'state/repositories', 'state/running'])
      expect([folder, statSync(w.path(folder)).mode & 0o777]).toEqual([folder, 0o700])
    expect(readdirSync(w.path('state/records'))).toEqual(['notes.json'])
  })

  test('is the old record or the new one, whenever it is read', async () => {
    let over = false
    const reading = (async () => {
      const seen = new Set<number>()
      for (; !over; await setImmediate()) seen.add((await readRecord(w.path('state'), 'notes')).runs.length)
      return seen
    })()
    for (let i = 0; i < 50; i++)
      await updateRecord(w.path('state'), 'notes', (record) => {
        record.runs = Array.from({ length: 1 + (i % 2) * 100 }, () => structuredClone(record.runs[0] as RunRecord['runs'][number]))
      })
    over = true
    expect([...(await reading)].sort()).toEqual([1, 101])
  })

  test.skipIf(!has('strace'))('is the old one or the new one after a kill at any rename or flush', async () => {
    const settled = (text: string) => (JSON.parse(text) as RunRecord).origin?.how
    const { sum: _, ...record } = JSON.parse(good)
    writeFileSync(file, JSON.stringify({ ...record, origin: null }))
    const seen: (string | undefined)[] = []
    for (let n = 1, exit = 137; exit === 137; n++) {
      // One thread, since strace counts for each.
      const inject = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `inject=rename,renameat2,fsync:signal=KILL:when=${n}`]
      exit = (await start([...inject, process.execPath, cliFile, 'adopt', 'notes', '--yes'], { env: { ...w.env, UV_THREADPOOL_SIZE: '1' } }).ended)
        .exit
      seen.push(settled(readFileSync(file, 'utf8')))
    }
    expect(seen[0]).toBeUndefined()
    expect(seen.at(-1)).toBe('adopted')
    expect(seen.length).toBeGreaterThan(2)
  })
})

/** The record cut off at each byte, and with each byte changed, missing or twice. */
function* damages(text: string): Generator<string> {
  for (let i = 0; i < text.length; i++) {
    const [before, after] = [text.slice(0, i), text.slice(i + 1)]
    yield before
    yield `${before}${text[i] === '7' ? '8' : '7'}${after}`
    yield before + after
    yield before + text[i] + text[i] + after
  }
  yield '[]'
  yield 'null'
  yield text.replace('"version":1', '"version":2')
  yield text.replace('"service":"notes"', '"service":"wiki"')
}

describe('[state.4] a damaged record', () => {
  test('is refused, whichever byte is changed, wherever it is cut', async () => {
    for (const text of damages(good.trimEnd())) {
      writeFileSync(file, text)
      const read = await readRecord(w.path('state'), 'notes').catch((error) => error)
      expect(read).toMatchObject({
        code: 'record-damaged',
        message: `notes: its record ${file} is damaged; the next backup sets it aside and starts a new one`,
      })
    }
  })

  test('gives the state `unknown`, not `never`', async () => {
    writeFileSync(file, good.slice(0, 40))
    for (const flags of [['--json'], ['--json', '--local']]) {
      const { exit, json } = await w.cli(['status', ...flags])
      expect(exit).toBe(1)
      expect(json().services[0]).toMatchObject({ state: 'unknown', message: expect.stringContaining(file), lastRun: null })
    }
  })

  test('keeps prune from forgetting', async () => {
    writeFileSync(file, 'x')
    const { exit, json } = await w.cli(['prune', '--json'])
    expect(exit).toBe(0)
    expect(json().services).toEqual([{ name: 'notes', message: 'its record is damaged', keep: [], remove: [], strangers: 0 }])
  })

  test.each([
    ['a folder', () => mkdirSync(file)],
    ['a pipe', () => output(['mkfifo', file])],
    ['a link to itself', () => symlinkSync(file, file)],
  ])('%s in its place is reported with what to do', async (_, make) => {
    rmSync(file)
    make()
    const told = `${file} is not a regular file: move it away, then run this again`
    expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'unknown', message: expect.stringContaining(told) })
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 1, stderr: expect.stringContaining(told) })
  })

  test('is set aside by the next backup, and doctor says where it is', async () => {
    const damaged = good.replace('{', '!')
    writeFileSync(file, damaged)
    const { exit, events } = await w.cli(['run', 'notes', '--json'])
    expect(exit).toBe(0)
    const [aside = ''] = await setAsideRecords(w.path('state'))
    expect(readFileSync(aside, 'utf8')).toBe(damaged)
    expect(statSync(aside).mode & 0o777).toBe(0o600)
    expect(events()).toContainEqual(
      expect.objectContaining({ type: 'warning', code: 'record-damaged', message: `notes: its record was damaged and is set aside as ${aside}` }),
    )
    expect(await readRecord(w.path('state'), 'notes')).toMatchObject({ origin: { how: 'own' }, runs: [{ outcome: 'ok' }] })
    expect((await w.cli(['doctor', '--json'])).json().checks).toContainEqual({
      name: 'state',
      ok: false,
      message: `a damaged record was set aside as ${aside}`,
      remedy: expect.any(String),
    })
  })
})

describe('a record', () => {
  test('that isn’t there is an empty one', async () => {
    expect(await readRecord(w.path('state'), 'wiki')).toEqual(emptyRecord('wiki'))
  })

  test('keeps the latest 200 runs, and tells the latest of a kind', async () => {
    const [run] = (JSON.parse(good) as RunRecord).runs
    await updateRecord(w.path('state'), 'wiki', (record) => {
      for (let i = 0; i < 205; i++) record.runs.push({ ...(run as RunRecord['runs'][number]), run: `r${i}`, kind: i === 204 ? 'restore' : 'backup' })
    })
    const record = await readRecord(w.path('state'), 'wiki')
    expect(record.runs.map(({ run }) => run)).toEqual(Array.from({ length: 200 }, (_, i) => `r${i + 5}`))
    expect(lastRun(record, 'backup')?.run).toBe('r203')
    expect(lastRun(record, 'restore')?.run).toBe('r204')
    expect(lastRun(emptyRecord('x'), 'backup')).toBeNull()
  })
})

test('a damaged file of a repository’s id is an error, and not taken for a missing one', async () => {
  mkdirSync(w.path('other/repositories'), { recursive: true })
  expect(await pinnedRepository(w.path('other'), 'main')).toBeNull()
  await pinRepository(w.path('other'), 'main', 'f'.repeat(64), '2026-11-20T02:00:00Z')
  expect(await pinnedRepository(w.path('other'), 'main')).toBe('f'.repeat(64))
  for (const text of ['', '{', '{"id":1}', '{"id":"abc"}', 'null']) {
    writeFileSync(w.path('other/repositories/main.json'), text)
    await expect(pinnedRepository(w.path('other'), 'main')).rejects.toThrow('write it anew with "atelier-backup adopt --repository main"')
  }
})
