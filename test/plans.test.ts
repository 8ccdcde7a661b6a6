// What holds for every plan, whatever a look has seen: plans are data, and what they stop, hold and copy is given back.
import { describe, expect, test } from 'vitest'
import { planBackup } from '../src/backup/plan.ts'
import type { BackupStep, Path, Plan, Step } from '../src/core.ts'
import { isWithin } from '../src/host/files.ts'
import { readManifest } from '../src/manifest/load.ts'
import type { Service } from '../src/manifest/types.gen.ts'
import type { RestoreFacts, Root } from '../src/restore/facts.ts'
import { planPutBack, planRestore } from '../src/restore/plan.ts'
import { reservedPattern } from '../src/snapshots/select.ts'
import fc, { runs } from './lib/fuzz.ts'

const name = fc.stringMatching(/^[a-z\n"\\*\u202e ]{1,6}$/)
const paths = fc.uniqueArray(fc.array(name, { minLength: 1, maxLength: 2 }), { maxLength: 4, selector: (parts) => parts.join('/') })
const below = (folder: Path) => paths.map((all) => all.map((parts) => `${folder}/${parts.join('/')}`))
const units = fc.uniqueArray(fc.constantFrom('a.service', 'b.service', 'b.socket', 'c@x.timer'))
const hook = fc.constantFrom(null, 'true')
const silent = readManifest(JSON.stringify({ version: 2, host: 'h', services: { notes: { paths: ['/x'] } } }), 'm', 'h').services.notes as Service
const staging = '/state/staging/notes'

const backups = fc
  .record({
    ...{ files: below('/srv'), sqlite: below('/srv/db'), linked: fc.boolean(), postgres: fc.uniqueArray(fc.constantFrom('a', 'b')) },
    ...{
      pre: hook,
      post: hook,
      units,
      running: fc.nat(4),
      viewed: fc.constantFrom(null, 'btrfs', 'reflink'),
      unadopted: fc.constantFrom(null, true, false),
    },
  })
  .map(({ files, sqlite, linked, postgres, pre, post, viewed, unadopted, ...at }) => {
    const stops = at.units.length > 0
    const service = { ...silent, paths: files, sqlite, postgres, preBackup: pre, postBackup: post, stopForBackup: stops }
    const databases = Object.fromEntries(sqlite.map((path) => [path, linked ? path.replace('/srv', '/real') : path]))
    const frozenCopies =
      stops && viewed !== null ? files.map((of, i) => ({ how: viewed as 'btrfs', of, at: `/srv/.atelier-backup-notes-RUN-${i}/view` })) : null
    const facts = {
      run: 'RUN',
      name: 'notes',
      install: 'id',
      unadopted,
      staging,
      units: at.units,
      running: at.units.slice(0, at.running),
      databases,
      frozenCopies,
    }
    return { service, facts, plan: planBackup(service, facts) }
  })

const restores = fc
  .record({
    roots: below('/srv'),
    mounted: fc.boolean(),
    linked: fc.nat(4),
    databases: below('/srv/db'),
    excluded: below('/srv/cache'),
    units,
    running: fc.nat(4),
    health: hook,
  })
  .map(({ roots, mounted, linked, databases, excluded, health, ...at }) => {
    const root = (path: Path, i: number): Root => {
      const mount = mounted && i % 2 === 1 ? '/srv' : '/'
      return {
        path,
        bytes: i,
        written: i,
        files: 1,
        live: i % 2 ? { bytes: 5 } : null,
        unchanged: i === linked,
        folder: mount,
        mount,
        entriesOnly: null,
        overwritten: false,
        emptied: false,
      }
    }
    const facts: RestoreFacts = {
      ...{
        run: 'RUN',
        name: 'notes',
        snapshot: { id: 'f'.repeat(64), tags: [] as string[] } as RestoreFacts['snapshot'],
        wanted: [],
        absent: [],
        postgres: null,
        absentDatabases: [],
        privileged: [],
        unseen: [],
      },
      ...{
        roots: roots.map(root),
        databases,
        excluded: roots.slice(0, excluded.length).map((path) => ({ path: `${path}/cache`, bytes: 1 })),
        renumbered: { users: [], groups: [] },
        strangers: [],
        unmounted: [],
      },
      ...{ units: at.units, running: at.units.slice(0, at.running), free: { '/': 1e12, '/srv': 1e12 } },
    }
    const olds = [
      {
        run: 'OLD',
        since: '2026-11-20T02:00:00.000Z',
        folder: '/srv/.atelier-backup-notes-OLD/old-OLD',
        paths: roots,
        absent: databases.map((path) => ({ path, parent: '/srv' })),
        folders: [],
        copied: [],
      },
    ]
    const putBack = { run: 'RUN', name: 'notes', olds, oldDatabases: [], units: facts.units, running: facts.running }
    return { facts, plan: planRestore({ healthCheck: health }, facts), back: planPutBack({ healthCheck: health }, putBack) }
  })

type Kind = Step['do']
const stepsOf = <K extends Kind>(steps: Step[], kind: K) => steps.filter((step): step is Step & { do: K } => step.do === kind)
const numRuns = runs(1000)

describe('[plan.1] every plan', () => {
  const printed = (plan: Plan) => void expect(JSON.parse(JSON.stringify(plan))).toStrictEqual(plan)

  test('is data: printed and read back it is the same', () => {
    fc.assert(
      fc.property(backups, ({ plan }) => printed(plan)),
      { numRuns },
    )
    fc.assert(
      fc.property(restores, ({ plan, back }) => void [plan, back].map(printed)),
      { numRuns },
    )
  })

  test('starts always what ran and was stopped, and nothing else', () => {
    const check = ({ steps, always }: Plan, seen: { units: string[]; running: string[] }) => {
      const stopped = stepsOf(steps, 'stop').flatMap((step) => step.units)
      const started = [...steps, ...always].flatMap((step) => (step.do === 'start' ? step.units : []))
      expect(stopped.every((unit) => seen.units.includes(unit))).toBe(true)
      expect(stepsOf(always, 'start').flatMap((step) => step.units)).toEqual(seen.running)
      expect(started.every((unit) => seen.running.includes(unit))).toBe(true)
      expect(stepsOf(always, 'stop')).toEqual([])
    }
    fc.assert(
      fc.property(backups, ({ plan, facts }) => check(plan, facts)),
      { numRuns },
    )
    fc.assert(
      fc.property(restores, ({ plan, back, facts }) => void [plan, back].map((each) => check(each, facts))),
      { numRuns },
    )
  })
})

describe('[plan.2] the plan of a backup', () => {
  test('writes nothing but copies, dumps and frozen copies of its own, and always takes all of them away', () => {
    fc.assert(
      fc.property(backups, ({ plan: { steps, always }, facts }) => {
        const written = steps.flatMap((step) => (step.do === 'copySqlite' ? [step.to] : step.do === 'dump' ? [step.folder] : []))
        expect(written.every((path) => isWithin(path, staging))).toBe(true)
        expect(new Set(written).size).toBe(written.length)
        if (written.length > 0) expect(stepsOf(always, 'unstage')).toEqual([{ do: 'unstage', folder: staging }])
        const views = stepsOf(steps, 'view')
        expect(views.every(({ at }) => at.startsWith('/srv/.atelier-backup-notes-RUN-'))).toBe(true)
        expect(stepsOf(always, 'unview').map(({ at }) => at)).toEqual((facts.frozenCopies ?? []).map(({ at }) => at))
      }),
      { numRuns },
    )
  })

  test('stops before it reads, starts before the upload only what is frozen as a whole, saves once and last', () => {
    fc.assert(
      fc.property(backups, ({ plan: { steps }, facts, service }) => {
        const order = steps.map((step) => step.do)
        if (facts.unadopted === null) return void expect(steps).toEqual([])
        const saved = order.indexOf('snapshot')
        expect([saved, order.lastIndexOf('snapshot')]).toEqual([order.length - 1, order.length - 1])
        const stop = order.indexOf('stop')
        const reads = (step: BackupStep, i: number) => (['dump', 'copySqlite', 'view', 'snapshot'].includes(step.do) ? [i] : [])
        if (stop >= 0) expect(Math.min(...steps.flatMap(reads))).toBeGreaterThan(stop)
        const start = order.indexOf('start')
        if (start >= 0) {
          expect(start).toBeGreaterThan(order.lastIndexOf('view'))
          expect(start).toBeGreaterThan(order.lastIndexOf('dump'))
          // What is copied after the start is read from a frozen copy.
          for (const copy of stepsOf(steps.slice(start), 'copySqlite')) expect(copy.from).toMatch(/^\/srv\/\.atelier-backup-notes-RUN-\d+\/view/)
        }
        const [{ paths, databases, exclude, tags } = { paths: [], databases: [], exclude: [], tags: [] }] = stepsOf(steps, 'snapshot')
        expect(paths.sort()).toEqual([...new Set([...service.paths, ...service.sqlite])].sort())
        expect(
          stepsOf(steps, 'copySqlite')
            .map((copy) => copy.database)
            .sort(),
        ).toEqual([...databases].sort())
        expect(exclude).toContain(reservedPattern)
        expect(tags).toContain('service:notes')
      }),
      { numRuns },
    )
  })
})

test('[plan.3] a restore verifies and brings to disk all that it stages before it stops anything, and all that it adds before it swaps', () => {
  fc.assert(
    fc.property(restores, ({ plan: { steps } }) => {
      const order = steps.map((step) => step.do)
      const swap = order.indexOf('swap')
      expect(order.lastIndexOf('swap')).toBe(swap)
      expect(order.indexOf('verify')).toBeGreaterThan(order.lastIndexOf('stage'))
      const stop = order.indexOf('stop')
      if (stop >= 0) expect([order.indexOf('verify') < stop, stop < swap]).toEqual([true, true])
      const start = order.indexOf('start')
      if (start >= 0) expect(start).toBeGreaterThan(swap)
      if (order.includes('health')) expect(order.indexOf('health')).toBe(order.length - 1)
      for (const { in: folder } of stepsOf(steps, 'stage')) {
        const flushed = steps.flatMap((step, i) => (step.do === 'flush' && step.folder === folder ? [i] : []))
        expect(flushed[0]).toBeGreaterThan(order.lastIndexOf('stage'))
        if (stop >= 0) expect(flushed[0]).toBeLessThan(stop)
        expect(flushed.at(-1)).toBeGreaterThan(order.lastIndexOf('carry'))
        expect(flushed.at(-1)).toBeLessThan(swap)
      }
    }),
    { numRuns },
  )
})
