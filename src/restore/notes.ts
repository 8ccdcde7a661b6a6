import type { Snapshot } from '../restic/types.ts'
import { tags } from '../snapshots/select.ts'
import type { RestoreFacts } from './facts.ts'

/** What happens to mounts otherwise than by an exchange. */
export function mountNotes({ roots }: Pick<RestoreFacts, 'roots'>): string[] {
  return roots.flatMap(({ path, folder, copied, emptied }) => [
    ...(copied ? [`${path} is a file with a mount of its own: its content is overwritten, once a copy of what is there now is in ${folder}`] : []),
    ...(emptied ? [`${path} is mounted, and the snapshot knows nothing of it: what is in it moves aside, and it is left empty`] : []),
  ])
}

/** That a snapshot is partial, and which one isn't. */
export function partialNotes(snapshot: Snapshot, complete: Snapshot | null = null): string[] {
  if (!snapshot.tags.includes(tags.partial)) return []
  const other = complete
    ? `the newest complete one is ${complete.shortId} of ${complete.time.slice(0, 10)}: --snapshot ${complete.shortId}`
    : 'there is no complete one before it'
  return [`this snapshot is partial: something could not be read when it was made; ${other}`]
}

/** That newer snapshots don't count, and how one of them is taken all the same. */
export function passedNotes([newest, ...others]: Snapshot[]): string[] {
  if (!newest) return []
  const which = `${newest.shortId} of ${newest.time.slice(0, 10)}`
  return [
    others.length > 0
      ? `${others.length + 1} newer snapshots are unadopted and passed over; the newest of them is ${which}`
      : `a newer snapshot is unadopted and passed over: ${which}`,
  ]
}

export function notesOf(
  { absent, absentDatabases, complete, passed = [], postgres, renumbered, roots, snapshot, strangers }: RestoreFacts,
  carried: number,
): string[] {
  return [
    ...partialNotes(snapshot, complete),
    ...passedNotes(passed),
    ...(snapshot.tags.includes(tags.unadopted)
      ? ['this snapshot is unadopted: a fresh install made it, before anybody said that its data is the truth']
      : []),
    ...absent.map((path) => `${path} isn't in this snapshot and stays as it is`),
    ...absentDatabases.map((name) => `this snapshot holds no dump of the database ${name}, which stays as it is`),
    ...(postgres?.tablespaces ?? []).map((name) => `the server has no tablespace ${name}: what stood in one comes to stand in the default one`),
    ...roots.filter(({ unchanged }) => unchanged).map(({ path }) => `${path} is the same link already`),
    ...roots.flatMap(({ path, inside }) =>
      inside ? [`${path} stays, being a mount point or leading to one: what is in it is exchanged; its own ACLs and extended attributes stay`] : [],
    ),
    ...mountNotes({ roots }),
    ...(renumbered.users.length + renumbered.groups.length > 0
      ? [
          'users or groups have other numbers here: files get the new ones by name; entries of ACLs keep the old ones, and such a file loses its capabilities',
        ]
      : []),
    ...(strangers.length > 0 ? [`unknown here, so that their files keep the numbers they had: ${strangers.join(', ')}`] : []),
    ...(carried > 0 ? [`what backups exclude is carried over (${carried})`] : []),
  ]
}
