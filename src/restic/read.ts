// restic's subcommands that only read, all without a lock: snapshots, ls, find, diff, dump, cat.
import { asFailure, Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { type Caller, memoize } from './call.ts'
import { foundOf, idOf, isMessage, linkTargetOf, nodeOf, ownersOf, snapshotsOf, treesOf } from './json.ts'
import type { CallOptions, Node, Restic } from './types.ts'

type Reads =
  | ('repositoryId' | 'cachedRepositoryId' | 'snapshots' | 'ls' | 'entries' | 'folder' | 'find' | 'diff')
  | ('readlink' | 'owners' | 'trees' | 'dump')

export function readCalls(caller: Caller): Pick<Restic, Reads> {
  const askId = (options: CallOptions) =>
    caller.ask(['cat', 'config', '--no-lock', '--json'], (config) => idOf((config as { id: unknown }).id), options)
  const cachedId = memoize(askId)

  const entries = async (snapshot: string, folders: string[], options: CallOptions): Promise<Node[]> => {
    const nodes: Node[] = []
    for await (const message of caller.stream(['ls', '--no-lock', '--json', '--', snapshot, ...folders], options)) {
      const node = nodeOf(message)
      if (node) nodes.push(node)
    }
    return nodes
  }

  return {
    async repositoryId(options = {}) {
      return askId(options)
    },

    async cachedRepositoryId(options = {}) {
      return cachedId(options)
    },

    async snapshots(options = {}) {
      return caller.ask(['snapshots', '--no-lock', '--json'], snapshotsOf, options)
    },

    async *ls(snapshot, under, options = {}) {
      const where = under === undefined ? ['--', snapshot] : ['--recursive', '--', snapshot, under]
      for await (const message of caller.stream(['ls', '--no-lock', '--json', ...where], options)) {
        let node: Node | null
        try {
          node = nodeOf(message)
        } catch {
          throw caller.garbled()
        }
        if (node) yield node
      }
    },

    async entries(snapshot, folders, options = {}) {
      return entries(snapshot, folders, options)
    },

    async folder(snapshot, path, options = {}) {
      const nodes = await entries(snapshot, [path], options)
      const isFolder = path === '/' || nodes.some((node) => node.path === path && node.type === 'dir')
      if (!isFolder) throw new Failure('unknown-path', `${printable(path)} is no folder in snapshot ${snapshot.slice(0, 8)}`)
      return nodes.filter((node) => node.path !== path)
    },

    async find({ pattern, host, tags, ...options }) {
      const filters = ['--host', host, ...tags.flatMap((tag) => ['--tag', tag])]
      const result = await caller.finish(['find', '--no-lock', '--json', '--ignore-case', ...filters, '--', pattern], options).catch((error) => {
        if (asFailure(error).code !== 'too-much-output') throw error
        throw new Failure(
          'usage',
          `${JSON.stringify(pattern)} matches more than can be shown: give more of the name, or of its path ("/var/lib/x/**/*.txt")`,
        )
      })
      if (result.stderr.includes('syntax error in pattern'))
        throw new Failure('usage', `${JSON.stringify(pattern)} is no pattern: a [ begins a set of letters, which a ] ends; \\[ is a bracket`)
      if (result.exit !== 0) throw caller.failureOf(result, options)
      return caller.parse(result.stdout || '[]', foundOf)
    },

    async *diff(older, newer, options = {}) {
      for await (const message of caller.stream(['diff', '--no-lock', '--json', '--', older, newer], options))
        if (isMessage(message, 'change')) yield { path: message.path ?? '', modifier: message.modifier ?? '' }
    },

    async readlink(snapshot, path, options = {}) {
      const cut = path.lastIndexOf('/')
      const args = ['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${path.slice(0, cut) || '/'}`]
      return (await caller.ask(args, (tree) => ({ target: linkTargetOf(tree, path.slice(cut + 1)) }), options)).target
    },

    async owners(snapshot, folder, options = {}) {
      return caller.ask(['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${folder}`], ownersOf, options)
    },

    async trees(snapshots, options = {}) {
      const which = snapshots.flatMap((id) => ['--snapshot', id])
      return caller.ask(['find', '--no-lock', '--json', ...which, '--', '*'], treesOf, options)
    },

    async dump(snapshot, path, { maxLength, ...options } = {}) {
      const more = maxLength === undefined ? {} : { maxOutputLength: maxLength }
      const result = await caller.finish(['dump', '--no-lock', '--', snapshot, path], options, more)
      if (result.exit !== 0) throw caller.failureOf(result, options)
      return result.stdout
    },
  }
}
