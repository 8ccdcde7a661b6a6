// What each step of a backup does.
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BackupStep, Handlers, Path, Unit } from '../core.ts'
import { asFailure, type Code, Failure } from '../errors.ts'
import { type FileHandle, lstat, mkdir, rm } from '../fs.ts'
import { dumpers } from '../host/engines.ts'
import { foreignFolder, freeBytes, isWithin, outermost, resolveOwnLinks, withParentFd } from '../host/files.ts'
import { removeFolder } from '../host/folders.ts'
import { makeFrozenCopy, removeFrozenCopy } from '../host/frozen.ts'
import { runHook } from '../host/hooks.ts'
import { canMountPrivately, missingAround, missingMounts, type SealedMounts, sealedMounts, withPrivateMounts } from '../host/mounts.ts'
import { claimFile, claimRoom, reserveAt, whileSpaceLeft } from '../host/space.ts'
import { copyDatabase, holdDatabase, isAtPath, otherName, sidecarSuffixes, sidecarsOf } from '../host/sqlite.ts'
import { type Watch, whileGrowing } from '../host/stall.ts'
import { afterStop, requireRunning, startUnits, stopUnits } from '../host/systemd.ts'
import type { Manifest, Service } from '../manifest/types.gen.ts'
import { escapePattern, excluded } from '../restic/patterns.ts'
import type { BackupSummary, Restic } from '../restic/types.ts'
import { hasShrunk, tags } from '../snapshots/select.ts'
import type { Run } from '../state/record.gen.ts'
import { noteProgress } from '../state/running.ts'
import { listed, shellWord, shortPath, withShortPaths } from '../text.ts'
import { bytesToCopy } from './look.ts'
import { privilegedFiles } from './privileged.ts'
import { type RepositoryState, saveSnapshot } from './repository-state.ts'
import { type Expected, expectedAt, missedBy } from './verify.ts'

/** What the steps of a backup find out: the result, and the run's line in the record, are made from it. */
export interface Findings {
  /** Null until restic has made the snapshot. */
  summary: BackupSummary | null
  /** Each of them makes the run partial: what isn't in the snapshot though it should be, or data that has shrunk. */
  problems: { code: Code; message: string }[]
  /** When units were stopped (ms, as performance.now() has it), and for how long: null until they are started. */
  stopped: { at: number; seconds: number | null } | null
  /** The units that ran when others were stopped: they must run at the end. */
  ran: Unit[]
  /** The failure that ended the run. */
  failure: Failure | null
}

export function newFindings(): Findings {
  return { summary: null, problems: [], stopped: null, ran: [], failure: null }
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
  /** The live file, held until the upload has ended. Null: copied from a frozen copy, which no application writes to. */
  held: FileHandle | null
}

export function backupHandlers(job: Job): Handlers<BackupStep> {
  const copies: DatabaseCopy[] = []
  // Databases that can't be copied: each is saved as the file that it is, with its sidecars. It may be all that there is.
  const asFiles = new Map<Path, Path[]>()
  let claim: Path | null = null
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
        if (stopped === null) return
        job.findings.ran = units
        const isLast = failure !== undefined
        // Started before the upload: do they still run at its end?
        if (stopped.seconds !== null) return requireRunning(job.name, units, false)
        try {
          await startUnits(job.name, units, afterStop(failure))
        } catch (error) {
          // The frozen copies are saved all the same. The units are started again after the steps; if that fails too, the run fails.
          if (!isLast) return job.warn(asFailure(error).code, asFailure(error).message)
          stopped.seconds = secondsSince(stopped.at)
          throw error
        }
        stopped.seconds = secondsSince(stopped.at)
        if (!isLast) return
        // A program that can't start, with Type=simple, has begun and ends at once.
        await sleep(300)
        await requireRunning(job.name, units)
      },
    },
    dump: {
      apply: async ({ engine, databases, folder }, { signal }) => {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        // A failed dump ends the run: a snapshot without the dumps would look complete.
        const lacking = await whileGrowing(folder, { ...growthOf(job), what: `the dump of ${databases.join(', ')}`, signal }, (signal) =>
          whileRoom(folder, 'the dump', signal, (signal) => dumpers[engine](job.manifest, databases, folder, { signal, inheritFds: job.inheritFds })),
        ).catch(withPrefix(`${job.name}: no snapshot was made`))
        for (const message of lacking) job.warn('restore-lacks', message)
      },
    },
    view: { apply: async (copy, { signal }) => makeFrozenCopy(copy, signal).catch(withPrefix(job.name)) },
    unview: { apply: async (copy) => removeFrozenCopy(copy) },
    copySqlite: {
      apply: async ({ database, from, to }, { signal }) => {
        const { real } = await resolveOwnLinks(from)
        if (real === null) return // The snapshot step reports what is missing.
        await requireNamespaces(job.name)
        const live = (await resolveOwnLinks(database)).real ?? real
        let held: FileHandle | null = null
        try {
          held = await holdDatabase(real)
          const other = await otherName(live)
          if (other !== null)
            throw new Failure(
              'sqlite-other-name',
              `${database} isn't saved: ${other}, so its latest rows may be in a -wal file of another name. Declare the database under that name, or remove the link`,
            )
          const folder = dirname(to)
          await mkdir(folder, { recursive: true, mode: 0o700 })
          if (claim === null) await claimCopies(job, folder)
          claim = join(folder, claimFile)
          const copying = held
          const { state, message } = await whileRoom(folder, `the copy of ${database}`, signal, (signal) =>
            copyDatabase(copying, real, to, { signal, inheritFds: job.inheritFds, stall: growthOf(job) }),
          )
          copies.push({ live, copy: to, held: real === live ? held : null })
          if (real === live) held = null
          if (state === 'unknown') job.warn('sqlite-unchecked', `${database} is saved, but sqlite3 can't tell whether it is whole: ${message}`)
          if (state === 'corrupt')
            addProblem(job, 'sqlite-corrupt', `the database ${database} is corrupt, and saved as it is: ${message}${olderOf(job)}`)
        } catch (error) {
          const failure = asFailure(error)
          if (!failure.code.startsWith('sqlite-')) withPrefix(job.name)(failure)
          await rm(to, { force: true })
          const isSaved = held !== null && savedAsFile.includes(failure.code)
          if (isSaved)
            asFiles.set(
              live,
              (await sidecarsOf(real)).map((path) => live + path.slice(real.length)),
            )
          const how = isSaved ? '; the file itself is saved' : ''
          addProblem(job, failure.code, `${failure.message}${how}${failure.code === 'sqlite-corrupt' ? olderOf(job) : ''}`)
        } finally {
          await held?.close()
        }
      },
    },
    snapshot: {
      apply: async (step, context) => {
        if (claim !== null) await rm(claim, { force: true })
        const { links, existing } = await resolveDeclared(job, step)
        const databases = (await Promise.all(step.databases.map(resolveOwnLinks))).flatMap(({ real }) => real ?? [])
        const uncopied = databases.filter((database) => !asFiles.has(database) && !copies.some(({ live }) => live === database))
        const savable = existing.filter((path) => !uncopied.includes(path))
        if (savable.length === 0 && step.dumps === null)
          throw new Failure(
            'nothing-to-save',
            `${job.name}: no snapshot was made, because nothing could be read: ${job.findings.problems.map(({ message }) => message).join('; ')}`,
          )
        const sidecars = databases.filter((database) => !asFiles.has(database)).flatMap(sidecarPatterns)
        const hidden = savable.find((path) => excluded([...step.exclude, ...sidecars], path))
        if (hidden !== undefined)
          throw new Failure(
            'excluded',
            excluded(sidecars, hidden)
              ? `${job.name}: ${hidden} is declared, but has the name of a file that SQLite keeps beside a declared database, and such files are not saved: rename it, or don't declare it`
              : `${job.name}: exclude leaves out ${hidden}, which paths or sqlite declare: narrow the pattern, or don't declare it`,
          )
        const beside = [...asFiles.values()].flat()
        const paths = outermost([...links, ...savable, ...beside, ...(step.dumps === null ? [] : [step.dumps])])
        const isTagged = job.findings.problems.length > 0
        const expected = await expectedOf(savable, copies)
        const replaced = await replacedBefore(copies)
        const over = copies.filter(({ live }) => !replaced.includes(live)).map(({ live, copy }) => [live, copy])
        const sealed = await mountsToSeal(job, savable)
        const request = {
          signal: context.signal,
          inheritFds: job.inheritFds,
          paths,
          exclude: [...step.exclude, ...sidecars, ...uncopied.map(escapePattern), ...ownFolders(job.state, paths, step.dumps)],
          tags: isTagged ? [...step.tags, tags.partial] : step.tags,
          host: job.manifest.host,
          // Frozen copies are mounted first: the copies of databases are mounted inside them.
          prefix: withPrivateMounts({ ...step.views, ...Object.fromEntries(over) }, sealed),
          onProgress: (progress: object) => context.emit({ type: 'progress', ...progress } as Parameters<typeof context.emit>[0]),
        }
        job.findings.summary = await saveSnapshot(job.restic, job.repositoryState as RepositoryState, request)
        await requireSaved(job, copies, [...replaced, ...(await missedBy(job.restic, job.findings.summary.snapshotId, expected, context.signal))])
        await reportUnreadable(job, isTagged)
        checkShrinkage(job)
        const privileged = await privilegedFiles(paths, request.exclude, { signal: context.signal, inheritFds: job.inheritFds })
        if (privileged.length > 0)
          job.warn(
            'special-files',
            `it holds privileged files (${listed(privileged)}): restore in place and dr bring that back only where the same is there, or with --allow-privileged`,
          )
      },
    },
    unstage: {
      apply: async ({ folder }) => {
        for (const { held } of copies.splice(0)) await held?.close()
        await removeFolder(folder)
      },
    },
  }
}

/** Failures after which a database is saved as a file: nothing else is to be had of it. Not one that others write to at this moment. */
const savedAsFile: Code[] = ['sqlite-corrupt', 'sqlite-not-a-database', 'sqlite-failed']

/** @throws Failure `disk-full` once less than the reserve is left */
function whileRoom<T>(folder: Path, what: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return reserveAt(folder).then((reserve) => {
    const words = `no space is left for ${what} (less than ${reserve} bytes are free on the disk of ${folder}): make room, or set stagingDir to another folder`
    return whileSpaceLeft({ folders: [folder], reserve, full: (_, cause) => new Failure('disk-full', words, { cause }) }, signal, work)
  })
}

/** For all copies of this run, before the first is made: other runs copy at the same time. @throws Failure `no-space` */
async function claimCopies({ service }: Job, folder: Path): Promise<void> {
  const databases = (await Promise.all(service.sqlite.map(resolveOwnLinks))).flatMap(({ real }) => real ?? [])
  const needed = await bytesToCopy(databases)
  const others = await claimRoom(folder, needed)
  const free = await freeBytes(folder)
  if (others > 0 && needed + others + (await reserveAt(folder)) > free)
    throw new Failure(
      'no-space',
      `the copies of its databases need ${needed} bytes, and ${folder} has ${free} free, of which other backups at this moment take ${others}: make room, run fewer at a time (--jobs 1), or set stagingDir to another folder`,
    )
}

function olderOf({ name }: Job): string {
  return `; snapshots may hold an older one: atelier-backup list ${name}`
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

/** What is sealed while restic reads `paths`. Where a container forbids it, the backup goes on, and the warning names what isn't safe. */
async function mountsToSeal(job: Job, paths: Path[]): Promise<SealedMounts | undefined> {
  if (await canMountPrivately()) return sealedMounts(paths)
  const foreign = (await Promise.all(paths.map(foreignFolder))).find((folder) => folder !== null)
  if (process.getuid?.() === 0 && foreign != null)
    job.warn(
      'unsafe-path',
      `${foreign} isn't root's alone, and this process may not make a private mount namespace: a link that its owner makes there during the backup can lead restic elsewhere. Run this outside of a restricted container`,
    )
  return undefined
}

async function requireNamespaces(name: string): Promise<void> {
  if (await canMountPrivately()) return
  throw new Failure(
    'needs-root',
    `${name}: a live SQLite database is saved through a private mount namespace, which this process may not create: run this as root, not inside a restricted container`,
  )
}

/**
 * Symbolic links on the way, and the real paths that exist. Reports each missing path: restic 0.18 skips it and exits 0. A path whose disk isn't
 * mounted is missing: what stands below the empty mount point isn't the service's data.
 */
async function resolveDeclared(
  job: Job,
  { paths: declared, exclude }: Pick<BackupStep & { do: 'snapshot' }, 'paths' | 'exclude'>,
): Promise<{ links: Path[]; existing: Path[] }> {
  const found = await Promise.all(declared.map(resolveOwnLinks))
  const unmounted = await missingMounts()
  for (const [i, resolved] of found.entries()) {
    const { above, below } = await missingAround(declared[i] as Path, unmounted)
    if (above !== null) {
      resolved.real = null
      addProblem(job, 'not-mounted', `${declared[i]} isn't saved: ${above} should be mounted and isn't. Mount it: mount ${shellWord(above)}`)
      continue
    }
    for (const point of below.filter((point) => !excluded(exclude, point)))
      addProblem(job, 'not-mounted', `${point}, in ${declared[i]}, should be mounted and isn't: what is on it isn't saved. Mount it, or exclude it`)
    const { real, refused } = resolved
    if (refused !== null)
      addProblem(
        job,
        'unsafe-path',
        `${declared[i]} isn't saved: ${refused} is a link in a folder that isn't root's alone, and root follows no such link. It is saved as a link: declare the path that it leads to`,
      )
    else if (real === null) addProblem(job, 'missing-path', `${declared[i]} doesn't exist`)
  }
  return { links: found.flatMap(({ links }) => links), existing: found.flatMap(({ real, refused }) => real ?? refused ?? []) }
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

/** The databases whose path leads to another file by now. No copy is mounted there, and the run fails, with a snapshot of the rest. */
async function replacedBefore(copies: DatabaseCopy[]): Promise<Path[]> {
  const replaced = await Promise.all(copies.map(async ({ live, held }) => (held === null || (await isAtPath(held, live)) ? [] : [live])))
  return replaced.flat()
}

/** What the snapshot must hold where somebody else than root can replace a path for a moment, which no look before and after would notice. */
async function expectedOf(paths: Path[], copies: DatabaseCopy[]): Promise<Expected[]> {
  const foreign = (all: Path[]) => Promise.all(all.map(async (path) => ((await foreignFolder(path)) === null ? [] : [path])))
  const databases = (await foreign(copies.map(({ live }) => live))).flat()
  const others = (await foreign(paths.filter((path) => !copies.some(({ live }) => live === path)))).flat()
  const expected: Promise<Expected | null>[] = [
    ...copies
      .filter(({ live }) => databases.includes(live))
      .map(async ({ live, copy }) => expectedAt(live, await lstat(copy, { bigint: true }), true)),
    // Of what can't be looked at restic says itself that it couldn't read it.
    ...others.map((path) => withParentFd(path, async (at) => expectedAt(path, await lstat(at, { bigint: true }), false)).catch(() => null)),
  ]
  return (await Promise.all(expected)).filter((one) => one !== null)
}

/**
 * Our copy is mounted over the database. If the application renames another file over it meanwhile, the mount goes, and restic reads that file
 * instead of the copy. The snapshot is then tagged as failed. `missed`: paths that the snapshot doesn't hold as they were.
 * @throws Failure `sqlite-replaced`
 */
async function requireSaved(job: Job, copies: DatabaseCopy[], missed: Path[]): Promise<void> {
  for (const { live, held } of copies) {
    if (!missed.includes(live) && (held === null || (await isAtPath(held, live)))) continue
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
  for (const path of missed)
    addProblem(job, 'unsafe-path', `${path} isn't in the snapshot as it was before: its place was taken by something else meanwhile`)
}

/** What is found out once the snapshot exists: files that restic couldn't read. The tag `partial` is then added afterwards. */
async function reportUnreadable(job: Job, isTagged: boolean): Promise<void> {
  const { summary } = job.findings
  if (!summary) return
  for (const { path, message } of summary.unreadable.slice(0, 20))
    addProblem(job, 'unreadable', `${shortPath(path)} was not read: ${withShortPaths(message)}${remedyFor(path, message)}`)
  const further = summary.unreadableCount - 20
  if (further > 0) job.warn('unreadable', `${further} further files were not read`)
  if (isTagged || job.findings.problems.length === 0) return
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
