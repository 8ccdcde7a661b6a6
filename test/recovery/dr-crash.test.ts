// Killed right before any of its changes, alone or with all its children, a disaster recovery goes on with --resume; and what it replaced comes back.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { changesOf, type Death, groupKilledAt, killedAt, type Moment, random, type SeenChange } from '../lib/killed.ts'
import { living, output, sql, until } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { fingerprint, makeHostileTree } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const names = ['base', 'notes', 'off', 'data']
const dr = ['dr', '--yes', '--jobs', '1']
/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)

/** Figures for the log: how often a recovery was killed, and how often its services were neither entirely old nor entirely new afterwards. */
const figures = { tried: 0, lost: 0 }
afterAll(() => console.log(`disaster recoveries killed: tried ${figures.tried}, lost ${figures.lost}`))

describe.skipIf(!isRoot || !has('strace') || !has('sqlite3'))('a recovery that is killed', () => {
  let w: World
  let changes: SeenChange[]
  let old: ReturnType<typeof look>
  let fresh: ReturnType<typeof look>
  const path = (name: string) => w.path('srv', name)
  const database = () => w.path('srv/db/data.db')

  /** Per service, for one may be done and another not. */
  function look(): Record<string, { entries: unknown[]; rows: string | null }> {
    const of = (name: string) => ({
      entries: existsSync(path(name)) ? fingerprint(path(name)) : [],
      rows: name === 'data' && existsSync(database()) ? sql(database(), 'PRAGMA integrity_check; SELECT a FROM t') : null,
    })
    return Object.fromEntries(names.map((name) => [name, of(name)]))
  }
  const folders = ['srv', 'state', 'secrets']
  const copy = (from: string, to: string) => {
    rmSync(w.path(to), { recursive: true, force: true })
    output(['cp', '-a', w.path(from), w.path(to)])
  }
  const reset = () => {
    for (const folder of folders) copy(`saved-${folder}`, folder)
  }
  const isOpen = () => existsSync(w.path('state/disaster-recovery.json'))
  const journals = () => names.filter((name) => existsSync(w.path('state/journals', `${name}.json`)))
  /** The services that are done, by their records. */
  const done = () =>
    names.filter((name) => {
      const file = w.path('state/records', `${name}.json`)
      const runs: { kind: string; outcome: string }[] = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).runs : []
      return runs.some(({ kind, outcome }) => kind === 'restore' && outcome === 'ok')
    })

  beforeAll(async () => {
    w = await world()
    w.manifest({
      services: {
        base: { paths: [path('base')] },
        notes: { paths: [path('notes')], restoreAfter: ['base'] },
        off: { paths: [path('off')], enable: false },
        data: { paths: [path('data')], sqlite: [database()], exclude: ['*.log'] },
      },
    })
    mkdirSync(w.path('srv/db'), { recursive: true })
    sql(database(), "PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES ('of the snapshot')")
    makeHostileTree(path('data'), 1)
    for (const name of ['base', 'notes', 'off']) w.write(`srv/${name}/file`, `of ${name}`)
    output(['bash', '-c', `chown -R 33:44 ${path('base')}; chmod 2751 ${path('base')}; ln ${path('notes')}/file ${path('notes')}/twin`])
    expect(await w.cli(['backup', ...names])).toMatchObject({ exit: 0 })
    // Another install, with what services make at their first start; of notes there is nothing.
    for (const folder of ['srv', 'state']) rmSync(w.path(folder), { recursive: true })
    mkdirSync(w.path('state'), { mode: 0o700 })
    mkdirSync(w.path('srv/db'), { recursive: true })
    for (const name of ['base', 'off', 'data']) w.write(`srv/${name}/made-at-first-start`, name)
    w.write('srv/data/a.log', 'excluded from backups')
    sql(database(), "PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES ('of the fresh install')")
    for (const folder of folders) copy(folder, `saved-${folder}`)
    // A copy of a state folder that is bound to its machine would count as another install's.
    rmSync(w.path('saved-state/machine.json'), { force: true })
    old = look()
    const unkilled = await changesOf(w, dr)
    changes = unkilled.changes
    fresh = look()
    // Without this nothing below means anything.
    expect(unkilled.ended).toMatchObject({ exit: 0 })
    expect([old.data?.rows, fresh.data?.rows]).toEqual(['ok\nof the fresh install', 'ok\nof the snapshot'])
    for (const name of names) expect(fresh[name]).not.toEqual(old[name])
    expect(changes.length).toBeGreaterThan(100)
  })
  afterAll(() => w?.cleanup())
  beforeEach(reset)

  /** Goes on, and repeats nothing; then takes each service back. */
  async function settled(before: string[]): Promise<void> {
    figures.tried += 1
    figures.lost += 1
    // Before its journal stood there it had begun nothing, and after that was gone it was at its end.
    const [wasOpen, wasDone] = [isOpen(), done()]
    const { exit, stdout } = await w.cli([...dr, '--json', ...(wasOpen ? ['--resume'] : [])])
    expect(exit).toBe(wasOpen || wasDone.length === 0 ? 0 : 3)
    expect(look()).toEqual(fresh)
    expect([journals(), isOpen()]).toEqual([[], false])
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const swapped = events.filter((event) => event.type === 'step' && event.do === 'swap').map(({ service }) => service)
    for (const name of before) expect(swapped).not.toContain(name)
    for (const name of names) {
      expect(await w.cli(['restore', name, '--rollback', '--yes'])).toMatchObject({ exit: 0 })
      expect(look()[name]).toEqual(old[name])
    }
    expect([journals(), living(w)]).toEqual([[], []])
    figures.lost -= 1
  }

  const numbers = soak ? Array.from({ length: 500 }, (_, i) => i) : Array.from({ length: 4 }, (_, i) => random(seed * 100 + i))
  test.for(numbers)('[dr.19] before its change %i', async (number) => {
    const change = soak ? changes[number] : changes[number % changes.length]
    if (!change) return
    expect(await killedAt(w, change, dr)).toBe(true)
    // What it has taken on must be as it was, or as it will be.
    const before = done()
    // After a reboot the boot unit was there first.
    if (number % 2 === 1) expect(await w.cli(['boot'])).toMatchObject({ exit: 0 })
    // Killed in that, too.
    if (number % 3 === 0 && isOpen()) await killedAt(w, { call: 'rename', n: 1 + (random(number) % 30) }, [...dr, '--resume'])
    await settled(before)
  })

  // Repeated, it would replace the new data by the same, and the next rollback would bring that back.
  test.each([1, 2, 3])('[dr.19] %i changes after a restore’s journal went, it is known to be done', async (later) => {
    const gone = changes.findIndex(({ call, path }) => call.startsWith('unlink') && path.endsWith('/journals/base.json'))
    const change = changes[gone + later]
    if (gone < 0 || !change) throw new Error('no journal is removed')
    expect(await killedAt(w, change, dr)).toBe(true)
    expect([journals(), done()]).toEqual([[], ['base']])
    await settled(['base'])
  })

  const deaths: Death[] = ['restic restore', 'sync', 'sqlite3', 'cp'].flatMap((program) =>
    (['before', 'amid', 'after'] as Moment[]).flatMap((moment) => [1, 2, 3].map((n): Death => [program, moment, n])),
  )
  const chosen = soak
    ? deaths
    : [['restic restore', 'amid', 2] as const, ...Array.from({ length: 1 }, (_, i) => deaths[random(seed * 7 + i) % deaths.length] as Death)]
  test.for(chosen)('[dr.19] with all its children, at %s (%s its work, call %i)', async (death) => {
    // Not every program is called three times.
    const killed = await groupKilledAt(w, death, ['dr', '--yes'])
    if (death[2] === 1) expect(killed).toBe(true)
    await until(() => living(w).length === 0, 'all have ended')
    await settled(done())
  })
})
