// Disaster recovery: every service brought back, in the order of restoreAfter, none stopped by another's failure.
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Iso, Path, Result } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { lstatIfThere, readIfThere, writeDurably } from '../host/files.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Snapshot } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { countable, isComplete, newestFirst, snapshotsOf } from '../snapshots/select.ts'
import { installIdIfThere, makeState, placeOf } from '../state/install.ts'
import { readJournal } from '../state/journal.ts'
import { readRecord } from '../state/records.ts'
import { type InPlaceOptions, planInPlace, restoreInPlace, resumeRestore } from './inplace.ts'

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
  host: string
  started: Iso
  choices: Choice[]
  /** Services that an earlier, interrupted part of this recovery brought back. */
  done: string[]
}

export interface RecoveryWish {
  host: string
  at: Date | null
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
      const upTo = countable(snapshotsOf(all, subject), subject).filter(({ time }) => wish.at === null || Date.parse(time) <= wish.at.getTime())
      const [newest] = newestFirst(upTo)
      const complete = newestFirst(upTo).find(isComplete)
      if (!newest) return skip('unknown-snapshot', `${name}: no snapshots on ${wish.host}${wish.at ? ' at that time or before it' : ''}`)
      if (origin !== null && !wish.overwrite && (await holdsData(service)))
        return skip(
          'protected',
          `${name}: it lives here (${origin.how} since ${origin.since.slice(0, 10)}): left alone; --overwrite restores it all the same`,
        )
      const note = complete === undefined ? ['only partial snapshots exist'] : complete === newest ? [] : [`a newer one of ${newest.time} is partial`]
      return { name, snapshot: complete ?? newest, skip: null, after, notes: note }
    }),
  )
  return { run, host: wish.host, started: site.now().toISOString(), choices, done: [] }
}

/** Carries it out, `jobs` services side by side. Never throws; a service whose predecessor failed isn't begun, and says so. */
export async function recover(site: Site, recovery: Recovery, jobs: number, options: InPlaceOptions): Promise<Result[]> {
  await makeState(site.state)
  const results = new Map<string, Result>()
  for (const name of recovery.done) results.set(name, resultFor(name, 'ok', 0, null))
  const waiting = recovery.choices.filter(({ name }) => !recovery.done.includes(name))
  const begun = new Set<string>()
  const pump = async (): Promise<void> => {
    for (;;) {
      const next = waiting.find(({ name, after }) => !begun.has(name) && after.every((other) => results.has(other)))
      if (!next) {
        if (waiting.every(({ name }) => begun.has(name))) return
        // Its predecessors are at work in another lane.
        await Promise.race(running)
        continue
      }
      begun.add(next.name)
      const work = recoverOne(site, recovery, next, results, options).then(async (result) => {
        results.set(next.name, result)
        await saveRecovery(site, recovery, results)
        running.delete(work)
      })
      running.add(work)
      await work
    }
  }
  const running = new Set<Promise<void>>()
  await saveRecovery(site, recovery, results)
  await Promise.all(Array.from({ length: Math.max(1, jobs) }, pump))
  const all = recovery.choices.map(({ name }) => results.get(name) as Result)
  if (all.every(({ exit, code }) => exit === 0 || code === 'protected')) await rm(journalOf(site), { force: true })
  return all
}

async function recoverOne(site: Site, recovery: Recovery, choice: Choice, results: Map<string, Result>, options: InPlaceOptions): Promise<Result> {
  const { name, snapshot, skip } = choice
  const blocker = choice.after.find((other) => results.get(other)?.exit !== 0)
  if (skip) return resultFor(name, skip.code === 'protected' ? 'skipped' : 'failed', skip.code === 'protected' ? 3 : 1, skip)
  if (blocker !== undefined) return resultFor(name, 'skipped', 1, { code: 'waits', message: `${name}: waits for ${blocker}, which isn't recovered` })
  if (options.signal.aborted) return resultFor(name, 'interrupted', 130, { code: 'interrupted', message: `${name}: not begun` })
  const begin = async (): Promise<Result> => {
    const planned = await planInPlace(site, name, snapshot as Snapshot, [], recovery.run, options.signal)
    return restoreInPlace(site, planned, [], options)
  }
  try {
    if (await readJournal(site.state, name)) return await resumeRestore(site, name, begin, options)
    return await begin()
  } catch (error) {
    const failure = asFailure(error)
    return { ...resultFor(name, failure.code === 'interrupted' ? 'interrupted' : 'failed', failure.exit, failure), snapshotId: snapshot?.id ?? null }
  }
}

function resultFor(name: string, outcome: Result['outcome'], exit: number, why: { code: string; message: string } | null): Result {
  return {
    name,
    outcome,
    exit,
    code: why?.code ?? null,
    message: why?.message ?? null,
    snapshotId: null,
    seconds: 0,
    downtimeSeconds: null,
    bytes: null,
  }
}

/** The recovery that was interrupted, with what it had done. @throws Failure `nothing-to-resume` */
export async function interruptedRecovery(site: Site): Promise<Recovery> {
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
