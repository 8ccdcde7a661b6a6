// Disaster recovery: every service brought back, in the order of restoreAfter, none stopped by another's failure.
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Iso, Path, Result } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { lstatIfThere, readIfThere, writeDurably } from '../host/files.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { countable, elsewhereWords, isComplete, newestFirst, snapshotsOf } from '../snapshots/select.ts'
import { installIdIfThere, makeState, placeOf } from '../state/install.ts'
import { readJournal } from '../state/journal.ts'
import { lastRun, readRecord } from '../state/records.ts'
import { planInPlace, restoreInPlace, resumeRestore } from './inplace.ts'
import { type InPlaceOptions, named } from './transaction.ts'

/** What will happen to one service. `skip` says why it is left alone. */
export interface Choice {
  name: string
  snapshot: Snapshot | null
  skip: { code: string; message: string } | null
  /** Services of this recovery that come first. */
  after: string[]
  notes: string[]
}

export interface Recovery {
  run: string
  started: Iso
  wish: RecoveryWish
  choices: Choice[]
  /** Services that an earlier, interrupted part of this recovery brought back. */
  done: string[]
}

/** `at`: the newest not later than that. */
export interface RecoveryWish {
  host: string
  at: Iso | null
  only: string[]
  except: string[]
  overwrite: boolean
}

/** Chooses a snapshot for each service: the newest complete one (not later than `at`), a partial one only if there is no other. Touches nothing. */
export async function lookRecovery(site: Site, wish: RecoveryWish, run: string, signal: AbortSignal): Promise<Recovery> {
  const names = Object.keys(site.manifest.services).filter(
    (name) => (wish.only.length === 0 || wish.only.includes(name)) && !wish.except.includes(name),
  )
  const repositories = [...new Set(names.map((name) => site.manifest.services[name]?.repository ?? 'main'))]
  const asked = repositories.map(async (repository) => [repository, await site.restic(repository).snapshots({ signal }).catch(asFailure)] as const)
  const snapshots = new Map(await Promise.all(asked))
  const install = await installIdIfThere(site.state)
  const choices = await Promise.all(
    names.map(async (name): Promise<Choice> => {
      const service = site.manifest.services[name] as Service
      const after = service.restoreAfter.filter((other) => names.includes(other))
      const all = snapshots.get(service.repository) ?? []
      const skip = (code: string, message: string): Choice => ({ name, snapshot: null, skip: { code, message }, after, notes: [] })
      if (all instanceof Failure) return skip(all.code, all.message)
      const { origin } = await readRecord(site.state, name).catch(() => ({ origin: null }))
      const subject = { name, service, host: wish.host, origin: wish.host === site.manifest.host ? origin : null, install }
      const upTo = countable(snapshotsOf(all, subject), subject).filter(({ time }) => wish.at === null || Date.parse(time) <= Date.parse(wish.at))
      const [newest] = newestFirst(upTo)
      const complete = newestFirst(upTo).find(isComplete)
      if (origin !== null && !wish.overwrite && (await holdsData(service)))
        return skip(
          'protected',
          `${name}: it lives here (${origin.how} since ${origin.since.slice(0, 10)}): left alone; --overwrite restores it all the same`,
        )
      if (!newest)
        return skip(
          'unknown-snapshot',
          `${name}: no snapshots on ${wish.host}${wish.at ? ' at that time or before it' : ''}${elsewhereWords(all, subject)}`,
        )
      const note = complete === undefined ? ['only partial snapshots exist'] : complete === newest ? [] : ['a newer one is partial']
      return { name, snapshot: complete ?? newest, skip: null, after, notes: note }
    }),
  )
  return { run, started: site.now().toISOString(), wish, choices, done: [] }
}

/** Carries it out, `jobs` services side by side. Never throws; a service whose predecessor failed isn't begun, and says so. */
export async function recover(
  site: Site,
  recovery: Recovery,
  jobs: number,
  options: InPlaceOptions & { result(result: Result): void },
): Promise<Result[]> {
  await makeState(site.state)
  const results = new Map(recovery.done.map((name) => [name, resultFor(name, 'ok', 0, null)]))
  for (const result of results.values()) options.result(result)
  const waiting = new Set(recovery.choices.filter(({ name }) => !results.has(name)))
  const running = new Set<Promise<void>>()
  // One write after the other: an older list must not replace a newer one.
  let saved = Promise.resolve()
  const save = () => {
    saved = saved
      .then(() => saveRecovery(site, recovery, results))
      .catch((error) => options.output(`--resume will repeat what is done: ${asFailure(error).message}`))
  }
  const begin = (choice: Choice): void => {
    waiting.delete(choice)
    const work = recoverOne(site, recovery, choice, results, options).then((result) => {
      results.set(choice.name, result)
      options.result(result)
      running.delete(work)
      save()
    })
    running.add(work)
  }
  save()
  while (waiting.size + running.size > 0) {
    for (const choice of waiting) if (running.size < jobs && choice.after.every((other) => results.has(other))) begin(choice)
    await Promise.race(running)
  }
  await saved
  const all = recovery.choices.map(({ name }) => results.get(name) as Result)
  if (all.every(isSettled)) await rm(journalOf(site), { force: true })
  return all
}

async function recoverOne(site: Site, recovery: Recovery, choice: Choice, results: Map<string, Result>, options: InPlaceOptions): Promise<Result> {
  const { name, snapshot, skip, after } = choice
  if (skip) return resultFor(name, skip.code === 'protected' ? 'skipped' : 'failed', skip.code === 'protected' ? 3 : 1, skip)
  const blocker = after.find((other) => !isSettled(results.get(other)))
  if (blocker !== undefined) return resultFor(name, 'skipped', 1, { code: 'waits', message: `${name}: waits for ${blocker}, which isn't recovered` })
  if (options.signal.aborted) return resultFor(name, 'interrupted', 130, { code: 'interrupted', message: `${name}: not begun` })
  const begin = async (): Promise<Result> => restoreInPlace(site, await planInPlace(site, name, snapshot as Snapshot, [], options.signal), options)
  try {
    if (await readJournal(site.state, name)) return await resumeRestore(site, name, begin, options)
    // Done in an earlier part of this recovery, which was killed before it could note it.
    const record = await readRecord(site.state, name).catch(() => null)
    const last = record && lastRun(record, 'restore')
    if (last?.outcome === 'ok' && last.snapshotId === snapshot?.id && last.started >= recovery.started) return resultFor(name, 'ok', 0, null)
    return await begin()
  } catch (error) {
    const failure = asFailure(error)
    return { ...resultFor(name, failure.code === 'interrupted' ? 'interrupted' : 'failed', failure.exit, failure), snapshotId: snapshot?.id ?? null }
  }
}

/** Recovered, or here already: those that come after it can go on. */
function isSettled(result: Result | undefined): boolean {
  return result?.exit === 0 || result?.code === 'protected'
}

function resultFor(name: string, outcome: Result['outcome'], exit: number, why: { code: string; message: string } | null): Result {
  return {
    name,
    outcome,
    exit,
    code: why?.code ?? null,
    message: why && named(name, why.message),
    snapshotId: null,
    seconds: 0,
    downtimeSeconds: null,
    bytes: null,
  }
}

/** The recovery that was interrupted, with what it had done; where it had no snapshot it looks again. @throws Failure `nothing-to-resume` */
export async function interruptedRecovery(site: Site, signal: AbortSignal): Promise<Recovery> {
  const recovery = await readRecovery(site)
  const only = recovery.choices.filter(({ snapshot }) => snapshot === null).map(({ name }) => name)
  if (only.length === 0) return recovery
  const again = await lookRecovery(site, { ...recovery.wish, only }, recovery.run, signal)
  const choiceOf = (choice: Choice) => again.choices.find(({ name }) => name === choice.name)
  return { ...recovery, choices: recovery.choices.map((choice) => ({ ...choice, ...choiceOf(choice), after: choice.after })) }
}

async function readRecovery(site: Site): Promise<Recovery> {
  const text = await readIfThere(journalOf(site))
  if (text === null) throw new Failure('nothing-to-resume', 'no disaster recovery is unfinished', { exit: 2 })
  try {
    return JSON.parse(text) as Recovery
  } catch {
    throw new Failure(
      'journal-damaged',
      `the journal ${journalOf(site)} is damaged: remove it and run "atelier-backup dr" anew; what is recovered already is left alone`,
    )
  }
}

/** Keeps a copy of the report for people. Returns its path. */
export async function saveReport(site: Site, recovery: Recovery, results: Result[]): Promise<Path> {
  const file = `${placeOf(site.state, 'reports', `dr-${recovery.run}`)}.json`
  await writeDurably(file, `${JSON.stringify({ ...recovery, results }, null, 2)}\n`)
  return file
}

async function saveRecovery(site: Site, recovery: Recovery, results: Map<string, Result>): Promise<void> {
  const done = [...results].filter(([, { exit }]) => exit === 0).map(([name]) => name)
  await writeDurably(journalOf(site), `${JSON.stringify({ ...recovery, done })}\n`)
}

function journalOf(site: Site): Path {
  return join(site.state, 'disaster-recovery.json')
}

/** Whether anything of a service is there to be lost. */
async function holdsData({ paths, sqlite }: Service): Promise<boolean> {
  for (const path of [...paths, ...sqlite]) {
    const stat = await lstatIfThere(path)
    if (!stat) continue
    const entries = stat.isDirectory() ? await readdir(path) : [path]
    if (entries.length > 0) return true
  }
  return false
}
