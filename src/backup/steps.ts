// What each step of a backup does.
import { mkdir, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { BackupStep, Handlers, Path } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { isWithin, lstatIfThere, outermost, resolveLinks } from '../host/files.ts'
import { runHook } from '../host/hooks.ts'
import { canMountPrivately, privately } from '../host/mounts.ts'
import { copyDatabase, otherName, sidecarSuffixes } from '../host/sqlite.ts'
import type { Service } from '../manifest/types.gen.ts'
import { escapePattern } from '../restic/patterns.ts'
import type { BackupSummary, Restic } from '../restic/types.ts'
import { tags } from '../snapshots/select.ts'
import { type Standing, save } from './repository.ts'

/** What a backup knows and finds out on its way. */
export interface Job {
  name: string
  service: Service
  host: string
  state: Path
  restic: Restic
  standing: Standing
  /** Descriptors that children keep open. */
  hold: number[]
  /** Set by the steps. */
  summary: BackupSummary | null
  /** What isn't in the snapshot though it should be: makes it partial. */
  missed: Path[]
  /** How the job stands when postBackup asks. */
  outcome(): string
  warn(code: string, message: string): void
  output(line: string): void
}

interface Copy {
  live: Path
  copy: Path
  identity: string
}

export function backupHandlers(job: Job): Handlers<BackupStep> {
  const copies: Copy[] = []
  return {
    hook: {
      apply: async ({ when }, { signal }) => {
        const [name, script] = when === 'pre' ? (['preBackup', job.service.preBackup] as const) : (['postBackup', job.service.postBackup] as const)
        const environment = when === 'pre' ? {} : { ATELIER_OUTCOME: job.outcome(), ATELIER_SNAPSHOT: job.summary?.snapshotId ?? '' }
        await runHook(script ?? '', { service: job.name, name, timeoutSeconds: job.service.hookTimeoutSec, signal, environment, output: job.output })
      },
    },
    copySqlite: {
      apply: async ({ from, to }, { signal }) => {
        const { real } = await resolveLinks(from)
        if (real === null) return // The snapshot step reports what is missing.
        await requireNamespaces(job.name)
        const other = await otherName(real)
        if (other !== null) {
          miss(
            job,
            from,
            'sqlite-other-name',
            `${from} isn't saved: ${other}, so rows could stand in a -wal under another name. Declare the database under that name, or undo the link`,
          )
          return
        }
        await mkdir(dirname(to), { recursive: true, mode: 0o700 })
        const identity = await identityOf(real)
        try {
          await copyDatabase(real, to, { signal, hold: job.hold })
          copies.push({ live: real, copy: to, identity })
        } catch (error) {
          const failure = asFailure(error)
          if (!failure.code.startsWith('sqlite-')) throw new Failure(failure.code, `${job.name}: ${failure.message}`, { cause: error })
          await rm(to, { force: true })
          miss(job, from, failure.code, `${failure.message}; its last good snapshot stays`)
        }
      },
    },
    snapshot: {
      apply: async (step, context) => {
        const roots = await existing(job, step.paths)
        const databases = (await Promise.all(Object.keys(step.over).map(resolveLinks))).flatMap(({ real }) => real ?? [])
        const uncopied = databases.filter((database) => !copies.some(({ live }) => live === database))
        const paths = roots.filter((root) => !uncopied.includes(root))
        if (paths.length === 0)
          throw new Failure('nothing-to-save', `${job.name}: none of its paths could be read (${step.paths.join(', ')}): no snapshot was made`)
        const request = {
          signal: context.signal,
          hold: job.hold,
          paths,
          exclude: [...step.exclude, ...databases.flatMap(sidecarPatterns), ...uncopied.map(escapePattern), ...ownFolders(job.state, paths)],
          tags: job.missed.length > 0 ? [...step.tags, tags.partial] : step.tags,
          host: job.host,
          prefix: privately(Object.fromEntries(copies.map(({ live, copy }) => [live, copy]))),
          onProgress: (progress: object) => context.emit({ type: 'progress', ...progress } as Parameters<typeof context.emit>[0]),
        }
        job.summary = await save(job.restic, job.standing, request)
        await requireUnreplaced(job, copies)
        await markUnread(job)
      },
    },
    unstage: { apply: async ({ folder }) => rm(folder, { recursive: true, force: true }) },
  }
}

async function requireNamespaces(name: string): Promise<void> {
  if (await canMountPrivately()) return
  throw new Failure(
    'needs-root',
    `${name}: a live SQLite database is saved through a private mount namespace, which this process may not make: run this as root, outside of restricted containers`,
  )
}

/** Links and what they lead to; what is missing is named (restic 0.18 passes over it and exits 0). */
async function existing(job: Job, declared: Path[]): Promise<Path[]> {
  const found = await Promise.all(declared.map(resolveLinks))
  for (const [i, { real }] of found.entries())
    if (real === null) miss(job, declared[i] ?? '', 'missing-path', `${declared[i]} doesn't exist: the rest was saved`)
  return outermost(found.flatMap(({ links, real }) => (real === null ? links : [...links, real])))
}

function miss(job: Job, path: Path, code: string, message: string): void {
  job.missed.push(path)
  job.warn(code, message)
}

function sidecarPatterns(database: Path): string[] {
  const escaped = escapePattern(database)
  return [...sidecarSuffixes.map((suffix) => escaped + suffix), `${escaped}-mj*`]
}

/** Our own state isn't part of a service's data, even where a service declares a folder around it. */
function ownFolders(state: Path, paths: Path[]): string[] {
  return paths.some((path) => isWithin(state, path))
    ? ['staging', 'running', 'locks', 'cache'].map((place) => escapePattern(`${state}/${place}`))
    : []
}

/** An application that renames a new file over its database detaches our copy from the path: what was saved then isn't the copy. */
async function requireUnreplaced(job: Job, copies: Copy[]): Promise<void> {
  for (const { live, identity } of copies) {
    if ((await lstatIfThere(live)) && (await identityOf(live)) === identity) continue
    const id = job.summary?.snapshotId ?? ''
    await job.restic
      .tag(id, [tags.failed])
      .catch((error) =>
        job.warn('tag-failed', `snapshot ${id.slice(0, 8)} holds a replaced database and can't be marked: ${asFailure(error).message}`),
      )
    throw new Failure(
      'sqlite-replaced',
      `${job.name}: ${live} was replaced by another file while it was saved: snapshot ${id.slice(0, 8)} doesn't count. Run it again, at a time when the application doesn't do that`,
    )
  }
}

async function identityOf(path: Path): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true })
  return `${dev}:${ino}`
}

/** What restic couldn't read is known only afterwards: the snapshot is marked then. */
async function markUnread(job: Job): Promise<void> {
  const { summary } = job
  if (!summary || summary.unreadable.length === 0) return
  const marked = job.missed.length > 0
  for (const { path, message } of summary.unreadable.slice(0, 20)) miss(job, path, 'unreadable', `${path} was not read: ${message}`)
  const further = summary.unreadable.length - 20
  if (further > 0) job.warn('unreadable', `${further} further files were not read`)
  if (marked) return
  try {
    summary.snapshotId = await job.restic.tag(summary.snapshotId, [tags.partial], { hold: job.hold })
  } catch (error) {
    job.warn('tag-failed', `snapshot ${summary.snapshotId.slice(0, 8)} can't be marked as partial: ${asFailure(error).message}`)
  }
}
