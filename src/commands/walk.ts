// Walks through the folders of a snapshot, to mark and restore files.
import { basename, dirname } from 'node:path'
import type { Path } from '../core.ts'
import { outermost } from '../host/files.ts'
import type { Node, Restic, Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { printable } from '../text.ts'
import { formatCount } from '../ui/format.ts'
import { waitingFor } from '../ui/progress.ts'
import { type Choice, choose, unlessCancelled } from '../ui/prompt.ts'
import { type Entry, fileLine } from './choose.ts'
import type { Input } from './command.ts'
import { restore } from './restore.ts'

type Step = Node | 'up' | 'restore'

/** Esc goes to the parent folder, and back from the first one. Returns the exit code of a restore that was started from here, or null. */
export async function walk(site: Site, entry: Entry, snapshot: Snapshot, input: Input): Promise<number | null> {
  const restic = site.restic(serviceOf(site, entry.subject.name).repository)
  const folders = openTree(restic, snapshot, input.signal)
  const top = await beginning(folders, snapshot.paths)
  const marks = new Set<Path>()
  for (let folder = top, first: Node | undefined; ; ) {
    const nodes = await read(folders, folder)
    const choices: Choice<Step>[] = [
      ...(folder === '/' ? [] : [{ name: '..', value: 'up' as Step }]),
      { name: 'Restore this folder …', line: restoreLine, value: 'restore' },
      ...nodes.map((node) => ({
        name: basename(node.path),
        line: () => fileLine(node, basename(node.path) + (node.type === 'dir' ? '/' : ''), site.now()),
        value: node,
        mark: node.path,
      })),
    ]
    const pointer = first ?? nodes[0] ?? 'up'
    const chosen = await unlessCancelled(choose<Step>(printable(folder), choices, '--path', { tidy: true, first: pointer, marks, arrows: true }))
    if (chosen === null && folder === top) return null
    const step = chosen ?? 'up'
    if (step === 'up') {
      const from = folder
      folder = dirname(folder)
      first = (await read(folders, folder)).find(({ path }) => path === from)
    } else if (step !== 'restore' && step.type === 'dir') {
      folder = step.path
      first = undefined
    } else {
      const here = folder === '/' ? [] : [folder]
      const paths = step === 'restore' ? (marks.size > 0 ? [...marks] : here) : [...marks, step.path]
      const exit = await unlessCancelled(
        restore(site, { entries: [entry], wanted: { id: snapshot.id }, paths: outermost(paths), inPlace: null }, input),
      )
      if (exit !== null) return exit
      first = typeof step === 'string' ? undefined : step
    }
  }
}

function restoreLine(marked: number): string {
  return marked === 0 ? 'Restore this folder …' : `Restore what is marked (${formatCount(marked)}) …`
}

type Folders = (path: Path) => Promise<Node[]>

/** A snapshot with at most this many files is read by one call, which takes little longer than one folder; then no step waits. */
const fewFiles = 20_000

/** Returns a function that reads a folder's entries. Of a large snapshot only visited folders are read; they are cached. */
function openTree(restic: Restic, snapshot: Snapshot, signal: AbortSignal): Folders {
  const visited = new Map<Path, Promise<Node[]>>()
  let whole: Promise<Map<Path, Node[]>> | undefined
  return async (path) => {
    if (snapshot.files !== null && snapshot.files <= fewFiles) {
      whole ??= wholeTree(restic, snapshot, signal)
      return (await whole).get(path) ?? []
    }
    const nodes = visited.get(path) ?? restic.folder(snapshot.id, path, { signal })
    visited.set(path, nodes)
    return nodes
  }
}

async function wholeTree(restic: Restic, snapshot: Snapshot, signal: AbortSignal): Promise<Map<Path, Node[]>> {
  const folders = new Map<Path, Node[]>()
  for await (const node of restic.ls(snapshot.id, undefined, { signal })) {
    if (node.path === '/') continue
    const siblings = folders.get(dirname(node.path))
    if (siblings) siblings.push(node)
    else folders.set(dirname(node.path), [node])
  }
  return folders
}

function read(folders: Folders, path: Path): Promise<Node[]> {
  return waitingFor(`reading ${printable(path)}`, folders(path))
}

/** The deepest folder that holds all paths of the snapshot. */
async function beginning(folders: Folders, paths: Path[]): Promise<Path> {
  const parts = paths.map((path) => (path === '/' ? [''] : path.split('/')))
  const [one = ['']] = parts
  const differ = one.findIndex((part, n) => parts.some((other) => other[n] !== part))
  const common = (differ < 0 ? one : one.slice(0, differ)).join('/') || '/'
  if (common === '/') return common
  const isFolder = (await read(folders, dirname(common))).some(({ path, type }) => path === common && type === 'dir')
  return isFolder ? common : dirname(common)
}
