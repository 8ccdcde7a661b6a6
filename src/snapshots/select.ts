// Which snapshot is meant: of a service, newest, at a time, by id. Pure.
import { join } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import type { Engine } from '../manifest/engines.ts'
import { nearest } from '../manifest/nearest.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import { shellWord } from '../text.ts'

/** Tags that mean something to us. `partial`: something could not be read. `failed`: the run failed after it was saved. `manifest`: no service's. */
export const tags = {
  service: (name: string) => `service:${name}`,
  install: (id: string) => `install:${id}`,
  unadopted: 'unadopted',
  partial: 'partial',
  failed: 'failed',
  manifest: 'atelier:manifest',
} as const

/** Name of the folder of a snapshot that holds dumps of databases: it is no path of the service. */
export const dumpsFolder = 'atelier-dumps'

/** Where in there an engine's dumps stand: in a folder of its own. PostgreSQL's, which were the first, stand in the folder itself. */
export function dumpsOf(engine: Engine, staging: Path): Path {
  return join(staging, dumpsFolder, engine === 'postgres' ? '' : engine)
}

/** Folders that restores make beside what they replace; never part of a backup. */
export const reservedPattern = '.atelier-backup-*'

/** Who is asked for, and what this install knows of it. */
export interface Subject {
  name: string
  service: Pick<Service, 'paths' | 'sqlite' | 'formerNames'>
  host: string
  /** From the service's record. */
  origin: { how: 'own' | 'adopted' | 'recovered' } | null
  /** Null before the first run. */
  install: string | null
}

/**
 * A service's snapshots, in the order given. By tag; one that has no service's tag (made by the shell version without tags, or by
 * services.restic.backups) counts by host and exactly equal paths.
 */
export function snapshotsOf(all: Snapshot[], { name, service, host }: Subject): Snapshot[] {
  const keys = [...[name, ...service.formerNames].map(tags.service), pathKey(service.paths), pathKey([...service.paths, ...service.sqlite])]
  const index = indexed.get(all) ?? indexOf(all)
  indexed.set(all, index)
  const lists = [...new Set(keys)].flatMap((key) => index.get(keyOf(host, key)) ?? [])
  // One that has several of the names is one.
  return [...new Set(lists)].sort((a, b) => a - b).map((i) => all[i] as Snapshot)
}

/** Positions of a list's snapshots by host and what tells whose they are. Made once: each service of a host asks for its own out of the same list. */
const indexed = new WeakMap<Snapshot[], Map<string, number[]>>()
function indexOf(all: Snapshot[]): Map<string, number[]> {
  const index = new Map<string, number[]>()
  for (const [i, snapshot] of all.entries()) {
    if (snapshot.tags.includes(tags.manifest)) continue
    const own = snapshot.tags.filter((tag) => tag.startsWith('service:'))
    const keys = own.length > 0 ? own : snapshot.paths.length > 0 ? [pathKey(snapshot.paths)] : []
    for (const key of keys.map((one) => keyOf(snapshot.host, one))) {
      const positions = index.get(key)
      if (positions) positions.push(i)
      else index.set(key, [i])
    }
  }
  return index
}

function keyOf(host: string, key: string): string {
  // With its length, no host's name runs into what follows it.
  return `${host.length} ${host}${key}`
}

function pathKey(paths: Path[]): string {
  return JSON.stringify([...new Set(paths)].sort())
}

/**
 * Those that may be called "the newest": neither saved by a run that failed, nor by an install that was not yet told to be the truth.
 * Once this install's service is adopted, the snapshots it made before count too.
 */
export function eligible(snapshots: Snapshot[], subject: Subject): Snapshot[] {
  const ours = subject.origin?.how === 'adopted' && subject.install !== null ? tags.install(subject.install) : null
  return snapshots.filter(({ tags: has }) => !has.includes(tags.failed) && (!has.includes(tags.unadopted) || (ours !== null && has.includes(ours))))
}

export function isComplete(snapshot: Snapshot): boolean {
  return !snapshot.tags.includes(tags.partial) && !snapshot.tags.includes(tags.failed)
}

/**
 * The complete snapshot that a partial one could give way to: the newest before it; null: there is none, or `snapshot` is complete itself.
 * "Latest" stays the newest all the same: one unreadable file a night makes all of them partial, and nobody who restores one service after a
 * mishap expects last month's data. So whoever reads the plan is told, and chooses. `dr`, which nobody reads service by service, takes complete ones.
 */
export function completeBefore(snapshots: Snapshot[], subject: Subject, snapshot: Snapshot): Snapshot | null {
  if (isComplete(snapshot)) return null
  return newestFirst(eligible(snapshots, subject)).find((other) => isComplete(other) && Date.parse(other.time) <= Date.parse(snapshot.time)) ?? null
}

/** Unadopted ones, newest first, that are newer than the one that counts as the newest: whoever takes that should know of them. */
export function passedOver(snapshots: Snapshot[], subject: Subject, snapshot: Snapshot): Snapshot[] {
  const counting = new Set(eligible(snapshots, subject))
  const isPassed = (other: Snapshot) =>
    !counting.has(other) && other.tags.includes(tags.unadopted) && Date.parse(other.time) > Date.parse(snapshot.time)
  return newestFirst(snapshots.filter(isPassed))
}

/** By more than a clock may be off: made when the clock was wrong, or it is wrong now. */
export function isInFuture(snapshot: Snapshot, now: Date): boolean {
  return Date.parse(snapshot.time) > now.getTime() + clockSlackMs
}
const clockSlackMs = 5 * 60_000

/** The newest, or null; as `newestFirst` has it, without putting the others in order. */
export function newestOf(snapshots: Snapshot[]): Snapshot | null {
  const [first, ...others] = snapshots
  let newest = first ?? null
  let time = Date.parse(newest?.time ?? '')
  for (const snapshot of others) {
    const its = Date.parse(snapshot.time)
    if (its < time || (its === time && snapshot.id <= (newest?.id ?? ''))) continue
    newest = snapshot
    time = its
  }
  return newest
}

/** Newest first; equal times by id, never by luck of order. */
export function newestFirst(snapshots: Snapshot[]): Snapshot[] {
  return [...snapshots].sort((a, b) => Date.parse(b.time) - Date.parse(a.time) || (a.id < b.id ? 1 : -1))
}

/** Where else its snapshots are, in words for the end of a message, or nothing. */
export function elsewhereWords(all: Snapshot[], subject: Subject): string {
  const hosts = hostsElsewhere(all, subject)
  return hosts.length === 0 ? '' : `; there are some of ${hosts.join(', ')}: --host ${shellWord(hosts[0] ?? '')}`
}

/** Other hosts whose snapshots of the service are there, by name. */
export function hostsElsewhere(all: Snapshot[], { name, service, host }: Subject): string[] {
  const names = [name, ...service.formerNames].map(tags.service)
  const hosts = new Set(
    all.filter((snapshot) => snapshot.host !== host && snapshot.tags.some((tag) => names.includes(tag))).map((snapshot) => snapshot.host),
  )
  return [...hosts].sort()
}

/** Snapshots of a service that come from elsewhere: not made by this install. */
export function fromElsewhere(snapshots: Snapshot[], install: string | null): Snapshot[] {
  return snapshots.filter(({ tags: has }) => install === null || !has.includes(tags.install(install)))
}

/** How a person names a snapshot. */
export type Wanted = { latest: true } | { id: string } | { at: Date }

/**
 * The one snapshot that is meant.
 * @throws Failure `unknown-snapshot` (exit 2): none, several that begin so, or none at that time; names the nearest.
 */
export function pick(snapshots: Snapshot[], subject: Subject, wanted: Wanted): Snapshot {
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
  const candidates = newestFirst(eligible(snapshots, subject))
  if (candidates.length === 0) {
    const passed = snapshots.length > 0 ? ` (${snapshots.length} unadopted or failed: name one with --snapshot)` : ''
    throw new Failure('unknown-snapshot', `${name}: no snapshots on ${host}${passed}; see: atelier-backup list ${name}`)
  }
  const found = 'at' in wanted ? candidates.find(({ time }) => Date.parse(time) <= wanted.at.getTime()) : candidates[0]
  if (found) return found
  throw new Failure('unknown-snapshot', `${name}: no snapshot at that time or before it; the oldest is of ${candidates.at(-1)?.time}`)
}

/**
 * A time as people write it: ISO 8601, "2026-11-20 14:00", or a date, which means its end; without a zone, local time.
 * @throws Failure `usage`
 */
export function parseTime(text: string): Date {
  const [, date = '', clock = 'T23:59:59.999'] = /^(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?)?$/.exec(text) ?? []
  const day = new Date(`${date}T00:00Z`)
  const time = new Date(date + clock.replace(' ', 'T'))
  // Node takes 31 February for 3 March.
  if (!Number.isNaN(time.getTime()) && day.toISOString().startsWith(date)) return time
  throw new Failure('usage', `--at ${JSON.stringify(text)} is no time: write 2026-11-20 or 2026-11-20T14:00`)
}

/** A wish from the flags. @throws Failure `usage` */
export function wantedFrom(flags: { snapshot?: string | undefined; at?: string | undefined }): Wanted {
  if (flags.snapshot !== undefined && flags.at !== undefined) throw new Failure('usage', '--snapshot and --at both name a snapshot: give one of them')
  if (flags.at !== undefined) return { at: parseTime(flags.at) }
  if (flags.snapshot === undefined || flags.snapshot === 'latest') return { latest: true }
  if (!/^[0-9a-f]{2,64}$/i.test(flags.snapshot)) throw new Failure('usage', `--snapshot ${JSON.stringify(flags.snapshot)} is no snapshot's id`)
  return { id: flags.snapshot }
}

/** Of a snapshot or a backup; null: not known. */
export interface Size {
  files: number | null
  bytes: number | null
}

/** Whether files or bytes fell by more than `threshold` percent; null: nobody wants to know. */
export function hasShrunk(now: Size, before: Size, threshold: number | null): boolean {
  const fell = (from: number | null, to: number | null) => from !== null && to !== null && threshold !== null && to < from * (1 - threshold / 100)
  return fell(before.files, now.files) || fell(before.bytes, now.bytes)
}
