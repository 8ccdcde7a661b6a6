// What each step of a restore in place does, and how it is taken back.
import { mkdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Context, Handlers, Move, Path, RestoreStep, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { lstatIfThere } from '../host/files.ts'
import { runHook } from '../host/hooks.ts'
import { dumpFiles, type PostgresServer } from '../host/postgres.ts'
import { createRoles, loadDatabase } from '../host/postgres-load.ts'
import { usersOf } from '../host/processes.ts'
import { run } from '../host/shell.ts'
import { checkDatabase, sidecarsOf } from '../host/sqlite.ts'
import { masksFor, startUnits, stopAndMask, unmaskUnits } from '../host/systemd.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Restic } from '../restic/types.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'
import { exchangeBackward, exchangeForward, identifyDatabases } from './databases.ts'
import { requireNoMount } from './look.ts'
import { identifyMoves, isDatabase, makeParents, nearestFolder, swapBackward, swapForward } from './swap.ts'

/** What a restore knows, and finds out on its way. */
export interface RestoreJob {
  name: string
  service: Pick<Service, 'healthCheck' | 'hookTimeoutSec'>
  restic: Restic
  state: Path
  postgresql: PostgresServer
  journal: RestoreJournal
  /** Descriptors that children keep open. */
  hold: number[]
  output(line: string): void
  bytes: number
  /** Since the units were stopped; `seconds` once they run again. */
  downtime: { since: number; seconds: number | null } | null
  /** What is live. Mixed: the swap was begun, and neither ended nor taken back; no unit may see that. */
  live: 'untouched' | 'mixed' | 'new' | 'old'
}

export function restoreHandlers(job: RestoreJob): Handlers<RestoreStep> {
  const { name } = job
  return {
    stage: {
      apply: async ({ snapshot, paths, in: folder }, { signal, emit }) => {
        await mkdir(dirname(folder), { recursive: true, mode: 0o700 })
        await mkdir(folder, { mode: 0o700 })
        const target = join(folder, 'new')
        await mkdir(target, { mode: 0o700 })
        const onProgress = (progress: object) => emit({ type: 'progress', ...progress } as Parameters<Context['emit']>[0])
        const summary = await job.restic.restore({ snapshot, target, include: paths, signal, hold: job.hold, onProgress })
        job.bytes += summary.bytes
        // restic exits 0 when an include matches nothing.
        for (const path of paths) {
          if (!(await lstatIfThere(join(target, path)))) throw new Failure('unknown-path', `${name}: ${path} didn't come out of the snapshot`)
        }
      },
      // Not the folder itself: beside it stands what the undone swap kept aside.
      undo: async ({ in: folder }) => removeFolder(join(folder, 'new')),
    },
    verify: {
      apply: async ({ databases }, { signal }) => {
        for (const database of databases) {
          const { state, message } = await checkDatabase(database, { signal, hold: job.hold })
          if (state === 'corrupt')
            throw new Failure('sqlite-corrupt', `${name}: the database ${database} of this snapshot is corrupt (${message}): try an older one`)
        }
      },
    },
    // What it makes is in the journal: it goes when that is settled.
    loadPostgres: {
      apply: async ({ from, databases, tablespaces }, { signal, emit }) => {
        const options = { signal, hold: job.hold }
        await createRoles(job.postgresql, join(from, dumpFiles.globals), options)
        for (const { database, fresh } of databases) {
          const load = { database, fresh, dump: join(from, dumpFiles.of(database)), tablespaces }
          emit({ type: 'loaded', database, ...(await loadDatabase(job.postgresql, load, options)) })
        }
      },
    },
    flush: {
      apply: async ({ folder }) => {
        // restic doesn't sync what it restores: renamed before this, a power cut leaves right names and empty files.
        const { exit, stderr } = await run(['sync', '--file-system', '--', folder])
        if (exit !== 0) throw new Failure('flush-failed', `${name}: ${folder} can't be brought to disk: ${stderr.trim()}`)
      },
    },
    stop: {
      apply: async ({ units }) => {
        job.downtime = { since: performance.now(), seconds: null }
        await closeUnits(job.state, job.journal, units)
      },
    },
    carry: {
      apply: async ({ entries }, { signal, emit }) => {
        for (const { from, to } of entries) {
          if ((await lstatIfThere(to)) || !(await lstatIfThere(from))) continue
          const folder = await nearestFolder(dirname(to))
          if (!(await lstatIfThere(folder))?.isDirectory()) {
            const message = `${name}: ${from}, which backups exclude, isn't carried over, for it stood below what is a file in the snapshot: it stays with the old data`
            emit({ type: 'warning', code: 'not-carried', message })
            continue
          }
          const { mtimeNs } = await stat(folder, { bigint: true })
          // The folders above it may have been made since.
          await makeParents(to, from, folder)
          // A database comes with its own sidecars, which hold committed rows; what the snapshot has beside it belongs to another.
          const database = await isDatabase(from)
          for (const stale of database ? await sidecarsOf(to) : []) await rm(stale)
          const along = database ? await sidecarsOf(from) : []
          const argv = ['cp', '--archive', '--reflink=auto', `--target-directory=${dirname(to)}`, '--', from, ...along]
          const { exit, stderr, interrupted } = await run(argv, { signal, hold: job.hold })
          if (interrupted) throw new Failure('interrupted', `${name}: interrupted while ${from} was carried over`)
          if (exit !== 0)
            throw new Failure(
              /No space left/.test(stderr) ? 'disk-full' : 'carry-failed',
              `${name}: ${from}, which backups exclude, can't be carried over: ${stderr.trim().split('\n')[0]}`,
            )
          // The folder's own time is the snapshot's. Node's utimes would round it.
          await run(['touch', `--date=@${mtimeNs / 1_000_000_000n}.${String(mtimeNs % 1_000_000_000n).padStart(9, '0')}`, '--', folder], {})
        }
      },
    },
    swap: {
      apply: async ({ moves, databases }) => {
        const { journal } = job
        for (const { live } of moves) await requireNoMount(name, live)
        await requireUnused(name, moves)
        journal.moves = await identifyMoves(moves)
        journal.databases = await identifyDatabases(job.postgresql, databases)
        job.live = 'mixed'
        await bringForward(job.state, job.postgresql, journal)
        job.live = 'new'
      },
      undo: async () => {
        if (job.live === 'untouched') return
        job.live = 'mixed'
        await takeBack(job.state, job.postgresql, job.journal)
        job.live = 'old'
      },
    },
    start: {
      apply: async ({ units }) => {
        if (job.live === 'mixed') throw new Failure('not-started', `${name}: ${units.join(', ')} stay stopped: its data is partly old and partly new`)
        await openUnits(job.journal, units)
        if (job.downtime) job.downtime.seconds ??= (performance.now() - job.downtime.since) / 1000
      },
      undo: async ({ units }) => {
        if (job.downtime) job.downtime.seconds = null
        await closeUnits(job.state, job.journal, units)
      },
    },
    health: {
      apply: async (_, { signal }) => checkHealth(job, signal),
    },
  }
}

/** Stops and masks units; the journal knows the masks before they are there. */
export async function closeUnits(state: Path, journal: RestoreJournal, units: Unit[]): Promise<void> {
  journal.masked = [...new Set([...journal.masked, ...(await masksFor(units))])]
  await writeJournal(state, journal)
  await stopAndMask(journal.service, units, journal.masked)
}

/** Takes our masks away, and starts units. */
export async function openUnits({ service, masked }: RestoreJournal, units: Unit[]): Promise<void> {
  await unmaskUnits(masked)
  await startUnits(service, units)
}

/** @throws Failure `in-use`: who has a file open would go on with the old data */
export async function requireUnused(name: string, moves: Move[]): Promise<void> {
  const paths = moves.map(({ live }) => live)
  let users = await usersOf(paths)
  // Who only looks in is gone in a moment.
  for (let left = 5; left > 0 && users.length > 0; left--) {
    await sleep(400)
    users = await usersOf(paths)
  }
  if (users.length === 0) return
  const words = users.slice(0, 3).map(({ pid, command, path }) => `${command} (pid ${pid}) has ${path} open`)
  throw new Failure('in-use', `${name}: ${words.join(', ')}: end it, or leave that folder, and try again`)
}

/**
 * Makes the new data live, from wherever that was interrupted. The databases come first: their exchange is the one that others can hinder,
 * and from then on the rest needs no server, as when a host boots.
 */
export async function bringForward(state: Path, server: PostgresServer, journal: RestoreJournal): Promise<void> {
  if (journal.phase !== 'swapping') {
    if (journal.databases.length > 0) {
      journal.phase = 'exchanging'
      await exchangeForward(state, server, journal)
    }
    journal.phase = 'swapping'
    await writeJournal(state, journal)
  }
  await swapForward(journal.moves)
}

/** Puts the old data back. What was staged is of no use any more then: to go on means to begin anew. */
export async function takeBack(state: Path, server: PostgresServer, journal: RestoreJournal): Promise<void> {
  await swapBackward(journal.moves)
  if (journal.databases.length > 0) {
    journal.phase = 'exchanging'
    await writeJournal(state, journal)
    await exchangeBackward(server, journal.databases)
  }
  journal.phase = 'staging'
  await writeJournal(state, journal)
}

export async function checkHealth({ name, service, output }: Pick<RestoreJob, 'name' | 'service' | 'output'>, signal: AbortSignal): Promise<void> {
  if (service.healthCheck !== null)
    await runHook(service.healthCheck, { service: name, name: 'healthCheck', timeoutSeconds: service.hookTimeoutSec, signal, output })
}

/** Removes a folder that restores made, never across a mount. */
export async function removeFolder(folder: Path): Promise<void> {
  const { exit, stderr } = await run(['rm', '--recursive', '--force', '--one-file-system', '--', folder])
  if (exit !== 0) throw new Failure('remove-failed', `${folder} can't be removed: ${stderr.trim().split('\n')[0]}`)
}
