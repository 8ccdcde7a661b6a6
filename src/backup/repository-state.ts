// What a backup must know of its repository before it starts, and the save that checks it.
import { uptime } from 'node:os'
import { hasCode } from '../errors.ts'
import { identify, requireSame } from '../repository/identity.ts'
import { removeOwnLocks } from '../repository/locks.ts'
import type { BackupRequest, BackupSummary, CallOptions, Restic } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { fromElsewhere, snapshotsOf } from '../snapshots/select.ts'
import { replaceInstallId, unknownToRecord } from '../state/machine.ts'
import type { RunRecord } from '../state/record.gen.ts'
import { pinnedRepository } from '../state/records.ts'

/** `parent`: full id of a snapshot that the repository must hold; null: nothing to check. `unadopted`: it holds snapshots of another install. */
export interface RepositoryState {
  /** The id of this install; a new one if this machine was set back. */
  install: string
  repositoryId: string
  parent: string | null
  unadopted: boolean
}

/**
 * Read from the record alone if it knows this install's last backup and no unit is stopped; else the repository is asked. The first backup
 * after a boot also asks the repository: a machine that was set back to an older image has booted since.
 * @throws Failure `other-repository`, `no-repository` and restic's own
 */
export async function resolveState(site: Site, name: string, record: RunRecord, install: string, call: CallOptions): Promise<RepositoryState> {
  const service = serviceOf(site, name)
  const restic = site.restic(service.repository)
  const pinned = await pinnedRepository(site.state, service.repository)
  // An error here would also fail the backup, which reports it.
  await removeOwnLocks(site, service.repository, call).catch(() => {})
  const last = record.lastSnapshot
  const isKnown = record.origin !== null && last !== null && last.repositoryId === pinned
  if (isKnown && Date.parse(last.time) < bootTime()) {
    const own = snapshotsOf(await restic.snapshots(call), { name, service, host: site.manifest.host, origin: record.origin, install })
    if (unknownToRecord(own, record, install).length > 0) {
      const fresh = await replaceInstallId(
        site.state,
        install,
        'the repository holds newer backups of this install than its own record: it was set back, or cloned',
      )
      return { install: fresh, repositoryId: last.repositoryId, parent: last.id, unadopted: true }
    }
  }
  // If units will be stopped, the repository must answer first: an unreachable one must not stop them.
  if (!service.stopForBackup && isKnown) return { install, repositoryId: last.repositoryId, parent: last.id, unadopted: false }
  const repositoryId = await identify(site, service.repository, pinned, call)
  if (record.origin) return { install, repositoryId, parent: null, unadopted: false }
  const subject = { name, service, host: site.manifest.host, origin: null, install }
  const elsewhere = fromElsewhere(snapshotsOf(await restic.snapshots(call), subject), install)
  return { install, repositoryId, parent: null, unadopted: elsewhere.length > 0 }
}

/** When this machine was started, in ms since 1970. */
function bootTime(): number {
  return Date.now() - uptime() * 1000
}

/**
 * Saves a snapshot. A known parent proves in the same call that the repository is the one we know: it must hold that snapshot.
 * @throws Failure `other-repository`, `no-repository`
 */
export async function saveSnapshot(
  restic: Restic,
  { parent, repositoryId }: Pick<RepositoryState, 'parent' | 'repositoryId'>,
  request: BackupRequest,
): Promise<BackupSummary> {
  if (parent === null) return restic.backup(request)
  try {
    return await restic.backup({ ...request, parent })
  } catch (error) {
    if (!hasCode(error, 'parent-missing')) throw error
    // Either the parent was forgotten by another program, or this is another repository: the repository's id decides.
    requireSame(restic.name, await restic.repositoryId(request), repositoryId)
    return restic.backup(request)
  }
}
