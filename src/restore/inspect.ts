// Restores into a new private folder, to inspect a snapshot. Live data isn't touched.
import { dirname, join } from 'node:path'
import { type Event, type EventBody, type Path, type RestoreStep, type Result, resultOf } from '../core.ts'
import { asFailure, Failure } from '../errors.ts'
import { mkdir, realpath, stat } from '../fs.ts'
import { isRootOnly, lstatIfThere, openDirNoFollow } from '../host/files.ts'
import { removeFolder } from '../host/folders.ts'
import type { Progress, Restic, Snapshot } from '../restic/types.ts'
import { newRunId } from '../state/running.ts'
import { restoreDeep } from './deep.ts'

export interface InspectRequest {
  name: string
  restic: Restic
  snapshot: Snapshot
  /** Empty: everything. */
  paths: Path[]
  target: Path
  /** The plan's notes. */
  notes: string[]
  signal: AbortSignal
  now(): Date
  emit(event: Event): void
}

/** Where an inspect restore goes unless told otherwise. */
export function inspectTarget(name: string, snapshot: Snapshot): Path {
  return join('/tmp', `restore-${name}-${snapshot.shortId}`)
}

/** `inspectTarget`, with the next free number if that folder exists. */
export async function freeTarget(name: string, snapshot: Snapshot): Promise<Path> {
  const first = inspectTarget(name, snapshot)
  let free = first
  for (let n = 2; await lstatIfThere(free); n++) free = `${first}-${n}`
  return free
}

/**
 * Restores below a new folder (0700), each path at its original place in it. After a failure the folder is removed.
 * Never throws; codes `target-exists`, `unknown-path` and restic's own.
 */
export async function restoreInspect(request: InspectRequest): Promise<Result> {
  const { name, restic, snapshot, target, notes, signal, now } = request
  const begun = performance.now()
  const emit = (body: EventBody) => request.emit({ time: now().toISOString(), service: name, ...body } as Event)
  const end = (failure: Failure | null, bytes: number | null): Result =>
    resultOf(name, failure, { snapshotId: snapshot.id, seconds: Math.round(performance.now() - begun) / 1000, bytes })
  const paths = request.paths.length > 0 ? request.paths : snapshot.paths
  const stage: RestoreStep = { do: 'stage', snapshot: snapshot.id, paths, folders: [], owners: { users: [], groups: [] }, in: target }
  emit({ type: 'plan', plan: { run: newRunId(now()), service: name, steps: [stage], always: [], notes } })
  try {
    await makeTarget(name, target)
  } catch (error) {
    return end(asFailure(error), null)
  }
  try {
    const onProgress = (progress: Progress) => emit({ type: 'progress', ...progress })
    const { bytes } = await restoreDeep(restic, { snapshot: snapshot.id, target, include: request.paths, signal, onProgress }, () =>
      openDirNoFollow(target),
    )
    for (const path of request.paths) {
      if (!(await lstatIfThere(join(target, path))))
        throw new Failure(
          'unknown-path',
          `${name}: ${path} isn't in snapshot ${snapshot.shortId}; see: atelier-backup list ${name} --snapshot ${snapshot.shortId}`,
        )
    }
    return end(null, bytes)
  } catch (error) {
    await removeFolder(target).catch(() => {})
    return end(asFailure(error), null)
  }
}

/** restic writes by the target's path: whoever can rename a folder on it could lead root elsewhere. @throws Failure `unsafe-path` */
async function requireOwnParents(name: string, folder: Path): Promise<void> {
  if (!isRootOnly(await stat(folder), { sticky: true }))
    throw new Failure(
      'unsafe-path',
      `${name}: others than root can write to ${folder}, and could lead the restore elsewhere: give another --target, below /root or /tmp`,
    )
  if (folder !== '/') await requireOwnParents(name, dirname(folder))
}

async function makeTarget(name: string, target: Path): Promise<void> {
  try {
    await requireOwnParents(name, await realpath(dirname(target)))
    // Never into an existing folder: in /tmp, other users could have made it.
    await mkdir(target, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new Failure('target-exists', `${name}: ${target} exists already: remove it, or name another folder with --target`)
    if (code === 'ENOENT') throw new Failure('usage', `${name}: ${dirname(target)} doesn't exist: make it, or name another folder with --target`)
    throw error
  }
}
