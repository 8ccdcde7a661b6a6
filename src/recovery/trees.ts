// The trees of many small snapshots, asked for in one call of restic instead of two or three for each: a call costs most of a second.
import { dirname } from 'node:path'
import type { Restic, Snapshot, TreeNode } from '../restic/types.ts'
import type { Site } from '../site.ts'

/** So many entries are held in memory at most; larger snapshots are read one by one, as they are restored. */
const entriesHeld = 20_000

/** The site with clients that know the trees of `snapshots`, by repository, as far as they are small. Where that can't be had it is as it was. */
export async function withKnownTrees(site: Site, snapshots: { repository: string; snapshot: Snapshot }[], signal: AbortSignal): Promise<Site> {
  const small = new Map<string, string[]>()
  let left = entriesHeld
  for (const { repository, snapshot } of [...snapshots].sort((a, b) => filesOf(a.snapshot) - filesOf(b.snapshot))) {
    left -= filesOf(snapshot)
    if (left >= 0) small.set(repository, [...(small.get(repository) ?? []), snapshot.id])
  }
  const asked = [...small].map(async ([repository, ids]) => {
    const restic = site.restic(repository)
    // What is wrong there is told by the calls that are made then.
    const trees = await restic.trees(ids, { signal }).catch(() => null)
    return [repository, trees ? knowing(restic, trees) : restic] as const
  })
  const clients = new Map(await Promise.all(asked))
  return { ...site, restic: (name) => clients.get(name) ?? site.restic(name) }
}

/** Null where restic before 0.17 made it. */
function filesOf({ files }: Snapshot): number {
  return files ?? Number.POSITIVE_INFINITY
}

function knowing(restic: Restic, trees: Map<string, TreeNode[]>): Restic {
  return {
    ...restic,
    async *ls(snapshot, under, options) {
      const tree = under === undefined ? trees.get(snapshot) : undefined
      if (tree) yield* tree
      else yield* restic.ls(snapshot, under, options)
    },
    async readlink(snapshot, path, options) {
      const tree = trees.get(snapshot)
      return tree ? (tree.find((node) => node.path === path)?.target ?? null) : restic.readlink(snapshot, path, options)
    },
    async owners(snapshot, folder, options) {
      return trees.get(snapshot)?.filter(({ path }) => dirname(path) === folder) ?? restic.owners(snapshot, folder, options)
    },
  }
}
