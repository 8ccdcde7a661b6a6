// Gathers the facts that a restore in place is planned from: the snapshot's tree, the live data, the units. Changes nothing.
import { constants, type Stats } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Owners, Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { access, readdir, readlink, realpath, stat } from '../fs.ts'
import { freeBytes, isUnseen, isWithin, lstatIfThere, nullIfUnseen, openDirNoFollow, outermost, realAsFarAsThere } from '../host/files.ts'
import { nearestFolder } from '../host/folders.ts'
import { missingAround, missingMounts, mountOf, ownFolder } from '../host/mounts.ts'
import { numbersByName } from '../host/owners.ts'
import { run } from '../host/shell.ts'
import { spareBytes } from '../host/space.ts'
import { isDatabase } from '../host/sqlite.ts'
import type { Service } from '../manifest/types.gen.ts'
import { excluded } from '../restic/patterns.ts'
import type { CallOptions, Node, Restic } from '../restic/types.ts'
import { reservedPattern } from '../snapshots/select.ts'
import { shellWord } from '../text.ts'
import { chosenDatabases, gatherDatabaseFacts } from './databases.ts'
import type { PostgresFacts, RestoreFacts, RestoreWish, Root } from './facts.ts'
import { mountsBelow } from './mounts.ts'
import { newPrivileged } from './privileged.ts'
import { neededRoom } from './room.ts'
import { entriesOf } from './swap.ts'
import { followLinks, readTree, requireDeclared, type Tree } from './tree.ts'
import { gatherUnits } from './units.ts'

/**
 * Gathers what a restore in place is planned from.
 * @throws Failure `unknown-path`, `not-declared`, `mount-point`, `unknown-unit`, `no-systemd`, and those of databases
 */
export async function gatherRestoreFacts(restic: Restic, wish: RestoreWish, call: CallOptions): Promise<RestoreFacts> {
  const { run, name, service, snapshot, wanted } = wish
  // At the same time: reading the live tree may take as long as restic takes for the snapshot's.
  const [tree, sizes] = await Promise.all([readTree(restic, wish, call), sizesOf(wanted.length > 0 ? wanted : snapshot.paths)])
  requireDeclared(wish, tree)
  const { chosen, absent } = chosenDatabases(wish, tree.dumps)
  const roots: Root[] = []
  for (const root of tree.roots) roots.push(await gatherRoot(wish, root, tree, sizes))
  const postgres = tree.dumps && chosen.length > 0 ? await gatherDatabaseFacts(restic, wish, tree.dumps, chosen, call) : null
  requireServerApart(name, roots, postgres)
  const { units, running } = await gatherUnits(name, service, wish.ran)
  const folders = [...roots, ...(postgres ? [postgres.staging] : []), ...(postgres?.data ? [postgres.data] : []), ...(postgres?.others ?? [])]
  const growing = roots.filter(({ overwritten }) => overwritten).map(({ path }) => ({ mount: path }))
  const left = await gatherExcluded(wish, roots)
  const free = Object.fromEntries(await Promise.all([...folders, ...growing].map(async ({ mount }) => [mount, await freeBytes(mount)] as const)))
  await withoutHoles(restic, wish, { roots, excluded: left.excluded, postgres, free }, tree, call)
  const declared = [...service.paths, ...service.sqlite]
  const isSaved = (path: Path) => snapshot.paths.some((saved) => isWithin(path, saved) || isWithin(saved, path))
  return {
    run,
    name,
    snapshot,
    wanted,
    roots,
    absent: wanted.length > 0 ? [] : [...outermost(declared).filter((path) => !isSaved(path)), ...tree.unread],
    databases: service.sqlite.flatMap((database) => followLinks(database, tree.links)).filter((path) => tree.regular.has(path)),
    postgres,
    absentDatabases: absent,
    privileged: await newPrivileged(tree.privileged),
    ...left,
    ...(await gatherOwners(restic, wish, tree, call)),
    unmounted: await unmountedFor(wish, roots),
    units,
    running,
    free,
  }
}

/** All mount points that count: a snapshot may hold what was on a disk that is only mounted when it is asked for. */
async function unmountedFor({ snapshot }: RestoreWish, roots: Root[]): Promise<Path[]> {
  const missing = await missingMounts()
  const around = await Promise.all(roots.filter(({ unchanged }) => !unchanged).map(({ path }) => missingAround(path, missing, { all: true })))
  const below = around.flatMap(({ below }) => below).filter((point) => !excluded(snapshot.excludes, point))
  return [...new Set([...around.flatMap(({ above }) => above ?? []), ...below])]
}

/** The server can't be stopped while its databases are exchanged, so its own files can't be replaced. @throws Failure `server-files` */
function requireServerApart(name: string, roots: Root[], postgres: PostgresFacts | null): void {
  const places = postgres === null ? [] : [postgres.data, ...postgres.others].flatMap((place) => place?.folder ?? [])
  const root = roots.find(({ path }) => places.some((server) => isWithin(path, server) || isWithin(server, path)))
  if (root)
    throw new Failure(
      'server-files',
      `${name}: ${root.path} holds files of the PostgreSQL server, which must run while its databases are exchanged: restore these alone, with --path ${postgres?.dumps}`,
    )
}

async function gatherRoot(
  { name, snapshot, kept }: RestoreWish,
  root: Tree['roots'][number],
  { links, unmovable }: Tree,
  sizes: Map<Path, number>,
): Promise<Root> {
  const { node, bytes, files, written, entries, bare } = root
  const { path } = node
  const isUnmovable = unmovable.has(path)
  const live = await lstatIfThere(path).catch((error) => {
    if (!isUnmovable || !isUnseen(error)) throw error
    throw new Failure(
      'mount-point',
      `${name}: ${path} is a mount point that doesn't answer (${error.code}): unmount it (umount -l ${shellWord(path)}) and mount it again, or choose other paths with --path`,
    )
  })
  const overwritten = isUnmovable && live?.isFile() === true && node.type === 'file'
  if (isUnmovable && !overwritten && (!live?.isDirectory() || node.type !== 'dir'))
    throw new Failure(
      'mount-point',
      `${name}: something is mounted at or below ${path}, which is ${kindOf(live)} here, and ${kindOf(node)} in snapshot ${snapshot.shortId}: what is mounted can't become another kind. Unmount it, or inspect the snapshot without --in-place and copy from there`,
    )
  const unchanged = node.type === 'symlink' && live?.isSymbolicLink() === true && (await readlink(path)) === links.get(path)
  const near = isUnmovable && !overwritten ? path : await nearestFolder(dirname(path))
  if ((await stat(near).catch(() => null))?.isDirectory() !== true)
    throw new Failure('not-a-folder', `${name}: ${near} is no folder, so ${path} can't be restored below it: move it aside`)
  const parent = await realpath(near)
  await requireWritable(name, parent, overwritten ? path : parent)
  const size = live ? (sizes.get(path) ?? (await sizesOf([path])).get(path) ?? 0) : 0
  const seen = { path, bytes, files, written, live: live && { bytes: size }, unchanged }
  if (overwritten)
    return { ...seen, folder: kept, mount: await mountOf(await realAsFarAsThere(kept)), entriesOnly: null, overwritten, emptied: false }
  const mount = await mountOf(parent)
  const { uid, gid, mode, mtime } = node
  const mounts = isUnmovable ? await mountsBelow(path) : []
  const nestedMounts = [
    ...new Set(mounts.filter((point) => point !== path).map((point) => join(path, point.slice(path.length + 1).split('/')[0] ?? ''))),
  ]
  const attributes = { path, uid, gid, mode, mtime, ...(bare && { bare }) }
  const entriesOnly = isUnmovable ? { entries: entries.filter((entry) => !nestedMounts.includes(entry)), nestedMounts, attributes } : null
  const emptied = bare === true && mounts.includes(path) && (await entriesOf({ live: path, staged: null }, nestedMounts)).length > 0
  return { ...seen, folder: (await ownFolder(parent, mount)) ?? parent, mount, entriesOnly, overwritten, emptied }
}

function kindOf(entry: Stats | Pick<Node, 'type'> | null): string {
  const is = (type: string, test: 'isDirectory' | 'isFile') => entry !== null && ('type' in entry ? entry.type === type : entry[test]())
  return is('dir', 'isDirectory') ? 'a folder' : is('file', 'isFile') ? 'a file' : entry === null ? 'missing' : 'neither file nor folder'
}

/** @throws Failure `unsafe-path` where a link of another user is on the path; `read-only` */
async function requireWritable(name: string, folder: Path, written: Path): Promise<void> {
  await (await openDirNoFollow(folder)).close()
  await access(written, constants.W_OK).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EROFS') return
    throw new Failure('read-only', `${name}: ${written} can't be written: it is mounted read-only; nothing was touched`)
  })
}

/** Folders that are asked for holes at most: each takes a call of restic. */
const foldersAsked = 50

/** Where there seems to be too little room: takes the holes of large files off what restic writes, the largest folders first, until it fits. */
async function withoutHoles(
  restic: Restic,
  { snapshot, closely }: RestoreWish,
  facts: Pick<RestoreFacts, 'roots' | 'excluded' | 'postgres' | 'free'>,
  tree: Tree,
  call: CallOptions,
): Promise<void> {
  const lacking = () => Object.entries(neededRoom(facts)).flatMap(([mount, needed]) => (needed + spareBytes > (facts.free[mount] ?? 0) ? mount : []))
  const found = tree.roots.flatMap(({ node, large }) => large.map((file) => ({ ...file, root: facts.roots.find(({ path }) => path === node.path) })))
  const folders = new Map<Path, typeof found>()
  for (const file of found) {
    const folder = dirname(file.path)
    const files = folders.get(folder)
    if (files) files.push(file)
    else folders.set(folder, [file])
  }
  const sum = (files: typeof found) => files.reduce((all, { bytes }) => all + bytes, 0)
  for (const [folder, files] of [...folders].sort(([, a], [, b]) => sum(b) - sum(a)).slice(0, foldersAsked)) {
    const mounts = lacking()
    if (!closely && mounts.length === 0) return
    if (!closely && !files.some(({ root, path }) => root && (mounts.includes(root.mount) || mounts.includes(path)))) continue
    const holes = await restic.holes(snapshot.id, folder, call)
    for (const { root, path, bytes } of files) if (root) root.written -= Math.min(bytes, holes.get(basename(path)) ?? 0)
  }
}

/**
 * Bytes at and below each path that exists, counted as restic counts them. One call of du for all of them. `allocated`: what a copy takes, without
 * holes, of hard links each file once.
 */
async function sizesOf(paths: Path[], allocated = false): Promise<Map<Path, number>> {
  const there = (await Promise.all(paths.map(async (path) => ((await lstatIfThere(path).catch(nullIfUnseen)) ? path : [])))).flat()
  if (there.length === 0) return new Map()
  const counting = allocated ? ['--block-size=1'] : ['--bytes', '--count-links']
  const argv = ['du', '--summarize', ...counting, '--one-file-system', '--null', '--files0-from=-']
  const { stdout } = await run(argv, { input: there.join('\0') })
  return new Map(stdout.split('\0').map((line) => [line.slice(line.indexOf('\t') + 1), Number.parseInt(line, 10)]))
}

/** After a reinstall, users and groups may have other numbers: they are matched by the names in the snapshot. */
async function gatherOwners(
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

/** Live entries that backups exclude: caches, logs. They are carried over: the restore would remove data that has no backup. */
async function gatherExcluded({ snapshot, service }: RestoreWish, roots: Root[]): Promise<Pick<RestoreFacts, 'excluded' | 'unseen'>> {
  const patterns = snapshot.excludes.filter((pattern) => pattern !== reservedPattern)
  if (patterns.length === 0) return { excluded: [], unseen: [] }
  const found: Path[] = []
  const unseen: Path[] = []
  const walk = async (path: Path): Promise<void> => {
    if (basename(path).startsWith('.atelier-backup-') || (await isSidecar(path, service))) return
    if (excluded(patterns, path)) return void ((await mountsBelow(path)).length === 0 && found.push(path))
    const stat = await lstatIfThere(path)
    if (stat?.isDirectory()) for (const entry of await readdir(path)) await look(join(path, entry))
  }
  // One damaged folder must not keep the rest from being replaced: it moves aside with the old data.
  const look = (path: Path) =>
    walk(path).catch((error) => {
      if (!isUnseen(error)) throw error
      unseen.push(path)
    })
  for (const path of outermost(roots.map((root) => root.path))) await look(path)
  const sizes = await sizesOf(found, true)
  return { excluded: found.map((path) => ({ path, bytes: sizes.get(path) ?? 0 })), unseen }
}

/** Sidecars of a database are never carried over: SQLite would apply them to another database. */
async function isSidecar(path: Path, { sqlite }: Service): Promise<boolean> {
  const [, database, suffix] = /^(.+)(-wal2?|-shm|-journal|-mj[^/]*)$/s.exec(path) ?? []
  if (database === undefined || suffix === undefined || (await lstatIfThere(path))?.isFile() !== true) return false
  return sqlite.includes(database) || (await isDatabase(database))
}
