// Restores one service's data in place, and finishes interrupted restores.
import { dirname, join } from 'node:path'
import type { Path, Plan, RestoreStep, Result } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { isWithin, realAsFarAsThere } from '../host/files.ts'
import { mountMissing } from '../host/mounts.ts'
import { hasSystemd } from '../host/systemd.ts'
import { requireRepositoryApart } from '../repository/apart.ts'
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf, stagingOf } from '../site.ts'
import { isComplete, tags } from '../snapshots/select.ts'
import { type RestoreJournal, readJournal, unfinished } from '../state/journal.ts'
import { pinnedRepository, pinRepository } from '../state/records.ts'
import { newRunId } from '../state/running.ts'
import { shellWord } from '../text.ts'
import { cleanUpRestore } from './cleanup.ts'
import type { RestoreFacts } from './facts.ts'
import { gatherRestoreFacts } from './look.ts'
import { planRestore } from './plan.ts'
import { rollBackRestore } from './rollback.ts'
import { endAtBoot, executeTransaction, goForward, type InPlaceOptions, transact, warning } from './transaction.ts'
import { withPathBytes } from './tree.ts'
import { gatherUnits } from './units.ts'

export interface PlannedRestore {
  plan: Plan<RestoreStep>
  facts: RestoreFacts
}

/**
 * Gathers facts and plans. Changes nothing. `beside`: facts that the caller knows: other snapshots that the plan's notes name, --ignore-space, and
 * units that are started though they didn't run.
 * `closely`: looks for holes also where there is room. @throws Failure
 */
export async function planInPlace(
  site: Site,
  name: string,
  listed: Snapshot,
  wanted: Path[],
  signal: AbortSignal,
  beside: Pick<RestoreFacts, 'complete' | 'later' | 'passed' | 'ignoreSpace' | 'enabled'> = {},
  closely = false,
): Promise<PlannedRestore> {
  const service = serviceOf(site, name)
  await requireRepositoryApart(site, name)
  const left = await replaceableJournal(site, name)
  const restic = site.restic(service.repository)
  const snapshot = await withPathBytes(restic, listed, { signal })
  const postgres = { server: site.manifest.postgresql, staging: async () => dirname(await stagingOf(site, name)) }
  const wish = {
    run: newRunId(site.now()),
    name,
    service,
    snapshot,
    wanted,
    ran: left?.units ?? [],
    postgres,
    kept: join(site.state, 'kept'),
    closely,
  }
  const facts = { ...(await gatherRestoreFacts(restic, wish, { signal })), ...beside }
  const state = await realAsFarAsThere(site.state)
  for (const { path } of facts.roots) {
    if (!isWithin(state, await realAsFarAsThere(path))) continue
    // The journal would be exchanged together with the data, and couldn't tell what has happened.
    throw new Failure(
      'state-inside',
      `${name}: ${path} holds ${site.state}, this program's own state: it can't be replaced in place; restore a part with --path, or inspect without --in-place`,
    )
  }
  return { plan: planRestore(service, facts), facts }
}

/** Mount points with content, of which the snapshot has nothing: they are empty after the restore. */
export function emptiedBy({ roots }: Pick<RestoreFacts, 'roots'>): Path[] {
  return roots.filter(({ emptied }) => emptied).map(({ path }) => path)
}

/** @throws Failure `would-empty` for a mount point that isn't `allowed` */
export function requireEmptyable({ plan, facts }: PlannedRestore, allowed: Path[]): void {
  const stranger = emptiedBy(facts).find((path) => !allowed.includes(path))
  if (stranger === undefined) return
  throw new Failure(
    'would-empty',
    `${plan.service}: something is mounted at ${stranger}, and snapshot ${facts.snapshot.shortId} knows nothing of it: in place it would be left empty. Allow that with --empty-mounts (what is in it moves aside), unmount it, or choose parts with --path`,
  )
}

/** @throws Failure `not-mounted` where data would be restored onto the folder of a disk that isn't mounted */
export function requireMounted({ plan, facts }: PlannedRestore, isAllowed: boolean): void {
  const [point] = facts.unmounted
  if (point === undefined || isAllowed) return
  throw new Failure(
    'not-mounted',
    `${plan.service}: ${facts.unmounted.join(', ')} should be mounted and isn't: what is restored there would be hidden as soon as it is mounted. Mount it first (mount ${shellWord(point)}), or allow it with --onto-unmounted; nothing was touched`,
  )
}

/** The plan with the units that are active now: those that started since it was made are started again, too. @throws Failure */
async function withCurrentUnits(site: Site, { plan, facts }: PlannedRestore): Promise<PlannedRestore> {
  const service = serviceOf(site, plan.service)
  const left = await replaceableJournal(site, plan.service)
  const now = { ...facts, ...(await gatherUnits(plan.service, service, left?.units ?? [])) }
  return { plan: planRestore(service, now), facts: now }
}

/** Carries out a plan of `planInPlace`. Never throws. */
export async function restoreInPlace(site: Site, planned: PlannedRestore, options: InPlaceOptions): Promise<Result> {
  const { repository } = serviceOf(site, planned.plan.service)
  return transact(site, planned.plan.service, options, async (transaction) => {
    const isKnown = (await pinnedRepository(site.state, repository).catch(() => '')) !== null
    // The repository of a successful restore is pinned, so that another one in its place is noticed later. Without an answer nothing is pinned.
    const restic = site.restic(repository)
    const id = isKnown ? null : restic.cachedRepositoryId({ signal: options.signal }).catch(() => null)
    // `transact` has cleaned up after a killed backup, so the units that it had stopped run again.
    const { plan, facts } = await withCurrentUnits(site, planned)
    const { snapshot, wanted, running, postgres } = facts
    const swap = plan.steps.find((step) => step.do === 'swap')
    const left = await replaceableJournal(site, plan.service)
    if (left) await cleanUpRestore(site, left, false, warning(plan.service, transaction.emit))
    const ended = await executeTransaction(transaction, plan, {
      version: 1,
      run: plan.run,
      service: plan.service,
      started: transaction.started,
      snapshot: snapshot.id,
      putsBack: null,
      paths: wanted,
      emptied: emptiedBy(facts),
      // The callers have refused what a person didn't allow (requireMounted).
      ontoUnmounted: facts.unmounted.length > 0,
      privileged: options.privileged ?? [],
      corrupt: options.corrupt ?? false,
      // Restoring an unadopted snapshot doesn't adopt its data.
      recovers: wanted.length === 0 && isComplete(snapshot) && !snapshot.tags.includes(tags.unadopted),
      phase: 'staging',
      folders: plan.steps.flatMap((step) => (step.do === 'stage' && step.in !== postgres?.staging.folder ? [step.in] : [])),
      moves: [],
      // In the journal before they are made: after a crash they are dropped.
      databases: (swap?.databases ?? []).map((move) => ({ ...move, liveId: null, freshId: null })),
      dumps: postgres?.staging.folder ?? null,
      units: running,
      ...(facts.enabled && { enabled: facts.enabled }),
      masked: left?.masked ?? [],
    })
    const pin = ended.failure ? null : await id
    if (pin) await pinRepository(site.state, repository, pin, transaction.started)
    return ended
  })
}

/**
 * Finishes an interrupted restore. One that had exchanged nothing starts again by `again`, with the same snapshot and paths.
 * Never throws, unless `again` does; code `nothing-to-resume` (exit 2).
 */
export async function resumeRestore(
  site: Site,
  name: string,
  again: (journal: RestoreJournal) => Promise<Result>,
  options: InPlaceOptions,
): Promise<Result> {
  const left = await readJournal(site.state, name).catch(() => null)
  if (left?.phase === 'staging') return left.putsBack === null ? again(left) : rollBackRestore(site, name, options)
  return transact(site, name, options, async (transaction) => {
    const journal = await readJournal(site.state, name)
    if (journal) return goForward(transaction, journal)
    throw nothingToResume(name)
  })
}

export function nothingToResume(name: string): Failure {
  return new Failure('nothing-to-resume', `${name}: no restore is unfinished`, { exit: 2 })
}

/** Ends, at boot, a restore that a crash interrupted; null if there is none. Never throws; code `busy` if a restore is at work. */
export async function endInterrupted(site: Site, name: string, options: InPlaceOptions): Promise<Result | null> {
  if ((await readJournal(site.state, name).catch(asFailure)) === null) return null
  return transact(site, name, options, async (transaction) => {
    const journal = await readJournal(site.state, name)
    if (!journal) return {}
    // The boot unit requires no mount, or it would mount the disks of every service at each boot. What was restored beneath a disk that wasn't
    // mounted (--onto-unmounted) is ended there.
    if (hasSystemd() && !journal.ontoUnmounted) await mountMissing([...journal.folders, ...journal.moves.map(({ live }) => live)])
    return endAtBoot(transaction, journal)
  })
}

/** The journal of an interrupted restore that had exchanged nothing: the next restore replaces it. @throws Failure `unfinished-restore` */
async function replaceableJournal(site: Site, name: string): Promise<RestoreJournal | null> {
  const journal = await readJournal(site.state, name)
  if (journal && journal.phase !== 'staging') throw unfinished(name)
  return journal
}
