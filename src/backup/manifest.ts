// Saves the manifest in the repository whenever it has changed: `dr --from-repository` then needs the repository and its password, and no flake.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { mkdir } from '../fs.ts'
import { clearUnfinished, readIfThere, writeDurably } from '../host/files.ts'
import { numbersByName } from '../host/owners.ts'
import type { CallOptions } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { manifestFiles, manifestsKept, type StoredHost } from '../snapshots/manifests.ts'
import { tags } from '../snapshots/select.ts'
import { statePath } from '../state/install.ts'
import { withRepositoryLock } from '../state/lock.ts'
import { saveSnapshot } from './repository-state.ts'

/**
 * Saves the manifest, and the host's user and group ids, as a snapshot of its own. A note in the state folder holds the checksum of what was
 * saved last: while it matches, restic isn't called. No secret gets into the repository: the manifest has the paths of secret files.
 * @throws Failure
 */
export async function storeManifest(
  site: Site,
  repository: string,
  snapshot: { repositoryId: string; install: string; time: Date },
  call: CallOptions,
): Promise<void> {
  const host: StoredHost = { repository, users: await idsByName('/etc/passwd'), groups: await idsByName('/etc/group') }
  const texts = {
    [manifestFiles.manifest]: `${JSON.stringify(site.manifest, null, 2)}\n`,
    [manifestFiles.host]: `${JSON.stringify(host, null, 2)}\n`,
  }
  const hash = createHash('sha256').update(Object.values(texts).join('\0')).digest('hex')
  const base = statePath(site.state, 'repositories', repository)
  const { repositoryId } = snapshot
  const isStored = async () => {
    const note = await readNote(site.state, repository)
    return note?.hash === hash && note.repositoryId === repositoryId
  }
  if (await isStored()) return
  // Services that are saved at the same time wait here; the first stores the manifest, the others find the note.
  await withRepositoryLock(site.state, repository, async (fd) => {
    if (await isStored()) return
    const folder = `${base}.manifest`
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const file of [`${base}.manifest.json`, ...Object.keys(texts).map((name) => join(folder, name))]) await clearUnfinished(file)
    for (const [name, text] of Object.entries(texts)) await writeDurably(join(folder, name), text)
    const known = await knownManifests(site.state, repository, repositoryId)
    // The parent says in which order they were stored, also where the clock was behind.
    const state = { parent: known.at(-1) ?? null, repositoryId }
    const { snapshotId } = await saveSnapshot(site.restic(repository), state, {
      ...call,
      inheritFds: [...(call.inheritFds ?? []), fd],
      paths: [folder],
      exclude: [],
      tags: [tags.manifest, tags.install(snapshot.install)],
      host: site.manifest.host,
      time: snapshot.time,
    })
    const note: Note = { hash, repositoryId, stored: [...known, snapshotId].slice(-manifestsKept) }
    await writeDurably(`${base}.manifest.json`, `${JSON.stringify(note)}\n`)
  })
}

/** `stored`: full ids of the snapshots that this install made, oldest first. */
interface Note {
  hash: string
  repositoryId: string
  stored: string[]
}

/** A damaged one counts as missing: the next backup writes it again. */
async function readNote(state: string, repository: string): Promise<Note | null> {
  const text = await readIfThere(`${statePath(state, 'repositories', repository)}.manifest.json`)
  try {
    const note = JSON.parse(text ?? 'null') as (Omit<Note, 'stored'> & Partial<Note>) | null
    // Older versions noted no ids.
    return note && { ...note, stored: note.stored ?? [] }
  } catch {
    return null
  }
}

/** The newest manifests that this install knows to have stored in a repository: full ids, oldest first. */
export async function knownManifests(state: string, repository: string, repositoryId: string): Promise<string[]> {
  const note = await readNote(state, repository)
  return note?.repositoryId === repositoryId ? note.stored : []
}

/** Names and ids alone: /etc/passwd and /etc/group have password fields, too. */
async function idsByName(file: Parameters<typeof numbersByName>[0]): Promise<Record<string, number>> {
  return Object.fromEntries(await numbersByName(file))
}
