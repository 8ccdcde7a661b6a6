// Manifests that backups save in the repository, as snapshots of their own: a new one for a host whenever its manifest has changed. Pure.
import type { Snapshot } from '../restic/types.ts'
import { isInFuture, newestFirst, tags } from './select.ts'

/** Names of the two files in a snapshot of a manifest. */
export const manifestFiles = { manifest: 'manifest.json', host: 'host.json' } as const

/** The content of `host.json`, about the host that saved it. */
export interface StoredHost {
  /** The name that the manifest gives to the repository of this snapshot. */
  repository: string
  /** Ids by name. */
  users: Record<string, number>
  groups: Record<string, number>
}

/** How many manifests are kept for each install of a host. */
export const manifestsKept = 10

/** The manifests of all hosts, or of one, newest first, without those dated in the future, which would always be the newest. */
export function storedManifests(all: Snapshot[], now: Date, host?: string): Snapshot[] {
  return newestFirst(all.filter((snapshot) => isManifest(snapshot, host) && !isInFuture(snapshot, now)))
}

/** The manifests that are dated in the future: made while a clock was wrong, or by an attacker who wants them to be taken as the newest. */
export function futureManifests(all: Snapshot[], now: Date, host?: string): Snapshot[] {
  return newestFirst(all.filter((snapshot) => isManifest(snapshot, host) && isInFuture(snapshot, now)))
}

/**
 * The manifests of a host that can be forgotten. The newest `manifestsKept` of each install stay: manifests added under one install's id can't push out
 * another's. So do those that this install has noted as its own (`known`): another install with the same id, a clone, can't push out these.
 */
export function surplusManifests(all: Snapshot[], now: Date, host: string, known: string[]): Snapshot[] {
  const seen = new Map<string, number>()
  return storedManifests(all, now, host).filter((snapshot) => {
    const install = installOf(snapshot.tags) ?? ''
    seen.set(install, (seen.get(install) ?? 0) + 1)
    return (seen.get(install) ?? 0) > manifestsKept && !isKnown(snapshot, known)
  })
}

/** Manifests that carry this install's id, and that it hasn't noted as its own: another install has the same id. Without those older than its notes. */
export function unknownManifests(all: Snapshot[], now: Date, host: string, install: string | null, known: string[]): Snapshot[] {
  const own = storedManifests(all, now, host).filter(({ tags: has }) => install !== null && installOf(has) === install)
  const since = Math.min(...own.flatMap((snapshot) => (isKnown(snapshot, known) ? Date.parse(snapshot.time) : [])))
  return own.filter((snapshot) => Date.parse(snapshot.time) >= since && !isKnown(snapshot, known))
}

function isKnown({ id, original }: Snapshot, known: string[]): boolean {
  return known.includes(id) || (original !== null && known.includes(original))
}

/** The id of the install that made a snapshot, or null. */
export function installOf(has: string[]): string | null {
  return has.find((tag) => tag.startsWith(tags.install('')))?.slice(tags.install('').length) ?? null
}

function isManifest(snapshot: Snapshot, host?: string): boolean {
  return snapshot.tags.includes(tags.manifest) && (host === undefined || snapshot.host === host)
}
