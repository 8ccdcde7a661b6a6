// What a restore in place may know before it is planned: the snapshot's tree, the live data, the units. Nothing is touched.
import { readdir, readlink, realpath, statfs } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin, lstatIfThere, outermost } from '../host/files.ts'
import { mountsWithin } from '../host/mounts.ts'
import { run } from '../host/shell.ts'
import { sidecarSuffixes } from '../host/sqlite.ts'
import { hasSystemd, isActive, requireKnown, unitStates } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { escapePattern, excluded } from '../restic/patterns.ts'
import type { CallOptions, Node, Restic, Snapshot } from '../restic/types.ts'
import { reservedPattern } from '../snapshots/select.ts'

/** One path to be replaced: the snapshot's side and the live side (null: nothing is there). Bytes. */
export interface Root {
  path: Path
  bytes: number
  files: number
  live: { bytes: number } | null
  /** The live entry is a link that already says what the snapshot's says: left as it is. */
  unchanged: boolean
  /** Nearest folder that exists: the staging folder is made there, on the filesystem of what it replaces. */
  folder: Path
  device: number
}

export interface RestoreFacts {
  run: string
  name: string
  snapshot: Snapshot
  roots: Root[]
  /** Declared paths that the snapshot doesn't hold: they stay as they are. */
  absent: Path[]
  /** SQLite databases among what is restored. */
  databases: Path[]
  /** Live entries that backups exclude, topmost. */
  excluded: { path: Path; bytes: number }[]
  units: Unit[]
  running: Unit[]
  /** Free bytes by device. */
  free: Record<number, number>
}

/**
 * Looks before a restore in place. `wanted`: paths within the snapshot, empty for all.
 * @throws Failure `unknown-path`, `not-declared`, `special-files`, `mount-point`, `unknown-unit`, `no-systemd`
 */
export async function lookRestore(
  restic: Restic,
  name: string,
  service: Service,
  snapshot: Snapshot,
  wanted: Path[],
  run: string,
  call: CallOptions,
): Promise<RestoreFacts> {
  const tree = await readTree(restic, snapshot, wanted, name, call)
  requireDeclared(name, service, snapshot, tree)
  await requireHarmless(name, tree)
  const roots = await Promise.all(tree.roots.map((root) => lookRoot(name, root, tree.links)))
  const { units, running } = await lookUnits(name, service)
  const restored = (path: Path) => roots.some((root) => isWithin(path, root.path))
  const databases = service.sqlite.filter((database) => restored(database) && tree.regular.has(database))
  const free = Object.fromEntries(await Promise.all(roots.map(async ({ device, folder }) => [device, await freeBytes(folder)] as const)))
  const declared = [...service.paths, ...service.sqlite]
  const absent =
    wanted.length > 0 ? [] : outermost(declared).filter((path) => !snapshot.paths.some((saved) => isWithin(path, saved) || isWithin(saved, path)))
  return { run, name, snapshot, roots, absent, databases, excluded: await lookExcluded(snapshot, roots, service), units, running, free }
}

interface Tree {
  roots: { node: Node; bytes: number; files: number }[]
  links: Map<Path, string>
  /** Regular files that the manifest calls databases, as far as they are there. */
  regular: Set<Path>
  special: Node[]
}

async function readTree(restic: Restic, snapshot: Snapshot, wanted: Path[], name: string, call: CallOptions): Promise<Tree> {
  const paths = outermost(wanted.length > 0 ? wanted : snapshot.paths)
  const tree: Tree = { roots: [], links: new Map(), regular: new Set(), special: [] }
  const byPath = new Map(paths.map((path) => [path, null as Tree['roots'][number] | null]))
  let current: Tree['roots'][number] | null = null
  for await (const node of restic.ls(snapshot.id, undefined, call)) {
    if (node.type === 'symlink' && snapshot.paths.includes(node.path))
      tree.links.set(node.path, (await restic.readlink(snapshot.id, node.path, call)) ?? '')
    if (byPath.has(node.path)) {
      current = { node, bytes: 0, files: 0 }
      byPath.set(node.path, current)
      tree.roots.push(current)
    }
    if (!current || !isWithin(node.path, current.node.path)) continue
    current.files += 1
    current.bytes += node.bytes
    if (node.type === 'file') tree.regular.add(node.path)
    if (node.type === 'dev' || node.type === 'chardev' || (node.type === 'file' && (node.mode & 0o6000) !== 0)) tree.special.push(node)
  }
  const missing = paths.find((path) => !byPath.get(path))
  if (missing !== undefined)
    throw new Failure(
      'unknown-path',
      `${name}: ${missing} isn't in snapshot ${snapshot.shortId}; see: atelier-backup list ${name} --snapshot ${snapshot.shortId}`,
    )
  return tree
}

/** Nothing is written outside the declared paths, or what they lead to by the links that the snapshot itself holds. */
function requireDeclared(name: string, service: Service, snapshot: Snapshot, tree: Tree): void {
  const allowed = [...service.paths, ...service.sqlite].flatMap((path) => follow(path, tree.links))
  const stranger = tree.roots.find(({ node }) => !allowed.some((path) => isWithin(node.path, path)))
  if (stranger)
    throw new Failure(
      'not-declared',
      `${name}: snapshot ${snapshot.shortId} holds ${stranger.node.path}, which the manifest doesn't declare for it: nothing is restored in place. Declare it, choose a part with --path, or inspect the snapshot without --in-place`,
    )
}

/** A path and every name it has by way of links at its start. */
export function follow(path: Path, links: Map<Path, string>): Path[] {
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

async function requireHarmless(name: string, { special }: Tree): Promise<void> {
  for (const node of special) {
    const live = await lstatIfThere(node.path)
    const known =
      live !== null &&
      (node.type === 'file' ? live.isFile() && (live.mode & 0o6000) === (node.mode & 0o6000) : live.isBlockDevice() || live.isCharacterDevice())
    if (known) continue
    const what = node.type === 'file' ? 'a setuid or setgid file' : 'a device node'
    throw new Failure(
      'special-files',
      `${name}: the snapshot holds ${what} that isn't there now (${node.path}): refused in place; inspect it without --in-place and move by hand what you trust`,
    )
  }
}

async function lookRoot(name: string, { node, bytes, files }: Tree['roots'][number], links: Tree['links']): Promise<Root> {
  const { path } = node
  const stat = await lstatIfThere(path)
  const mounts = stat?.isDirectory() ? await mountsWithin(await realpath(path)) : []
  if (mounts.length > 0)
    throw new Failure(
      'mount-point',
      `${name}: ${mounts[0]} is a mount point: a restore in place can't exchange it yet; inspect the snapshot without --in-place and copy from there`,
    )
  const folder = await nearestFolder(dirname(path))
  const device = (await lstatIfThere(folder))?.dev ?? 0
  const unchanged = node.type === 'symlink' && stat?.isSymbolicLink() === true && (await readlink(path)) === links.get(path)
  return { path, bytes, files, live: stat && { bytes: await sizeOf(path) }, unchanged, folder, device }
}

async function nearestFolder(path: Path): Promise<Path> {
  for (let folder = path; ; folder = dirname(folder)) {
    if (await lstatIfThere(folder)) return realpath(folder)
  }
}

/** Bytes below a path, as restic counts them. */
async function sizeOf(path: Path): Promise<number> {
  const { stdout } = await run(['du', '--summarize', '--bytes', '--one-file-system', '--', path])
  return Number.parseInt(stdout, 10) || 0
}

async function freeBytes(folder: Path): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

async function lookUnits(name: string, service: Service): Promise<{ units: Unit[]; running: Unit[] }> {
  const units = unitsOf(name, service)
  if (units.length === 0) return { units, running: [] }
  if (!hasSystemd())
    throw new Failure(
      'no-systemd',
      `${name}: ${units.join(', ')} can't be stopped, since systemd doesn't run here: set units = [] if nothing uses the data, or inspect the snapshot without --in-place`,
    )
  const states = await unitStates(units)
  requireKnown(name, states)
  return { units, running: states.filter(isActive).map(({ unit }) => unit) }
}

/** Live entries that the backup left out on purpose: caches, logs. They are carried over, or a restore would delete what nobody saved. */
async function lookExcluded(snapshot: Snapshot, roots: Root[], service: Service): Promise<{ path: Path; bytes: number }[]> {
  const ours = [
    reservedPattern,
    ...service.sqlite.flatMap((database) => [...sidecarSuffixes, '-mj*'].map((suffix) => escapePattern(database) + suffix)),
  ]
  const patterns = snapshot.excludes.filter((pattern) => !ours.includes(pattern) && !isSidecarPattern(pattern))
  if (patterns.length === 0) return []
  const found: Path[] = []
  const walk = async (path: Path): Promise<void> => {
    if (basename(path).startsWith('.atelier-backup-')) return
    if (excluded(patterns, path)) return void found.push(path)
    const stat = await lstatIfThere(path)
    if (stat?.isDirectory()) for (const entry of await readdir(path)) await walk(join(path, entry))
  }
  for (const root of roots) await walk(root.path)
  return Promise.all(found.map(async (path) => ({ path, bytes: await sizeOf(path) })))
}

/** Sidecars of databases, which earlier manifests may have declared under other names, never outlive their database. */
function isSidecarPattern(pattern: string): boolean {
  return pattern.startsWith('/') && [...sidecarSuffixes, '-mj*'].some((suffix) => pattern.endsWith(suffix))
}
