// Retention: each declared service's old snapshots are forgotten, then the repository is pruned once.
import { removeOwnLocks, requirePinned } from '../backup/repository.ts'
import { Failure } from '../errors.ts'
import { retentionOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Forgotten, Snapshot } from '../restic/types.ts'
import { discardOld } from '../restore/old.ts'
import type { Site } from '../site.ts'
import { manifestsKept, storedManifests } from '../snapshots/manifests.ts'
import { isComplete, isInFuture, newestFirst, snapshotsOf, tags } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { readJournal } from '../state/journal.ts'
import type { OldData } from '../state/record.gen.ts'
import { lastRun, readHistory, readRecord } from '../state/records.ts'

/** What happens to one service's snapshots. `kept` says why all are left alone. */
export interface Retained {
  name: string
  kept: string | null
  forgotten: Forgotten | null
}

export interface PruneOptions {
  dryRun: boolean
  signal: AbortSignal
}

/** `manifests`: stored manifests of this host that go, since newer ones are kept. */
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
      const kept = (await reasonToKeep(site, service, declared, all)) ?? (await passedOver(site, service, declared, all, options))
      const request = { service, host: site.manifest.host, keep, dryRun: options.dryRun, ...call }
      return { kept, forgotten: kept === null ? await restic.forget(request) : null }
    }
    const outcome = await forget().catch((error: unknown) => {
      requireAppendOnly(error)
      isAppendOnly = true
      return { kept: 'the repository is append-only here: prune it where its storage allows deleting', forgotten: null }
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
  // Also if nothing was forgotten: what an interrupted run left behind takes space, too.
  if (!options.dryRun && !isAppendOnly) await restic.prune({ dryRun: false, ...call })
  return { retained, manifests: isAppendOnly ? [] : manifests }
}

/** @throws whatever else it is */
function requireAppendOnly(error: unknown): void {
  if (!(error instanceof Failure && error.code === 'append-only')) throw error
}

/** Why none of a service's snapshots may be forgotten now, or null. */
async function reasonToKeep(site: Site, name: string, service: Service, all: Snapshot[]): Promise<string | null> {
  const record = await readHistory(site.state, name).catch(() => null)
  if (record === null) return 'its record is damaged'
  if (await readJournal(site.state, name).then(Boolean, () => true)) return 'a restore is unfinished'
  // One with nothing to do says nothing of what is there.
  const newest = lastRun({ ...record, runs: record.runs.filter(({ outcome }) => outcome !== 'skipped') }, 'backup')
  if (newest === null) return 'this install has not backed it up yet'
  if (newest.outcome !== 'ok') return `its newest backup ended as "${newest.outcome}"`
  if (record.origin === null) return 'it is unadopted: nobody said which data is the truth'
  const install = await installIdIfThere(site.state)
  const own = snapshotsOf(all, { name, service, host: site.manifest.host, origin: record.origin, install })
  if (own.some((snapshot) => isInFuture(snapshot, site.now()))) return 'a snapshot lies in the future: is the clock right?'
  const [latest] = newestFirst(own)
  return latest && !isComplete(latest) ? 'its newest snapshot is partial' : null
}

/**
 * restic would count the unadopted snapshots of a fresh install in place of those that it was recovered from. So they go first, as late as
 * the data that the recovery moved aside: until then nothing of the service is forgotten. Returns why, or null.
 */
async function passedOver(site: Site, name: string, service: Service, all: Snapshot[], { dryRun, signal }: PruneOptions): Promise<string | null> {
  const { origin } = await readRecord(site.state, name)
  const own = snapshotsOf(all, { name, service, host: site.manifest.host, origin, install: null })
  const passed = origin?.how === 'adopted' ? [] : own.filter(({ tags: has }) => has.includes(tags.unadopted))
  if (passed.length === 0) return null
  const due = Math.max(...passed.map(({ time }) => Date.parse(time))) + site.manifest.restore.keepOldDays * 86_400_000
  if (due > site.now().getTime())
    return `${passed.length} unadopted snapshots would count in place of its own; they go after ${new Date(due).toISOString().slice(0, 10)}`
  if (!dryRun)
    await site.restic(service.repository).forgetSnapshots(
      passed.map(({ id }) => id),
      { signal },
    )
  return dryRun ? `${passed.length} unadopted snapshots go first` : null
}

/** Deletes old data of restores that was kept for long enough: past `keepOldDays`, and a complete backup is newer. Returns the folders. */
export async function discardExpired(site: Site, name: string): Promise<string[]> {
  const { old, runs } = await readRecord(site.state, name)
  const oldest = site.now().getTime() - site.manifest.restore.keepOldDays * 86_400_000
  const backedUp = runs.filter(({ kind, outcome }) => kind === 'backup' && outcome === 'ok').map(({ started }) => Date.parse(started))
  const isExpired = ({ since }: OldData) => Date.parse(since) < oldest && backedUp.some((time) => time > Date.parse(since))
  return old.some(isExpired) ? discardOld(site, name, isExpired) : []
}
