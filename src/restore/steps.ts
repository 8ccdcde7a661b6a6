// What each step of a restore in place does, and how it is undone.
import { basename, dirname, join } from 'node:path'
import type { Context, Handlers, Owners, Path, RestoreStep, StagedFolder } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import type { Limiter } from '../execute.ts'
import { type FileHandle, mkdir, rm } from '../fs.ts'
import { inside, insideFd3, isThere, isUnseen, lstatIfThere, openDirNoFollow, withParentFd } from '../host/files.ts'
import { attributesOf, makeParents, nearestFolder, removeFolder, setAttributes, setTime } from '../host/folders.ts'
import { runHook } from '../host/hooks.ts'
import { renumber } from '../host/owners.ts'
import { dumpFiles, type PostgresServer } from '../host/postgres.ts'
import { createRoles, loadDatabase } from '../host/postgres-load.ts'
import { run } from '../host/shell.ts'
import { reserveAt, whileSpaceLeft } from '../host/space.ts'
import { checkDatabase, isDatabase, sidecarsOf } from '../host/sqlite.ts'
import { afterStop } from '../host/systemd.ts'
import type { Service } from '../manifest/types.gen.ts'
import type { Progress, Restic } from '../restic/types.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'
import { withLoadLock } from '../state/lock.ts'
import { listed, shortPath, withShortPaths } from '../text.ts'
import { identifyDatabases, whileServerHasSpace } from './databases.ts'
import { restoreDeep } from './deep.ts'
import { swapBack, swapIn } from './exchange.ts'
import { requireMountsUnchanged } from './mounts.ts'
import { newlyStaged, requirePrivileged } from './privileged.ts'
import { copyAside, identifyMoves } from './swap.ts'
import { requireUnused, stopAndMaskUnits, unmaskAndStartUnits } from './units.ts'

/** What the steps of a restore share: given to them, or found out by them. */
export interface RestoreJob {
  name: string
  service: Pick<Service, 'healthCheck' | 'hookTimeoutSec' | 'stopTimeoutSec'>
  restic: Restic
  state: Path
  postgresql: PostgresServer
  journal: RestoreJournal
  /** Descriptors that child processes inherit: the service's lock. */
  inheritFds: number[]
  output(line: string): void
  inTurn: Limiter
  bytes: number
  /** `since`: when the units were stopped, in ms of performance.now(). `seconds`: for how long, once they run again. */
  downtime: { since: number; seconds: number | null } | null
  /** Which data is live. `mixed`: the swap began and was neither completed nor undone; no unit may start with such data. */
  live: 'untouched' | 'mixed' | 'new' | 'old'
}

export function restoreHandlers(job: RestoreJob): Handlers<RestoreStep> {
  const { name } = job
  return {
    stage: {
      apply: async ({ snapshot, paths, folders, owners, in: folder }, { signal, emit }) => {
        await withParentFd(folder, (at) => mkdir(at, { mode: 0o700 }))
        const stage = await openDirNoFollow(folder)
        try {
          const target = inside(stage, 'new')
          await mkdir(target, { mode: 0o700 })
          const syncWritten = syncInBackground(folder, signal)
          const onProgress = (progress: Progress) => {
            syncWritten(progress.doneBytes)
            emit({ type: 'progress', ...progress })
          }
          // restic restores through the inherited descriptor: the owner of the folder above can't replace the staging folder.
          const inheritFds = [stage.fd, ...job.inheritFds]
          const full = (_: Path, cause: unknown) =>
            new Failure(
              'disk-full',
              `${name}: no space left on the disk of ${folder}, where the data is restored beside the old: make room, then try again`,
              { cause },
            )
          const restore = (signal: AbortSignal) =>
            restoreDeep(job.restic, { snapshot, target: insideFd3('new'), include: paths, signal, inheritFds, onProgress }, () =>
              openDirNoFollow('new', stage),
            )
          // For restic, no --include means everything.
          if (paths.length > 0)
            job.bytes += (
              await job
                .inTurn(async () => whileSpaceLeft({ folders: [folder], reserve: await reserveAt(folder), full }, signal, restore))
                .catch(byName(folder))
            ).bytes
          // restic exits 0 when an include matches nothing.
          for (const path of paths) {
            if (!(await lstatIfThere(join(target, path)))) throw new Failure('unknown-path', `${name}: restic didn't restore ${path}`)
          }
          if (owners.users.length + owners.groups.length > 0) await renumber(target, owners)
          await stageFolders(target, join(folder, 'new'), folders, owners)
          await checkPrivileged(job, stage, signal, emit)
        } finally {
          await stage.close()
        }
      },
      // Only `new`, not the folder: the undone swap may have kept data beside it. What can't be removed is recorded when the journal closes.
      undo: async ({ in: folder }) => removeFolder(join(folder, 'new')).catch(() => {}),
    },
    verify: {
      apply: async ({ databases }, { signal, emit }) => {
        for (const database of databases) {
          const { state, message } = await checkDatabase(database, { signal, inheritFds: job.inheritFds })
          const path = database.replace(/^.*?\/\.atelier-backup-[^/]*\/new(?=\/)/s, '')
          const warn = (code: Code, text: string) => emit({ type: 'warning', code, message: `${name}: the database ${path} ${text} (${message})` })
          if (state === 'unknown') warn('sqlite-unchecked', "is restored, but sqlite3 can't tell whether it is whole")
          else if (state === 'corrupt' && job.journal.corrupt) warn('sqlite-corrupt', 'is corrupt, and restored as allowed')
          else if (state === 'corrupt')
            // This sqlite3 may check more than the one that was there when it was saved, and this may be the only copy.
            throw new Failure(
              'sqlite-corrupt',
              `${name}: the database ${path} of this snapshot is corrupt (${message}): restore an older snapshot, or this one as it is, with --allow-corrupt`,
            )
        }
      },
    },
    // No undo: the new databases are in the journal, and are dropped when it closes.
    loadPostgres: {
      apply: async ({ from, databases, tablespaces, data }, { signal, emit }) => {
        const { inheritFds } = job
        await whileServerHasSpace(name, data, job.postgresql, { signal, inheritFds }, async (signal) => {
          const options = { signal, inheritFds }
          await createRoles(job.postgresql, join(from, dumpFiles.globals), options)
          for (const { database, fresh } of databases) {
            const load = { database, fresh, dump: join(from, dumpFiles.of(database)), tablespaces }
            const loaded = await job.inTurn(() => withLoadLock(job.state, () => loadDatabase(job.postgresql, load, options)))
            const { unready, ...size } = loaded
            emit({ type: 'loaded', database, ...size })
            for (const what of unready) emit({ type: 'warning', code: 'restore-lacks', message: `${name}: ${database} is loaded, but ${what}` })
          }
        })
      },
    },
    flush: {
      apply: async ({ folder }) => {
        // restic doesn't sync the files it restores. Without this, renamed files could be empty after a power cut.
        const { exit, stderr } = await run(['sync', '--file-system', '--', folder])
        if (exit !== 0) throw new Failure('flush-failed', `${name}: ${folder} can't be flushed to disk: ${stderr.trim()}`)
      },
    },
    stop: {
      apply: async ({ units }, { signal }) => {
        job.downtime = { since: performance.now(), seconds: null }
        await stopAndMaskUnits(job.state, job.journal, units, { seconds: job.service.stopTimeoutSec, signal })
      },
    },
    carry: {
      apply: async ({ entries }, { signal, emit }) => {
        const carryOne = async (from: Path, to: Path) => {
          if ((await isThere(to)) || !(await isThere(from))) return
          const folder = await nearestFolder(dirname(to))
          if (!(await lstatIfThere(folder))?.isDirectory()) {
            const message = `${name}: ${from}, which backups exclude, isn't carried over, because a folder above it is a file in the snapshot: it stays with the old data`
            emit({ type: 'warning', code: 'not-carried', message })
            return
          }
          const { mtime } = await attributesOf(folder)
          // Folders above the excluded entry may be missing in the snapshot.
          await makeParents(to, from, folder)
          await carry(name, from, to, { signal, inheritFds: job.inheritFds }, emit)
          // The copy changed the folder's time: it gets the snapshot's again.
          await setTime(folder, mtime)
        }
        for (const { from, to } of entries)
          await carryOne(from, to).catch((error) => {
            if (!isUnseen(error)) throw error
            const message = `${name}: ${shortPath(from)}, which backups exclude, isn't carried over (${error.code}): it stays with the old data`
            emit({ type: 'warning', code: 'not-carried', message })
          })
      },
    },
    swap: {
      apply: async ({ moves, databases }) => {
        const { journal } = job
        await requireMountsUnchanged(name, moves)
        await requireUnused(name, moves)
        journal.moves = await identifyMoves(moves)
        journal.databases = await identifyDatabases(job.postgresql, databases)
        // The journal names the copies before they are made, so that a crash here leaves nothing unknown.
        if (moves.some(({ copied }) => copied)) await writeJournal(job.state, journal)
        await copyAside(journal.moves, 'old')
        await swapIn(job.state, job.postgresql, journal, () => {
          job.live = 'mixed'
        })
        job.live = 'new'
      },
      undo: async () => {
        if (job.live === 'untouched') return
        job.live = 'mixed'
        await swapBack(job.state, job.postgresql, job.journal, () => {
          job.live = 'old'
        })
      },
    },
    start: {
      apply: async ({ units }, { failure }) => {
        if (job.live === 'mixed')
          throw new Failure('not-started', `${name}: ${units.join(', ')} stay stopped, because the data is partly old and partly new`)
        await unmaskAndStartUnits(job.journal, units, afterStop(failure))
        if (job.downtime) job.downtime.seconds ??= (performance.now() - job.downtime.since) / 1000
      },
      undo: async ({ units }) => {
        if (job.downtime) job.downtime.seconds = null
        await stopAndMaskUnits(job.state, job.journal, units, { seconds: job.service.stopTimeoutSec })
      },
    },
    health: {
      apply: async (_, { signal }) => checkHealth(job, signal),
    },
  }
}

/** Before anything live is touched. @throws Failure `special-files` */
async function checkPrivileged({ name, journal }: RestoreJob, stage: FileHandle, signal: AbortSignal, emit: Context['emit']): Promise<void> {
  const found = await newlyStaged(stage, signal)
  requirePrivileged(name, found, journal.privileged ?? [])
  if (found.length > 0) emit({ type: 'warning', code: 'special-files', message: `${name}: restores privileged files, as allowed: ${listed(found)}` })
}

/**
 * restic doesn't restore the attributes of folders above its includes. Innermost first: a new entry changes the time of its folder.
 * `target` and `path` are the same folder: by its descriptor for mkdir, which follows links, and by its path for `setAttributes`, which doesn't.
 */
async function stageFolders(target: Path, path: Path, folders: StagedFolder[], owners: Owners): Promise<void> {
  for (const attributes of [...folders].sort((a, b) => b.path.length - a.path.length)) {
    await mkdir(join(target, attributes.path), { recursive: true, mode: 0o700 })
    const { users, groups } = attributes.bare ? { users: [], groups: [] } : owners
    const [uid, gid] = [new Map(users).get(attributes.uid), new Map(groups).get(attributes.gid)]
    await setAttributes(join(path, attributes.path), { ...attributes, uid: uid ?? attributes.uid, gid: gid ?? attributes.gid })
  }
}

/**
 * Syncs the filesystem in the background each time another 256 MiB were restored, so that the `flush` step has little left to do. The kernel
 * alone starts writing after 30 seconds, or when a tenth of the memory is dirty.
 */
function syncInBackground(folder: Path, signal: AbortSignal): (bytes: number) => void {
  let synced = 0
  let busy = false
  return (bytes) => {
    if (busy || signal.aborted || bytes - synced < 256 * 1024 * 1024) return
    synced = bytes
    busy = true
    const done = () => {
      busy = false
    }
    // An error here isn't reported: the `flush` step finds it.
    run(['sync', '--file-system', '--', folder], { signal }).then(done, () => {})
  }
}

/** Puts the folder's path into restic's messages, which name it by the descriptor. */
function byName(folder: Path): (error: unknown) => never {
  return (error) => {
    const { code, message, exit } = asFailure(error)
    throw new Failure(code, message.replaceAll(insideFd3(''), `${folder}/`), { cause: error, exit })
  }
}

/** What cp says of entries that can't be read, and of nothing else. */
const damaged =
  /: (Input\/output error|Structure needs cleaning|Bad message|Transport endpoint is not connected|Stale file handle|File name too long)$/

/** Copies an entry through the open descriptors of both folders: the service's user may own the live folder, and could replace it. */
async function carry(
  name: string,
  from: Path,
  to: Path,
  options: { signal: AbortSignal; inheritFds: number[] },
  emit: Context['emit'],
): Promise<void> {
  // A database is copied with its sidecars, which hold committed rows. The snapshot's sidecars belong to another database.
  const database = await isDatabase(from)
  for (const stale of database ? await sidecarsOf(to) : []) await withParentFd(stale, (at) => rm(at))
  const along = [from, ...(database ? await sidecarsOf(from) : [])].map((path) => insideFd3(basename(path)))
  const { exit, stderr, interrupted } = await withParentFd(from, (_, source) =>
    withParentFd(to, (_, target) => {
      const argv = ['cp', '--archive', '--reflink=auto', '--target-directory=/proc/self/fd/4', '--', ...along]
      return run(argv, { signal: options.signal, inheritFds: [source.fd, target.fd, ...options.inheritFds] })
    }),
  )
  if (interrupted) throw new Failure('interrupted', `${name}: interrupted while ${from} was carried over`)
  // cp has copied the rest.
  if (
    exit !== 0 &&
    stderr
      .trim()
      .split('\n')
      .every((line) => damaged.test(line))
  )
    return emit({
      type: 'warning',
      code: 'not-carried',
      message: `${name}: of ${shortPath(from)}, which backups exclude, a part can't be read and isn't carried over: it stays with the old data (${withShortPaths(stderr.trim().split('\n')[0] ?? '')})`,
    })
  if (exit !== 0)
    throw new Failure(
      /No space left/.test(stderr) ? 'disk-full' : 'carry-failed',
      `${name}: ${from}, which backups exclude, can't be carried over: ${stderr.trim().split('\n')[0]}`,
    )
}

export async function checkHealth(
  { name, service, output }: Pick<RestoreJob, 'name' | 'output'> & { service: Pick<Service, 'healthCheck' | 'hookTimeoutSec'> },
  signal: AbortSignal,
): Promise<void> {
  if (service.healthCheck !== null)
    await runHook(service.healthCheck, { service: name, name: 'healthCheck', timeoutSeconds: service.hookTimeoutSec, signal, output })
}
