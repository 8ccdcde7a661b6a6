// Selects snapshots: those of a service, the newest, the newest up to a given time, the one with a given id. Pure.
import { join } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import type { Engine } from '../manifest/engines.ts'
import { nearest } from '../manifest/nearest.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { shellWord } from '../text.ts'

/**
 * Tags that this program sets. `partial`: something could not be read. `failed`: the snapshot doesn't hold what it should. `manifest`: a saved
 * manifest, no service's data.
 */
export const tags = {
  service: (name: string) => `service:${name}`,
  install: (id: string) => `install:${id}`,
  unadopted: 'unadopted',
  partial: 'partial',
  failed: 'failed',
  manifest: 'atelier:manifest',
} as const

/** Name of the folder in a snapshot that holds dumps of databases. It isn't a path of the service. */
export const dumpsFolder = 'atelier-dumps'

/** An engine's folder for dumps. PostgreSQL's, the first engine, are in `dumpsFolder` itself; each other engine has a subfolder. */
export function dumpsOf(engine: Engine, staging: Path): Path {
  return join(staging, dumpsFolder, engine === 'postgres' ? '' : engine)
}

/** Folders that backups and restores create beside the data. They are never saved. */
export const reservedPattern = '.atelier-backup-*'

/** The service whose snapshots are selected, and what this install knows of it. */
export interface Subject {
  name: string
  service: Pick<Service, 'paths' | 'sqlite' | 'formerNames'>
  host: string
  /** From the service's record. */
  origin: { how: 'own' | 'adopted' | 'recovered' } | null
  /** Null before the first run. */
  install: string | null
  /** Ids of the snapshots in the service's record, oldest first. */
  order?: string[]
}

/**
 * A service's snapshots, in the order of `all`: those of the host with the service's tag. Snapshots without any service's tag (made by the
 * earlier shell version, or by NixOS's services.restic.backups) are the service's if their paths are exactly its paths.
 */
export function snapshotsOf(all: Snapshot[], { name, service, host }: Subject): Snapshot[] {
  const names = [name, ...service.formerNames].map(tags.service)
  const paths = [pathKey(service.paths), pathKey([...service.paths, ...service.sqlite])]
  return all.filter((snapshot) => {
    if (snapshot.host !== host || snapshot.tags.includes(tags.manifest)) return false
    const own = snapshot.tags.filter((tag) => tag.startsWith('service:'))
    if (own.length > 0) return own.some((tag) => names.includes(tag))
    return snapshot.paths.length > 0 && paths.includes(pathKey(snapshot.paths))
  })
}

function pathKey(paths: Path[]): string {
  return JSON.stringify([...new Set(paths)].sort())
}

/**
 * The snapshots that may be taken as "the newest": not tagged as failed or unadopted, and not made by `restic rewrite` from a snapshot that still
 * exists. Once the service is adopted, the unadopted snapshots of this install are eligible, too.
 */
export function eligible(snapshots: Snapshot[], subject: Subject): Snapshot[] {
  const ownTag = subject.origin?.how === 'adopted' && subject.install !== null ? tags.install(subject.install) : null
  return snapshots.filter(
    ({ tags: has, isRewritten }) =>
      !isRewritten && !has.includes(tags.failed) && (!has.includes(tags.unadopted) || (ownTag !== null && has.includes(ownTag))),
  )
}

export function isComplete(snapshot: Snapshot): boolean {
  return !snapshot.tags.includes(tags.partial) && !snapshot.tags.includes(tags.failed)
}

/**
 * The newest complete snapshot before a partial one. Null: there is none, or `snapshot` itself is complete.
 * `restore` still takes the partial one as the latest: a single unreadable file makes every night's snapshot partial, and last month's data would be
 * a surprise. Its plan names the complete one for the user to choose. `dr` restores many services at once and takes the complete ones.
 */
export function completeBefore(snapshots: Snapshot[], subject: Subject, snapshot: Snapshot): Snapshot | null {
  if (isComplete(snapshot)) return null
  return (
    newestFirst(eligible(snapshots, subject), subject.order).find(
      (other) => isComplete(other) && Date.parse(other.time) <= Date.parse(snapshot.time),
    ) ?? null
  )
}

/** Unadopted snapshots that are newer than `snapshot`, newest first: the user should know of them before restoring an older one. */
export function newerUnadopted(snapshots: Snapshot[], subject: Subject, snapshot: Snapshot): Snapshot[] {
  const selectable = new Set(eligible(snapshots, subject))
  const isNewerUnadopted = (other: Snapshot) =>
    !selectable.has(other) && other.tags.includes(tags.unadopted) && Date.parse(other.time) > Date.parse(snapshot.time)
  return newestFirst(snapshots.filter(isNewerUnadopted))
}

/** Dated in the future by more than clocks usually differ: the clock was wrong when it was made, or is wrong now. */
export function isInFuture(snapshot: Snapshot, now: Date): boolean {
  return Date.parse(snapshot.time) > now.getTime() + clockSlackMs
}
const clockSlackMs = 5 * 60_000

/**
 * In ms, the earliest time at which each snapshot can have been made: by its own time, but after its parent, and after those that the record has
 * before it (`order`: ids, oldest first). A clock may have been behind, and then the newest data has an old date.
 */
function madeAt(snapshots: Snapshot[], order: string[]): Map<Snapshot, number> {
  const made = new Map(snapshots.map((snapshot) => [snapshot, Date.parse(snapshot.time)]))
  const byId = new Map(snapshots.map((snapshot) => [snapshot.id, snapshot]))
  const retagged = new Map(snapshots.flatMap((snapshot) => (snapshot.original === null ? [] : [[snapshot.original, snapshot]])))
  const recorded = order.flatMap((id) => byId.get(id) ?? retagged.get(id) ?? [])
  const pairs = snapshots.flatMap((snapshot): [Snapshot, Snapshot][] => {
    const parent = snapshot.parent === null ? undefined : byId.get(snapshot.parent)
    return parent ? [[parent, snapshot]] : []
  })
  pairs.push(...recorded.slice(1).map((snapshot, i): [Snapshot, Snapshot] => [recorded[i] as Snapshot, snapshot]))
  // Each turn moves one link of a chain. What somebody else wrote may go in circles.
  for (let turn = 0, moved = true; moved && turn < 1000; turn++) {
    moved = false
    for (const [before, after] of pairs) {
      const least = (made.get(before) ?? 0) + 1
      if ((made.get(after) ?? 0) >= least) continue
      made.set(after, least)
      moved = true
    }
  }
  return made
}

/** The first of `newestFirst`, or null, without sorting. */
export function newestOf(snapshots: Snapshot[], order: string[] = []): Snapshot | null {
  const made = madeAt(snapshots, order)
  const at = (snapshot: Snapshot) => made.get(snapshot) ?? 0
  return snapshots.reduce<Snapshot | null>(
    (newest, next) => (newest !== null && (at(newest) - at(next) || (newest.id > next.id ? 1 : -1)) > 0 ? newest : next),
    null,
  )
}

/** Newest first; by id where times are equal, so that the order doesn't depend on the list. `order`: as in `Subject`. */
export function newestFirst(snapshots: Snapshot[], order: string[] = []): Snapshot[] {
  const made = madeAt(snapshots, order)
  return [...snapshots].sort((a, b) => (made.get(b) ?? 0) - (made.get(a) ?? 0) || (a.id < b.id ? 1 : -1))
}

/** The snapshot with the latest time of those that were made before this one, if it is dated later than this one. */
export function datedLater(snapshots: Snapshot[], { order = [] }: Pick<Subject, 'order'>, snapshot: Snapshot): Snapshot | null {
  const all = newestFirst(snapshots, order)
  const older = all.slice(all.findIndex(({ id }) => id === snapshot.id) + 1)
  return byDate(older).find(({ time }) => Date.parse(time) > Date.parse(snapshot.time)) ?? null
}

/** Newest first, by their own times alone. */
export function byDate(snapshots: Snapshot[]): Snapshot[] {
  return [...snapshots].sort((a, b) => Date.parse(b.time) - Date.parse(a.time) || (a.id < b.id ? 1 : -1))
}

/** The end of a message that says which other hosts have snapshots of the service, or ''. */
export function otherHostsHint(all: Snapshot[], subject: Subject): string {
  const hosts = otherHosts(all, subject)
  return hosts.length === 0 ? '' : `; there are some of ${hosts.join(', ')}: --host ${shellWord(hosts[0] ?? '')}`
}

/** Names of other hosts that have snapshots of the service, sorted. */
export function otherHosts(all: Snapshot[], { name, service, host }: Subject): string[] {
  const names = [name, ...service.formerNames].map(tags.service)
  const hosts = new Set(
    all.filter((snapshot) => snapshot.host !== host && snapshot.tags.some((tag) => names.includes(tag))).map((snapshot) => snapshot.host),
  )
  return [...hosts].sort()
}

/** The snapshots that another install made. */
export function fromElsewhere(snapshots: Snapshot[], install: string | null): Snapshot[] {
  return snapshots.filter(({ tags: has }) => install === null || !has.includes(tags.install(install)))
}

/**
 * Snapshots that count for retention: made by this install, or inherited (there when the service was recovered or adopted). Other
 * snapshots don't count, so adding them to the repository can't push these out, and they are never forgotten. `inherited`: full ids; null: not
 * recorded yet, so all that were made before the adoption count.
 */
export function countedSnapshots(
  snapshots: Snapshot[],
  { install, origin, inherited }: { install: string | null; origin: { since: string } | null; inherited: string[] | null },
): Snapshot[] {
  const since = Date.parse(origin?.since ?? '')
  const isInherited = ({ id, time }: Snapshot) => (inherited === null ? Date.parse(time) <= since : inherited.includes(id))
  return snapshots.filter((snapshot) => (install !== null && snapshot.tags.includes(tags.install(install))) || isInherited(snapshot))
}

/** How the command line names a snapshot. */
export type SnapshotChoice = { latest: true } | { id: string } | { at: Date }

/**
 * The chosen snapshot.
 * @throws Failure `unknown-snapshot` (exit 2): no such snapshot, several whose ids begin with the given one, or none at that time. The message
 * names the nearest one.
 */
export function pick(snapshots: Snapshot[], subject: Subject, wanted: SnapshotChoice): Snapshot {
  const { name, host } = subject
  if ('id' in wanted) {
    const matches = snapshots.filter(({ id }) => id.startsWith(wanted.id.toLowerCase()))
    const [only] = matches
    if (only && matches.length === 1) return only
    if (only)
      throw new Failure(
        'unknown-snapshot',
        `${name}: ${matches.length} snapshots begin with ${wanted.id} (${matches
          .slice(0, 3)
          .map(({ id }) => id.slice(0, 12))
          .join(', ')} …): give more of the id`,
      )
    const prefixes = snapshots.map(({ id }) => id.slice(0, wanted.id.length))
    const near = snapshots[prefixes.indexOf(nearest(wanted.id.toLowerCase(), prefixes) ?? '')]
    const hint = near ? `; did you mean ${near.shortId}?` : `; see: atelier-backup list ${name}`
    throw new Failure('unknown-snapshot', `${name}: no snapshot ${wanted.id} on ${host}${hint}`)
  }
  const candidates = newestFirst(eligible(snapshots, subject), subject.order)
  if (candidates.length === 0) {
    const ineligible = snapshots.length > 0 ? ` (${snapshots.length} unadopted or failed: name one with --snapshot)` : ''
    throw new Failure('unknown-snapshot', `${name}: no snapshots on ${host}${ineligible}; see: atelier-backup list ${name}`)
  }
  // A time is meant as lists show it.
  const found = 'at' in wanted ? byDate(candidates).find(({ time }) => Date.parse(time) <= wanted.at.getTime()) : candidates[0]
  if (found) return found
  throw new Failure('unknown-snapshot', `${name}: no snapshot at that time or before it; the oldest is from ${byDate(candidates).at(-1)?.time}`)
}

/**
 * A time in ISO 8601, as "2026-11-20 14:00", or as a date. Without a zone: local time. What is given means its end: lists show minutes, and the
 * backup of a minute or a day that is named is in it.
 * @throws Failure `usage`
 */
export function parseTime(text: string): Date {
  const [, date = '', minute = 'T23:59', second = ':59', fraction = '.999', zone = ''] =
    /^(\d{4}-\d{2}-\d{2})(?:([T ]\d{2}:\d{2})(?:(:\d{2})(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/.exec(text) ?? []
  const day = new Date(`${date}T00:00Z`)
  const time = new Date(`${date}${minute.replace(' ', 'T')}${second}${fraction}${zone}`)
  // Node parses 31 February as 3 March.
  if (!Number.isNaN(time.getTime()) && day.toISOString().startsWith(date)) return time
  throw new Failure('usage', `--at ${JSON.stringify(text)} is not a time: write 2026-11-20 or 2026-11-20T14:00`)
}

/** The choice that the flags make. @throws Failure `usage` */
export function snapshotChoice(flags: { snapshot?: string | undefined; at?: string | undefined }): SnapshotChoice {
  if (flags.snapshot !== undefined && flags.at !== undefined)
    throw new Failure('usage', '--snapshot and --at both choose a snapshot: give one of them')
  if (flags.at !== undefined) return { at: parseTime(flags.at) }
  if (flags.snapshot === undefined || flags.snapshot === 'latest') return { latest: true }
  if (!/^[0-9a-f]{2,64}$/i.test(flags.snapshot)) throw new Failure('usage', `--snapshot ${JSON.stringify(flags.snapshot)} is not a snapshot id`)
  return { id: flags.snapshot }
}

/** The size of a snapshot or a backup; null: unknown. */
export interface Size {
  files: number | null
  bytes: number | null
}

/** Whether files or bytes fell by more than `threshold` percent; null: the check is off. */
export function hasShrunk(now: Size, before: Size, threshold: number | null): boolean {
  const fell = (from: number | null, to: number | null) => from !== null && to !== null && threshold !== null && to < from * (1 - threshold / 100)
  return fell(before.files, now.files) || fell(before.bytes, now.bytes)
}
