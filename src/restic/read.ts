// restic's subcommands that only read, all without a lock: snapshots, ls, find, diff, dump, cat.
import { withoutBytes } from '../bytes.ts'
import { asFailure, Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { type Caller, memoize } from './call.ts'
import { foundOf, holesOf, idOf, isMessage, linkTargetOf, type Message, nodeOf, ownersOf, snapshotsOf, treesOf } from './json.ts'
import type { CallOptions, Node, Restic } from './types.ts'

type Reads =
  | ('repositoryId' | 'cachedRepositoryId' | 'snapshots' | 'ls' | 'entries' | 'folder' | 'find' | 'diff')
  | ('readlink' | 'owners' | 'holes' | 'trees' | 'dump')

export function readCalls(caller: Caller): Pick<Restic, Reads> {
  const askId = (options: CallOptions) =>
    caller.ask(['cat', 'config', '--no-lock', '--json'], (config) => idOf((config as { id: unknown }).id), options)
  const cachedId = memoize(askId)

  const listed = (args: string[], options: CallOptions) =>
    withBytes(caller, nodesOf(caller, caller.stream(['ls', '--no-lock', '--json', ...args], options)), () =>
      caller.lines(['ls', '--no-lock', '--quiet', ...args], options),
    )

  const entries = async (snapshot: string, folders: string[], options: CallOptions): Promise<Node[]> => {
    const nodes: Node[] = []
    for await (const node of listed(['--', snapshot, ...folders], options)) nodes.push(node)
    return nodes
  }

  /** What `find` found, in the order of its output, with all bytes of the paths. */
  const withFoundBytes = async (found: Iterable<Node[]>, args: string[], options: CallOptions): Promise<void> => {
    const nodes = [...found].flat()
    const plain = () => caller.lines(['find', '--no-lock', '--quiet', ...args], options)
    let n = 0
    for await (const { path } of withBytes(caller, nodes, plain)) Object.assign(nodes[n++] ?? {}, { path })
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
      yield* listed(under === undefined ? ['--', snapshot] : ['--recursive', '--', snapshot, under], options)
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
      const args = ['--ignore-case', ...filters, '--', pattern]
      const result = await caller.finish(['find', '--no-lock', '--json', ...args], options).catch((error) => {
        if (asFailure(error).code !== 'too-much-output') throw error
        throw new Failure(
          'usage',
          `${JSON.stringify(pattern)} matches more than can be shown: give more of the name, or of its path ("/var/lib/x/**/*.txt")`,
        )
      })
      if (result.stderr.includes('syntax error in pattern'))
        throw new Failure('usage', `${JSON.stringify(pattern)} is no pattern: a [ begins a set of letters, which a ] ends; \\[ is a bracket`)
      if (result.exit !== 0) throw caller.failureOf(result, options)
      const found = caller.parse(result.stdout || '[]', foundOf)
      await withFoundBytes(
        found.map(({ nodes }) => nodes),
        args,
        options,
      )
      return found
    },

    async *diff(older, newer, options = {}) {
      const changes = async function* () {
        for await (const message of caller.stream(['diff', '--no-lock', '--json', '--', older, newer], options))
          if (isMessage(message, 'change')) yield { path: message.path ?? '', modifier: message.modifier ?? '' }
      }
      const plain = () => caller.lines(['diff', '--no-lock', '--', older, newer], options)
      yield* withBytes(caller, changes(), plain, '+    '.length)
    },

    async readlink(snapshot, path, options = {}) {
      const cut = path.lastIndexOf('/')
      const args = ['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${path.slice(0, cut) || '/'}`]
      return (await caller.ask(args, (tree) => ({ target: linkTargetOf(tree, path.slice(cut + 1)) }), options)).target
    },

    async owners(snapshot, folder, options = {}) {
      return caller.ask(['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${folder}`], ownersOf, options)
    },

    async holes(snapshot, folder, options = {}) {
      return caller.ask(['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${folder}`], holesOf, options)
    },

    async trees(snapshots, options = {}) {
      const args = [...snapshots.flatMap((id) => ['--snapshot', id]), '--', '*']
      const trees = await caller.ask(['find', '--no-lock', '--json', ...args], treesOf, options)
      await withFoundBytes(trees.values(), args, options)
      return trees
    },

    async dump(snapshot, path, { maxLength, ...options } = {}) {
      const more = maxLength === undefined ? {} : { maxOutputLength: maxLength }
      const result = await caller.finish(['dump', '--no-lock', '--', snapshot, path], options, more)
      if (result.exit !== 0) throw caller.failureOf(result, options)
      return result.stdout
    },
  }
}

/** The entries of `ls --json`. @throws Failure `restic-garbled` */
async function* nodesOf(caller: Caller, messages: AsyncIterable<Message>): AsyncGenerator<Node> {
  for await (const message of messages) {
    let node: Node | null
    try {
      node = nodeOf(message)
    } catch {
      throw caller.garbled()
    }
    if (node) yield node
  }
}

/**
 * restic's JSON shows each byte of a path that isn't UTF-8 as U+FFFD. Without --json it prints the bytes, and the same paths in the same order. So where
 * there is U+FFFD, that path is looked for in the lines of `plain`. `indent`: characters before each path. @throws Failure `restic-garbled`
 */
async function* withBytes<T extends { path: string }>(
  caller: Caller,
  items: Iterable<T> | AsyncIterable<T>,
  plain: () => AsyncGenerator<string>,
  indent = 0,
): AsyncGenerator<T> {
  let output: AsyncGenerator<string> | undefined
  try {
    for await (const item of items) {
      if (!item.path.includes('\ufffd')) {
        yield item
        continue
      }
      output ??= plain()
      // A path may have line breaks. After one at its end restic 0.19 prints no other.
      const [, path = '', end] = /^(.*?)(\n?)$/s.exec(item.path) ?? []
      const shown = path.split('\n')
      let lines: string[] = []
      do {
        const { value, done } = await output.next()
        if (done) throw caller.garbled()
        lines = [...lines, value].slice(-shown.length)
      } while (lines.length < shown.length || withoutBytes(lines.join('\n').slice(indent)) !== path)
      yield { ...item, path: lines.join('\n').slice(indent) + end }
    }
  } finally {
    await output?.return(undefined)
  }
}
