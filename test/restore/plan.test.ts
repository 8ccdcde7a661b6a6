// The plans, without a world: what a look saw → which steps.
import { describe, expect, test } from 'vitest'
import type { Path, Plan, RestoreStep } from '../../src/core.ts'
import { isWithin, outermost } from '../../src/host/files.ts'
import type { RestoreFacts, Root } from '../../src/restore/facts.ts'
import { databaseName, planPutBack, planRestore } from '../../src/restore/plan.ts'
import fc from '../lib/fuzz.ts'

const snapshot = { id: 'f'.repeat(64), tags: [] as string[] } as RestoreFacts['snapshot']
const root = (path: Path, more: Partial<Root> = {}): Root => ({
  path,
  bytes: 100,
  written: more.bytes ?? 100,
  files: 1,
  live: { bytes: 100 },
  unchanged: false,
  folder: '/var/lib',
  mount: '/',
  entriesOnly: null,
  overwritten: false,
  emptied: false,
  ...more,
})
const facts = (more: Partial<RestoreFacts> = {}): RestoreFacts => ({
  run: 'RUN',
  name: 'notes',
  snapshot,
  wanted: [],
  roots: [root('/var/lib/notes')],
  absent: [],
  databases: [],
  postgres: null,
  absentDatabases: [],
  privileged: [],
  unseen: [],
  excluded: [],
  renumbered: { users: [], groups: [] },
  strangers: [],
  unmounted: [],
  units: [],
  running: [],
  free: { '/': 1e12, '/mnt': 1e12 },
  ...more,
})
const silent = { healthCheck: null }
const checked = { healthCheck: 'curl localhost' }
const kinds = ({ steps }: Plan<RestoreStep>) => steps.map((step) => step.do)
const stage = '/var/lib/.atelier-backup-notes-RUN'

describe('the plan of a restore', () => {
  test.for([
    ['files alone', facts(), silent, 'stage verify flush swap'],
    ['a unit that runs', facts({ units: ['n.service'], running: ['n.service'] }), checked, 'stage verify flush stop swap start health'],
    ['a unit that is stopped stays so', facts({ units: ['n.service'] }), silent, 'stage verify flush stop swap start'],
    ['[dr.26] and is not asked how it is', facts({ units: ['n.service'] }), checked, 'stage verify flush stop swap start'],
    ['data that no unit uses is checked', facts(), checked, 'stage verify flush swap health'],
    [
      'what is excluded is carried, and flushed too',
      facts({ excluded: [{ path: '/var/lib/notes/cache', bytes: 1 }] }),
      silent,
      'stage verify flush carry flush swap',
    ],
    [
      'two mounts, two folders',
      facts({ roots: [root('/var/lib/notes'), root('/mnt/n', { mount: '/mnt', folder: '/mnt' })] }),
      silent,
      'stage stage verify flush flush swap',
    ],
    [
      'a link that is right already',
      facts({ roots: [root('/var/lib/n', { unchanged: true }), root('/var/lib/notes')] }),
      silent,
      'stage verify flush swap',
    ],
  ] as const)('%s', ([, seen, service, expected]) => {
    expect(kinds(planRestore(service, seen)).join(' ')).toBe(expected)
  })

  test('[dr.26] what the boot starts is started with the restored data and checked, and with the old data stays stopped', () => {
    const { steps, always } = planRestore(checked, facts({ units: ['a.service', 'b.service'], running: ['b.service'], enabled: ['a.service'] }))
    expect([...steps.slice(-2), ...always]).toEqual([
      { do: 'start', units: ['b.service', 'a.service'] },
      { do: 'health' },
      { do: 'start', units: ['b.service'] },
    ])
  })

  test('all is staged and brought to disk before anything stops, and swapped at once', () => {
    const { steps } = planRestore(silent, facts({ databases: ['/var/lib/notes/app.db'], roots: [root('/var/lib/notes'), root('/etc/notes')] }))
    expect(steps).toEqual([
      { do: 'stage', snapshot: snapshot.id, paths: ['/var/lib/notes', '/etc/notes'], folders: [], owners: { users: [], groups: [] }, in: stage },
      { do: 'verify', databases: [`${stage}/new/var/lib/notes/app.db`] },
      { do: 'flush', folder: stage },
      {
        do: 'swap',
        moves: [
          { live: '/var/lib/notes', staged: `${stage}/new/var/lib/notes`, old: `${stage}/old-RUN/var/lib/notes` },
          { live: '/etc/notes', staged: `${stage}/new/etc/notes`, old: `${stage}/old-RUN/etc/notes` },
        ],
        databases: [],
      },
    ])
  })

  test('what other numbers cost is said where there are any', () => {
    const costs = (seen: RestoreFacts) => planRestore(silent, seen).notes.filter((note) => note.includes('numbers in ACLs'))
    expect(costs(facts({}))).toEqual([])
    expect(costs(facts({ renumbered: { users: [], groups: [[990, 991]] } }))).toHaveLength(1)
  })

  const postgres: NonNullable<RestoreFacts['postgres']> = {
    dumps: '/s/atelier-dumps',
    staging: { folder: '/var/lib/.dumps', mount: '/' },
    databases: [{ name: 'shop', bytes: 100, live: { bytes: 300 } }],
    versions: { dump: '15.1', server: '15.1' },
    data: { folder: '/mnt/pg', mount: '/mnt' },
    roles: [],
    tablespaces: [],
    others: [],
    slots: [],
    subscriptions: [],
  }

  test('[postgres.23] a replication slot that stays with the old database is told, and a subscription that is restored disabled', () => {
    const told = { slots: [{ name: 'cdc', database: 'shop' }], subscriptions: [{ name: 'sub', database: 'shop' }] }
    expect(planRestore(silent, facts({ postgres: { ...postgres, ...told } })).notes).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/slot cdc of shop stays with the old database.*SELECT pg_drop_replication_slot\('cdc'\)/),
        expect.stringMatching(/subscription sub of shop is restored disabled.*ALTER SUBSCRIPTION "sub" ENABLE/),
      ]),
    )
  })

  test('databases are loaded under names of ours before anything stops, and swapped with the files', () => {
    const fresh = 'atelier-new-RUN-0-shop'
    const { steps } = planRestore(silent, facts({ postgres, units: ['n.service'], running: ['n.service'] }))
    expect(steps.map((step) => step.do).join(' ')).toBe('stage stage verify loadPostgres flush stop swap start')
    const paths = ['/s/atelier-dumps/globals.sql', '/s/atelier-dumps/shop.dump']
    expect(steps[1]).toEqual({ do: 'stage', snapshot: snapshot.id, paths, folders: [], owners: { users: [], groups: [] }, in: '/var/lib/.dumps' })
    const from = '/var/lib/.dumps/new/s/atelier-dumps'
    expect(steps[3]).toEqual({ do: 'loadPostgres', from, databases: [{ database: 'shop', fresh }], tablespaces: true, data: '/mnt/pg' })
    expect(steps[6]).toMatchObject({ do: 'swap', databases: [{ live: 'shop', fresh, old: 'atelier-old-RUN-0-shop' }] })
  })

  test('[restore.12] room is needed for the dumps, and for the databases on their own mount', () => {
    const spare = 64 * 1024 * 1024
    const free = (root: number, mnt: number) => () => planRestore(silent, facts({ postgres, free: { '/': spare + root, '/mnt': spare + mnt } }))
    expect(free(200, 300)).not.toThrow()
    expect(free(199, 300)).toThrow(/the restore needs 200 beside the old data, and 67108864 to spare/)
    expect(free(200, 299)).toThrow(/\/mnt\/pg has .* free, and the restore needs 300 /)
  })

  test('[restore.40] a file with a mount of its own has both its copies in our state, with room for both, and is put back from there', () => {
    const file = root('/etc/n.conf', { overwritten: true, folder: '/state/kept', live: { bytes: 30 } })
    const spare = 64 * 1024 * 1024
    const free = (state: number, grows: number) => ({ '/': spare + state, '/etc/n.conf': spare + grows })
    const seen = (state: number, grows: number) => facts({ roots: [file, root('/var/lib/notes')], free: free(state, grows) })
    const { steps, notes } = planRestore(silent, seen(230, 70))
    expect(() => planRestore(silent, seen(229, 70))).toThrow(/the restore needs 230 /)
    expect(() => planRestore(silent, seen(230, 69))).toThrow(/\/etc\/n\.conf has .* the restore needs 70 /)
    const own = '/state/kept/.atelier-backup-notes-RUN'
    expect(steps.flatMap((step) => (step.do === 'stage' ? [step.in] : []))).toEqual([stage, own])
    expect(steps.find((step) => step.do === 'swap')?.moves).toEqual([
      { live: '/var/lib/notes', staged: `${stage}/new/var/lib/notes`, old: `${stage}/old-RUN/var/lib/notes` },
      { live: '/etc/n.conf', staged: `${own}/new/etc/n.conf`, old: `${own}/old-RUN/etc/n.conf`, copied: true },
    ])
    expect(notes).toEqual([expect.stringMatching(/^\/etc\/n\.conf is a file with a mount of its own: .* \/state\/kept$/)])
    const olds = [
      { run: 'RUN', since: '2026-11-20T14:00:00.000Z', folder: `${own}/old-RUN`, paths: [], absent: [], folders: [], copied: ['/etc/n.conf'] },
    ]
    const back = planPutBack(silent, { run: 'BACK', name: 'notes', olds, oldDatabases: [], units: [], running: [] })
    expect(back.steps.find((step) => step.do === 'swap')?.moves).toEqual([
      { live: '/etc/n.conf', staged: `${own}/old-RUN/etc/n.conf`, old: `${own}/old-BACK/etc/n.conf`, copied: true },
    ])
  })

  test('a name of ours is at most 63 bytes, whatever the database is called', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 70 }), (name) => {
        const made = databaseName('new', '20261126T114117Z-abcdef', 999, name)
        expect(Buffer.byteLength(made)).toBeLessThanOrEqual(63)
        expect(made.startsWith('atelier-new-20261126T114117Z-abcdef-999-')).toBe(true)
      }),
    )
  })

  test('[restore.12] room is needed for the new beside the old, with what is carried over, on each mount', () => {
    const excluded = [{ path: '/var/lib/notes/cache', bytes: 50 }]
    const spare = 64 * 1024 * 1024
    expect(() => planRestore(silent, facts({ excluded, free: { '/': spare + 150 } }))).not.toThrow()
    expect(() => planRestore(silent, facts({ excluded, free: { '/': spare + 149 } }))).toThrow(
      /\/var\/lib has .* free, and the restore needs 150 .* nothing was touched/,
    )
    const two = [root('/var/lib/notes'), root('/mnt/n', { mount: '/mnt', folder: '/mnt', bytes: 1e9 })]
    expect(() => planRestore(silent, facts({ roots: two, free: { '/': 1e12, '/mnt': 1e9 } }))).toThrow(/\/mnt has 1000000000 bytes free/)
  })

  test('what is partial, missing, unchanged or carried is noted', () => {
    const { notes } = planRestore(
      silent,
      facts({
        snapshot: { ...snapshot, tags: ['partial'] },
        absent: ['/etc/notes'],
        roots: [root('/var/lib/l', { unchanged: true }), root('/var/lib/notes')],
      }),
    )
    expect(notes).toEqual([
      expect.stringContaining('partial'),
      "/etc/notes isn't in this snapshot and stays as it is",
      "/var/lib/l is already the same symbolic link: it isn't touched",
    ])
  })
})

test('the plan of putting back: what was there returns, what was not there goes, what is live is kept', () => {
  const olds = [
    {
      run: 'FIRST',
      since: '2026-11-20T14:00:00.000Z',
      folder: '/v/.s/old-FIRST',
      paths: ['/v/a'],
      absent: [{ path: '/v/x/b', parent: '/v' }],
      folders: [],
      copied: [],
    },
  ]
  const oldDatabases = ['kept', null].map((kept) => ({ run: 'FIRST', since: '2026-11-20T14:00:00.000Z', database: kept ?? 'fresh', kept, slots: [] }))
  const { steps, always } = planPutBack(checked, { run: 'RUN', name: 'notes', olds, oldDatabases, units: ['n.service'], running: ['n.service'] })
  expect(steps).toEqual([
    { do: 'stop', units: ['n.service'] },
    {
      do: 'swap',
      moves: [
        { live: '/v/a', staged: '/v/.s/old-FIRST/v/a', old: '/v/.s/old-RUN/v/a' },
        { live: '/v/x/b', staged: null, old: '/v/.s/old-RUN/v/x/b', parent: '/v' },
      ],
      databases: [
        { live: 'kept', fresh: 'kept', old: 'atelier-old-RUN-0-kept' },
        { live: 'fresh', fresh: null, old: 'atelier-old-RUN-1-fresh' },
      ],
    },
    { do: 'start', units: ['n.service'] },
    { do: 'health' },
  ])
  expect(always).toEqual([{ do: 'start', units: ['n.service'] }])
})

const name = fc.stringMatching(/^[a-z.*[\] $-]{1,8}$/).filter((text) => text !== '.' && text !== '..')
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => `/srv/${names.join('/')}`)
const seen = fc
  .record({
    paths: fc.uniqueArray(path, { minLength: 1, maxLength: 5 }).map(outermost),
    mounts: fc.infiniteStream(fc.constantFrom('/', '/mnt')),
    inside: fc.array(fc.tuple(fc.nat(4), name), { maxLength: 4 }),
    units: fc.uniqueArray(fc.constantFrom('a.service', 'b.service', 'b.socket')),
    running: fc.nat(3),
  })
  .map(({ paths, mounts, inside, units, running }) => {
    const roots = paths.map((live) => {
      const mount = mounts.next().value ?? '/'
      return root(live, { mount, folder: mount })
    })
    const below = inside.flatMap(([i, file]) => (paths[i] === undefined ? [] : [`${paths[i]}/${file}`]))
    return facts({ roots, databases: below, excluded: below.map((live) => ({ path: live, bytes: 1 })), units, running: units.slice(0, running) })
  })

/** Every path that a step writes to, or takes away. */
function touched(step: RestoreStep): Path[] {
  if (step.do === 'stage') return [step.in]
  if (step.do === 'carry') return step.entries.map(({ to }) => to)
  if (step.do === 'swap') return step.moves.flatMap(({ live, staged, old }) => [live, old, ...(staged === null ? [] : [staged])])
  return []
}

test('[restore.8] no plan touches anything outside the declared paths and our own folders', () => {
  fc.assert(
    fc.property(seen, (found) => {
      const declared = found.roots.map(({ path: live }) => live)
      const ours = ['/', '/mnt/'].map((folder) => `${folder}.atelier-backup-notes-RUN`)
      for (const at of planRestore(checked, found).steps.flatMap(touched))
        expect([...declared, ...ours].some((allowed) => isWithin(at, allowed))).toBe(true)
    }),
  )
})

test('[restore.11] no plan renames across a mount', () => {
  fc.assert(
    fc.property(seen, (found) => {
      const moves = planRestore(silent, found).steps.flatMap((step) => (step.do === 'swap' ? step.moves : []))
      expect(moves.length).toBe(found.roots.length)
      for (const { live, staged, old } of moves) {
        const mount = found.roots.find(({ path: declared }) => declared === live)?.mount
        for (const place of [staged ?? '', old]) expect(place.startsWith('/mnt/')).toBe(mount === '/mnt')
      }
    }),
  )
})

test('whatever a plan stops of what ran, it starts again, and always', () => {
  fc.assert(
    fc.property(seen, (found) => {
      const { steps, always } = planRestore(silent, found)
      const stopped = steps.flatMap((step) => (step.do === 'stop' ? step.units : []))
      const started = (some: RestoreStep[]) => some.flatMap((step) => (step.do === 'start' ? step.units : []))
      expect(stopped).toEqual(found.units)
      expect(started(steps)).toEqual(found.running)
      expect(started(always)).toEqual(found.running)
      const order = steps.map((step) => step.do)
      if (stopped.length > 0) expect(order.indexOf('stop')).toBeGreaterThan(order.lastIndexOf('stage'))
      expect(order.slice(0, order.indexOf('swap')).at(-1)).toMatch(/flush|stop/)
    }),
  )
})
