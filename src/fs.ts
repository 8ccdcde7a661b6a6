// node:fs/promises for paths as src/bytes.ts has them: it takes a string's bytes, and gives names as such strings.
import type { Dirent } from 'node:fs'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { bytesOf, hasBytes, textOf } from './bytes.ts'

export { constants, type FileHandle } from 'node:fs/promises'

/** Of most paths the string will do, which is faster. */
function raw(path: string): string | Buffer {
  return typeof path === 'string' && hasBytes(path) ? bytesOf(path) : path
}

function onPath<F>(call: F): F {
  return ((path: string, ...rest: unknown[]) => (call as (...all: unknown[]) => unknown)(raw(path), ...rest)) as F
}

function onPaths<F>(call: F): F {
  return ((one: string, other: string, ...rest: unknown[]) => (call as (...all: unknown[]) => unknown)(raw(one), raw(other), ...rest)) as F
}

export const access = onPath(fs.access)
export const chmod = onPath(fs.chmod)
export const chown = onPath(fs.chown)
export const lchown = onPath(fs.lchown)
export const link = onPaths(fs.link)
export const lstat = onPath(fs.lstat)
export const mkdir = onPath(fs.mkdir)
export const mkdtemp = onPath(fs.mkdtemp)
export const open = onPath(fs.open)
export const readFile = onPath(fs.readFile)
export const rename = onPaths(fs.rename)
export const rm = onPath(fs.rm)
export const rmdir = onPath(fs.rmdir)
export const stat = onPath(fs.stat)
export const statfs = onPath(fs.statfs)
export const symlink = onPaths(fs.symlink)
export const writeFile = onPath(fs.writeFile)

export async function readlink(path: string): Promise<string> {
  return textOf(await fs.readlink(raw(path), 'buffer'))
}

export async function realpath(path: string): Promise<string> {
  return textOf(await fs.realpath(raw(path), 'buffer'))
}

/** Names, or with `recursive` paths below the folder. */
export async function readdir(path: string, { recursive = false } = {}): Promise<string[]> {
  if (!recursive) return (await fs.readdir(raw(path), 'buffer')).map(textOf)
  // Node's own `recursive` fails with names as bytes.
  const below = async (entry: Dirent) =>
    entry.isDirectory() ? (await readdir(join(path, entry.name), { recursive })).map((name) => join(entry.name, name)) : []
  const entries = await readEntries(path)
  return (await Promise.all(entries.map(async (entry) => [entry.name, ...(await below(entry))]))).flat()
}

/** As `readdir`, with the kind of each entry. */
export async function readEntries(path: string): Promise<Dirent[]> {
  const entries = (await fs.readdir(raw(path), { withFileTypes: true, encoding: 'buffer' as BufferEncoding })) as Dirent<string | Buffer>[]
  return entries.map((entry) => Object.assign(entry, { name: textOf(entry.name as Buffer) }) as Dirent)
}
