// Disaster recovery: restores every service in the order of restoreAfter; a service that fails doesn't stop the others.
import { join } from 'node:path'
import { type Event, type Iso, type Path, type Result, resultOf, type Unit } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { limiter } from '../execute.ts'
import { rm } from '../fs.ts'
import { readIfThere, writeDurably } from '../host/files.ts'
import { activeStates } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Snapshot } from '../restic/types.ts'
import { emptiedBy, type PlannedRestore, planInPlace, requireEmptyable, requireMounted, restoreInPlace, resumeRestore } from '../restore/inplace.ts'
import { requirePrivileged } from '../restore/privileged.ts'
import { type InPlaceOptions, named } from '../restore/transaction.ts'
import { type Site, serviceOf } from '../site.ts'
import { isComplete } from '../snapshots/select.ts'
import { parseWithChecksum, withChecksum } from '../state/checksum.ts'
import { makeState, statePath } from '../state/install.ts'
import { isRestoreOpen } from '../state/journal.ts'
import { lastRun, readRecord } from '../state/records.ts'
import { newRunId } from '../state/running.ts'
import { harmlessJson, shellWord } from '../text.ts'
import type { Choice, RecoveryFacts, RecoveryWish } from './facts.ts'
import { enabledOf, gatherRecoveryFacts, withKnownUnits } from './look.ts'

export interface Recovery extends Pick<RecoveryFacts, 'choices' | 'checks' | 'room' | 'spread'> {
  run: string
  started: Iso
  wish: RecoveryWish
  /** How long it will take, by the speed of earlier restores on this host; null: there was none. */
  estimate: { seconds: number; bytesPerSecond: number } | null
  /** What an earlier, interrupted part of this recovery brought back. */
  done: Recovered[]
}

/** The result of one service, and the state it is in now. */
export interface Recovered extends Result {
  /** Its units that systemd knows, with their ActiveState at the end: `active`, `inactive`, `failed` … */
  units: { unit: Unit; state: string }[]
  /** Null: the restore failed before the health check. `unchecked`: none is declared, or allowed, or no unit was started for it. */
  health: 'passed' | 'failed' | 'unchecked' | null
  /** The command to type next; null: nothing is left to do. */
  next: string | null
}

/** A recovery that is ready to run; with `withoutUnits` the manifest in `site` lacks the units that systemd doesn't know. */
export interface PlannedRecovery {
  site: Site
  recovery: Recovery
  planned: Map<string, PlannedRestore>
}

/** Plans a recovery and changes nothing. @throws Failure `interrupted` */
export async function planRecovery(site: Site, wish: RecoveryWish, jobs: number, signal: AbortSignal): Promise<PlannedRecovery> {
  return planned(site, { run: newRunId(site.now()), started: site.now().toISOString(), wish, choices: [], done: [] }, jobs, signal)
}

/** Plans again with further consents: services that were skipped for lack of them are included. @throws Failure `interrupted` */
export async function planAgain(
  site: Site,
  recovery: Recovery,
  consents: Partial<RecoveryWish>,
  jobs: number,
  signal: AbortSignal,
): Promise<PlannedRecovery> {
  return planned(site, { ...recovery, wish: { ...recovery.wish, ...consents } }, jobs, signal)
}

/** The recovery that was interrupted, with the services it had restored. @throws Failure `nothing-to-resume`, `journal-damaged` */
export async function interruptedRecovery(site: Site): Promise<Recovery> {
  const text = await readIfThere(journalOf(site))
  if (text === null) throw new Failure('nothing-to-resume', 'no disaster recovery is unfinished', { exit: 2 })
  const recovery = parseWithChecksum(text) as Recovery | null
  if (Array.isArray(recovery?.choices) && Array.isArray(recovery.done)) return recovery
  throw new Failure(
    'journal-damaged',
    `the journal ${journalOf(site)} is damaged: remove it and run "atelier-backup dr" again; services that are recovered already are left alone`,
  )
}

/** Whether a recovery was interrupted, or some of its services weren't restored. */
export async function isRecoveryOpen(site: Site): Promise<boolean> {
  return (await readIfThere(journalOf(site))) !== null
}

type Begun = Pick<Recovery, 'run' | 'started' | 'wish' | 'choices' | 'done'>

async function planned(
  site: Site,
  { run, started, wish, choices: chosen, done }: Begun,
  jobs: number,
  signal: AbortSignal,
): Promise<PlannedRecovery> {
  const able = wish.withoutUnits ? await withKnownUnits(site) : site
  const { planned, choices, ...looked } = await gatherRecoveryFacts(able, wish, signal, { chosen, done: done.map(({ name }) => name) })
  const sizes = [...planned.values()].map(bytesOf)
  const all = [...chosen.filter(({ name }) => done.some((result) => result.name === name)), ...choices]
  return { site: able, planned, recovery: { run, started, wish, choices: all, ...looked, estimate: await estimate(site, sizes, jobs), done } }
}

/** Bytes. Smaller restores say nothing about the speed of large ones: starting restic takes most of their time. */
const telling = 16 * 1024 * 1024

function bytesOf({ facts }: PlannedRestore): number {
  return facts.roots.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** By the speed of earlier restores in this host's records, with `jobs` restores at the same time. */
async function estimate(site: Site, sizes: number[], jobs: number): Promise<Recovery['estimate']> {
  const records = await Promise.all(Object.keys(site.manifest.services).map((name) => readRecord(site.state, name).catch(() => null)))
  const restores = records.flatMap((record) =>
    (record?.runs ?? []).filter(({ kind, outcome, bytes }) => kind === 'restore' && outcome === 'ok' && (bytes ?? 0) >= telling),
  )
  const total = (of: 'bytes' | 'seconds') => restores.reduce((sum, run) => sum + (run[of] ?? 0), 0)
  if (sizes.length === 0 || total('bytes') === 0 || total('seconds') === 0) return null
  const bytesPerSecond = total('bytes') / total('seconds')
  const longest = Math.max(sizes.reduce((sum, size) => sum + size, 0) / Math.min(jobs, sizes.length), ...sizes)
  return { seconds: longest / bytesPerSecond, bytesPerSecond }
}

export interface RecoveryOptions extends InPlaceOptions {
  jobs: number
  /** How this command is called again: "atelier-backup dr". */
  again: string
  result(result: Recovered): void
}

/** Restores all services. Never throws; a service whose predecessor failed isn't started, and its result says so. */
export async function recover({ site, recovery, planned }: PlannedRecovery, options: RecoveryOptions): Promise<Recovered[]> {
  await makeState(site.state)
  const results = new Map(recovery.done.map((result) => [result.name, result]))
  for (const result of results.values()) options.result(result)
  const waiting = new Set(recovery.choices.filter(({ name }) => !results.has(name)))
  const running = new Set<Promise<void>>()
  // The writes are chained: an older list must not replace a newer one.
  let saved = Promise.resolve()
  const save = () => {
    saved = saved
      .then(() => saveRecovery(site, recovery, results))
      .catch((error) => options.output(`the progress can't be saved, so --resume will repeat finished services: ${asFailure(error).message}`))
  }
  // `jobs` services restore data at the same time. Twice as many are begun, so that a slow unit or health check delays only the services that must
  // come after it. With --jobs 1 a person asks for strictly one after the other.
  const inTurn = limiter(options.jobs)
  const unchecked = new Set<string>()
  const emit = (event: Event) => {
    if (event.type === 'warning' && event.code === 'health-skipped' && event.service !== null) unchecked.add(event.service)
    options.emit(event)
  }
  const mostRunning = options.jobs === 1 ? 1 : 2 * options.jobs
  const begin = (choice: Choice): void => {
    waiting.delete(choice)
    const work = recoverOne(site, recovery, choice, planned.get(choice.name), results, { ...options, emit, inTurn })
      .then((result) => standing(site, result, options.again, choice.skip, unchecked.has(choice.name)))
      .then((result) => {
        results.set(choice.name, result)
        options.result(result)
        running.delete(work)
        save()
      })
    running.add(work)
  }
  save()
  while (waiting.size + running.size > 0) {
    for (const choice of waiting) if (running.size < mostRunning && choice.after.every((other) => results.has(other))) begin(choice)
    // What still waits then waits for a service that isn't coming: its result says so.
    if (running.size === 0) for (const choice of waiting) begin(choice)
    await Promise.race(running)
  }
  await saved
  const all = recovery.choices.map(({ name }) => results.get(name) as Recovered)
  if (all.every(isSettled)) await rm(journalOf(site), { force: true })
  return all
}

async function recoverOne(
  site: Site,
  recovery: Recovery,
  { name, snapshot, skip, after }: Choice,
  plan: PlannedRestore | undefined,
  results: Map<string, Recovered>,
  options: RecoveryOptions,
): Promise<Result> {
  const before = snapshot && (await doneBefore(site, recovery, name, snapshot))
  if (before) return before
  if (skip) return resultFor(name, leftAlone.includes(skip.code) ? 'skipped' : 'failed', leftAlone.includes(skip.code) ? 3 : 1, skip)
  const blocker = after.find((other) => !isSettled(results.get(other)))
  if (blocker !== undefined) return resultFor(name, 'skipped', 1, { code: 'waits', message: `${name}: waits for ${blocker}, which isn't recovered` })
  if (options.signal.aborted) return resultFor(name, 'interrupted', 130, { code: 'interrupted', message: `${name}: not begun` })
  const begin = async (): Promise<Result> => {
    if (!snapshot) throw new Failure('unknown-snapshot', `${name}: no snapshot is chosen`)
    const beside = { ignoreSpace: recovery.wish.ignoreSpace, enabled: await enabledOf(site, name) }
    const chosen = plan ?? (await planInPlace(site, name, snapshot, [], options.signal, beside))
    requireEmptyable(chosen, recovery.wish.emptyMounts ? emptiedBy(chosen.facts) : [])
    requireMounted(chosen, recovery.wish.ontoUnmounted)
    const privileged = recovery.wish.allowPrivileged ? 'all' : []
    requirePrivileged(name, chosen.facts.privileged, privileged)
    return restoreInPlace(site, chosen, { ...options, privileged, corrupt: recovery.wish.allowCorrupt })
  }
  try {
    if (await isRestoreOpen(site.state, name)) return await resumeRestore(site, name, begin, options)
    return await begin()
  } catch (error) {
    const failure = asFailure(error)
    return { ...resultFor(name, failure.code === 'interrupted' ? 'interrupted' : 'failed', failure.exit, failure), snapshotId: snapshot?.id ?? null }
  }
}

/** The result of a service that an earlier part of this recovery restored before it was killed, from the record; null: it wasn't restored. */
async function doneBefore(site: Site, { started, wish }: Recovery, name: string, snapshot: Snapshot): Promise<Result | null> {
  const record = await readRecord(site.state, name).catch(() => null)
  const last = record && lastRun(record, 'restore')
  if (!record || last?.outcome !== 'ok' || last.snapshotId !== snapshot.id || last.started < started || (await isRestoreOpen(site.state, name)))
    return null
  // A restore of a part of the service, made by hand in between, doesn't count as its recovery.
  const tells = isComplete(snapshot) && !wish.overwrite
  if (tells && (record.origin === null || record.origin.since < started)) return null
  const { snapshotId, seconds, bytes, downtimeSeconds } = last
  return { ...resultFor(name, 'ok', 0, null), snapshotId, seconds, bytes, downtimeSeconds }
}

/** Skipped by a rule that a flag can override, so not failures. */
const leftAlone = ['protected', 'only-partial', 'would-empty', 'special-files']

/** Restored now or before: services that wait for it can start. */
function isSettled(result: Result | undefined): boolean {
  return result?.exit === 0 || result?.code === 'protected'
}

function resultFor(name: string, outcome: Result['outcome'], exit: number, why: { code: Code; message: string } | null): Result {
  return resultOf(name, why && { code: why.code, message: named(name, why.message), exit }, { outcome })
}

/** Adds the state of its units and the next command. */
async function standing(site: Site, result: Result, again: string, skip: Choice['skip'], isUnchecked: boolean): Promise<Recovered> {
  const service = serviceOf(site, result.name)
  const units = await activeStates(unitsOf(result.name, service)).catch(() => [])
  const idle = units.filter(({ state, rests }) => state !== 'active' && state !== 'activating' && !rests).map(({ unit }) => unit)
  const failed = result.code === 'hook-failed' || result.code === 'hook-timeout'
  return {
    ...result,
    units: units.map(({ unit, state }) => ({ unit, state })),
    health: failed ? 'failed' : result.exit !== 0 ? null : service.healthCheck === null || isUnchecked ? 'unchecked' : 'passed',
    next: nextFor(result, idle, again, skip),
  }
}

function nextFor({ name, exit, code }: Result, idle: Unit[], again: string, skip: Choice['skip']): string | null {
  if (exit === 0) return idle.length > 0 ? `systemctl start ${idle.join(' ')}` : null
  if (skip?.next !== undefined) return skip.next
  const flag = consentFor[code ?? '']
  if (flag) return `${again} --only ${name} ${flag}`
  // The same command would find nothing again. Where `again` has a --host already, the later one counts.
  if (code === 'unknown-snapshot') return skip?.host === undefined ? null : `${again} --host ${shellWord(skip.host)}`
  return code === 'undo-failed' ? `atelier-backup restore ${name} --rollback` : `${again} --resume`
}
const consentFor: Record<string, string> = {
  protected: '--overwrite',
  'only-partial': '--partial',
  'unknown-unit': '--without-units',
  'no-systemd': '--without-units',
  'would-empty': '--empty-mounts',
  'special-files': '--allow-privileged',
  // Its snapshot may be partial, for this reason.
  'sqlite-corrupt': '--partial --allow-corrupt',
}

/** Writes the report to the state folder. Returns its path. */
export async function saveReport(site: Site, recovery: Recovery, results: Recovered[]): Promise<Path> {
  const file = `${statePath(site.state, 'reports', `dr-${recovery.run}`)}.json`
  await writeDurably(file, `${harmlessJson({ ...recovery, results }, 2)}\n`)
  return file
}

async function saveRecovery(site: Site, recovery: Recovery, results: Map<string, Recovered>): Promise<void> {
  const done = [...results.values()].filter(({ exit }) => exit === 0)
  await writeDurably(journalOf(site), withChecksum({ ...recovery, done }))
}

function journalOf(site: Site): Path {
  return join(site.state, 'disaster-recovery.json')
}
