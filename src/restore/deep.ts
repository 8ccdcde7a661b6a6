// restic writes by paths, of which the kernel takes no more than 4,095 bytes: what lies deeper below the target is restored through the handle of the
// folder that holds it.
import { basename, dirname, join } from 'node:path'
import type { Path } from '../core.ts'
import type { FileHandle } from '../fs.ts'
import { inside, insideFd3, isThere, isWithin, openDirNoFollow } from '../host/files.ts'
import { attributesOf, setTime } from '../host/folders.ts'
import { longestPath } from '../restic/restore.ts'
import type { Restic, RestoreRequest, RestoreSummary } from '../restic/types.ts'

/** `open` opens the target: by a handle where others could replace it. @throws Failure, those of restic */
export async function restoreDeep(restic: Restic, request: RestoreRequest, open: () => Promise<FileHandle>): Promise<RestoreSummary> {
  const { tooLong, ...summary } = await restic.restore(request)
  if (tooLong === null) return summary
  const deep = await tooDeep(restic, request)
  if (deep.length === 0) throw tooLong
  const top = await open()
  try {
    for (const parent of new Set(deep.map(dirname))) {
      const names = deep.filter((path) => dirname(path) === parent).map((path) => basename(path))
      if (!(await restoreInto(restic, request, top, parent, names))) throw tooLong
    }
  } finally {
    await top.close()
  }
  return summary
}

/** Restores these entries of a folder of the snapshot, which is in `top` already, though without them. Returns whether all of them are there then. */
async function restoreInto(restic: Restic, request: RestoreRequest, top: FileHandle, parent: Path, names: string[]): Promise<boolean> {
  // restic takes a target for a stale link where it is the descriptor itself.
  const held = await openDirNoFollow(dirname(parent), top)
  try {
    const at = inside(held, basename(parent))
    const { mtime } = await attributesOf(at)
    const { tooLong } = await restic.restore({
      ...request,
      snapshot: `${request.snapshot}:${parent}`,
      target: insideFd3(basename(parent)),
      include: names.map((name) => `/${name}`),
      inheritFds: [held.fd, ...(request.inheritFds ?? [])],
    })
    if (tooLong !== null) throw tooLong
    await setTime(basename(parent), mtime, held)
    return (await Promise.all(names.map((name) => isThere(join(at, name))))).every(Boolean)
  } finally {
    await held.close()
  }
}

/** The uppermost entries of the snapshot that have too long a path below the target. */
async function tooDeep(restic: Restic, { snapshot, target, include, signal }: RestoreRequest): Promise<Path[]> {
  const found: Path[] = []
  for await (const { path } of restic.ls(snapshot, undefined, signal ? { signal } : {})) {
    if (Buffer.byteLength(join(target, path)) <= longestPath || !(include.length === 0 || include.some((wanted) => isWithin(path, wanted)))) continue
    const last = found.at(-1)
    if (last === undefined || !isWithin(path, last)) found.push(path)
  }
  return found
}
