// Privileged entries can give a user the rights of root: setuid and setgid files, file capabilities, device nodes. A restore in place brings one in
// only if the same entry, with the same content, is live now; any other one needs a person's consent. restic's `ls` shows neither content nor
// capabilities, so staged entries are checked.
import { constants, type Stats } from 'node:fs'
import { basename, join } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { type FileHandle, open } from '../fs.ts'
import { inside, insideFd3, lstatIfThere, withParentFd } from '../host/files.ts'
import { run } from '../host/shell.ts'
import type { Node } from '../restic/types.ts'
import { listed } from '../text.ts'

/** Which privileged entries may be brought in although the same entry isn't live: these paths, or all. */
export type Privileged = Path[] | 'all'

/** The privileged entries of the snapshot that differ from the live entry, as far as restic's `ls` tells. */
export async function newPrivileged(nodes: Node[]): Promise<Path[]> {
  const found = await Promise.all(nodes.map(async (node) => ((await isLike(node)) ? [] : node.path)))
  return found.flat()
}

export function isPrivileged({ type, mode }: Pick<Node, 'type' | 'mode'>): boolean {
  return type === 'dev' || type === 'chardev' || (type === 'file' && (mode & 0o6000) !== 0)
}

async function isLike({ path, type, mode }: Node): Promise<boolean> {
  // A live entry that can't be read counts as missing.
  const live = await lstatIfThere(path).catch(() => null)
  if (live === null || (live.mode & 0o7777) !== mode) return false
  return type === 'file' ? live.isFile() : type === 'dev' ? live.isBlockDevice() : live.isCharacterDevice()
}

/** @throws Failure `special-files` */
export function requirePrivileged(name: string, paths: Path[], allowed: Privileged): void {
  const strangers = allowed === 'all' ? [] : paths.filter((path) => !allowed.includes(path))
  if (strangers.length === 0) return
  throw new Failure(
    'special-files',
    `${name}: the snapshot holds privileged files (setuid, setgid, file capabilities, device nodes) that aren't there now: ${listed(strangers)}. Allow it with --allow-privileged if you trust it; or inspect it without --in-place`,
  )
}

/** The paths, below the staged folder `new` of the open folder `stage`, of privileged entries that differ from the live entry. */
export async function newlyStaged(stage: FileHandle, signal: AbortSignal): Promise<Path[]> {
  const call = { signal, inheritFds: [stage.fd] }
  const tests = ['(', '-type', 'f', '-perm', '/6000', '-o', '-type', 'b', '-o', '-type', 'c', ')']
  const found = await run(['find', insideFd3('new'), ...tests, '-printf', '/%P\\0'], call)
  if (found.exit !== 0) throw unchecked(found.stderr)
  const capable = await capabilitiesBelow(insideFd3('new'), call)
  const paths = [...new Set([...found.stdout.split('\0').filter(Boolean), ...capable.keys()])]
  const strangers: Path[] = []
  for (const path of paths) if (!(await isSame(inside(stage, join('new', path)), path, capable.get(path) ?? null, signal))) strangers.push(path)
  return strangers
}

/** Hexadecimal values of security.capability by path below `folder`: "" for `folder` itself. Only root can set them. */
async function capabilitiesBelow(folder: Path, call: { signal: AbortSignal; inheritFds: number[] }): Promise<Map<Path, string>> {
  if (process.getuid?.() !== 0) return new Map()
  const shown = ['--physical', '--no-dereference', '--absolute-names', '--dump', '--encoding=hex', '--match=^security\\.capability$', '--']
  const { stdout, stderr } = await run(['getfattr', '--recursive', ...shown, folder], call)
  // A filesystem without extended attributes holds no capabilities. Whatever else can't be read may have some.
  const errors = stderr.split('\n').filter((line) => line !== '' && !line.endsWith('Operation not supported'))
  const long = errors.filter((line) => line.endsWith('File name too long'))
  if (errors.length > long.length) throw unchecked(errors.join('\n'))
  // A path of more than 4,096 bytes has 16 names or more. What is there is named without its folder, and so is like nothing live.
  const inFolders = ['find', folder, '-mindepth', '14', '-type', 'f', '-execdir', 'getfattr', ...shown, '{}', '+']
  const deep = long.length > 0 ? await run(inFolders, call) : { exit: 0, stdout: '', stderr: '' }
  if (deep.exit !== 0) throw unchecked(deep.stderr)
  return new Map(
    `${stdout}\n\n${deep.stdout.replaceAll('# file: ./', `# file: ${folder}/…/`)}`.split('\n\n').flatMap((entry): [Path, string][] => {
      const [, name, value] = /^# file: ([^\n]*)\nsecurity\.capability=(\S+)/.exec(entry.trimStart()) ?? []
      // getfattr writes a line break and a backslash of a name as octal numbers.
      const path = name?.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
      return path === undefined || value === undefined ? [] : [[path.slice(folder.length), value]]
    }),
  )
}

function unchecked(stderr: string): Failure {
  return new Failure('special-files', `the restored files can't be checked for privileged ones: ${stderr.trim().split('\n')[0]}`)
}

/** Whether the live entry has the same kind, owner, mode, capabilities and content. */
async function isSame(staged: Path, path: Path, capabilities: string | null, signal: AbortSignal): Promise<boolean> {
  try {
    return await withParentFd(path, async (at, folder) => {
      const [made, live] = await Promise.all([lstatIfThere(staged), lstatIfThere(at)])
      if (made === null || live === null || !isAlike(made, live)) return false
      if (!made.isFile()) return made.rdev === live.rdev
      const call = { signal, inheritFds: [folder.fd] }
      const [value = null] = (await capabilitiesBelow(insideFd3(basename(path)), call)).values()
      return value === capabilities && (await hasSameContent(staged, at))
    })
  } catch (error) {
    if (signal.aborted) throw error
    return false
  }
}

function isAlike(a: Stats, b: Stats): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.size === b.size
}

async function hasSameContent(...paths: [Path, Path]): Promise<boolean> {
  const files: FileHandle[] = []
  try {
    for (const path of paths) files.push(await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK))
    const buffers = files.map(() => Buffer.alloc(1024 * 1024))
    for (let at = 0; ; ) {
      const read = await Promise.all(files.map((file, i) => file.read({ buffer: buffers[i] as Buffer, position: at })))
      const [a, b] = read.map(({ buffer, bytesRead }) => buffer.subarray(0, bytesRead)) as [Buffer, Buffer]
      if (!a.equals(b)) return false
      if (a.length === 0) return true
      at += a.length
    }
  } finally {
    await Promise.all(files.map((file) => file.close()))
  }
}
