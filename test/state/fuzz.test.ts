// Whatever happens to a byte of what is remembered: it is noticed, named, and nothing is believed that wasn't written.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseWithChecksum, withChecksum } from '../../src/state/checksum.ts'
import { type RestoreJournal, readJournal, writeJournal } from '../../src/state/journal.ts'
import { pinnedRepository, pinRepository, readRecord } from '../../src/state/records.ts'
import { deadResticProcesses, resticProcesses } from '../../src/state/restic-processes.ts'
import { readKilledRun, readRunning, writeRunning } from '../../src/state/running.ts'
import fc, { fuzzTimeout, runs } from '../lib/fuzz.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] }, wiki: { paths: [w.write('wiki/a', 'a')] } } })
  for (const name of ['notes', 'wiki']) expect((await w.cli(['run', name])).exit).toBe(0)
})
afterAll(() => w.cleanup())

/** A text with one byte changed, or cut off anywhere. */
function damagedByte(text: string): fc.Arbitrary<string> {
  const bytes = Buffer.from(text)
  return fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: -1, max: 255 })).map(([at, byte]) => {
    if (byte < 0) return bytes.subarray(0, at).toString()
    const changed = Buffer.from(bytes)
    changed[at] = changed[at] === byte ? byte ^ 1 : byte
    return changed.toString()
  })
}

const journal = (state: string): RestoreJournal => ({
  version: 1,
  run: '20261120T020000Z-abcdef',
  service: 'notes',
  started: '2026-11-20T02:00:00.000Z',
  snapshot: 'ab'.repeat(32),
  putsBack: null,
  paths: [],
  emptied: [],
  recovers: true,
  phase: 'swapping',
  folders: [`${state}/.atelier-backup-notes-x`],
  moves: [{ live: '/a', staged: '/s/a', old: '/o/a', liveId: '1234', stagedId: '5678', database: false, parent: '/', stays: null }],
  units: ['notes.service'],
  masked: [],
  databases: [],
  dumps: null,
})

type Kept = { name: string; file(state: string): string; make(state: string): Promise<unknown>; read(state: string): Promise<unknown>; code: string }
const kept: Kept[] = [
  {
    name: 'a record',
    file: (state) => `${state}/records/notes.json`,
    make: async (state) => writeFileSync(`${state}/records/notes.json`, readFileSync(w.path('state/records/notes.json'))),
    read: (state) => readRecord(state, 'notes'),
    code: 'record-damaged',
  },
  {
    name: 'a journal',
    file: (state) => `${state}/journals/notes.json`,
    make: (state) => writeJournal(state, journal(state)),
    read: (state) => readJournal(state, 'notes'),
    code: 'journal-damaged',
  },
  {
    name: 'a pin',
    file: (state) => `${state}/repositories/main.json`,
    make: (state) => pinRepository(state, 'main', 'cd'.repeat(32), '2026-11-20T02:00:00.000Z'),
    read: (state) => pinnedRepository(state, 'main'),
    code: 'state-damaged',
  },
  {
    name: 'a running file',
    file: (state) => `${state}/running/notes.json`,
    make: (state) => writeRunning(state, 'notes', { run: 'r', kind: 'backup', started: '2026-11-20T02:00:00.000Z' }),
    read: async (state) => ({ ...(await readKilledRun(state, 'notes')), ...(await readRunning(state, 'notes')) }),
    code: 'state-damaged',
  },
]

describe('[sealed.1] one byte changed, or a cut', () => {
  test.each(kept)('in $name is noticed, or has changed nothing that is read', { timeout: fuzzTimeout }, async ({ name, file, make, read, code }) => {
    const state = w.path(`fuzz-${name.replaceAll(' ', '-')}`)
    for (const place of ['records', 'journals', 'repositories', 'running']) mkdirSync(`${state}/${place}`, { recursive: true })
    await make(state)
    const good = readFileSync(file(state), 'utf8')
    const meant = await read(state)
    expect(meant).not.toBeNull()
    let noticed = 0
    await fc.assert(
      fc.asyncProperty(damagedByte(good), async (text) => {
        writeFileSync(file(state), text)
        const found = await read(state).catch((error) => error)
        if (!(found instanceof Error)) return void expect(found).toMatchObject(meant as object)
        noticed += 1
        expect(found).toMatchObject({ code, message: expect.stringContaining(file(state)) })
      }),
      { numRuns: runs(800) },
    )
    expect(noticed).toBeGreaterThan(600)
  })

  test('in the note of a restic that may have left its lock makes it nobody’s', { timeout: fuzzTimeout }, async () => {
    const state = w.path('fuzz-lockers')
    mkdirSync(`${state}/repositories`, { recursive: true })
    resticProcesses(state, 'main').started(process.pid)
    const folder = `${state}/repositories/main.lockers`
    const [file = ''] = readdirSync(folder).map((pid) => `${folder}/${pid}`)
    // Dead: of another boot.
    const { sum: _, ...locker } = JSON.parse(readFileSync(file, 'utf8'))
    const good = withChecksum({ ...locker, bootId: 'another' })
    writeFileSync(file, good)
    expect(await deadResticProcesses(state, 'main')).toHaveLength(1)
    await fc.assert(
      fc.asyncProperty(damagedByte(good), async (text) => {
        writeFileSync(file, text)
        for (const found of await deadResticProcesses(state, 'main')) expect(found).toMatchObject({ ...locker, bootId: 'another' })
      }),
      { numRuns: runs(500) },
    )
  })

  test('what is sealed comes back as it was, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string().filter((key) => key !== 'sum' && key !== '__proto__'),
          fc.jsonValue(),
          { minKeys: 1, noNullPrototype: true },
        ),
        (value) => {
          expect(parseWithChecksum(withChecksum(value))).toEqual(JSON.parse(JSON.stringify(value)))
        },
      ),
    )
  })

  test('never brings a command to a crash, nor a service to "never backed up"', { timeout: fuzzTimeout }, async () => {
    const state = w.path('state')
    const files = () => ({
      'records/notes.json': readFileSync(`${state}/records/notes.json`, 'utf8'),
      'repositories/main.json': readFileSync(`${state}/repositories/main.json`, 'utf8'),
      'journals/notes.json': withChecksum(journal(state)),
      'running/notes.json': withChecksum({ run: 'r', kind: 'backup', started: '2026-11-20T02:00:00.000Z', pid: 1, startTime: '0', bootId: '0' }),
      'disaster-recovery.json': withChecksum({
        run: 'r',
        started: '2026-11-20T02:00:00.000Z',
        wish: { host: 'testhost', at: null, only: [], except: [], overwrite: false },
        choices: [],
        done: [],
      }),
    })
    const good = files()
    const damage = fc
      .constantFrom(...(Object.keys(good) as (keyof typeof good)[]))
      .chain((name) => fc.tuple(fc.constant(name), damagedByte(good[name])))
    await fc.assert(
      fc.asyncProperty(damage, async ([name, text]) => {
        w.write(`state/${name}`, text)
        for (const args of [
          ['status', '--json'],
          ['doctor'],
          ['dr', '--resume', '--dry-run'],
          ['restore', 'notes', '--in-place', '--dry-run', '--json'],
          ['run', 'notes'],
        ]) {
          const { exit, stdout, stderr } = await w.cli(args)
          expect([0, 1, 2]).toContain(exit)
          expect(`${stdout}${stderr}`).not.toMatch(/^\s+at |undefined|TypeError/m)
          if (args[0] === 'status') expect(stdout).not.toContain('"never"')
          expect(stderr.split('\n').length).toBeLessThan(6)
        }
        rmSync(`${state}/${name}`, { force: true })
        for (const aside of readdirSync(`${state}/running`).filter((file) => file.includes('damaged'))) rmSync(`${state}/running/${aside}`)
        for (const there of ['records/notes.json', 'repositories/main.json'] as const) w.write(`state/${there}`, good[there])
      }),
      { numRuns: runs(5) },
    )
  })
})

test('[sealed.1] what a killed run noted and can’t be read is set aside by the next, which tidies up and says so', async () => {
  w.write('state/running/notes.json', '{"pid":')
  expect((await w.cli(['status', 'notes', '--local', '--json'])).json().services[0]).toMatchObject({
    state: 'unknown',
    message: expect.stringContaining('atelier-backup run --cleanup notes'),
  })
  const { exit, stderr } = await w.cli(['run', '--cleanup', 'notes'])
  expect([exit, stderr]).toEqual([
    0,
    expect.stringMatching(/^notes: what a killed run has noted is damaged, and set aside as \S+\/running\/notes\.json\.damaged-\d+\n/),
  ])
  expect((await w.cli(['status', 'notes', '--local', '--json'])).json().services[0].state).toBe('failed')
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  expect((await w.cli(['status', 'notes', '--local'])).exit).toBe(0)
})
