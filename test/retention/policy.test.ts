// What the retention keeps: restic's rules, and complete snapshots before partial ones.
import { expect, test } from 'vitest'
import { snapshotsOf } from '../../src/restic/json.ts'
import type { Snapshot } from '../../src/restic/types.ts'
import { applyRetention } from '../../src/retention/policy.ts'
import { world } from '../lib/world.ts'

const none = { last: 0, daily: 0, weekly: 0, monthly: 0 }

function snapshot(time: string, ...tags: string[]): Snapshot {
  const id = Buffer.from(time).toString('hex').padEnd(64, '0').slice(0, 64)
  const rest = { excludes: [], parent: null, original: null, isRewritten: false, bytes: null, files: null, addedBytes: null }
  return { id, shortId: id.slice(0, 8), time, host: 'h', paths: ['/a'], tags, ...rest }
}
const timesOf = (snapshots: Snapshot[]) => snapshots.map(({ time }) => time.slice(0, 16))

test('[retention.1] of complete snapshots the same are kept as by restic, for the same reasons, in whatever zone they were made', async (t) => {
  const w = await world(t)
  w.write('data/file', 'x')
  const times: [time: string, zone: string][] = [
    ['2024-02-29 12:00:00', 'UTC'],
    ['2024-12-29 23:59:59', 'UTC'],
    ['2024-12-30 00:00:00', 'UTC'],
    ['2025-01-01 02:00:00', 'UTC'],
    ['2025-01-05 23:00:00', 'UTC'],
    ['2025-01-06 01:00:00', 'UTC'],
    ['2025-03-01 23:30:00', 'UTC'],
    ['2025-03-01 23:30:00', 'Asia/Tokyo'],
    ['2025-03-01 23:30:00', 'America/New_York'],
    ['2025-03-02 00:10:00', 'UTC'],
    ['2025-03-30 02:30:00', 'Europe/Berlin'],
    ['2025-03-31 02:30:00', 'Europe/Berlin'],
  ]
  for (const [time, zone] of times)
    expect(
      await w.restic(['backup', '--quiet', '--host', 'h', '--tag', 'service:a', '--time', time, w.path('data')], { env: { TZ: zone } }),
    ).toMatchObject({ exit: 0 })
  const all = snapshotsOf((await w.restic(['snapshots', '--json'])).json())
  for (const keep of [
    { ...none, last: 2 },
    { ...none, daily: 3 },
    { ...none, daily: 100 },
    { ...none, weekly: 2 },
    { ...none, weekly: 5 },
    { ...none, monthly: 2 },
    { last: 3, daily: 7, weekly: 5, monthly: 12 },
    { last: 1, daily: 1, weekly: 3, monthly: 3 },
  ]) {
    const rules = Object.entries(keep).flatMap(([rule, count]) => (count > 0 ? [`--keep-${rule}`, String(count)] : []))
    const [group] = (await w.restic(['forget', '--json', '--dry-run', '--group-by', 'host', ...rules])).json() as {
      keep: { id: string }[]
      remove: { id: string }[] | null
      reasons: { snapshot: { id: string }; matches: string[] }[]
    }[]
    const ours = applyRetention(all, keep)
    expect([keep, ours.remove.map(({ id }) => id).sort()]).toEqual([keep, (group?.remove ?? []).map(({ id }) => id).sort()])
    expect(new Map(ours.keep.map(({ snapshot: { id }, reasons }) => [id, reasons]))).toEqual(
      new Map(group?.reasons.map(({ snapshot: { id }, matches }) => [id, matches])),
    )
  }
})

test('[retention.10] of each day, week and month the newest complete snapshot is kept, a partial one only where there is no other', () => {
  const days = Array.from({ length: 9 }, (_, n) => `2026-11-0${n + 1}`)
  const all = days.flatMap((day) => [snapshot(`${day}T02:00:00Z`), snapshot(`${day}T12:00:00Z`, 'partial')])
  const onlyPartial = snapshot('2026-11-10T12:00:00Z', 'partial')
  const { keep } = applyRetention([...all, onlyPartial, snapshot('2026-11-11T02:00:00Z')], { ...none, daily: 5 })
  expect(timesOf(keep.map((kept) => kept.snapshot))).toEqual([
    '2026-11-11T02:00',
    '2026-11-10T12:00',
    '2026-11-09T02:00',
    '2026-11-08T02:00',
    '2026-11-07T02:00',
  ])
})

test('[retention.10] the last N are complete ones, and the partial ones among the last N', () => {
  const all = [
    snapshot('2026-11-01T02:00:00Z'),
    snapshot('2026-11-02T02:00:00Z'),
    snapshot('2026-11-02T12:00:00Z', 'partial'),
    snapshot('2026-11-03T12:00:00Z', 'partial'),
  ]
  expect(timesOf(applyRetention(all, { ...none, last: 2 }).remove)).toEqual([])
  expect(timesOf(applyRetention(all, { ...none, last: 1 }).remove)).toEqual(['2026-11-02T12:00', '2026-11-01T02:00'])
})

test('[retention.1] without a rule, or without a snapshot, nothing is forgotten', () => {
  expect(applyRetention([snapshot('2026-11-01T02:00:00Z')], none)).toMatchObject({ keep: [{ reasons: ['no rule'] }], remove: [] })
  expect(applyRetention([], { ...none, last: 1 })).toEqual({ keep: [], remove: [] })
})

test('[newest.12] the newest data is kept, also where its clock was behind', () => {
  const [old, last, behind] = ['2026-11-19T02:00:00Z', '2026-11-20T02:00:00Z', '2020-01-01T02:00:00Z'].map((time) => snapshot(time)) as [
    Snapshot,
    Snapshot,
    Snapshot,
  ]
  const order = [old, last, behind].map(({ id }) => id)
  expect(timesOf(applyRetention([old, last, behind], { ...none, last: 2 }, order).remove)).toEqual(timesOf([old]))
  expect(timesOf(applyRetention([old, last, { ...behind, parent: last.id }], { ...none, daily: 1 }).remove)).toEqual(timesOf([last, old]))
})
