// Reads the trees of many small snapshots by one call of restic instead of two or three calls for each: a call takes most of a second.
import { dirname } from 'node:path'
import type { Restic, Snapshot, TreeNode } from '../restic/types.ts'
import type { Site } from '../site.ts'

/** Entries held in memory at most. Larger snapshots are read one by one when they are restored. */
const entriesHeld = 20_000

/** The site with clients that hold the trees of the small ones of `snapshots`. A repository whose trees can't be read keeps its plain client. */
export async function withKnownTrees(site: Site, snapshots: { repository: string; snapshot: Snapshot }[], signal: AbortSignal): Promise<Site> {
  const small = new Map<string, string[]>()
  let remaining = entriesHeld
  for (const { repository, snapshot } of [...snapshots].sort((a, b) => filesOf(a.snapshot) - filesOf(b.snapshot))) {
    remaining -= filesOf(snapshot)
    if (remaining >= 0) small.set(repository, [...(small.get(repository) ?? []), snapshot.id])
  }
  const asked = [...small].map(async ([repository, ids]) => {
    const restic = site.restic(repository)
    // The later calls for single snapshots report the error.
    const trees = await restic.trees(ids, { signal }).catch(() => null)
    return [repository, trees ? withTrees(restic, trees) : restic] as const
  })
  const clients = new Map(await Promise.all(asked))
  return { ...site, restic: (name) => clients.get(name) ?? site.restic(name) }
}

/** Snapshots made by restic before 0.17 have no file count. */
function filesOf({ files }: Snapshot): number {
  return files ?? Number.POSITIVE_INFINITY
}

function withTrees(restic: Restic, trees: Map<string, TreeNode[]>): Restic {
  return {
    ...restic,
    async *ls(snapshot, under, options) {
      const tree = under === undefined ? trees.get(snapshot) : undefined
      if (tree) yield* tree
      else yield* restic.ls(snapshot, under, options)
    },
    async readlink(snapshot, path, options) {
      const target = trees.get(snapshot)?.find((node) => node.path === path)?.target
      // One that isn't UTF-8 is shown with U+FFFD.
      return target === undefined || target?.includes('\ufffd') ? restic.readlink(snapshot, path, options) : target
    },
    async owners(snapshot, folder, options) {
      return trees.get(snapshot)?.filter(({ path }) => dirname(path) === folder) ?? restic.owners(snapshot, folder, options)
    },
  }
}
