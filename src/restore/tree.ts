// Reads the snapshot's tree in one pass, and refuses what must not be restored in place.
import { basename, dirname, join, relative, resolve } from 'node:path'
import { withoutBytes } from '../bytes.ts'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { lstat } from '../fs.ts'
import { isWithin, outermost } from '../host/files.ts'
import { attributesOf } from '../host/folders.ts'
import { isSidecarOf } from '../host/sqlite.ts'
import type { CallOptions, Node, Restic, Snapshot } from '../restic/types.ts'
import { dumpsFolder, isComplete } from '../snapshots/select.ts'
import type { Dumps, RestoreWish } from './facts.ts'
import { unmovablePaths } from './mounts.ts'
import { isPrivileged } from './privileged.ts'

/** A file that may have holes worth looking for. */
interface Large {
  path: Path
  bytes: number
}
const largeBytes = 1024 * 1024

export interface Tree {
  /** `bare`: a mount point, or a folder above one, that the snapshot lacks. */
  roots: {
    node: Pick<Node, 'path' | 'type' | 'uid' | 'gid' | 'mode' | 'mtime'>
    bytes: number
    files: number
    written: number
    large: Large[]
    entries: Path[]
    bare?: true
  }[]
  /** Mount points at and below the roots, and the folders above the mount points. */
  unmovable: Set<Path>
  /** Paths of a partial snapshot that it holds nothing of. */
  unread: Path[]
  links: Map<Path, string>
  /** Regular files with the name of a declared SQLite database. */
  regular: Set<Path>
  /** Setuid and setgid files, and device nodes. */
  privileged: Node[]
  dumps: Dumps | null
  /** For each uid and gid but 0: a folder of the snapshot that holds an entry with this owner. */
  owned: Record<'uid' | 'gid', Map<number, Path>>
}

export async function readTree(restic: Restic, { name, service, snapshot, wanted }: RestoreWish, call: CallOptions): Promise<Tree> {
  const folder = snapshot.paths.find((path) => basename(path) === dumpsFolder)
  const isDump = (path: Path) => folder !== undefined && isWithin(path, folder)
  const paths = outermost((wanted.length > 0 ? wanted : snapshot.paths).filter((path) => !isDump(path)))
  const tree: Tree = {
    roots: [],
    unmovable: await unmovablePaths(paths, snapshot),
    unread: [],
    links: new Map(),
    regular: new Set(),
    privileged: [],
    dumps: folder === undefined ? null : { folder, files: new Map() },
    owned: { uid: new Map(), gid: new Map() },
  }
  // The declared path of a database may be a symbolic link: then its target is among the snapshot's paths, too.
  const databases = new Set([...service.sqlite, ...snapshot.paths].map((path) => basename(path)))
  const missing = new Set([...paths, ...tree.unmovable])
  const isLinked = linkCounter()
  // The roots above the current node, the innermost last.
  const around: Tree['roots'] = []
  for await (const node of restic.ls(snapshot.id, undefined, call)) {
    // Links of other users aren't followed: with a link to /etc, the service's user could have /etc replaced.
    if (node.type === 'symlink' && snapshot.paths.includes(node.path) && (node.uid === 0 || node.uid === process.getuid?.()))
      tree.links.set(node.path, (await restic.readlink(snapshot.id, node.path, call)) ?? '')
    if (node.type === 'file' && isDump(node.path)) tree.dumps?.files.set(relative(tree.dumps.folder, node.path), node.bytes)
    while (around.length > 0 && !isWithin(node.path, around.at(-1)?.node.path ?? '')) around.pop()
    if (missing.delete(node.path)) {
      const root = { node, bytes: 0, files: 0, written: 0, large: [], entries: [] }
      around.push(root)
      tree.roots.push(root)
    }
    const current = around.at(-1)
    if (!current) continue
    if (dirname(node.path) === current.node.path) current.entries.push(node.path)
    for (const kind of ['uid', 'gid'] as const) if (node[kind] !== 0) tree.owned[kind].set(node[kind], dirname(node.path))
    current.files += 1
    current.bytes += node.bytes
    if (!isLinked(node)) {
      current.written += node.bytes
      if (node.bytes >= largeBytes) current.large.push({ path: node.path, bytes: node.bytes })
    }
    if (node.type === 'file' && databases.has(basename(node.path))) tree.regular.add(node.path)
    if (isPrivileged(node)) tree.privileged.push(node)
  }
  const dumped = [...(tree.dumps?.files.keys() ?? [])].map((file) => join(folder ?? '', file))
  const isThere = (path: Path) => path === folder || dumped.some((dump) => isWithin(dump, path))
  for (const path of missing) {
    // A mount point, or a folder above one, that the snapshot lacks: it stays, and gets no entries.
    if (paths.includes(path) || !(await lstat(path)).isDirectory()) continue
    tree.roots.push({
      node: { path, type: 'dir', ...(await attributesOf(path)) },
      bytes: 0,
      files: 0,
      written: 0,
      large: [],
      entries: [],
      bare: true,
    })
    missing.delete(path)
  }
  // What could not be read when a partial snapshot was made stays as it is, and the rest is restored.
  if (wanted.length === 0 && !isComplete(snapshot) && tree.roots.length > 0)
    for (const path of paths) if (missing.delete(path)) tree.unread.push(path)
  const lost = [...missing][0] ?? wanted.find((path) => isDump(path) && !isThere(path))
  if (lost !== undefined && !paths.includes(lost) && tree.unmovable.has(lost))
    throw new Failure(
      'mount-point',
      `${name}: the file ${lost} is mounted there, and snapshot ${snapshot.shortId} holds none: it can't be taken away. Unmount it, or choose parts with --path`,
    )
  if (lost !== undefined)
    throw new Failure(
      'unknown-path',
      `${name}: ${lost} isn't in snapshot ${snapshot.shortId}; see: atelier-backup list ${name} --snapshot ${snapshot.shortId}`,
    )
  return tree
}

/**
 * The snapshot with all bytes of its paths: in the list of snapshots restic itself has U+FFFD for each that isn't UTF-8 (a declared path may lead to such
 * a folder by a link). The tree has them.
 */
export async function withPathBytes(restic: Restic, snapshot: Snapshot, call: CallOptions): Promise<Snapshot> {
  const shown = snapshot.paths.filter((path) => path.includes('\ufffd'))
  if (shown.length === 0) return snapshot
  const found = new Map<Path, Path[]>()
  for await (const { path } of restic.ls(snapshot.id, undefined, call)) {
    const like = withoutBytes(path)
    if (shown.includes(like)) found.set(like, [...(found.get(like) ?? []), path])
  }
  return { ...snapshot, paths: [...new Set(snapshot.paths.flatMap((path) => found.get(path) ?? path))] }
}

/**
 * Tells of each file whether it is another name of an earlier one: restic makes hard links of them again. `ls` tells neither the device nor the
 * number of links, so time and size must agree, too. A million files take some 40 MB.
 */
function linkCounter(): (node: Node) => boolean {
  const marks = new Map<number, number>()
  const further = new Set<string>()
  return ({ type, inode, bytes, mtime }) => {
    if (type !== 'file' || bytes === 0 || inode === 0) return false
    const mark = Date.parse(mtime) + bytes
    const known = marks.get(inode)
    if (known === undefined) marks.set(inode, mark)
    if (known === undefined || known === mark) return known === mark
    const key = `${inode} ${mark}`
    if (further.has(key)) return true
    further.add(key)
    return false
  }
}

/** Nothing is written outside the declared paths and what they lead to by links in the snapshot. @throws Failure `not-declared` */
export function requireDeclared({ name, service, snapshot }: RestoreWish, tree: Tree): void {
  const allowed = [...service.paths, ...service.sqlite].flatMap((path) => followLinks(path, tree.links))
  // A database that can't be copied is saved as a file, with its sidecars.
  const databases = service.sqlite.flatMap((path) => followLinks(path, tree.links))
  const isSidecar = (path: Path) => databases.some((database) => isSidecarOf(path, database))
  const stranger = tree.roots.find(({ node }) => !isSidecar(node.path) && !allowed.some((path) => isWithin(node.path, path)))
  if (stranger)
    throw new Failure(
      'not-declared',
      `${name}: snapshot ${snapshot.shortId} holds ${stranger.node.path}, which the manifest doesn't declare for it: nothing is restored in place. Declare it, choose a part with --path, or inspect the snapshot without --in-place`,
    )
}

/** A path, and the other paths of the same entry: `links` are symbolic links at or above it. */
export function followLinks(path: Path, links: Map<Path, string>): Path[] {
  const names = [path]
  for (const known of names) {
    for (const [link, target] of links) {
      if (!isWithin(known, link)) continue
      const next = resolve(dirname(link), target) + known.slice(link.length)
      if (!names.includes(link)) names.push(link)
      if (!names.includes(next) && names.length < 100) names.push(next)
    }
  }
  return names
}
