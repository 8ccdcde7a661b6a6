// What a plan tells a person beside its steps. Pure.
import type { Snapshot } from '../restic/types.ts'
import { tags } from '../snapshots/select.ts'
import { listed } from '../text.ts'
import type { RestoreFacts } from './facts.ts'

/** What happens to mount points, which can't be exchanged. */
export function mountNotes({ roots }: Pick<RestoreFacts, 'roots'>): string[] {
  return roots.flatMap(({ path, folder, overwritten, emptied }) => [
    ...(overwritten ? [`${path} is a file with a mount of its own: its content is overwritten, after a copy of it is in ${folder}`] : []),
    ...(emptied ? [`${path} is mounted, and the snapshot has nothing of it: its content moves aside, and it is left empty`] : []),
  ])
}

/** Says that a snapshot is partial, and which one is complete. */
export function partialNotes(snapshot: Snapshot, complete: Snapshot | null = null): string[] {
  if (!snapshot.tags.includes(tags.partial)) return []
  const other = complete
    ? `the newest complete one is ${complete.shortId} of ${complete.time.slice(0, 10)}: --snapshot ${complete.shortId}`
    : 'there is no complete one before it'
  return [`this snapshot is partial: something could not be read when it was made; ${other}`]
}

/** Says that a snapshot is newer than its date. `datedLater`: one with a later date that was made before it. */
export function clockNotes({ time }: Snapshot, datedLater: Snapshot | null = null): string[] {
  if (datedLater === null) return []
  return [
    `this snapshot is dated ${time.slice(0, 10)}, but was made after ${datedLater.shortId} of ${datedLater.time.slice(0, 10)}: the clock was wrong, and this one counts as the newer`,
  ]
}

/** Says that newer snapshots are unadopted, and names the newest of them. */
export function passedNotes([newest, ...others]: Snapshot[]): string[] {
  if (!newest) return []
  const which = `${newest.shortId} of ${newest.time.slice(0, 10)}`
  return [
    others.length > 0
      ? `${others.length + 1} newer snapshots are unadopted and passed over; the newest of them is ${which}`
      : `a newer snapshot is unadopted and passed over: ${which}`,
  ]
}

export function notesOf({
  absent,
  absentDatabases,
  complete,
  ignoreSpace,
  later,
  passed = [],
  postgres,
  renumbered,
  roots,
  snapshot,
  strangers,
  unmounted,
  unseen,
}: RestoreFacts): string[] {
  return [
    ...partialNotes(snapshot, complete),
    ...clockNotes(snapshot, later),
    ...passedNotes(passed),
    ...(snapshot.tags.includes(tags.unadopted) ? ['this snapshot is unadopted: a fresh install made it, and nobody has adopted its data'] : []),
    ...(ignoreSpace ? ['--ignore-space: free space is not checked; if the disk gets full, the restore stops and the live data stays as it is'] : []),
    ...absent.map((path) => `${path} isn't in this snapshot and stays as it is`),
    ...absentDatabases.map((name) => `this snapshot holds no dump of the database ${name}, which stays as it is`),
    ...(postgres?.tablespaces ?? []).map((name) => `the server has no tablespace ${name}: what was in it goes to the default tablespace`),
    ...(postgres?.slots ?? []).map(
      ({ name, database }) =>
        `the replication slot ${name} of ${database} stays with the old database: nothing reads it there, so the server keeps WAL for it, which can fill the disk. When the restore is right: SELECT pg_drop_replication_slot('${name}'), then create the slot again in the new database`,
    ),
    ...(postgres?.subscriptions ?? []).map(
      ({ name, database }) =>
        `the subscription ${name} of ${database} is restored disabled; the old database keeps the active one, with its slot at the publisher. When the restore is right: --discard-old, then ALTER SUBSCRIPTION "${name}" ENABLE in the new database`,
    ),
    ...(postgres === null
      ? []
      : [
          'the superuser of PostgreSQL makes extensions, languages, event triggers and what belongs to a superuser; all other code in the dumps runs as the owner of the object',
        ]),
    ...roots.filter(({ unchanged }) => unchanged).map(({ path }) => `${path} is already the same symbolic link: it isn't touched`),
    ...roots.flatMap(({ path, entriesOnly }) =>
      entriesOnly
        ? [`${path} is a mount point, or leads to one: what is inside is exchanged; the mount point stays, with its own ACLs and extended attributes`]
        : [],
    ),
    ...mountNotes({ roots }),
    ...unmounted.map(
      (point) => `${point} should be mounted and isn't: what is restored there is hidden as soon as it is mounted (--onto-unmounted allows that)`,
    ),
    ...(renumbered.users.length + renumbered.groups.length > 0
      ? [
          'users or groups have other numbers on this host: each file gets the owner and group of the same name; numbers in ACLs stay as they are, and files whose owner changes lose their capabilities',
        ]
      : []),
    ...(strangers.length > 0 ? [`unknown on this host, so their files keep the snapshot's numbers: ${strangers.join(', ')}`] : []),
    ...(unseen.length > 0
      ? [
          `these can't be looked at (a damaged disk, or a path that is too long), and move aside unseen with the old data; what backups exclude in them isn't carried over: ${listed(unseen)}`,
        ]
      : []),
  ]
}
