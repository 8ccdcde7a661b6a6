// What a restore in place may know before it is planned: the snapshot's tree, the live data, the units. Nothing is touched.
import { constants, type Stats } from 'node:fs'
import { access, readdir, readlink, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Owners, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { freeBytes, isWithin, lstatIfThere, openDirNoFollow, outermost, realAsFarAsThere } from '../host/files.ts'
import { nearestFolder } from '../host/folders.ts'
import { mountOf, ownFolder } from '../host/mounts.ts'
import { numbersByName } from '../host/owners.ts'
import { run } from '../host/shell.ts'
import { isDatabase } from '../host/sqlite.ts'
import type { Service } from '../manifest/types.gen.ts'
import { excluded } from '../restic/patterns.ts'
import type { CallOptions, Node, Restic } from '../restic/types.ts'
import { reservedPattern } from '../snapshots/select.ts'
import { chosenDatabases, gatherDatabaseFacts } from './databases.ts'
import type { PostgresFacts, RestoreFacts, RestoreWish, Root } from './facts.ts'
import { mountsBelow } from './mounts.ts'
import { entriesOf } from './swap.ts'
import { follow, readTree, requireDeclared, requireHarmless, type Tree } from './tree.ts'
import { gatherUnits } from './units.ts'

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

/** @throws Failure `unsafe-path`, `read-only`: where root would be led elsewhere, or can't write */
async function requireWay(name: string, folder: Path, written: Path): Promise<void> {
  await (await openDirNoFollow(folder)).close()
  await access(written, constants.W_OK).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EROFS') return
    throw new Failure('read-only', `${name}: ${written} can't be written: it is mounted read-only; nothing was touched`)
  })
}

/** Bytes at and below each path that is there, as restic counts them; in one call, however many there are. */
async function sizesOf(paths: Path[]): Promise<Map<Path, number>> {
  const there = (await Promise.all(paths.map(async (path) => ((await lstatIfThere(path)) ? path : [])))).flat()
  if (there.length === 0) return new Map()
  const argv = ['du', '--summarize', '--bytes', '--count-links', '--one-file-system', '--null', '--files0-from=-']
  const { stdout } = await run(argv, { input: there.join('\0') })
  return new Map(stdout.split('\0').map((line) => [line.slice(line.indexOf('\t') + 1), Number.parseInt(line, 10)]))
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
