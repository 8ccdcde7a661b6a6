// Names of a service's files may lead elsewhere at any time: the service's user, who owns the folders, can put a link in their place. So root reads,
// writes and removes them through the handle of a folder that it holds (`withParentFd`, `inside`, `openDirNoFollow`). This walks the code and asks of each
// call that takes a name why it may; a new one turns it red until its reason stands here.
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

/**
 * - `held`: below the handle of a folder that is held, so whatever happens to its path.
 * - `ours`: in a folder that root alone can write to, with all the folders above: state, staging, what a person named for root.
 * - `host`: of the system: /proc, /sys, /run/systemd, /etc.
 * - `looks`: what comes of it is shown or planned with. What acts on it asks again, through a handle.
 */
type Reason = 'held' | 'ours' | 'host' | 'looks'

/** Of the rooms that get paths of a service. The others (state, ui, commands, restic, manifest) have files of ours and of the person alone. */
const rooms = /^(backup|checks|host|recovery|repository|restore|retention|snapshots|status|views)\//
const calls: Record<string, Partial<Record<Reason, string[]>>> = {
  'backup/manifest.ts': { ours: ['mkdir(folder'] },
  'backup/steps.ts': { held: ['lstat(at'], ours: ['lstat(copy', 'mkdir(folder', 'mkdir(folder', 'rm(claim', 'rm(to'] },
  'checks/check.ts': { looks: ['access(file', 'stat(file'] },
  'checks/doctor.ts': { host: ['existsSync(/proc/{pid}'], looks: ['access(site.state', 'stat(site.state'] },
  'host/files.ts': {
    held: ['lstat(inside(held, name)', 'open(inside(held, name)', "readlink(inside(held, '.')", 'readlink(inside(held, name)'],
    ours: [
      'lstatSync(file',
      'open(folder',
      'open(fresh',
      'openSync(file',
      'readFileSync(file',
      'readdir(dirname(file)',
      'rename(fresh',
      'rm(fresh',
      'rm(join(dirname(file), name)',
      'statSync(file',
    ],
    host: ["open('/'", "open(from ? inside(from, '.') : '/'"],
    looks: ['lstat(done', 'lstat(path', 'readlink(next', 'statfs(folder'],
  },
  'host/folders.ts': { held: ['mkdir(at', 'rename(from', 'rmdir(held'], looks: ['lstat(folder', 'lstat(ours'] },
  // Its folder stands where root alone can rename or replace: `safeParent`.
  'host/frozen.ts': { ours: ['mkdir(dirname(at)'], looks: ['stat(path'] },
  'host/mounts.ts': {
    host: ['readFile(/proc/{pid}/mountinfo', 'readFile(fstab', 'readdir(folder', 'readlink(join(folder, unit)'],
    looks: ['lstat(folder'],
  },
  // The staging folder of a restore, which no other user can reach.
  'host/owners.ts': { host: ['readFile(file'], ours: ['chmod(at', 'lchown(at', 'lstat(at', 'open(at', "readdir(inside(held, '.')"] },
  'host/postgres-load.ts': { ours: ['chown(file', 'readFile(globals', 'rm(file', 'writeFile(file'] },
  'host/postgres-restricted.ts': {
    ours: ['chmod(folder', 'chmod(socket', 'chown(socket', "mkdtemp(join(tmpdir(), 'atelier-pg-')", 'rm(folder'],
  },
  'host/postgres.ts': { ours: ['open(file', 'writeFile(join(folder, dumpFiles.version)'], looks: ['stat(await nearestFolder(folder)', 'stat(other'] },
  'host/processes.ts': {
    host: [
      'readFile(/proc/{pid}/comm',
      'readFile(/proc/{pid}/maps',
      "readdir('/proc'",
      'readdir(/proc/{pid}/fd',
      "readlink('/proc/self/ns/mnt'",
      'readlink(/proc/{pid}/{link}',
      'readlink(/proc/{pid}/ns/mnt',
    ],
  },
  'host/space.ts': {
    ours: ['readFile(join(other, claimFile)', 'readdir(dirname(folder)', 'stat(join(other, claimFile)', 'stat(own', 'statfs(folder', 'writeFile(own'],
  },
  // A copy is made in a folder of root's, as the database's owner, who has that folder meanwhile: the copy is taken only once it is root's again.
  'host/sqlite.ts': {
    held: ['lstat(at', 'open(at', 'open(at'],
    ours: ['chown(folder', 'chown(folder', 'mkdir(folder', "rename(join(folder, 'copy')", 'rm(folder'],
    host: [
      "readdir('/proc'",
      'readdir(/proc/{pid}/fd',
      'readlink(/proc/{pid}/fd/{fd}',
      'stat(/proc/{pid}/fd/{fd}',
      'stat(/proc/{pid}/root{dirname(name)}',
    ],
    looks: ['lstat(database', 'lstat(database', 'lstat(folder', 'readEntries(folder', 'stat(dirname(database)'],
  },
  'host/stall.ts': { ours: ['lstat(join(folder, name)', 'readdir(folder'] },
  'host/systemd.ts': {
    host: [
      "existsSync('/run/systemd/system'",
      'mkdir(masks',
      "readFile('/proc/self/cgroup'",
      'readFile({root}{controlGroup}/{file}',
      'readdir(root + controlGroup',
      'readlink(/proc/{pid}/ns/mnt',
      'readlink(join(masks, name)',
      'rm(join(masks, name)',
      "symlink('/dev/null'",
    ],
  },
  'recovery/choose.ts': { looks: ['readdir(path'] },
  'recovery/recover.ts': { ours: ['rm(journalOf(site)'] },
  'restore/databases.ts': { looks: ['realpath(await nearestFolder(staging)', 'realpath(folder', 'realpath(state.dataFolder'] },
  // Every folder above the target is root's alone, or it is refused: `requireOwnParents`.
  'restore/inspect.ts': { ours: ['mkdir(target'], looks: ['realpath(dirname(target)', 'stat(folder'] },
  'restore/look.ts': { looks: ['access(written', 'readdir(path', 'readlink(path', 'realpath(near', 'stat(near'] },
  'restore/mounts.ts': { looks: ['realpath(await nearestFolder(folder)', 'realpath(path'] },
  'restore/overwrite.ts': { held: ['open(at', 'rm(at', 'rm(at'] },
  'restore/privileged.ts': { ours: ['open(path'] },
  'restore/steps.ts': { held: ['mkdir(at', 'mkdir(join(target, attributes.path)', 'mkdir(target', 'rm(at'] },
  'restore/swap.ts': {
    held: [
      'link(hereOf(sidecar)',
      'lstat(at',
      'rename(here',
      'rename(hereOf(sidecar)',
      'rm(at',
      'rm(at',
      'rm(hereOf(sidecar)',
      'rm(inside(target, basename(sidecar))',
    ],
    looks: ['readdir(folder'],
  },
  'restore/transaction.ts': { ours: ['mkdir(dirname(journal.dumps)'] },
  'restore/tree.ts': { looks: ['lstat(path'] },
}

const acts = /^(chmod|chown|lchown|link|mkdir|mkdtemp|open|openSync|readFile|readFileSync|rename|rm|rmdir|symlink|writeFile)\(/

describe('[handle.1] no name of a service’s file is used twice', () => {
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => rooms.test(file) && file.endsWith('.ts'))
  test('each call that takes a name has its reason', () => {
    const known = Object.fromEntries(Object.entries(calls).map(([file, reasons]) => [file, Object.values(reasons).flat().sort()]))
    expect(Object.fromEntries(files.map((file) => [file, callsIn(file)] as const).filter(([, found]) => found.length > 0))).toEqual(known)
  })

  test('what reads content, writes or removes is never a mere look', () => {
    expect(Object.values(calls).flatMap(({ looks = [] }) => looks.filter((call) => acts.test(call)))).toEqual([])
  })
})

/** The calls of functions of src/fs.ts and node:fs, each with its first argument, as written. */
function callsIn(file: string): string[] {
  const source = readFileSync(`src/${file}`, 'utf8')
  const imported = [...source.matchAll(/^import \{([^}]*)\} from '(?:[./]+\/fs\.ts|node:fs)'$/gm)].flatMap(([, names = '']) => names.split(','))
  const functions = imported
    .map((name) => name.trim())
    .filter((name) => /^[a-z]\w+$/.test(name) && name !== 'constants' && !ofDescriptors.includes(name))
  if (functions.length === 0) return []
  // Not open(2) of a comment.
  const starts = [...source.matchAll(new RegExp(`(?<![\\w.])(?:${functions.join('|')})\\((?!\\d\\))`, 'g'))]
  return starts.map(({ 0: call, index }) => (call + firstArgument(source.slice(index + call.length))).replaceAll(/`|\$(?={)/g, '')).sort()
}
const ofDescriptors = ['closeSync', 'fstatSync', 'writeSync']

function firstArgument(rest: string): string {
  let depth = 0
  for (let at = 0; at < rest.length; at++) {
    const sign = rest[at] ?? ''
    if (depth === 0 && /[,)]/.test(sign)) return rest.slice(0, at)
    if (/[([{]/.test(sign)) depth++
    if (/[)\]}]/.test(sign)) depth--
  }
  return rest
}
