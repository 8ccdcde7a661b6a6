// This install: its id, and the state folder's places.
import { link, mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Failure } from '../errors.ts'
import { crypto } from '../host/crypto.ts'
import { readIfThere, syncFolder, writeDurably } from '../host/files.ts'

/** Places in the state folder (default /var/lib/atelier-backup, 0700). */
export const stateFolders = ['locks', 'records', 'running', 'journals', 'staging', 'repositories', 'reports', 'kept'] as const
export type StateFolder = (typeof stateFolders)[number]

/** Where something of a service (or repository) stands. Names can't leave the folder: the schema's pattern and this check see to it. */
export function statePath(state: string, place: StateFolder, name: string): string {
  if (name.includes('/') || name.startsWith('.')) throw new Failure('usage', `"${name}" is no name of a service or repository`)
  return join(state, place, name)
}

/** Makes the state folder. @throws Failure `needs-root` where this user may not. */
export async function makeState(state: string): Promise<void> {
  try {
    for (const place of stateFolders) await mkdir(join(state, place), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw stateFailure(state, error)
  }
}

/**
 * The id of this install (16 hex digits), made once: a reinstalled host has another one, so that its first empty backups
 * can't pass for the newest. Tag `install:ID`.
 */
export async function installId(state: string): Promise<string> {
  const file = join(state, 'install-id')
  const known = await readIfThere(file)
  if (known !== null) return checkedId(known, file)
  const id = crypto().randomBytes(8).toString('hex')
  const fresh = join(state, `.install-id.${id}`)
  await writeDurably(fresh, `${id}\n`)
  // link, not rename: of two that start together one wins, and both use its id.
  await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(fresh, { force: true })
  await syncFolder(state)
  return checkedId((await readIfThere(file)) ?? '', file)
}

/** The install's id, or null before the first run: a query makes nothing. */
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
      `${file} doesn't hold an install id: restore it, or remove it and run "atelier-backup adopt --all" to go on with a new one`,
    )
  return text.trim()
}

function stateFailure(state: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EACCES' || code === 'EPERM')
    return new Failure('needs-root', `the state folder ${state} isn't ours to write: run this as root, for example with sudo`)
  if (code === 'ENOTDIR' || code === 'EEXIST' || code === 'ELOOP') return noFolder(state)
  return error
}

/** What stands there would read as "nothing was ever done". @throws Failure `state-damaged` */
export async function requireFolder(state: string): Promise<void> {
  const there = await stat(state).catch(() => null)
  if (there && !there.isDirectory()) throw noFolder(state)
}

function noFolder(state: string): Failure {
  return new Failure('state-damaged', `the state folder ${state} is no folder: move aside what stands there, or name another with --state-dir`)
}
