// Trees of files, hostile ones too, and what must be equal for two of them to be the same.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'

export interface Entry {
  /** Below the folder; bytes that aren't UTF-8 as `\xNN`. */
  path: string
  type: string
  mode: string
  /** By number. */
  owner: string
  /** Nanoseconds since 1970. */
  mtime: string
  size: number | null
  sha256: string | null
  target: string | null
  /** The first other name of the same file in this tree. */
  sameAs: string | null
}

/**
 * Everything that a backup must bring back, sorted by path. `times: false` leaves out when things changed, `ours: false` folders of ours. Extended
 * attributes: see `attributes`.
 */
export function fingerprint(folder: string, { times = true, ours = true } = {}): Entry[] {
  const first = new Map<string, string>()
  const entries: Entry[] = []
  const visit = (file: Buffer, path: string) => {
    const stats = lstatSync(file, { bigint: true })
    const type = typeOf(stats)
    const inode = `${stats.dev}:${stats.ino}`
    const sameAs = type !== 'folder' && stats.nlink > 1n ? (first.get(inode) ?? null) : null
    if (!first.has(inode)) first.set(inode, path)
    entries.push({
      path,
      type,
      mode: (stats.mode & 0o7777n).toString(8),
      owner: `${stats.uid}:${stats.gid}`,
      mtime: times ? String(stats.mtimeNs) : '',
      size: type === 'file' ? Number(stats.size) : null,
      sha256: type === 'file' ? createHash('sha256').update(readFileSync(file)).digest('hex') : null,
      target: type === 'link' ? readable(readlinkSync(file, { encoding: 'buffer' })) : null,
      sameAs,
    })
    if (type !== 'folder') return
    // Whatever is below, no name that the kernel is given may be longer than 4,096 bytes.
    const open = file.length > 2000 ? openSync(file, constants.O_DIRECTORY) : null
    const within = open === null ? file : Buffer.from(`/proc/self/fd/${open}`)
    const names = readdirSync(within, { encoding: 'buffer' }).sort(Buffer.compare)
    for (const name of names) if (ours || !name.toString().startsWith('.atelier-backup-')) visit(below(within, name), `${path}/${readable(name)}`)
    if (open !== null) closeSync(open)
  }
  visit(Buffer.from(folder), '.')
  return entries
}

/** Extended attributes of a tree, ACLs and capabilities among them, as getfattr(1) prints them: sorted, without those that have none. */
export function attributes(folder: string, names = ['.']): string[] {
  const dump = execFileSync('getfattr', ['--recursive', '--physical', '--no-dereference', '--dump', '--match=-', '--', ...names], {
    cwd: folder,
    encoding: 'utf8',
  })
  return dump.split('\n\n').filter(Boolean).sort()
}

/** What names, modes, links and owners (as root) may be on a Unix file system; the same for the same seed. */
export function makeHostileTree(folder: string, seed = 1): void {
  const root = Buffer.from(folder)
  const at = (name: string | Buffer) => below(root, Buffer.from(name))
  const put = (name: string | Buffer, bytes: number, mode = 0o644) => {
    writeFileSync(at(name), content(`${seed}:${name}`, bytes))
    chmodSync(at(name), mode)
  }
  mkdirSync(folder, { recursive: true })
  for (const name of ['deep/er/and/deeper', 'empty', 'sticky', 'group', 'closed', '-rf']) mkdirSync(at(name), { recursive: true })
  for (const name of hostileNames) put(name, 100)
  put('empty/.keep', 0)
  put('closed/nobody reads me', 10, 0o000)
  put('runnable', 10, 0o755)
  put('large', 3_000_000 + seed)
  put('deep/er/and/deeper/one', 5000)
  linkSync(at('deep/er/and/deeper/one'), at('deep/two'))
  linkSync(at('deep/two'), at('three'))
  symlinkSync('deep/two', at('link'))
  symlinkSync('/nonexistent/target', at('dangling'))
  symlinkSync('.', at('loop'))
  symlinkSync(Buffer.from([0x2f, 0xff, 0x0a]), at('link to bytes'))
  execFileSync('mkfifo', [`${folder}/pipe`])
  if (process.getuid?.() === 0) {
    lchownSync(at('large'), 1234, 4321)
    lchownSync(at('group'), 0, 2345)
    lchownSync(at('link'), 33, 33)
  }
  chmodSync(at('sticky'), 0o1777)
  chmodSync(at('group'), 0o2750)
  chmodSync(at('closed'), 0o000)
  lutimesSync(at('link'), 1_000_000_000.25, 1_000_000_000.25)
  lutimesSync(at('large'), 0, 1)
  lutimesSync(at('runnable'), 4_102_444_800, 4_102_444_800.5)
  lutimesSync(at('deep'), 86_400, 86_400)
}

const hostileNames: (string | Buffer)[] = [
  ' ',
  'a b',
  ' leading and trailing ',
  'line\nbreak',
  'tab\tand\x07bell',
  'quote\'s "double" `back`',
  '$(id) $HOME %n ~',
  '*',
  '?',
  '[a]',
  'back\\slash',
  '{a,b}',
  '-rf/--help',
  '!important',
  '#comment',
  '.hidden',
  'grüße.txt',
  'gru\u0308ße.txt',
  '日本語🗄',
  'x'.repeat(255),
  Buffer.from([0x6e, 0x6f, 0x74, 0xff, 0xfe, 0x75, 0x74, 0x66]),
]

/** Bytes that don't compress and are the same for the same key. */
function content(key: string, bytes: number): Buffer {
  return createHash('shake256', { outputLength: Math.max(bytes, 1) })
    .update(key)
    .digest()
    .subarray(0, bytes)
}

function below(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from('/'), name])
}

function readable(name: Buffer): string {
  const text = name.toString()
  return Buffer.from(text).equals(name) ? text : name.toString('latin1').replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`)
}

function typeOf(stats: BigIntStats): string {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  if (stats.isSymbolicLink()) return 'link'
  if (stats.isFIFO()) return 'pipe'
  if (stats.isSocket()) return 'socket'
  return `device ${stats.rdev}`
}
