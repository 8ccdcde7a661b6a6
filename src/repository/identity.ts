// Whether a repository is still the one we know: created once, pinned by its id, never created again.
import { dirname } from 'node:path'
import type { Path } from '../core.ts'
import { Failure, hasCode } from '../errors.ts'
import { resolveLinks } from '../host/files.ts'
import { missingMount } from '../host/mounts.ts'
import type { CallOptions, Snapshot } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { withRepositoryLock } from '../state/lock.ts'
import { pinnedRepository, readRecord } from '../state/records.ts'

/** The repository's id; a repository that was never used is created where the manifest allows it. @throws Failure `other-repository`, `no-repository` and restic's own */
export async function identify(site: Site, name: string, pinned: string | null, call: CallOptions): Promise<string> {
  const restic = site.restic(name)
  try {
    const id = await restic.repositoryId(call)
    requireSame(name, id, pinned)
    return id
  } catch (error) {
    if (pinned !== null) throw error
    return createIfAllowed(site, name, error, call)
  }
}

/** Creates the repository if restic finds none, the manifest allows it, and the folder for it exists; else throws the given error again. */
export async function createIfAllowed(site: Site, name: string, error: unknown, call: CallOptions): Promise<string> {
  if (!hasCode(error, 'no-repository') || !site.manifest.repositories[name]?.initialize) throw error
  const restic = site.restic(name)
  await requirePlace(await restic.location())
  // Of two services that start at the same time the second finds the repository created. restic lets both run `init`, which damages the repository.
  return withRepositoryLock(site.state, name, (fd) => {
    const held = { ...call, inheritFds: [...(call.inheritFds ?? []), fd] }
    return restic.repositoryId(held).catch((again: unknown) => (hasCode(again, 'no-repository') ? restic.init(held) : Promise.reject(again)))
  })
}

/**
 * In words, that the first backup will create a repository which restic doesn't find.
 * @throws `error`, where none may be created; Failure `not-mounted`, `no-repository` where there is no place for one
 */
export async function createdByFirst(site: Site, name: string, error: unknown): Promise<string> {
  const wasThere = (await pinnedRepository(site.state, name).catch(() => '')) !== null
  if (wasThere || !site.manifest.repositories[name]?.initialize || !hasCode(error, 'no-repository')) throw error
  const location = await site.restic(name).location()
  await requirePlace(location)
  return `${name} (${location}) doesn't exist yet: the first backup creates it`
}

/** @throws Failure `other-repository` */
export function requireSame(name: string, id: string, pinned: string | null): void {
  if (pinned === null || id === pinned) return
  throw new Failure(
    'other-repository',
    `repository ${name} is another one (${id.slice(0, 8)}) than before (${pinned.slice(0, 8)}): nothing was written. If that is meant: atelier-backup adopt --repository ${name}`,
  )
}

/** No repository is created where a disk should be mounted, or where the parent folder is missing. @throws Failure `not-mounted`, `no-repository` */
async function requirePlace(location: string): Promise<void> {
  const path: Path = location.replace(/^local:/, '')
  if (!path.startsWith('/')) return
  const unmounted = await missingMount(path)
  if (unmounted !== null)
    throw new Failure('not-mounted', `${unmounted} should be mounted and isn't: no repository is created at ${path}; mount it first`)
  if ((await resolveLinks(dirname(path))).real === null)
    throw new Failure(
      'no-repository',
      `${dirname(path)} doesn't exist: no repository is created at ${path}; make the folder (or mount the disk) first`,
    )
}

/** One call to restic if the repository's id was pinned, else none. @throws Failure `other-repository`, and restic's own */
export async function requirePinned(site: Site, name: string, call: CallOptions): Promise<void> {
  const pinned = await pinnedRepository(site.state, name)
  if (pinned !== null) requireSame(name, await site.restic(name).repositoryId(call), pinned)
}

/**
 * As `requirePinned`, with the repository's listed snapshots: another repository in its place would look like "no backups". The id is asked for (a
 * second call to restic) only if none of our recorded snapshots is in the list.
 * @throws Failure `other-repository`, and restic's own
 */
export async function requireKnown(site: Site, name: string, snapshots: Snapshot[], call: CallOptions): Promise<void> {
  if ((await pinnedRepository(site.state, name)) === null) return
  const known = new Set(snapshots.map(({ id }) => id))
  for (const [service, { repository }] of Object.entries(site.manifest.services)) {
    if (repository !== name) continue
    const record = await readRecord(site.state, service).catch(() => null)
    if (record?.lastSnapshot && known.has(record.lastSnapshot.id)) return
  }
  await requirePinned(site, name, call)
}
