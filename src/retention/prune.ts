// Retention: forgets old snapshots of each declared service, then prunes the repository once.

import { Failure } from '../errors.ts'
import { retentionOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { requirePinned } from '../repository/identity.ts'
import { removeOwnLocks } from '../repository/locks.ts'
import type { Forgotten, Snapshot } from '../restic/types.ts'
import { discardOld } from '../restore/rollback.ts'
import type { Site } from '../site.ts'
import { manifestsKept, storedManifests } from '../snapshots/manifests.ts'
import { eligible, isComplete, isInFuture, newestFirst, snapshotsOf, tags } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { isRestoreOpen } from '../state/journal.ts'
import { lastRun, readHistory, readRecord } from '../state/records.ts'
import { pluralize } from '../text.ts'

/** What happens to one service's snapshots. `kept`: why none is forgotten; `first`: snapshots that don't count, forgotten before the retention rules are applied. */
export interface Retained {
  name: string
  kept: string | null
  first: Snapshot[]
  forgotten: Forgotten | null
}

export interface PruneOptions {
  dryRun: boolean
  signal: AbortSignal
}

/** `manifests`: stored manifests of this host that are forgotten; newer ones are kept. */
export interface Pruned {
  retained: Retained[]
  manifests: Snapshot[]
}

/**
 * Forgets and prunes one repository. What the manifest doesn't declare is never forgotten.
 * @throws Failure `other-repository` and restic's own
 */
export async function pruneRepository(site: Site, name: string, options: PruneOptions): Promise<Pruned> {
  const restic = site.restic(name)
  const call = { signal: options.signal }
  await requirePinned(site, name, call)
  if (!options.dryRun) await removeOwnLocks(site, name, call)
  const services = Object.entries(site.manifest.services).filter(([, service]) => service.repository === name)
  const all = await restic.snapshots(call)
  const retained: Retained[] = []
  let isAppendOnly = false
  for (const [service, declared] of services) {
    const keep = retentionOf(site.manifest, declared)
    const forget = async () => {
      const reason = await reasonToKeep(site, service, declared, all)
      const { kept, first } = reason === null ? await passedOver(site, service, declared, all) : { kept: reason, first: [] }
      const ids = first.map(({ id }) => id)
      if (!options.dryRun) await restic.forgetSnapshots(ids, call)
      // In a dry run the rules can't be applied as if `first` were forgotten already.
      const isOpen = options.dryRun && first.length > 0
      const request = { service, host: site.manifest.host, keep, dryRun: options.dryRun, ...call }
      return { kept, first, forgotten: kept === null && !isOpen ? await restic.forget(request) : null }
    }
    const outcome = await forget().catch((error: unknown) => {
      requireAppendOnly(error)
      isAppendOnly = true
      return { kept: 'the repository is append-only here: prune it from a host that may delete', first: [], forgotten: null }
    })
    retained.push({ name: service, ...outcome })
  }
  const manifests = storedManifests(all, site.manifest.host).slice(manifestsKept)
  const ids = manifests.map(({ id }) => id)
  if (!options.dryRun && !isAppendOnly)
    await restic.forgetSnapshots(ids, call).catch((error: unknown) => {
      requireAppendOnly(error)
      isAppendOnly = true
    })
  // Also if nothing was forgotten: data of interrupted runs takes space, too.
  if (!options.dryRun && !isAppendOnly) await restic.prune({ dryRun: false, ...call })
  return { retained, manifests: isAppendOnly ? [] : manifests }
}

/** @throws any error but Failure `append-only` */
function requireAppendOnly(error: unknown): void {
  if (!(error instanceof Failure && error.code === 'append-only')) throw error
}

/** Why none of a service's snapshots may be forgotten now, or null. */
async function reasonToKeep(site: Site, name: string, service: Service, all: Snapshot[]): Promise<string | null> {
  const record = await readHistory(site.state, name).catch(() => null)
  if (record === null) return 'its record is damaged'
  if (await isRestoreOpen(site.state, name)) return 'a restore is unfinished'
  // A skipped run (preBackup found nothing to do) says nothing about the snapshots.
  const newest = lastRun({ ...record, runs: record.runs.filter(({ outcome }) => outcome !== 'skipped') }, 'backup')
  if (newest === null) return 'this install has not backed it up yet'
  if (newest.outcome !== 'ok') return `its newest backup ended as "${newest.outcome}"`
  if (record.origin === null)
    return 'it is unadopted: type atelier-backup dr to restore the older data, or atelier-backup adopt to keep the data of this host'
  const install = await installIdIfThere(site.state)
  const own = snapshotsOf(all, { name, service, host: site.manifest.host, origin: record.origin, install })
  if (own.some((snapshot) => isInFuture(snapshot, site.now()))) return 'a snapshot is dated in the future: check the clock'
  const [latest] = newestFirst(own)
  return latest && !isComplete(latest) ? 'its newest snapshot is partial' : null
}

/**
 * Snapshots that aren't `eligible`. They are forgotten first: otherwise `restic forget` would keep one of them instead of an eligible snapshot of the
 * same day. Those of failed runs hold nothing that the newest snapshot lacks. Unadopted ones are kept for `keepOldDays`, as the data that a
 * recovery moves aside is; until then no snapshot of the service is forgotten.
 */
async function passedOver(site: Site, name: string, service: Service, all: Snapshot[]): Promise<{ kept: string | null; first: Snapshot[] }> {
  const { origin } = await readRecord(site.state, name)
  const subject = { name, service, host: site.manifest.host, origin, install: await installIdIfThere(site.state) }
  const own = snapshotsOf(all, subject).filter((snapshot) => snapshot.tags.includes(tags.service(name)))
  const counting = eligible(own, subject)
  const passed = own.filter((snapshot) => !counting.includes(snapshot))
  const unadopted = passed.filter(({ tags: has }) => has.includes(tags.unadopted))
  const due = Math.max(...unadopted.map(({ time }) => Date.parse(time))) + site.manifest.restore.keepOldDays * 86_400_000
  if (due <= site.now().getTime() || unadopted.length === 0) return { kept: null, first: passed }
  const until = new Date(due).toISOString().slice(0, 10)
  return { kept: `${pluralize(unadopted.length, 'unadopted snapshot')} would distort retention; they are forgotten after ${until}`, first: [] }
}

/** Deletes old data of restores that is older than `keepOldDays` and than the newest complete backup. Returns the folders and databases deleted. */
export async function discardExpired(site: Site, name: string): Promise<string[]> {
  const { old, oldDatabases, runs } = await readRecord(site.state, name)
  const oldest = site.now().getTime() - site.manifest.restore.keepOldDays * 86_400_000
  const backedUp = runs.filter(({ kind, outcome }) => kind === 'backup' && outcome === 'ok').map(({ started }) => Date.parse(started))
  const isExpired = ({ since }: { since: string }) => Date.parse(since) < oldest && backedUp.some((time) => time > Date.parse(since))
  return [...old, ...oldDatabases].some(isExpired) ? discardOld(site, name, isExpired) : []
}
