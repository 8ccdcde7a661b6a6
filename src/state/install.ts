// The state folder and its subfolders, and the id of this install.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Failure } from '../errors.ts'
import { link, mkdir, readdir, rm, stat } from '../fs.ts'
import { lstatIfThere, notOurs, readIfThere, syncFolder, writeDurably } from '../host/files.ts'

/** Subfolders of the state folder (default /var/lib/atelier-backup, 0700). */
export const stateFolders = ['locks', 'records', 'running', 'journals', 'staging', 'repositories', 'reports', 'kept'] as const
export type StateFolder = (typeof stateFolders)[number]

/** Path of a service's (or repository's) file in a subfolder, without its extension. Refuses names that lead out of the folder, as the schema does. */
export function statePath(state: string, folder: StateFolder, name: string): string {
  if (name.includes('/') || name.startsWith('.')) throw new Failure('usage', `"${name}" is not a valid name of a service or repository`)
  return join(state, folder, name)
}

/** Creates the state folder. @throws Failure `needs-root`, `state-damaged` */
export async function makeState(state: string): Promise<void> {
  await requireFolder(state)
  try {
    for (const folder of stateFolders) await mkdir(join(state, folder), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw stateFailure(state, error)
  }
}

/**
 * The id of this install (16 hex digits), created once; snapshots have it as the tag `install:ID`. A reinstalled host gets another id, so that
 * its first, empty backups don't count as the service's newest.
 */
export async function installId(state: string): Promise<string> {
  const file = join(state, 'install-id')
  const known = await readIfThere(file)
  if (known !== null) return checkedId(known, file)
  const id = newInstallId()
  const fresh = join(state, `.install-id.${id}`)
  await writeDurably(fresh, `${id}\n`)
  // link, not rename: it fails if another process has created the file meanwhile, and both use that id.
  await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(fresh, { force: true })
  await syncFolder(state)
  return checkedId((await readIfThere(file)) ?? '', file)
}

/** 16 hex digits. */
export function newInstallId(): string {
  return randomBytes(8).toString('hex')
}

/** The install's id, or null before the first run: commands that only read don't create one. */
export async function installIdIfThere(state: string): Promise<string | null> {
  const file = join(state, 'install-id')
  const known = await readIfThere(file).catch((error: NodeJS.ErrnoException) => {
    throw stateFailure(state, error)
  })
  return known === null ? null : checkedId(known, file)
}

function checkedId(text: string, file: string): string {
  if (!/^[0-9a-f]{16}\n$/.test(text))
    throw new Failure(
      'state-damaged',
      `${file} doesn't hold an install id: restore it, or remove it and run "atelier-backup adopt --all" to continue with a new one`,
    )
  return text.trim()
}

function stateFailure(state: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM')
    return new Failure('needs-root', `this user may not write to the state folder ${state}: run this as root, for example with sudo`)
  if (code === 'ENOTDIR' || code === 'EEXIST' || code === 'ELOOP') return notAFolder(state, state)
  return error
}

/** Anything else in the folder's place, or in that of one of its folders, would read as "never backed up". @throws Failure `state-damaged` */
export async function requireFolder(state: string): Promise<void> {
  for (const folder of [state, ...stateFolders.map((name) => join(state, name))]) {
    const there = await stat(folder).catch((error: NodeJS.ErrnoException) => error.code)
    // What is there after all, and no link, was made by another run in between.
    const isDangling = there === 'ENOENT' && (await lstatIfThere(folder))?.isSymbolicLink() === true
    if (typeof there === 'object' ? !there.isDirectory() : there === 'ELOOP' || isDangling) throw notAFolder(state, folder)
  }
}

function notAFolder(state: string, folder: string): Failure {
  const other = folder === state ? ', or give another folder with --state-dir' : ' and put the folder back, which says what was saved and restored'
  return new Failure('state-damaged', `the state folder ${folder} is not a folder: move the file away${other}`)
}

/** What stands in the place of a lock or of a run's events and is no file: nothing that takes the lock can run. */
export async function strangeEntries(state: string): Promise<Failure[]> {
  const folders = [state, ...(['locks', 'running', 'repositories'] as const).map((name) => join(state, name))]
  const all = await Promise.all(folders.map(async (folder) => (await readdir(folder).catch(() => [])).map((name) => join(folder, name))))
  const ours = all.flat().filter((file) => /\.(lock|ndjson)$/.test(file))
  const stats = await Promise.all(ours.map(lstatIfThere))
  return ours.flatMap((file, i) => (stats[i]?.isFile() === false ? [notOurs(file)] : []))
}
