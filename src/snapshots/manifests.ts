// Manifests that backups save in the repository, as snapshots of their own: a new one for a host whenever its manifest has changed. Pure.
import type { Snapshot } from '../restic/types.ts'
import { newestFirst, tags } from './select.ts'

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

/** How many `prune` keeps of each host. */
export const manifestsKept = 10

/** The manifests of all hosts, or of one, newest first. */
export function storedManifests(all: Snapshot[], host?: string): Snapshot[] {
  return newestFirst(all.filter((snapshot) => snapshot.tags.includes(tags.manifest) && (host === undefined || snapshot.host === host)))
}
