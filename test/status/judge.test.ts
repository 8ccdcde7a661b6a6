import { describe, expect, test } from 'vitest'
import type { Snapshot } from '../../src/restic/types.ts'
import { durationMs, judge, mustBeDone, periodOf, type State, type StatusFacts, states } from '../../src/status/judge.ts'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
const now = new Date('2026-11-23T12:00:00Z')
const ago = (ms: number) => new Date(now.getTime() - ms).toISOString()

function snapshot(age: number, ...tags: string[]): Snapshot {
  const none = { excludes: [], parent: null, original: null, isRewritten: false, bytes: null, files: null, addedBytes: null }
  return { id: 'a'.repeat(64), shortId: 'aaaaaaaa', time: ago(age), host: 'cellar', paths: ['/n'], tags, ...none }
}
type LastRun = StatusFacts['lastRun']
const ran = (outcome: NonNullable<LastRun>['outcome'], age: number, more: Partial<LastRun> = {}): LastRun => ({
  outcome,
  started: ago(age),
  message: outcome === 'ok' ? null : `notes: ${outcome}`,
  snapshotId: outcome === 'ok' || outcome === 'partial' ? 'a'.repeat(64) : null,
  ...more,
})

/** All is well: saved ten hours ago, daily. */
const well: StatusFacts = {
  now,
  enabled: true,
  unfinishedRestore: false,
  running: false,
  atWork: null,
  unknown: null,
  unadopted: false,
  lastRun: ran('ok', 10 * hour),
  snapshots: [snapshot(10 * hour)],
  lastOk: ago(10 * hour),
  schedule: { onCalendar: ['02:00'], randomizedDelaySec: '2h' },
  lastElapse: null,
  unitFailed: null,
}
const stateOf = (found: Partial<StatusFacts>) => judge('notes', { ...well, ...found }).state

test('[stop.8] a unit that a run stopped, and that doesn’t run since, makes a good backup’s state failed', () => {
  expect(judge('notes', { ...well, down: 'x.service: systemctl start x.service' })).toEqual({
    state: 'failed',
    message: 'x.service: systemctl start x.service',
  })
  expect(stateOf({ down: null })).toBe('ok')
})

describe('[state.1] the first state that holds', () => {
  const overdue = { snapshots: [snapshot(3 * day)], lastOk: ago(3 * day), lastRun: ran('ok', 3 * day) }
  const holding: [State, Partial<StatusFacts>][] = [
    ['unfinished-restore', { unfinishedRestore: true }],
    ['running', { running: true }],
    ['unknown', { unknown: 'no answer' }],
    ['failed', { lastRun: ran('failed', hour) }],
    ['never', { snapshots: [], lastOk: null, lastRun: null }],
    ['unadopted', { unadopted: true }],
    ['overdue', overdue],
    ['partial', { snapshots: [snapshot(10 * hour, 'partial')] }],
    ['ok', {}],
  ]
  test.each(holding)('%s alone', (state, found) => {
    expect(stateOf(found)).toBe(state)
  })

  // "never" and "unadopted" exclude each other, as do "never" and what a snapshot shows.
  const together = (one: State, other: State) => ![one, other].includes('never') || ['unfinished-restore', 'running', 'unknown'].includes(one)
  const pairs = holding.flatMap(([state, found], i) =>
    holding.slice(i + 1).flatMap(([other, more]) => (together(state, other) ? [[state, other, { ...more, ...found }] as const] : [])),
  )
  test.each(pairs)('%s goes before %s', (state, _, found) => {
    expect(stateOf(found)).toBe(state)
  })

  test('they are named in this order', () => {
    expect(holding.map(([state]) => state)).toEqual(states.filter((state) => state !== 'disabled'))
  })

  test.each(holding)('%s of a service that isn’t enabled is overlooked unless something is at work or unfinished', (state, found) => {
    const weighs = state === 'unfinished-restore' || state === 'running'
    expect(stateOf({ ...found, enabled: false })).toBe(weighs ? state : 'disabled')
  })
})

describe('a failure', () => {
  test.each<[string, Partial<StatusFacts>, State]>([
    ['weighs although an older backup is there', { lastRun: ran('failed', hour) }, 'failed'],
    ['weighs where nothing was ever saved', { lastRun: ran('failed', hour), snapshots: [], lastOk: null }, 'failed'],
    ['is one when a run was interrupted', { lastRun: ran('interrupted', hour) }, 'failed'],
    ['is outweighed by a newer snapshot, made by whomever', { lastRun: ran('failed', 2 * hour), snapshots: [snapshot(hour), snapshot(day)] }, 'ok'],
    [
      'is not outweighed by what it saved itself',
      { lastRun: ran('failed', 2 * hour, { snapshotId: snapshot(hour).id }), snapshots: [snapshot(hour), snapshot(day)] },
      'failed',
    ],
    ['is not outweighed by a snapshot in the future', { lastRun: ran('failed', hour), snapshots: [snapshot(-day), snapshot(10 * hour)] }, 'failed'],
    ['weighs by the records alone', { lastRun: ran('failed', hour), snapshots: null }, 'failed'],
  ])('%s', (_, found, state) => {
    expect(stateOf(found)).toBe(state)
  })

  test('says what the run said', () => {
    expect(judge('notes', { ...well, lastRun: ran('failed', hour) }).message).toBe('notes: failed')
  })
})

describe('[state.10] a unit that failed', () => {
  const unitFailed = { since: ago(hour), result: 'exit-code' }
  test.each<[string, Partial<StatusFacts>, State]>([
    ['before any run was begun', { lastRun: null, snapshots: [], lastOk: null, unitFailed }, 'failed'],
    ['after the newest run', { unitFailed }, 'failed'],
    ['with a run that has told how it ended', { lastRun: ran('ok', hour - minute), snapshots: [snapshot(hour - minute)], unitFailed }, 'ok'],
    ['with a run that was skipped', { lastRun: ran('skipped', hour - minute), unitFailed }, 'ok'],
    ['before a newer snapshot, made by whomever', { snapshots: [snapshot(minute), snapshot(10 * hour)], unitFailed }, 'ok'],
    ['not before one in the future', { snapshots: [snapshot(-day), snapshot(10 * hour)], unitFailed }, 'failed'],
    ['by the records alone', { snapshots: null, unitFailed }, 'failed'],
  ])('%s', (_, found, state) => {
    expect(stateOf(found)).toBe(state)
  })

  test('says when, how and where to look', () => {
    expect(judge('notes', { ...well, unitFailed }).message).toBe(
      'its unit was started at 2026-11-23T11:00:00.000Z and failed (exit-code): journalctl -u restic-backups-notes -n 50',
    )
  })
})

describe('partial', () => {
  const unmarked = { lastRun: ran('partial', 10 * hour) }
  test.each<[string, Partial<StatusFacts>, State]>([
    ['by the snapshot’s tag', { snapshots: [snapshot(hour, 'partial'), snapshot(day)] }, 'partial'],
    ['not by an older snapshot’s', { snapshots: [snapshot(hour), snapshot(day, 'partial')] }, 'ok'],
    ['by the record, where the storage refused the tag', unmarked, 'partial'],
    ['not by the record of an older run', { ...unmarked, snapshots: [{ ...snapshot(hour), id: 'b'.repeat(64) }] }, 'ok'],
    ['by the records alone', { ...unmarked, snapshots: null }, 'partial'],
  ])('%s', (_, found, state) => {
    expect(stateOf(found)).toBe(state)
  })
})

describe('never', () => {
  test.each<[string, Partial<StatusFacts>, State]>([
    ['without any snapshot', { snapshots: [], lastOk: null, lastRun: null }, 'never'],
    ['even if the record knows of one: it is gone', { snapshots: [] }, 'never'],
    ['by the records alone', { snapshots: null, lastOk: null, lastRun: null }, 'never'],
    ['not if somebody else’s are there', { snapshots: [], lastOk: null, lastRun: null, unadopted: true }, 'unadopted'],
  ])('%s', (_, found, state) => {
    expect(stateOf(found)).toBe(state)
  })
})

describe('overdue', () => {
  const judged = (at: string, made: string[], onCalendar: string | string[] = '02:00') =>
    stateOf({
      now: new Date(at),
      snapshots: made.map((time) => ({ ...snapshot(0), time })),
      lastRun: null,
      schedule: { ...well.schedule, onCalendar: [onCalendar].flat() },
    })

  test.each<[string, string, string[], string, State]>([
    // A day, two hours of random delay, two hours of grace.
    ['just in time', '2026-11-23T06:00:00Z', ['2026-11-22T02:00:00Z'], '02:00', 'ok'],
    ['a second late', '2026-11-23T06:00:01Z', ['2026-11-22T02:00:00Z'], '02:00', 'overdue'],
    ['a host that slept over three nights', '2026-11-23T08:00:00Z', ['2026-11-20T02:00:00Z'], '02:00', 'overdue'],
    ['a clock set back: older ones tell the age', '2026-11-23T06:00:00Z', ['2027-11-23T02:00:00Z', '2026-11-23T02:00:00Z'], '02:00', 'ok'],
    ['a clock that was ahead once', '2026-11-23T06:00:00Z', ['2027-11-23T02:00:00Z', '2026-11-20T02:00:00Z'], '02:00', 'overdue'],
    ['a clock that is behind all of them', '1970-01-01T00:00:10Z', ['2026-11-22T02:00:00Z'], '02:00', 'overdue'],
    ['a clock a minute behind', '2026-11-23T02:00:00Z', ['2026-11-23T02:01:00Z'], '02:00', 'ok'],
    // 02:00 in Berlin, the day of 25 hours: from 00:00Z to 01:00Z.
    ['the day of 25 hours, with the whole delay', '2026-10-25T03:59:00Z', ['2026-10-24T00:00:00Z'], '02:00', 'ok'],
    ['weekdays on Sunday evening', '2026-11-22T22:00:00Z', ['2026-11-20T02:00:00Z'], 'Mon..Fri 02:00', 'ok'],
    ['weekdays on Monday at noon', '2026-11-23T12:00:00Z', ['2026-11-20T02:00:00Z'], 'Mon..Fri 02:00', 'overdue'],
    ['hourly, five hours ago', '2026-11-23T05:00:00Z', ['2026-11-23T00:00:00Z'], 'hourly', 'ok'],
    ['hourly, six hours ago', '2026-11-23T06:00:00Z', ['2026-11-23T00:00:00Z'], 'hourly', 'overdue'],
    ['monthly, in the longest month', '2026-08-01T03:00:00Z', ['2026-07-01T00:00:00Z'], '*-*-1', 'ok'],
    ['monthly, a day later', '2026-08-02T03:00:00Z', ['2026-07-01T00:00:00Z'], '*-*-1', 'overdue'],
  ])('%s', (_, at, made, onCalendar, state) => {
    expect(judged(at, made, onCalendar)).toBe(state)
  })

  // By the real timer: the latest turn whose two hours of random delay and two of grace are over.
  test.each<[string, string, string[], string, State]>([
    ['a backup came of it', '2026-11-23T06:00:01Z', ['2026-11-23T03:10:00Z'], '2026-11-23T02:00:00Z', 'ok'],
    ['none came of it', '2026-11-23T06:00:01Z', ['2026-11-22T03:10:00Z'], '2026-11-23T02:00:00Z', 'overdue'],
    ['there is time yet', '2026-11-23T06:00:00Z', ['2026-11-22T03:10:00Z'], '2026-11-22T02:00:00Z', 'ok'],
    ['twice a day, one turn was missed', '2026-11-23T18:00:01Z', ['2026-11-23T02:30:00Z'], '2026-11-23T14:00:00Z', 'overdue'],
    ['one by hand in between', '2026-11-23T18:00:01Z', ['2026-11-23T15:00:00Z'], '2026-11-23T14:00:00Z', 'ok'],
    ['one by hand right before', '2026-11-23T18:00:01Z', ['2026-11-23T13:59:00Z'], '2026-11-23T14:00:00Z', 'overdue'],
    ['monthly, whatever the expression looks like', '2026-11-23T18:00:01Z', ['2026-11-01T02:30:00Z'], '2026-11-01T02:00:00Z', 'ok'],
    [
      'a host that slept over three nights and has just woken up',
      '2026-11-23T08:00:00Z',
      ['2026-11-20T02:10:00Z'],
      '2026-11-23T02:00:00Z',
      'overdue',
    ],
    [
      'a host that slept and has made up for it',
      '2026-11-23T08:30:00Z',
      ['2026-11-23T08:10:00Z', '2026-11-20T02:10:00Z'],
      '2026-11-23T02:00:00Z',
      'ok',
    ],
    [
      'a clock set back by a week: the turns of that week',
      '2026-11-16T08:00:00Z',
      ['2026-11-23T02:10:00Z', '2026-11-16T02:10:00Z'],
      '2026-11-16T02:00:00Z',
      'ok',
    ],
    [
      'a clock set back by a week: those that lie in the future are no help',
      '2026-11-16T08:00:00Z',
      ['2026-11-23T02:10:00Z', '2026-11-15T02:10:00Z'],
      '2026-11-16T02:00:00Z',
      'overdue',
    ],
    ['a clock that jumped ahead by a year', '2027-11-23T08:00:00Z', ['2026-11-23T02:10:00Z'], '2027-11-23T02:00:00Z', 'overdue'],
    ['Berlin, the day of 25 hours', '2026-10-25T04:59:00Z', ['2026-10-24T00:10:00Z'], '2026-10-24T00:00:00Z', 'ok'],
    ['Berlin, the day of 25 hours, later', '2026-10-25T05:00:01Z', ['2026-10-24T00:10:00Z'], '2026-10-25T01:00:00Z', 'overdue'],
    ['Berlin, the day on which 02:30 was left out', '2026-03-29T12:00:00Z', ['2026-03-28T01:40:00Z'], '2026-03-28T01:30:00Z', 'ok'],
  ])('[state.9] %s', (_, at, made, turn, state) => {
    const snapshots = made.map((time) => ({ ...snapshot(0), time }))
    expect(stateOf({ now: new Date(at), snapshots, lastRun: null, lastElapse: new Date(turn) })).toBe(state)
  })

  test('[state.9] what must be done by now: the delay and the grace are over', () => {
    expect(mustBeDone({ randomizedDelaySec: '1h 30min' }, new Date('2026-11-23T12:00:00Z'))).toEqual(new Date('2026-11-23T08:30:00Z'))
  })

  test('says since when and where to look', () => {
    expect(judge('notes', { ...well, now: new Date('2026-11-25T12:00:00Z'), lastRun: null }).message).toBe(
      'the newest backup is from 2026-11-23T02:00:00.000Z; one was due by 2026-11-24T06:00:00.000Z: journalctl -u restic-backups-notes -n 50',
    )
  })

  test('only in the future: the clock is in question', () => {
    expect(judge('notes', { ...well, now: new Date(0) })).toEqual({
      state: 'overdue',
      message: 'its snapshots are dated in the future (2026-11-23T02:00:00.000Z): check the clock with timedatectl',
    })
  })

  test('of several expressions the one that comes soonest counts; without any no backup is ever due', () => {
    const at = '2026-11-23T06:00:01Z'
    const made = ['2026-11-22T02:00:00Z']
    expect([judged(at, made, ['weekly', '02:00']), judged(at, made, ['weekly']), judged('2036-01-01', made, [])]).toEqual(['overdue', 'ok', 'ok'])
  })

  test('an expression that means nothing is no crash', () => {
    for (const onCalendar of ['Fri..Mon 02:00', '*', '-', '~', 'never', '1.2.3'])
      expect(judged('2026-11-23T05:00:00Z', ['2026-11-23T02:00:00Z'], onCalendar)).toBe('ok')
  })
})

// Second column: the longest pause that `systemd-analyze calendar --iterations=80` shows. The first is never shorter, or an alarm would be false.
test.each<[string, number, number]>([
  ['minutely', minute, minute],
  ['HOURLY', hour, hour],
  ['daily', day, day],
  ['daily Europe/Berlin', day, day],
  ['weekly UTC', 7 * day, 7 * day],
  ['monthly', 31 * day, 31 * day],
  ['quarterly', 92 * day, 92 * day],
  ['semi-annually', 184 * day, 184 * day],
  ['yearly', 366 * day, 366 * day],
  ['02:00', day, day],
  ['2:00:00.5', day, day],
  ['*-*-* 03:30:00', day, day],
  ['2026-*-*', day, day],
  ['02:00 America/Port-au-Prince', day, day],
  ['*:0/15', hour, 15 * minute],
  ['*-*-* *:00:00', hour, hour],
  ['0/6:00', day, 6 * hour],
  ['02,14:00', day, 12 * hour],
  ['Sat', 7 * day, 7 * day],
  ['Sun 05:00', 7 * day, 7 * day],
  ['Mon..Fri 02:00', 3 * day, 3 * day],
  ['Mon-Fri 02:00', 3 * day, 3 * day],
  ['monday..friday 02:00 Europe/Berlin', 3 * day, 3 * day],
  ['Tue,Thu,Sat 04:00', 3 * day, 3 * day],
  ['Wed..Wed,Fri..Sat,Tue 00:00', 3 * day, 3 * day],
  ['Mon,', 7 * day, 7 * day],
  ['Thu,Fri *-*-* 11:12', 6 * day, 6 * day],
  ['Mon..Sun 02:00', day, day],
  ['*-*-1', 31 * day, 31 * day],
  ['*-*-01,15', 31 * day, 17 * day],
  ['*-*-31', 62 * day, 61 * day],
  ['*-*~1', 31 * day, 31 * day],
  ['Sat *-*-1..7 18:00', 38 * day, 35 * day],
  ['*-1/3-1', 366 * day, 92 * day],
  ['5-1', 366 * day, 366 * day],
  ['02~03', 366 * day, 366 * day],
  ['Mon *-05~07/1', 373 * day, 371 * day],
])('%s comes round within %i ms', (onCalendar, period, pause) => {
  expect(periodOf(onCalendar)).toBe(period)
  expect(period).toBeGreaterThanOrEqual(pause)
})

test.each([
  ['2h', 2 * hour],
  ['90', 90_000],
  ['0', 0],
  ['1h 30min', 90 * minute],
  ['1h30m', 90 * minute],
  ['1.5 hours', 90 * minute],
  ['500ms', 500],
  ['2 weeks 1d', 15 * day],
  ['1min', minute],
  ['1M', 30.44 * day],
  ['1y', 365.25 * day],
])('%s is %i ms', (span, ms) => {
  expect(durationMs(span)).toBe(ms)
})

describe('[state.11] a run that hangs', () => {
  const run = (since: number, progress: number, kind: 'backup' | 'restore' = 'backup') => ({
    running: true,
    atWork: { kind, pid: 4711, since: ago(since), progress: new Date(now.getTime() - progress), stallSeconds: 3600 },
  })
  test.each<[string, Partial<StatusFacts>, State]>([
    ['is at work while it makes progress', run(5 * hour, 60_000), 'running'],
    ['is told once it makes none', run(5 * hour, 2 * hour), 'overdue'],
    ['is told as a restore, too', run(5 * hour, 2 * hour, 'restore'), 'overdue'],
    ['is told though it makes progress, once the next one is overdue', run(3 * day, 60_000), 'overdue'],
    ['is told of a service that isn’t enabled', { ...run(5 * hour, 2 * hour), enabled: false }, 'overdue'],
  ])('%s', (_, found, state) => {
    expect(stateOf(found)).toBe(state)
  })

  test('and the message says since when, and what to type', () => {
    const { message } = judge('notes', { ...well, ...run(5 * hour, 2 * hour) })
    expect(message).toContain(`since ${ago(5 * hour)}, without progress since ${ago(2 * hour)}`)
    expect(message).toContain('kill 4711')
  })
})

test('[newest.12] a backup that was made while the clock was behind is told, and ages by what was made before it', () => {
  const before = { ...snapshot(10 * hour), id: 'b'.repeat(64), shortId: 'bbbbbbbb' }
  const found = { snapshots: [before, snapshot(2000 * day)], order: [before.id, 'a'.repeat(64)], lastRun: ran('ok', 2000 * day) }
  expect(judge('notes', { ...well, ...found })).toEqual({
    state: 'ok',
    message: expect.stringMatching(/^its newest backup aaaaaaaa is dated .+ made after bbbbbbbb of .+ the clock was wrong/),
  })
  expect(stateOf({ ...found, snapshots: [before, snapshot(2000 * day, 'partial')] })).toBe('partial')
  // One that failed then isn't made good by what was saved before.
  expect(stateOf({ snapshots: [before], order: [before.id], lastRun: ran('failed', 2000 * day) })).toBe('failed')
})
