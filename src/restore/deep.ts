// restic writes by paths, of which the kernel takes no more than 4,095 bytes: what lies deeper below the target is restored through the handle of the
// folder that holds it.
import { basename, dirname, join } from 'node:path'
import type { Path } from '../core.ts'
import { inside, insideFd3, isThere, isWithin, openDirNoFollow } from '../host/files.ts'
import { attributesOf, setTime } from '../host/folders.ts'
import type { Restic, RestoreRequest, RestoreSummary } from '../restic/types.ts'

const longestPath = 4095

/** `folder`: the target by its own path, where `target` is one of a descriptor. @throws Failure, those of restic */
export async function restoreDeep(restic: Restic, request: RestoreRequest, folder: Path): Promise<RestoreSummary> {
  const { tooLong, ...summary } = await restic.restore(request)
  if (tooLong === null) return summary
  const deep = await tooDeep(restic, request)
  if (deep.length === 0) throw tooLong
  for (const parent of new Set(deep.map(dirname))) {
    // restic takes a target for a stale link where it is the descriptor itself.
    const held = await openDirNoFollow(join(folder, dirname(parent)))
    try {
      const at = inside(held, basename(parent))
      const { mtime } = await attributesOf(at)
      const names = deep.filter((path) => dirname(path) === parent).map((path) => basename(path))
      const below = {
        ...request,
        snapshot: `${request.snapshot}:${parent}`,
        target: insideFd3(basename(parent)),
        include: names.map((name) => `/${name}`),
      }
      const again = await restic.restore({ ...below, inheritFds: [held.fd, ...(request.inheritFds ?? [])] })
      if (again.tooLong !== null) throw again.tooLong
      for (const name of names) if (!(await isThere(join(at, name)))) throw tooLong
      await setTime(join(folder, parent), mtime)
    } finally {
      await held.close()
    }
  }
  return summary
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
