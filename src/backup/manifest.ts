// Saves the manifest in the repository whenever it has changed: `dr --from-repository` then needs the repository and its password, and no flake.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { mkdir } from '../fs.ts'
import { clearUnfinished, readIfThere, writeDurably } from '../host/files.ts'
import { numbersByName } from '../host/owners.ts'
import type { CallOptions } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { manifestFiles, type StoredHost } from '../snapshots/manifests.ts'
import { tags } from '../snapshots/select.ts'
import { statePath } from '../state/install.ts'
import { withRepositoryLock } from '../state/lock.ts'

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
  const note = `${JSON.stringify({ hash, repositoryId: snapshot.repositoryId })}\n`
  const isStored = async () => (await readIfThere(`${base}.manifest.json`)) === note
  if (await isStored()) return
  // Services that are saved at the same time wait here; the first stores the manifest, the others find the note.
  await withRepositoryLock(site.state, repository, async (fd) => {
    if (await isStored()) return
    const folder = `${base}.manifest`
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const file of [`${base}.manifest.json`, ...Object.keys(texts).map((name) => join(folder, name))]) await clearUnfinished(file)
    for (const [name, text] of Object.entries(texts)) await writeDurably(join(folder, name), text)
    await site.restic(repository).backup({
      ...call,
      inheritFds: [...(call.inheritFds ?? []), fd],
      paths: [folder],
      exclude: [],
      tags: [tags.manifest, tags.install(snapshot.install)],
      host: site.manifest.host,
      time: snapshot.time,
    })
    await writeDurably(`${base}.manifest.json`, note)
  })
}

/** Names and ids alone: /etc/passwd and /etc/group have password fields, too. */
async function idsByName(file: Parameters<typeof numbersByName>[0]): Promise<Record<string, number>> {
  return Object.fromEntries(await numbersByName(file))
}
