import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Snapshot } from '../../src/restic/types.ts'
import {
  datedLater,
  eligible,
  fromElsewhere,
  isComplete,
  isInFuture,
  newestFirst,
  newestOf,
  parseTime,
  pick,
  type Subject,
  snapshotChoice,
  snapshotsOf,
} from '../../src/snapshots/select.ts'

const here = '1111111111111111'
const elsewhere = '2222222222222222'
const subject: Subject = { name: 'notes', service: { paths: ['/n', '/m'], sqlite: [], formerNames: [] }, host: 'cellar', origin: null, install: here }
const adopted: Subject = { ...subject, origin: { how: 'adopted' } }
const recovered: Subject = { ...subject, origin: { how: 'recovered' } }

/** Called by its letter: `a` has the id aaaa…. */
function snapshot(letter: string, time: string, more: Partial<Snapshot> = {}): Snapshot {
  const id = letter.repeat(64)
  const none = { excludes: [], parent: null, original: null, isRewritten: false, bytes: null, files: null, addedBytes: null }
  return { id, shortId: id.slice(0, 8), time, host: 'cellar', paths: ['/n', '/m'], tags: ['service:notes'], ...none, ...more }
}
const letters = (snapshots: Snapshot[]) => snapshots.map(({ id }) => id[0]).join('')

test('[newest.9] one that was made of another one, which is still there, is never the newest', () => {
  const good = snapshot('a', '2026-11-20T02:00:00Z')
  const rewritten = snapshot('b', '2026-11-20T02:00:00Z', { original: good.id, isRewritten: true })
  expect(pick([good, rewritten], subject, { latest: true })).toBe(good)
  expect(pick([good, rewritten], subject, { id: 'bbbb' })).toBe(rewritten)
})

describe('the newest', () => {
  const a = snapshot('a', '2026-11-20T02:00:00Z')
  const b = snapshot('b', '2026-11-21T02:00:00+01:00', { paths: ['/else'], tags: ['service:notes', 'manual'] })
  const c = snapshot('c', '2026-11-20T23:30:00-02:00')
  const d = snapshot('d', '2026-11-20T02:00:00Z')

  test.each([[[a, b, c, d]], [[d, c, b, a]], [[b, d, a, c]]])(
    '[newest.1] is the one with the latest time, in whatever order and zone they come',
    (listed) => {
      expect(letters(newestFirst(listed))).toBe('cbda')
      expect(pick(listed, subject, { latest: true })).toBe(c)
    },
  )

  test('[newest.12] is the one that was made last, by its parent or the record, where the clock was behind or ahead', () => {
    const behind = snapshot('e', '2020-01-01T02:00:00Z', { parent: c.id })
    const again = snapshot('f', '2020-01-02T02:00:00Z')
    for (const [listed, order] of [
      [
        [a, behind, c, again],
        [c.id, behind.id, again.id],
      ],
      // A new host has no record.
      [[{ ...again, parent: behind.id }, behind, c, a], []],
      // `tag` gives another id.
      [
        [a, behind, c, { ...again, original: '9'.repeat(64) }],
        [behind.id, '9'.repeat(64)],
      ],
    ] as [Snapshot[], string[]][]) {
      expect(letters(newestFirst(listed, order))).toBe('feca')
      expect(newestOf(listed, order)?.id[0]).toBe('f')
      expect(pick(listed, { ...subject, order }, { latest: true }).id[0]).toBe('f')
      expect(datedLater(listed, { order }, again)).toBe(c)
      expect(datedLater(listed, { order }, c)).toBeNull()
    }
    const ahead = snapshot('9', '2030-01-01T02:00:00Z')
    expect(letters(newestFirst([ahead, a], [ahead.id, a.id]))).toBe('a9')
    // A time is meant as lists show it.
    const at = (time: string) => pick([a, behind, c], { ...subject, order: [c.id, behind.id] }, snapshotChoice({ at: time }))
    expect([at('2026-11-21'), at('2020-06-01')]).toEqual([c, behind])
    // What somebody else wrote may go in circles.
    expect(newestFirst([snapshot('a', a.time, { parent: b.id }), snapshot('b', b.time, { parent: a.id })])).toHaveLength(2)
  })

  test('[newest.2] at a time is the newest not later than it', () => {
    const at = (time: string) => pick([a, b, c], subject, snapshotChoice({ at: time }))
    expect(at('2026-11-21T01:30:00Z')).toBe(c)
    expect(at('2026-11-21T01:29:59Z')).toBe(b)
    expect(at('2026-11-20T02:00:00.000Z')).toBe(a)
    expect(() => at('2026-11-20T01:59:59Z')).toThrow('notes: no snapshot at that time or before it; the oldest is from 2026-11-20T02:00:00Z')
  })

  test.each([
    ['failed ones', { tags: ['service:notes', 'failed'] }, adopted],
    ['unadopted ones of an install that nobody adopted', { tags: ['service:notes', `install:${here}`, 'unadopted'] }, subject],
    ['unadopted ones made here before the recovery', { tags: ['service:notes', `install:${here}`, 'unadopted'] }, recovered],
    ['unadopted ones of another install', { tags: ['service:notes', `install:${elsewhere}`, 'unadopted'] }, adopted],
    ['unadopted ones before this install has an id', { tags: ['service:notes', `install:${here}`, 'unadopted'] }, { ...adopted, install: null }],
  ])('[newest.4] passes over %s', (_, more, who) => {
    const passed = snapshot('e', '2026-11-22T02:00:00Z', more)
    expect(pick([passed, a], who, { latest: true })).toBe(a)
    expect(pick([passed, a], who, { at: new Date('2026-11-23') })).toBe(a)
    expect(() => pick([passed], who, { latest: true })).toThrow('notes: no snapshots on cellar (1 unadopted or failed: name one with --snapshot)')
    // Named, it is meant.
    expect(pick([passed, a], who, { id: 'eeee' })).toBe(passed)
  })

  test('[newest.5] is the one made here before the adoption, too, once adopted', () => {
    const early = snapshot('e', '2026-11-22T02:00:00Z', { tags: ['service:notes', `install:${here}`, 'unadopted'] })
    expect(pick([a, early], adopted, { latest: true })).toBe(early)
  })

  test('may be partial', () => {
    const partial = snapshot('e', '2026-11-22T02:00:00Z', { tags: ['service:notes', 'partial'] })
    expect(letters(eligible([partial, a], subject))).toBe('ea')
    expect([partial, a].map(isComplete)).toEqual([false, true])
  })
})

describe('a service’s snapshots', () => {
  const renamed: Subject = { ...subject, service: { ...subject.service, formerNames: ['memos'] } }
  const withDatabase: Subject = { ...subject, service: { paths: ['/n'], sqlite: ['/d/n.db'], formerNames: [] } }
  test.each<[string, Partial<Snapshot>, Subject, boolean]>([
    ['[newest.6] of its tag', {}, subject, true],
    ['[newest.6] of its tag with other paths', { paths: ['/z'] }, subject, true],
    ['[newest.6] of another host', { host: 'attic' }, subject, false],
    ['[newest.6] of the other host that is asked for', { host: 'attic' }, { ...subject, host: 'attic' }, true],
    ['[newest.6] of another service with its paths', { tags: ['service:wiki'] }, subject, false],
    ['[newest.6] of a service whose name begins alike', { tags: ['service:notes2'] }, subject, false],
    ['[newest.6] of a former name', { tags: ['service:memos'], paths: ['/old'] }, renamed, true],
    ['[newest.6] of a former name that isn’t declared', { tags: ['service:memos'] }, subject, false],
    ['[newest.7] without any tag, of equal paths', { tags: [] }, subject, true],
    ['[newest.7] without a service’s tag, of equal paths in another order', { tags: ['daily'], paths: ['/m', '/n'] }, subject, true],
    ['[newest.7] without a tag, of paths and databases', { tags: [], paths: ['/d/n.db', '/n'] }, withDatabase, true],
    ['[newest.7] without a tag, of the paths alone', { tags: [], paths: ['/n'] }, withDatabase, true],
    ['[newest.7] without a tag, of fewer paths', { tags: [], paths: ['/n'] }, subject, false],
    ['[newest.7] without a tag, of more paths', { tags: [], paths: ['/n', '/m', '/o'] }, subject, false],
    ['[newest.7] without a tag, of another host', { tags: [], host: 'attic' }, subject, false],
    [
      '[newest.7] without a tag and paths (standard input)',
      { tags: [], paths: [] },
      { ...subject, service: { ...subject.service, paths: [] } },
      false,
    ],
  ])('%s: %#', (_, more, who, belongs) => {
    expect(snapshotsOf([snapshot('a', '2026-11-20T02:00:00Z', more)], who)).toHaveLength(belongs ? 1 : 0)
  })

  test('[newest.3] come from elsewhere unless this install made them', () => {
    const ours = snapshot('a', '2026-11-20T02:00:00Z', { tags: ['service:notes', `install:${here}`] })
    const theirs = snapshot('b', '2026-11-20T02:00:00Z', { tags: ['service:notes', `install:${elsewhere}`] })
    const shells = snapshot('c', '2026-11-20T02:00:00Z', { tags: [] })
    expect(letters(fromElsewhere([ours, theirs, shells], here))).toBe('bc')
    expect(letters(fromElsewhere([ours, theirs, shells], null))).toBe('abc')
  })

  test('lie in the future when no clock that is a little off explains it', () => {
    const made = snapshot('a', '2026-11-20T02:00:00Z')
    expect(isInFuture(made, new Date('2026-11-20T01:56:00Z'))).toBe(false)
    expect(isInFuture(made, new Date('2026-11-20T01:54:00Z'))).toBe(true)
  })
})

describe('by id', () => {
  const snapshots = [snapshot('a', '2026-11-20T02:00:00Z'), { ...snapshot('b', '2026-11-20T02:00:00Z'), id: `aab${'0'.repeat(61)}` }]
  test('the beginning of an id is enough if it is only one’s, in either case', () => {
    expect(pick(snapshots, subject, { id: 'AAA' })).toBe(snapshots[0])
    expect(pick(snapshots, subject, { id: 'a'.repeat(64) })).toBe(snapshots[0])
    expect(() => pick(snapshots, subject, { id: 'aa' })).toThrow(
      'notes: 2 snapshots begin with aa (aaaaaaaaaaaa, aab000000000 …): give more of the id',
    )
    expect(() => pick(snapshots, subject, { id: 'cafe' })).toThrow('notes: no snapshot cafe on cellar; see: atelier-backup list notes')
  })
})

describe('times as people write them, in Berlin', () => {
  const zone = process.env.TZ
  beforeEach(() => {
    process.env.TZ = 'Europe/Berlin'
  })
  afterEach(() => {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  })

  test.each([
    ['2026-11-20', '2026-11-20T22:59:59.999Z'],
    ['2026-07-01', '2026-07-01T21:59:59.999Z'],
    // The days on which clocks are changed: 23 and 25 hours.
    ['2026-03-29', '2026-03-29T21:59:59.999Z'],
    ['2026-10-25', '2026-10-25T22:59:59.999Z'],
    ['2028-02-29', '2028-02-29T22:59:59.999Z'],
    // Lists show minutes.
    ['2026-11-20T14:00', '2026-11-20T13:00:59.999Z'],
    ['2026-11-20 14:00', '2026-11-20T13:00:59.999Z'],
    ['2026-11-20 14:00:30', '2026-11-20T13:00:30.999Z'],
    ['2026-11-20 14:00:30.5', '2026-11-20T13:00:30.500Z'],
    ['2026-11-20T14:00Z', '2026-11-20T14:00:59.999Z'],
    ['2026-11-20T14:00:00+05:30', '2026-11-20T08:30:00.999Z'],
    ['2026-11-20T02:14:07.123456789+01:00', '2026-11-20T01:14:07.123Z'],
  ])('[newest.2] %s is %s', (text, time) => {
    expect(parseTime(text).toISOString()).toBe(time)
  })

  test.each([
    '2026-02-31',
    '2026-02-29',
    '2026-04-31T00:00Z',
    '2026-13-01',
    '2026-11-00',
    '2026-11-20T25:00',
    '2026-11-20T14:60',
    '2026-11-20T14:00.5',
    '2026-11-20T14',
    '2026-11-20 14:00 (x)',
    '2026-11-20T14:00+25:00',
    '20 Nov 2026',
    '2026-11',
    'yesterday',
    '1764000000',
    ' 2026-11-20',
    '',
  ])('%j is no time', (text) => {
    expect(() => parseTime(text)).toThrow(`--at ${JSON.stringify(text)} is not a time: write 2026-11-20 or 2026-11-20T14:00`)
  })
})

test.each([
  [{}, { latest: true }],
  [{ snapshot: 'latest' }, { latest: true }],
  [{ snapshot: '8f21c0de' }, { id: '8f21c0de' }],
])('%j means %j', (flags, wanted) => {
  expect(snapshotChoice(flags)).toEqual(wanted)
})

test.each([
  [{ snapshot: '8f', at: '2026-11-20' }, '--snapshot and --at both choose a snapshot: give one of them'],
  [{ snapshot: 'newest' }, '--snapshot "newest" is not a snapshot id'],
  [{ snapshot: '8' }, '--snapshot "8" is not a snapshot id'],
  [{ snapshot: '-rf' }, '--snapshot "-rf" is not a snapshot id'],
  [{ snapshot: `${'a'.repeat(64)}:/etc` }, 'is not a snapshot id'],
])('%j is refused', (flags, message) => {
  expect(() => snapshotChoice(flags)).toThrow(message)
})
