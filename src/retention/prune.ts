// Retention: forgets old snapshots of each declared service, then prunes the repository once.

import { knownManifests } from '../backup/manifest.ts'
import type { Iso } from '../core.ts'
import { Failure } from '../errors.ts'
import { retentionOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { requirePinned } from '../repository/identity.ts'
import { removeOwnLocks } from '../repository/locks.ts'
import type { Snapshot } from '../restic/types.ts'
import { discardOld } from '../restore/rollback.ts'
import { lockOf, type Site } from '../site.ts'
import { futureManifests, surplusManifests, unknownManifests } from '../snapshots/manifests.ts'
import { byDate, countedSnapshots, eligible, fromElsewhere, isComplete, isInFuture, newestOf, snapshotsOf, tags } from '../snapshots/select.ts'
import { doubtsSince, haveGoneBy } from '../state/clock.ts'
import { installIdIfThere } from '../state/install.ts'
import { isRestoreOpen } from '../state/journal.ts'
import type { Run, RunRecord } from '../state/record.gen.ts'
import { lastRun, pinnedRepository, readHistory, readRecord, savedIn, updateRecord } from '../state/records.ts'
import { pluralize } from '../text.ts'
import { applyRetention, type Forgotten } from './policy.ts'

/**
 * What happens to one service's snapshots. `kept`: why none of them is forgotten, or null. `first`: snapshots that aren't eligible (failed or
 * unadopted): the rules don't count them, and they are forgotten whatever the rules say. `strangers`: how many other snapshots of the service there
 * are (made by other installs, or by `restic rewrite`): the rules don't count them either, and they are never forgotten.
 */
export interface Retained {
  name: string
  kept: string | null
  first: Snapshot[]
  forgotten: Forgotten | null
  strangers: number
}

export interface PruneOptions {
  dryRun: boolean
  signal: AbortSignal
}

/**
 * `manifests`: stored manifests of this host that are forgotten, since newer ones exist. `futureManifests`: those dated in the future; kept.
 * `unknown`: those that carry this install's id, and that it didn't store; kept.
 */
export interface Pruned {
  retained: Retained[]
  manifests: Snapshot[]
  futureManifests: Snapshot[]
  unknown: Snapshot[]
}

/**
 * Forgets snapshots in one repository, and prunes it. Snapshots of services that the manifest doesn't declare are never forgotten.
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
    const plan = await planRetention(site, service, declared, all, options.dryRun)
    const ids = [...plan.first, ...(plan.forgotten?.remove ?? [])].map(({ id }) => id)
    if (options.dryRun) {
      retained.push(plan)
      continue
    }
    try {
      await restic.forgetSnapshots(ids, call)
      retained.push(plan)
    } catch (error) {
      requireAppendOnly(error)
      isAppendOnly = true
      retained.push({ ...plan, kept: 'the repository is append-only here: prune it from a host that may delete', first: [], forgotten: null })
    }
  }
  const { host } = site.manifest
  const known = await knownManifests(site.state, name, (await pinnedRepository(site.state, name)) ?? '')
  const manifests = surplusManifests(all, site.now(), host, known)
  const ids = manifests.map(({ id }) => id)
  if (!options.dryRun && !isAppendOnly)
    await restic.forgetSnapshots(ids, call).catch((error: unknown) => {
      requireAppendOnly(error)
      isAppendOnly = true
    })
  // Also if nothing was forgotten: data of interrupted runs takes space, too.
  if (!options.dryRun && !isAppendOnly) await restic.prune({ dryRun: false, ...call })
  const gone = isAppendOnly ? [] : manifests
  const unknown = unknownManifests(all, site.now(), host, await installIdIfThere(site.state), known).filter((snapshot) => !gone.includes(snapshot))
  return { retained, manifests: gone, futureManifests: futureManifests(all, site.now(), host), unknown }
}

/** @throws any error but Failure `append-only` */
function requireAppendOnly(error: unknown): void {
  if (!(error instanceof Failure && error.code === 'append-only')) throw error
}

/** What retention does to the snapshots of one service. */
async function planRetention(site: Site, name: string, service: Service, all: Snapshot[], dryRun: boolean): Promise<Retained> {
  const record = await readHistory(site.state, name).catch(() => null)
  const none = { name, first: [], forgotten: null, strangers: 0 }
  if (record === null) return { ...none, kept: 'its record is damaged' }
  const reason = await reasonByRecord(site, name, record)
  if (reason !== null) return { ...none, kept: reason }
  const install = await installIdIfThere(site.state)
  const subject = { name, service, host: site.manifest.host, origin: record.origin, install }
  const names = [name, ...service.formerNames].map(tags.service)
  const tagged = snapshotsOf(all, subject).filter((snapshot) => snapshot.tags.some((tag) => names.includes(tag)))
  const own = countedSnapshots(tagged, { install, origin: record.origin, inherited: record.inherited }).filter(({ isRewritten }) => !isRewritten)
  const strangers = tagged.length - own.length
  const order = savedIn(record)
  const latest = newestOf(own, order)
  if (own.some((snapshot) => isInFuture(snapshot, site.now())))
    return { ...none, strangers, kept: 'a snapshot is dated in the future: check the clock' }
  if (latest && !isComplete(latest)) return { ...none, strangers, kept: 'its newest snapshot is partial' }
  if (record.inherited === null && !dryRun) await writeInherited(site, name, install, own)
  // Failed snapshots can go: at this point the newest snapshot is complete.
  const eligibles = eligible(own, subject)
  const passed = own.filter((snapshot) => !eligibles.includes(snapshot))
  const wait = waitForUnadopted(site, passed, record)
  if (wait !== null) return { ...none, strangers, kept: wait }
  return { name, kept: null, first: passed, forgotten: applyRetention(eligibles, retentionOf(site.manifest, service), order), strangers }
}

/** Why none of a service's snapshots may be forgotten now, or null. */
async function reasonByRecord(site: Site, name: string, record: RunRecord): Promise<string | null> {
  if (await isRestoreOpen(site.state, name)) return 'a restore is unfinished'
  // A run that was skipped says nothing about the data.
  const newest = lastRun({ ...record, runs: record.runs.filter(({ outcome }) => outcome !== 'skipped') }, 'backup')
  if (newest === null) return 'this install has not backed it up yet'
  if (newest.outcome !== 'ok') return `its newest backup ended as "${newest.outcome}"`
  if (record.origin === null)
    return 'it is unadopted: type atelier-backup adopt to keep the data of this host, or, if it was lost, atelier-backup dr to restore the older data'
  return null
}

/**
 * Unadopted snapshots hold what a fresh install saved before its recovery. They are kept as long as the data that the recovery moved aside
 * (`keepOldDays`), and until then no other snapshot of the service is forgotten. Returns the reason to wait, or null.
 */
function waitForUnadopted(site: Site, passed: Snapshot[], record: RunRecord): string | null {
  const unadopted = passed.filter(({ tags: has }) => has.includes(tags.unadopted))
  const [newest] = byDate(unadopted)
  const { keepOldDays } = site.manifest.restore
  if (newest === undefined || haveGoneBy(keepOldDays, newest.time, record, site.now())) return null
  const until = new Date(Date.parse(newest.time) + keepOldDays * 86_400_000).toISOString().slice(0, 10)
  return `${pluralize(unadopted.length, 'unadopted snapshot')} would distort retention; they are forgotten after ${until}`
}

/** Records which snapshots of other installs count, by their ids: ones added later don't. If a backup is running, the next prune does it. */
async function writeInherited(site: Site, name: string, install: string | null, own: Snapshot[]): Promise<void> {
  const lock = await lockOf(site, name).catch(() => null)
  if (lock === null) return
  try {
    const ids = fromElsewhere(own, install).map(({ id }) => id)
    await updateRecord(site.state, name, (record) => {
      record.inherited ??= ids
    })
  } finally {
    lock.release()
  }
}

/**
 * Deletes old data of restores that is older than `keepOldDays`, by more than the clock alone, and than the newest complete backup. Returns the
 * folders and databases deleted.
 */
export async function discardExpired(site: Site, name: string): Promise<string[]> {
  const record = await readRecord(site.state, name)
  const { keepOldDays } = site.manifest.restore
  const isOk = ({ kind, outcome }: Run) => kind === 'backup' && outcome === 'ok'
  const isExpired = ({ since }: { since: Iso }) => {
    const from = Math.max(...[since, ...doubtsSince(since, record.clock, site.now()).map(({ at }) => at)].map(Date.parse))
    return haveGoneBy(keepOldDays, since, record, site.now()) && record.runs.some((run) => isOk(run) && Date.parse(run.started) > from)
  }
  return record.undropped.length > 0 || [...record.old, ...record.oldDatabases].some(isExpired) ? discardOld(site, name, isExpired) : []
}
