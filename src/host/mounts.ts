// Mounts: what is mounted where, and a private mount namespace in which copies replace live files.
import { join } from 'node:path'
import { textOf } from '../bytes.ts'
import { lstat, readdir, readFile, readlink } from '../fs.ts'
import { foreignFolder, isRootOnly, isWithin, lstatIfThere, nullIfUnseen, outermost, realAsFarAsThere } from './files.ts'
import { run } from './shell.ts'

export interface Mount {
  /** The filesystem's number, major:minor. */
  device: string
  /** The folder inside the filesystem that is mounted here. */
  root: string
  point: string
}

/** The mounts in a process's namespace; one that covers another comes after it. Source: proc_pid_mountinfo(5), where blanks are octal escapes. */
export async function mountsOf(pid: string): Promise<Mount[]> {
  const text = textOf(await readFile(`/proc/${pid}/mountinfo`))
  return text.split('\n').flatMap((line) => {
    const [, , device, root, point] = line.split(' ').map(unescapeOctal)
    return device !== undefined && root !== undefined && point !== undefined ? [{ device, root, point }] : []
  })
}

async function mountPoints(): Promise<string[]> {
  return (await mountsOf('self')).map(({ point }) => point)
}

/** Mount points at or below a path. */
export async function mountsWithin(path: string): Promise<string[]> {
  return (await mountPoints()).filter((point) => isWithin(point, path))
}

/**
 * Mount points at or below a real path, and the folders and files there that are mounted elsewhere too (bind mounts). After a rename such a
 * bind mount would still show the old data, and writes to it would go there.
 */
export async function overlappingMounts(path: string): Promise<string[]> {
  const mounts = await mountsOf('self')
  const points = mounts.flatMap(({ point }) => (isWithin(point, path) ? [point] : []))
  const own = mounts.findLast(({ point }) => isWithin(path, point))
  if (!own) return points
  const place = join(own.root, path.slice(own.point === '/' ? 0 : own.point.length))
  const shown = mounts.flatMap((mount) =>
    mount !== own && mount.device === own.device && isWithin(mount.root, place) ? [join(path, mount.root.slice(place.length))] : [],
  )
  // The kernel reports a deleted folder as "//deleted".
  const there = await Promise.all(shown.map(async (source) => ((await lstatIfThere(source).catch(nullIfUnseen)) ? [source] : [])))
  return [...new Set([...points, ...there.flat()])]
}

/** The nearest folder at or above `parent`, in the same mount, that only root can rename or replace, or null. */
export async function ownFolder(parent: string, mount: string): Promise<string | null> {
  const folders = parent.split('/').map((_, i, names) => names.slice(0, i + 1).join('/') || '/')
  let own: string | null = null
  for (const folder of folders) {
    if (!isRootOnly(await lstat(folder), { sticky: true })) break
    own = folder
  }
  return own !== null && isWithin(own, mount) ? own : null
}

/** The mount point of the filesystem that holds a real path. */
export async function mountOf(path: string): Promise<string> {
  const points = (await mountPoints()).filter((point) => isWithin(path, point))
  return points.reduce((longest, point) => (point.length > longest.length ? point : longest), '/')
}

/** A mount point of fstab at or above `path` that isn't mounted now, or null. What is written there would end up on the wrong disk. */
export async function missingMount(path: string, fstab = '/etc/fstab'): Promise<string | null> {
  const real = await realAsFarAsThere(path)
  return (await missingMounts(fstab)).find(({ point }) => isWithin(real, point))?.point ?? null
}

/**
 * Which of the `missing` mount points concern a path: `above` is at or above it, so that it is on another disk than it should be; `below` are inside of
 * it. Those that nothing mounts by itself (`noauto`) are in `below` only with `all`.
 */
export async function missingAround(path: string, missing: MissingMount[], { all = false } = {}): Promise<{ above: string | null; below: string[] }> {
  const real = await realAsFarAsThere(path)
  const below = missing.filter(({ point, auto }) => (all || auto) && point !== real && isWithin(point, real)).map(({ point }) => point)
  return { above: missing.find(({ point }) => isWithin(real, point))?.point ?? null, below }
}

/** Where an administrator, NixOS and systemd's generators declare mounts. systemd's own mounts, which may be unused, lie elsewhere. */
const mountUnits = ['/etc/systemd/system', '/run/systemd/system', '/run/systemd/generator']

/** A declared mount point that isn't mounted now. `auto`: it should be mounted without being asked for. */
export interface MissingMount {
  point: string
  auto: boolean
}

/** The mount points of fstab and of systemd's mount units that aren't mounted now. */
export async function missingMounts(fstab = '/etc/fstab', unitFolders = mountUnits): Promise<MissingMount[]> {
  const text = textOf(await readFile(fstab).catch(() => Buffer.alloc(0)))
  const lines = text.split('\n').filter((line) => !line.trimStart().startsWith('#'))
  const declared = new Map<string, boolean>()
  for (const line of lines) {
    const [, point = '', , options = ''] = line.trim().split(/\s+/).map(unescapeOctal)
    if (point.startsWith('/')) declared.set(await realAsFarAsThere(point), !options.split(',').includes('noauto'))
  }
  const masked = new Set<string>()
  for (const folder of unitFolders)
    for (const unit of (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.mount'))) {
      if ((await readlink(join(folder, unit)).catch(() => '')) === '/dev/null') masked.add(unit)
      const point = masked.has(unit) ? null : await realAsFarAsThere(mountPointOf(unit))
      // The generator makes units of the lines of fstab: what those say counts.
      if (point !== null && !declared.has(point)) declared.set(point, true)
    }
  const mounted = await mountPoints()
  return [...declared].flatMap(([point, auto]) => (point === '/' || mounted.includes(point) ? [] : [{ point, auto }]))
}

/** Has systemd mount what is declared at, above or inside of these paths and isn't mounted. What it can't mount stays missing. */
export async function mountMissing(paths: string[]): Promise<void> {
  const real = await Promise.all(paths.map(realAsFarAsThere))
  const points = (await missingMounts()).map(({ point }) => point)
  const wanted = points.filter((point) => real.some((path) => isWithin(path, point) || isWithin(point, path)))
  if (wanted.length > 0) await run(['systemctl', 'start', '--', ...wanted])
}

/** A mount unit's name is its mount point: systemd.unit(5), "String escaping". */
function mountPointOf(unit: string): string {
  const bytes = unit.slice(0, -'.mount'.length).replaceAll('-', '/')
  const text = bytes.replaceAll(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return `/${textOf(Buffer.from(text, 'latin1'))}`
}

function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/** Whether this process may make a private mount namespace (root, and not in a container that forbids it). Tried once: it doesn't change. */
export function canMountPrivately(): Promise<boolean> {
  mountsPrivately ??= run(['unshare', '--mount', '--propagation', 'slave', '--', 'true']).then(({ exit }) => exit === 0)
  return mountsPrivately
}
let mountsPrivately: Promise<boolean> | undefined

/**
 * Command prefix: the command sees the copies in `over` (live path → copy) in place of the live files, and no other process does.
 * Propagation `slave`: mounts made outside appear inside, but none made inside appears outside. The mounts end with the command.
 *
 * For the command, and for these mounts, the kernel follows no link in the `sealed` mounts (`sealedMounts`), nor in a copy of a folder: the
 * owner of a folder could otherwise put a link in place of a part of a path, and have the copy mounted over any file, or any file read.
 * Without `--no-canonicalize` mount(8) would follow links itself. Needs Linux 5.10.
 */
export function withPrivateMounts(over: Record<string, string>, sealed: SealedMounts = { folders: [], points: [] }): string[] {
  const { folders, points } = sealed
  const calls = [
    ...folders.map((folder) => ['hold', folder, '']),
    ...points.map((point) => ['seal', point, '']),
    ...Object.entries(over).map(([live, copy]) => ['over', live, copy]),
  ]
  if (calls.length === 0) return []
  const script = `set -e
    seal() { mount --no-canonicalize -o remount,bind,nosymfollow -- "$1"; }
    n=$1; shift
    while [ "$n" -gt 0 ]; do
      case $1 in
        hold) mount --no-canonicalize --rbind -- "$2" "$2" ;;
        seal) seal "$2" ;;
        over) mount --no-canonicalize --bind -- "$3" "$2"; seal "$2" ;;
      esac
      shift 3; n=$((n - 1))
    done
    exec "$@"`
  return ['unshare', '--mount', '--propagation', 'slave', '--', 'bash', '-c', script, 'bash', String(calls.length), ...calls.flat()]
}

/** `folders`: those that aren't root's alone; they become mounts of their own. `points`: these, and all mount points inside. */
export interface SealedMounts {
  folders: string[]
  points: string[]
}

/** Where programs, resolv.conf, certificates and secrets lie: restic itself follows links there. */
const systemFolders = ['/bin', '/dev', '/etc', '/lib', '/lib64', '/nix', '/proc', '/run', '/sys', '/usr']

/**
 * What must be sealed so that neither a part of these real paths, nor of a path below them, can lead elsewhere. A folder of root's alone may
 * hold one of another user, and is sealed too, unless the system's own folders are in it or around it.
 */
export async function sealedMounts(paths: string[]): Promise<SealedMounts> {
  const places = await Promise.all(
    paths.map(async (path) => {
      const foreign = await foreignFolder(path)
      if (foreign !== null) return foreign
      // Of what can't be looked at restic says itself that it couldn't read it.
      const stat = await lstatIfThere(path).catch(nullIfUnseen)
      if (!stat?.isDirectory()) return null
      return isRootOnly(stat) && systemFolders.some((system) => isWithin(system, path) || isWithin(path, system)) ? null : path
    }),
  )
  const folders = outermost(places.filter((folder) => folder !== null))
  const within = await Promise.all(folders.map(mountsWithin))
  return { folders, points: [...new Set([...folders, ...within.flat()])] }
}
