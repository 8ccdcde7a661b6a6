// The manifests that stand in a repository beside the data: one for each host, stored anew whenever it changed. Pure.
import type { Snapshot } from '../restic/types.ts'
import { newestFirst, tags } from './select.ts'

/** In a snapshot of a manifest: what `manifest.json` and `host.json` are called, below its one path. */
export const manifestFiles = { manifest: 'manifest.json', host: 'host.json' } as const

/** What `host.json` tells of the host that stored it. */
export interface StoredHost {
  /** Name, in the manifest, of the repository in which it stands. */
  repository: string
  /** Numbers by name. */
  users: Record<string, number>
  groups: Record<string, number>
}

/** How many are kept of each host. */
export const manifestsKept = 10

/** The manifests of all hosts, or of one, newest first. */
export function storedManifests(all: Snapshot[], host?: string): Snapshot[] {
  return newestFirst(all.filter((snapshot) => snapshot.tags.includes(tags.manifest) && (host === undefined || snapshot.host === host)))
}
