// What a restore in place may know before it is planned: the snapshot's tree, the live data, the units. Nothing is touched.
import { constants, type Stats } from 'node:fs'
import { access, lstat, readdir, readlink, realpath, stat, statfs } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import type { Move, Owners, Path, StagedFolder, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin, lstatIfThere, openDirNoFollow, outermost, realAsFarAsThere } from '../host/files.ts'
import { mountOf, overlappingMounts, ownFolder } from '../host/mounts.ts'
import { numbersByName } from '../host/owners.ts'
import { run } from '../host/shell.ts'
import { unitsAtWork } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { excluded } from '../restic/patterns.ts'
import type { CallOptions, Node, Restic, Snapshot } from '../restic/types.ts'
import { dumpsFolder, reservedPattern } from '../snapshots/select.ts'
import { chosenDatabases, type Dumps, gatherDatabaseFacts, type PostgresFacts, type PostgresPlace } from './databases.ts'
import { attributesOf, entriesOf, isDatabase, nearestFolder } from './swap.ts'

/** One path to be replaced: the snapshot's side and the live side (null: nothing is there). Bytes. */
export interface Root {
  path: Path
  bytes: number
  files: number
  live: { bytes: number } | null
  /** The live entry is a link that already says what the snapshot's says: left as it is. */
  unchanged: boolean
  /** Where its staging folder can be made: in the same mount, so that a rename suffices, and where nobody but root can put another in its place. */
  folder: Path
  mount: Path
  /** `path` is a mount point, or leads to one: it stays, and so do `keeps`; these entries of the snapshot come in. */
  inside: { entries: Path[]; keeps: Path[]; attributes: StagedFolder } | null
  /** A file with a mount of its own: it stays, and its content is replaced. `folder` and `mount` are those of our state, which takes both copies. */
  copied: boolean
  /** A mount point that holds something, and of which the snapshot knows nothing: afterwards it is empty. */
  emptied: boolean
}

export interface RestoreFacts {
  run: string
  name: string
  snapshot: Snapshot
  /** Where that is partial: the newest complete one before it. */
  complete?: Snapshot | null
  /** Where it was taken as the newest: newer ones that don't count. */
  passed?: Snapshot[]
  /** What was asked for, empty for all. */
  wanted: Path[]
  roots: Root[]
  /** Declared paths that the snapshot doesn't hold: they stay as they are. */
  absent: Path[]
  /** SQLite databases among what is restored. */
  databases: Path[]
  /** PostgreSQL databases that are restored; null: none. */
  postgres: PostgresFacts | null
  /** Declared ones that the snapshot holds no dump of: they stay as they are. */
  absentDatabases: string[]
  /** Live entries that backups exclude, topmost. */
  excluded: { path: Path; bytes: number }[]
  /** Those of them that have another number here, by their names. */
  renumbered: Owners
  /** Owners' names that aren't known here: their numbers stay. */
  strangers: string[]
  units: Unit[]
  running: Unit[]
  /** Free bytes by mount. */
  free: Record<Path, number>
}

/** What is restored of which service. `wanted`: paths within the snapshot, empty for all. `ran`: units that an interrupted restore has stopped. */
export interface RestoreWish {
  run: string
  name: string
  service: Service
  snapshot: Snapshot
  wanted: Path[]
  ran: Unit[]
  postgres: PostgresPlace
  /** Where copies are kept of what can't be renamed. */
  kept: Path
}

/**
 * Looks before a restore in place.
 * @throws Failure `unknown-path`, `not-declared`, `special-files`, `mount-point`, `unknown-unit`, `no-systemd`, and those of databases
 */
export async function gatherRestoreFacts(restic: Restic, wish: RestoreWish, call: CallOptions): Promise<RestoreFacts> {
  const { run, name, service, snapshot, wanted } = wish
  // While restic reads its tree: the live one may be as large.
  const [tree, sizes] = await Promise.all([readTree(restic, wish, call), sizesOf(wanted.length > 0 ? wanted : snapshot.paths)])
  requireDeclared(wish, tree)
  const { chosen, absent } = chosenDatabases(wish, tree.dumps)
  await requireHarmless(name, tree)
  const roots: Root[] = []
  for (const root of tree.roots) roots.push(await lookRoot(wish, root, tree, sizes))
  const postgres = tree.dumps && chosen.length > 0 ? await gatherDatabaseFacts(restic, wish, tree.dumps, chosen, call) : null
  requireServerApart(name, roots, postgres)
  const { units, running } = await gatherUnits(name, service, wish.ran)
  const folders = [...roots, ...(postgres ? [postgres.staging] : []), ...(postgres?.data ? [postgres.data] : [])]
  const grown = roots.filter(({ copied }) => copied).map(({ path }) => ({ mount: path }))
  const declared = [...service.paths, ...service.sqlite]
  const isSaved = (path: Path) => snapshot.paths.some((saved) => isWithin(path, saved) || isWithin(saved, path))
  return {
    run,
    name,
    snapshot,
    wanted,
    roots,
    absent: wanted.length > 0 ? [] : outermost(declared).filter((path) => !isSaved(path)),
    databases: service.sqlite.flatMap((database) => follow(database, tree.links)).filter((path) => tree.regular.has(path)),
    postgres,
    absentDatabases: absent,
    excluded: await lookExcluded(wish, roots),
    ...(await lookOwners(restic, wish, tree, call)),
    units,
    running,
    free: Object.fromEntries(await Promise.all([...folders, ...grown].map(async ({ mount }) => [mount, await freeBytes(mount)] as const))),
  }
}

interface Tree {
  /** `bare`: a folder on the way to a mount point, which the snapshot doesn't hold. */
  roots: { node: Pick<Node, 'path' | 'type' | 'uid' | 'gid' | 'mode' | 'mtime'>; bytes: number; files: number; entries: Path[]; bare?: true }[]
  /** Folders at and below them that stay. */
  spine: Set<Path>
  links: Map<Path, string>
  /** Regular files that may be the declared databases, by their names. */
  regular: Set<Path>
  special: Node[]
  dumps: Dumps | null
  /** For each user's and group's number but root's, a folder of the snapshot that holds something of it. */
  owned: Record<'uid' | 'gid', Map<number, Path>>
}

async function readTree(restic: Restic, { name, service, snapshot, wanted }: RestoreWish, call: CallOptions): Promise<Tree> {
  const folder = snapshot.paths.find((path) => basename(path) === dumpsFolder)
  const isDump = (path: Path) => folder !== undefined && isWithin(path, folder)
  const paths = outermost((wanted.length > 0 ? wanted : snapshot.paths).filter((path) => !isDump(path)))
  const tree: Tree = {
    roots: [],
    spine: await spineOf(paths, snapshot),
    links: new Map(),
    regular: new Set(),
    special: [],
    dumps: folder === undefined ? null : { folder, files: new Map() },
    owned: { uid: new Map(), gid: new Map() },
  }
  // A database's own path may be a link to another name, which then is a path of the snapshot.
  const databases = new Set([...service.sqlite, ...snapshot.paths].map((path) => basename(path)))
  const missing = new Set([...paths, ...tree.spine])
  // Innermost last.
  const around: Tree['roots'] = []
  for await (const node of restic.ls(snapshot.id, undefined, call)) {
    // One that the service's own user may have made leads nowhere: to /etc, it would have that replaced.
    if (node.type === 'symlink' && snapshot.paths.includes(node.path) && (node.uid === 0 || node.uid === process.getuid?.()))
      tree.links.set(node.path, (await restic.readlink(snapshot.id, node.path, call)) ?? '')
    if (node.type === 'file' && isDump(node.path)) tree.dumps?.files.set(relative(tree.dumps.folder, node.path), node.bytes)
    while (around.length > 0 && !isWithin(node.path, around.at(-1)?.node.path ?? '')) around.pop()
    if (missing.delete(node.path)) {
      const root = { node, bytes: 0, files: 0, entries: [] }
      around.push(root)
      tree.roots.push(root)
    }
    const current = around.at(-1)
    if (!current) continue
    if (dirname(node.path) === current.node.path) current.entries.push(node.path)
    for (const kind of ['uid', 'gid'] as const) if (node[kind] !== 0) tree.owned[kind].set(node[kind], dirname(node.path))
    current.files += 1
    current.bytes += node.bytes
    if (node.type === 'file' && databases.has(basename(node.path))) tree.regular.add(node.path)
    if (node.type === 'dev' || node.type === 'chardev' || (node.type === 'file' && (node.mode & 0o6000) !== 0)) tree.special.push(node)
  }
  const dumped = [...(tree.dumps?.files.keys() ?? [])].map((file) => join(folder ?? '', file))
  const isThere = (path: Path) => path === folder || dumped.some((dump) => isWithin(dump, path))
  for (const path of missing) {
    // Of what is mounted there the snapshot knows nothing: it stays, and nothing comes into it.
    if (paths.includes(path) || !(await lstat(path)).isDirectory()) continue
    tree.roots.push({ node: { path, type: 'dir', ...(await attributesOf(path)) }, bytes: 0, files: 0, entries: [], bare: true })
    missing.delete(path)
  }
  const lost = [...missing][0] ?? wanted.find((path) => isDump(path) && !isThere(path))
  if (lost !== undefined && !paths.includes(lost) && tree.spine.has(lost))
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

/** @throws Failure `server-files` */
function requireServerApart(name: string, roots: Root[], postgres: PostgresFacts | null): void {
  const server = postgres?.data?.folder
  const root = roots.find(({ path }) => server !== undefined && (isWithin(path, server) || isWithin(server, path)))
  if (root)
    throw new Failure(
      'server-files',
      `${name}: ${root.path} holds files of the PostgreSQL server, which must run while its databases are exchanged: restore these alone, with --path ${postgres?.dumps}`,
    )
}

/** Nothing is written outside the declared paths, or what they lead to by the links that the snapshot itself holds. */
function requireDeclared({ name, service, snapshot }: RestoreWish, tree: Tree): void {
  const allowed = [...service.paths, ...service.sqlite].flatMap((path) => follow(path, tree.links))
  const stranger = tree.roots.find(({ node }) => !allowed.some((path) => isWithin(node.path, path)))
  if (stranger)
    throw new Failure(
      'not-declared',
      `${name}: snapshot ${snapshot.shortId} holds ${stranger.node.path}, which the manifest doesn't declare for it: nothing is restored in place. Declare it, choose a part with --path, or inspect the snapshot without --in-place`,
    )
}

/** A path and every name it has by way of links at its start. */
function follow(path: Path, links: Map<Path, string>): Path[] {
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

async function lookRoot(
  { name, snapshot, kept }: RestoreWish,
  root: Tree['roots'][number],
  { links, spine }: Tree,
  sizes: Map<Path, number>,
): Promise<Root> {
  const { node, bytes, files, entries, bare } = root
  const { path } = node
  const live = await lstatIfThere(path)
  const stays = spine.has(path)
  const copied = stays && live?.isFile() === true && node.type === 'file'
  if (stays && !copied && (!live?.isDirectory() || node.type !== 'dir'))
    throw new Failure(
      'mount-point',
      `${name}: something is mounted at or below ${path}, which is ${kindOf(live)} here, and ${kindOf(node)} in snapshot ${snapshot.shortId}: what is mounted can't become another kind. Unmount it, or inspect the snapshot without --in-place and copy from there`,
    )
  const unchanged = node.type === 'symlink' && live?.isSymbolicLink() === true && (await readlink(path)) === links.get(path)
  const near = stays && !copied ? path : await nearestFolder(dirname(path))
  if ((await stat(near).catch(() => null))?.isDirectory() !== true)
    throw new Failure('not-a-folder', `${name}: ${near} is no folder, so ${path} can't be brought back below it: move aside what stands there`)
  const parent = await realpath(near)
  await requireWay(name, parent, copied ? path : parent)
  const size = live ? (sizes.get(path) ?? (await sizesOf([path])).get(path) ?? 0) : 0
  const seen = { path, bytes, files, live: live && { bytes: size }, unchanged }
  if (copied) return { ...seen, folder: kept, mount: await mountOf(await realAsFarAsThere(kept)), inside: null, copied, emptied: false }
  const mount = await mountOf(parent)
  const { uid, gid, mode, mtime } = node
  const mounts = stays ? await mountsBelow(path) : []
  const keeps = [...new Set(mounts.filter((point) => point !== path).map((point) => join(path, point.slice(path.length + 1).split('/')[0] ?? '')))]
  const attributes = { path, uid, gid, mode, mtime, ...(bare && { bare }) }
  const inside = stays ? { entries: entries.filter((entry) => !keeps.includes(entry)), keeps, attributes } : null
  const emptied = bare === true && mounts.includes(path) && (await entriesOf({ live: path, staged: null }, keeps)).length > 0
  return { ...seen, folder: (await ownFolder(parent, mount)) ?? parent, mount, inside, copied, emptied }
}

function kindOf(entry: Stats | Pick<Node, 'type'> | null): string {
  const is = (type: string, test: 'isDirectory' | 'isFile') => entry !== null && ('type' in entry ? entry.type === type : entry[test]())
  return is('dir', 'isDirectory') ? 'a folder' : is('file', 'isFile') ? 'a file' : entry === null ? 'missing' : 'neither file nor folder'
}

/** Folders at and below these paths with which a rename would take a mounted filesystem along. One that backups exclude is none of ours. */
async function spineOf(paths: Path[], { excludes }: Snapshot): Promise<Set<Path>> {
  const spine = new Set<Path>()
  for (const path of paths)
    for (const point of await mountsBelow(path))
      for (let at = point; at !== dirname(path); at = dirname(at)) if (!excluded(excludes, at)) spine.add(at)
  return spine
}

/** What is mounted at or below a path, there or elsewhere too, as the path names it. */
async function mountsBelow(path: Path): Promise<Path[]> {
  const stat = await lstatIfThere(path)
  if (!stat || stat.isSymbolicLink()) return []
  const real = await realpath(path)
  return (await overlappingMounts(real)).map((point) => path + point.slice(real.length))
}

/** @throws Failure `unsafe-path`, `read-only`: where root would be led elsewhere, or can't write */
async function requireWay(name: string, folder: Path, written: Path): Promise<void> {
  await (await openDirNoFollow(folder)).close()
  await access(written, constants.W_OK).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EROFS') return
    throw new Failure('read-only', `${name}: ${written} can't be written: it is mounted read-only; nothing was touched`)
  })
}

/** @throws Failure `mount-point`: renamed, a path would take what is mounted at or below it along */
export async function requireMounts(name: string, moves: Move[]): Promise<void> {
  for (const { live, old, keeps, copied } of moves) {
    const mounts = await mountsBelow(live)
    if (copied && mounts.includes(live)) continue
    const stranger = mounts.find((point) => keeps === undefined || (point !== live && !keeps.some((kept) => isWithin(point, kept))))
    const [here, there] = await Promise.all(
      [keeps === undefined ? dirname(live) : live, dirname(old)].map(async (folder) => mountOf(await realpath(await nearestFolder(folder)))),
    )
    if (stranger !== undefined || here !== there)
      throw new Failure('mount-point', `${name}: ${stranger ?? live} is a mount point since a moment ago, or is none any more: try again`)
  }
}

/** Bytes at and below each path that is there, as restic counts them; in one call, however many there are. */
async function sizesOf(paths: Path[]): Promise<Map<Path, number>> {
  const there = (await Promise.all(paths.map(async (path) => ((await lstatIfThere(path)) ? path : [])))).flat()
  if (there.length === 0) return new Map()
  const argv = ['du', '--summarize', '--bytes', '--count-links', '--one-file-system', '--null', '--files0-from=-']
  const { stdout } = await run(argv, { input: there.join('\0') })
  return new Map(stdout.split('\0').map((line) => [line.slice(line.indexOf('\t') + 1), Number.parseInt(line, 10)]))
}

async function freeBytes(folder: Path): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** The units that use the data, and those of them that run (or did, before an interrupted restore stopped them: `ran`). */
export async function gatherUnits(name: string, service: Service, ran: Unit[]): Promise<{ units: Unit[]; running: Unit[] }> {
  const { units, running } = await unitsAtWork(name, unitsOf(name, service))
  return { units: [...new Set([...units, ...ran])], running: [...new Set([...running, ...ran])] }
}

/** Numbers differ after a reinstall: owners are who has the name that the snapshot knows. */
async function lookOwners(
  restic: Restic,
  { snapshot }: RestoreWish,
  { owned }: Tree,
  call: CallOptions,
): Promise<Pick<RestoreFacts, 'renumbered' | 'strangers'>> {
  const owners: Owners = { users: [], groups: [] }
  const strangers: string[] = []
  const known = new Map<Path, Awaited<ReturnType<Restic['owners']>>>()
  for (const [kind, list, file] of [
    ['uid', owners.users, '/etc/passwd'],
    ['gid', owners.groups, '/etc/group'],
  ] as const) {
    const here = await numbersByName(file)
    for (const [number, folder] of owned[kind]) {
      const nodes = known.get(folder) ?? (await restic.owners(snapshot.id, folder, call))
      known.set(folder, nodes)
      const name = nodes.find((node) => node[kind] === number)?.[kind === 'uid' ? 'user' : 'group']
      if (!name) continue
      const now = here.get(name)
      if (now === undefined) strangers.push(name)
      else if (now !== number) list.push([number, now])
    }
  }
  return { renumbered: owners, strangers: [...new Set(strangers)] }
}

/** Live entries that the backup left out on purpose: caches, logs. They are carried over, or a restore would delete what nobody saved. */
async function lookExcluded({ snapshot, service }: RestoreWish, roots: Root[]): Promise<{ path: Path; bytes: number }[]> {
  const patterns = snapshot.excludes.filter((pattern) => pattern !== reservedPattern)
  if (patterns.length === 0) return []
  const found: Path[] = []
  const walk = async (path: Path): Promise<void> => {
    if (basename(path).startsWith('.atelier-backup-') || (await isSidecar(path, service))) return
    if (excluded(patterns, path)) return void ((await mountsBelow(path)).length === 0 && found.push(path))
    const stat = await lstatIfThere(path)
    if (stat?.isDirectory()) for (const entry of await readdir(path)) await walk(join(path, entry))
  }
  for (const path of outermost(roots.map((root) => root.path))) await walk(path)
  const sizes = await sizesOf(found)
  return found.map((path) => ({ path, bytes: sizes.get(path) ?? 0 }))
}

/** Sidecars never outlive their database: beside another one they are poison. */
async function isSidecar(path: Path, { sqlite }: Service): Promise<boolean> {
  const [, database, suffix] = /^(.+)(-wal2?|-shm|-journal|-mj[^/]*)$/s.exec(path) ?? []
  if (database === undefined || suffix === undefined || (await lstatIfThere(path))?.isFile() !== true) return false
  return sqlite.includes(database) || (await isDatabase(database))
}
