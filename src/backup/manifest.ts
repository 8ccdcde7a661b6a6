// The manifest goes into the repository too, whenever it changed: with it a new machine needs the repository and its secrets alone.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { crypto } from '../host/crypto.ts'
import { clearUnfinished, readIfThere, writeDurably } from '../host/files.ts'
import { numbersByName } from '../host/owners.ts'
import type { CallOptions } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { manifestFiles, type StoredHost } from '../snapshots/manifests.ts'
import { tags } from '../snapshots/select.ts'
import { statePath } from '../state/install.ts'
import { withRepositoryLock } from '../state/lock.ts'

/**
 * Stores the manifest, and the host's users and groups, as a snapshot of its own, unless the repository has them as they are. In the
 * steady state a file tells that, and no restic is called. No secret is in it: a manifest names files.
 * @throws Failure
 */
export async function storeManifest(
  site: Site,
  repository: string,
  about: { repositoryId: string; install: string; time: Date },
  call: CallOptions,
): Promise<void> {
  const host: StoredHost = { repository, users: await numbers('/etc/passwd'), groups: await numbers('/etc/group') }
  const texts = {
    [manifestFiles.manifest]: `${JSON.stringify(site.manifest, null, 2)}\n`,
    [manifestFiles.host]: `${JSON.stringify(host, null, 2)}\n`,
  }
  const hash = crypto().createHash('sha256').update(Object.values(texts).join('\0')).digest('hex')
  const base = statePath(site.state, 'repositories', repository)
  const note = `${JSON.stringify({ hash, repositoryId: about.repositoryId })}\n`
  const isStored = async () => (await readIfThere(`${base}.manifest.json`)) === note
  if (await isStored()) return
  // Of several services that are saved at the same time one stores it.
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
      tags: [tags.manifest, tags.install(about.install)],
      host: site.manifest.host,
      time: about.time,
    })
    await writeDurably(`${base}.manifest.json`, note)
  })
}

/** Nothing else of them: no password field. */
async function numbers(file: Parameters<typeof numbersByName>[0]): Promise<Record<string, number>> {
  return Object.fromEntries(await numbersByName(file))
}
