// Processes that use files, by whatever path they opened them.
import { basename, dirname, join } from 'node:path'
import { textOf } from '../bytes.ts'
import { readdir, readFile, readlink } from '../fs.ts'
import { isWithin, realAsFarAsThere } from './files.ts'
import { type Mount, mountsOf } from './mounts.ts'

export interface User {
  pid: number
  command: string
  /** The file that it has open, or its working directory, as the process sees the path. */
  path: string
}

/** Other processes that have something at or below these paths open, mapped or as working directory, also through another mount (containers). */
export async function processesUsing(paths: string[]): Promise<User[]> {
  if (paths.length === 0) return []
  const own = await mountsOf('self')
  const namespace = await readlink('/proc/self/ns/mnt')
  const wanted = await Promise.all(paths.map(async (path) => placeOf(own, join(await realAsFarAsThere(dirname(path)), basename(path)))))
  const mounts = new Map([[namespace, own]])
  const users: User[] = []
  for (const pid of (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name) && name !== String(process.pid))) {
    const theirs = await readlink(`/proc/${pid}/ns/mnt`).catch(() => null)
    if (theirs === null) continue
    const seen = mounts.get(theirs) ?? (await mountsOf(pid).catch(() => []))
    mounts.set(theirs, seen)
    const path = (await openPaths(pid)).find((path) => wanted.some((place) => isWithin(placeOf(seen, path), place)))
    if (path !== undefined) users.push({ pid: Number(pid), command: (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trim(), path })
  }
  return users
}

/** A path as its device and the path inside that filesystem: the same for each mount of it. */
function placeOf(mounts: Mount[], path: string): string {
  const mount = mounts.findLast(({ point }) => isWithin(path, point))
  return mount ? join(mount.device, mount.root, path.slice(mount.point === '/' ? 0 : mount.point.length)) : path
}

async function openPaths(pid: string): Promise<string[]> {
  const open = (await readdir(`/proc/${pid}/fd`).catch(() => [])).map((fd) => `fd/${fd}`)
  const links = await Promise.all(['cwd', 'root', ...open].map((link) => readlink(`/proc/${pid}/${link}`).catch(() => '')))
  const mapped = textOf(await readFile(`/proc/${pid}/maps`).catch(() => Buffer.alloc(0))).matchAll(/^(?:\S+ +){5}(\/[^\n]*)/gm)
  return [...links.filter((path) => path.startsWith('/')), ...[...mapped].map(([, path = '']) => path)]
}
