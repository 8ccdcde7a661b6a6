// What each step of a backup does.
import { mkdir, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { BackupStep, Handlers, Path } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { dumpers } from '../host/engines.ts'
import { isWithin, lstatIfThere, outermost, resolveLinks } from '../host/files.ts'
import { makeFrozenCopy, removeFrozenCopy } from '../host/frozen.ts'
import { runHook } from '../host/hooks.ts'
import { canMountPrivately, withPrivateMounts } from '../host/mounts.ts'
import { copyDatabase, otherName, sidecarSuffixes } from '../host/sqlite.ts'
import { type Watch, whileGrowing } from '../host/stall.ts'
import { afterStop, startUnits, stopUnits } from '../host/systemd.ts'
import type { Manifest, Service } from '../manifest/types.gen.ts'
import { escapePattern, excluded } from '../restic/patterns.ts'
import type { BackupSummary, Restic } from '../restic/types.ts'
import { hasShrunk, tags } from '../snapshots/select.ts'
import type { Run } from '../state/record.gen.ts'
import { noteProgress } from '../state/running.ts'
import { listed, shellWord, shortPath, withShortPaths } from '../text.ts'
import { privilegedFiles } from './privileged.ts'
import { type RepositoryState, saveSnapshot } from './repository-state.ts'

/** What the steps of a backup find out: the result, and the run's line in the record, are made from it. */
export interface Findings {
  /** Null until restic has made the snapshot. */
  summary: BackupSummary | null
  /** Each of them makes the run partial: what isn't in the snapshot though it should be, or data that has shrunk. */
  problems: { code: Code; message: string }[]
  /** When units were stopped (ms, as performance.now() has it), and for how long: null until they are started. */
  stopped: { at: number; seconds: number | null } | null
  /** The failure that ended the run. */
  failure: Failure | null
}

export function newFindings(): Findings {
  return { summary: null, problems: [], stopped: null, failure: null }
}

/** What the steps of one backup need. */
export interface Job {
  name: string
  service: Service
  state: Path
  restic: Restic
  manifest: Manifest
  /** Null: the repository couldn't be asked, and the plan saves nothing. */
  repositoryState: RepositoryState | null
  /** Descriptors that children keep open. */
  inheritFds: number[]
  findings: Findings
  /** The earlier run that the size is compared with. */
  baseline: Run | null
  /** The outcome so far, for postBackup. `failure`: that of the steps. */
  outcome(failure: Failure | null): string
  warn(code: Code, message: string): void
  output(line: string): void
}

/** A database, and the copy that restic saves in its place. */
interface DatabaseCopy {
  live: Path
  copy: Path
  /** Of the live file when it was copied. Null: copied from a frozen copy, which no application writes to. */
  identity: string | null
}

export function backupHandlers(job: Job): Handlers<BackupStep> {
  const copies: DatabaseCopy[] = []
  return {
    hook: {
      apply: async ({ when }, { signal, failure = null }) => {
        const name = when === 'pre' ? 'preBackup' : 'postBackup'
        const environment = when === 'pre' ? {} : { ATELIER_OUTCOME: job.outcome(failure), ATELIER_SNAPSHOT: job.findings.summary?.snapshotId ?? '' }
        const { [name]: script, hookTimeoutSec: timeoutSeconds } = job.service
        await runHook(script ?? '', { service: job.name, name, timeoutSeconds, signal, environment, output: job.output })
      },
    },
    stop: {
      apply: async ({ units }, { signal }) => {
        job.findings.stopped = { at: performance.now(), seconds: null }
        await stopUnits(job.name, units, { seconds: job.service.stopTimeoutSec, signal })
      },
    },
    start: {
      apply: async ({ units }, { failure }) => {
        const { stopped } = job.findings
        if (stopped === null || stopped.seconds !== null) return
        const isLast = failure !== undefined
        try {
          await startUnits(job.name, units, afterStop(failure))
        } catch (error) {
          // The frozen copies are saved all the same. The units are started again after the steps; if that fails too, the run fails.
          if (!isLast) return job.warn(asFailure(error).code, asFailure(error).message)
          stopped.seconds = secondsSince(stopped.at)
          throw error
        }
        stopped.seconds = secondsSince(stopped.at)
      },
    },
    dump: {
      apply: async ({ engine, databases, folder }, { signal }) => {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        // A failed dump ends the run: a snapshot without the dumps would look complete.
        await whileGrowing(folder, { ...growthOf(job), what: `the dump of ${databases.join(', ')}`, signal }, (signal) =>
          dumpers[engine](job.manifest, databases, folder, { signal, inheritFds: job.inheritFds }),
        ).catch(withPrefix(`${job.name}: no snapshot was made`))
      },
    },
    view: { apply: async (copy, { signal }) => makeFrozenCopy(copy, signal).catch(withPrefix(job.name)) },
    unview: { apply: async (copy) => removeFrozenCopy(copy) },
    copySqlite: {
      apply: async ({ database, from, to }, { signal }) => {
        const { real } = await resolveLinks(from)
        if (real === null) return // The snapshot step reports what is missing.
        await requireNamespaces(job.name)
        const live = (await resolveLinks(database)).real ?? real
        const other = await otherName(live)
        if (other !== null) {
          addProblem(
            job,
            'sqlite-other-name',
            `${database} isn't saved: ${other}, so its latest rows may be in a -wal file of another name. Declare the database under that name, or remove the link`,
          )
          return
        }
        await mkdir(dirname(to), { recursive: true, mode: 0o700 })
        const identity = real === live ? await identityOf(live) : null
        try {
          const { state, message } = await copyDatabase(real, to, { signal, inheritFds: job.inheritFds, stall: growthOf(job) })
          copies.push({ live, copy: to, identity })
          if (state === 'unknown') job.warn('sqlite-unchecked', `${database} is saved, but sqlite3 can't check it: ${message}`)
        } catch (error) {
          const failure = asFailure(error)
          if (!failure.code.startsWith('sqlite-')) withPrefix(job.name)(failure)
          await rm(to, { force: true })
          const older = failure.code === 'sqlite-corrupt' ? `; snapshots may hold an older one: atelier-backup list ${job.name}` : ''
          addProblem(job, failure.code, `${failure.message}${older}`)
        }
      },
    },
    snapshot: {
      apply: async (step, context) => {
        const { links, existing } = await resolveDeclared(job, step.paths)
        const databases = (await Promise.all(step.databases.map(resolveLinks))).flatMap(({ real }) => real ?? [])
        const uncopied = databases.filter((database) => !copies.some(({ live }) => live === database))
        const savable = existing.filter((path) => !uncopied.includes(path))
        if (savable.length === 0 && step.dumps === null)
          throw new Failure(
            'nothing-to-save',
            `${job.name}: no snapshot was made, because nothing could be read: ${job.findings.problems.map(({ message }) => message).join('; ')}`,
          )
        const sidecars = databases.flatMap(sidecarPatterns)
        const hidden = savable.find((path) => excluded([...step.exclude, ...sidecars], path))
        if (hidden !== undefined)
          throw new Failure(
            'excluded',
            excluded(sidecars, hidden)
              ? `${job.name}: ${hidden} is declared, but has the name of a file that SQLite keeps beside a declared database, and such files are not saved: rename it, or don't declare it`
              : `${job.name}: exclude leaves out ${hidden}, which paths or sqlite declare: narrow the pattern, or don't declare it`,
          )
        const paths = outermost([...links, ...savable, ...(step.dumps === null ? [] : [step.dumps])])
        const request = {
          signal: context.signal,
          inheritFds: job.inheritFds,
          paths,
          exclude: [...step.exclude, ...sidecars, ...uncopied.map(escapePattern), ...ownFolders(job.state, paths, step.dumps)],
          tags: job.findings.problems.length > 0 ? [...step.tags, tags.partial] : step.tags,
          host: job.manifest.host,
          // Frozen copies are mounted first: the copies of databases are mounted inside them.
          prefix: withPrivateMounts({ ...step.views, ...Object.fromEntries(copies.map(({ live, copy }) => [live, copy])) }),
          onProgress: (progress: object) => context.emit({ type: 'progress', ...progress } as Parameters<typeof context.emit>[0]),
        }
        job.findings.summary = await saveSnapshot(job.restic, job.repositoryState as RepositoryState, request)
        await requireNotReplaced(job, copies)
        await reportUnreadable(job)
        checkShrinkage(job)
        const privileged = await privilegedFiles(paths, request.exclude, { signal: context.signal, inheritFds: job.inheritFds })
        if (privileged.length > 0)
          job.warn(
            'special-files',
            `it holds what can make root of a user (${listed(privileged)}): restore in place and dr bring that back only where the same is there, or with --allow-privileged`,
          )
      },
    },
    unstage: { apply: async ({ folder }) => rm(folder, { recursive: true, force: true }) },
  }
}

function growthOf(job: Job): Pick<Watch, 'seconds' | 'onGrowth'> {
  return { seconds: job.service.stallTimeoutSec, onGrowth: () => noteProgress(job.state, job.name) }
}

function secondsSince(start: number): number {
  return Math.round(performance.now() - start) / 1000
}

/** A handler that throws the failure again, with `prefix` before its message. */
function withPrefix(prefix: string): (error: unknown) => never {
  return (error) => {
    const failure = asFailure(error)
    throw new Failure(failure.code, `${prefix}: ${failure.message}`, { cause: error })
  }
}

async function requireNamespaces(name: string): Promise<void> {
  if (await canMountPrivately()) return
  throw new Failure(
    'needs-root',
    `${name}: a live SQLite database is saved through a private mount namespace, which this process may not create: run this as root, not inside a restricted container`,
  )
}

/** Symbolic links on the way, and the real paths that exist. Reports each missing path: restic 0.18 skips it and exits 0. */
async function resolveDeclared(job: Job, declared: Path[]): Promise<{ links: Path[]; existing: Path[] }> {
  const found = await Promise.all(declared.map(resolveLinks))
  for (const [i, { real }] of found.entries()) if (real === null) addProblem(job, 'missing-path', `${declared[i]} doesn't exist`)
  return { links: found.flatMap(({ links }) => links), existing: found.flatMap(({ real }) => real ?? []) }
}

function addProblem(job: Job, code: Code, message: string): void {
  job.findings.problems.push({ code, message })
  job.warn(code, message)
}

function sidecarPatterns(database: Path): string[] {
  const escaped = escapePattern(database)
  return [...sidecarSuffixes.map((suffix) => escaped + suffix), `${escaped}-mj*`]
}

/** Patterns for folders of our own state, which isn't saved even where a service declares a folder around it. */
function ownFolders(state: Path, paths: Path[], dumps: Path | null): string[] {
  if (!paths.some((path) => path !== dumps && isWithin(state, path))) return []
  // The staging folder holds the dumps, which are saved.
  const folders = ['running', 'locks', 'cache', ...(dumps === null ? ['staging'] : [])]
  return folders.map((folder) => escapePattern(`${state}/${folder}`))
}

/**
 * Our copy is mounted over the database. If the application renames another file over it meanwhile, the mount goes, and restic reads that file
 * instead of the copy. The snapshot is then tagged as failed.
 * @throws Failure `sqlite-replaced`
 */
async function requireNotReplaced(job: Job, copies: DatabaseCopy[]): Promise<void> {
  for (const { live, identity } of copies) {
    if (identity === null || ((await lstatIfThere(live)) && (await identityOf(live)) === identity)) continue
    const made = job.findings.summary?.snapshotId ?? ''
    // The snapshot doesn't count as saved by this run.
    job.findings.summary = null
    const id = await job.restic.tag(made, [tags.failed], { inheritFds: job.inheritFds }).catch((error) => {
      job.warn('tag-failed', `snapshot ${made.slice(0, 8)} holds a replaced database and can't be tagged as failed: ${asFailure(error).message}`)
      return made
    })
    throw new Failure(
      'sqlite-replaced',
      `${job.name}: ${live} was replaced by another file while it was saved: snapshot ${id.slice(0, 8)} doesn't count. Run the backup again at a time when the application doesn't replace the file`,
    )
  }
}

/** Device, inode and birth time: a filesystem may give a new file the inode number of one just removed. */
async function identityOf(path: Path): Promise<string> {
  const { dev, ino, birthtimeNs } = await stat(path, { bigint: true })
  return `${dev}:${ino}:${birthtimeNs}`
}

/** restic names the files that it couldn't read once the snapshot exists, so the tag `partial` is added afterwards. */
async function reportUnreadable(job: Job): Promise<void> {
  const { summary } = job.findings
  if (!summary || summary.unreadable.length === 0) return
  const isTagged = job.findings.problems.length > 0
  for (const { path, message } of summary.unreadable.slice(0, 20))
    addProblem(job, 'unreadable', `${shortPath(path)} was not read: ${withShortPaths(message)}${remedyFor(path, message)}`)
  const further = summary.unreadableCount - 20
  if (further > 0) job.warn('unreadable', `${further} further files were not read`)
  if (isTagged) return
  try {
    summary.snapshotId = await job.restic.tag(summary.snapshotId, [tags.partial], { inheritFds: job.inheritFds })
  } catch (error) {
    job.warn('tag-failed', `snapshot ${summary.snapshotId.slice(0, 8)} can't be tagged as partial: ${asFailure(error).message}`)
  }
}

/** What to type about an entry that can't be looked at; "" if the message says enough. */
function remedyFor(path: Path, message: string): string {
  if (/transport endpoint is not connected|stale (NFS )?file handle/i.test(message))
    return `; its mount is dead: umount -l ${shellWord(shortPath(path))}, then mount it again`
  if (/input\/output error|structure needs cleaning|bad message/i.test(message))
    return '; the disk is damaged: see dmesg, then check the filesystem with fsck'
  if (/file name too long/i.test(message)) return '; its path is too long: shorten or remove folders above it, or exclude one'
  return ''
}

/** A large loss of data makes the run partial, so that a person looks. The snapshot holds all there is, and isn't tagged. */
function checkShrinkage(job: Job): void {
  const { baseline, service } = job
  const { summary } = job.findings
  if (!summary || !baseline || !hasShrunk(summary, baseline, service.shrinkThreshold)) return
  addProblem(
    job,
    'shrunk',
    `it shrank from ${baseline.files} files and ${baseline.bytes} bytes to ${summary.files} and ${summary.bytes}: is something missing? If the new size is right: atelier-backup adopt ${job.name}`,
  )
}
