// Is it still our repository? Made once, pinned by its id, never made anew.
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { resolveLinks } from '../host/files.ts'
import { missingMount } from '../host/mounts.ts'
import type { BackupRequest, BackupSummary, CallOptions, RepositoryLock, Restic, Snapshot } from '../restic/types.ts'
import { didYouMean, type Site, serviceOf } from '../site.ts'
import { fromElsewhere, snapshotsOf } from '../snapshots/select.ts'
import { withRepositoryLock } from '../state/lock.ts'
import type { RunRecord } from '../state/record.gen.ts'
import { pinnedRepository, readRecord } from '../state/records.ts'
import { deadResticProcesses, forgetResticProcesses } from '../state/restic-processes.ts'

/** What must be known before a backup. `parent` is set in the steady state, in which no other call than the backup itself is needed. */
export interface RepositoryState {
  repositoryId: string
  parent: string | null
  unadopted: boolean
}

/**
 * Settles where a service stands before its backup: in the steady state from the record alone, else by asking the repository.
 * @throws Failure `other-repository`, `no-repository` and restic's own
 */
export async function resolveState(site: Site, name: string, record: RunRecord, install: string, call: CallOptions): Promise<RepositoryState> {
  const service = serviceOf(site, name)
  const restic = site.restic(service.repository)
  const pinned = await pinnedRepository(site.state, service.repository)
  // What keeps this from being asked will keep the backup from it, too, and say so.
  await removeOwnLocks(site, service.repository, call).catch(() => {})
  const last = record.lastSnapshot
  // Before units are stopped for it, it must answer.
  if (!service.stopForBackup && record.origin && last && last.repositoryId === pinned)
    return { repositoryId: last.repositoryId, parent: last.id, unadopted: false }
  const repositoryId = await identify(site, service.repository, pinned, call)
  if (record.origin) return { repositoryId, parent: null, unadopted: false }
  const subject = { name, service, host: site.manifest.host, origin: null, install }
  const elsewhere = fromElsewhere(snapshotsOf(await restic.snapshots(call), subject), install)
  return { repositoryId, parent: null, unadopted: elsewhere.length > 0 }
}

/**
 * Removes the locks that restics of ours left that were killed: restic removes none by itself, and a killed prune would keep everybody out.
 * Only where every lock is provably ours: `unlock` goes by host name and pid, and would take the live lock of another machine of our name.
 */
export async function removeOwnLocks(site: Site, name: string, call: CallOptions): Promise<void> {
  const dead = await deadResticProcesses(site.state, name)
  if (dead.length === 0) return
  const restic = site.restic(name)
  const isOurs = ({ host, pid, time }: RepositoryLock) =>
    host === hostname() && dead.some((locker) => locker.pid === pid && Date.parse(time) >= Date.parse(locker.since) - 1000)
  const locks = await restic.locks(call)
  if (!locks.every(isOurs)) return
  if (locks.length > 0) await restic.unlock(call)
  await forgetResticProcesses(site.state, name, dead)
}

/**
 * Saves, and proves in the same call that the repository is the one we know: it must hold the parent.
 * @throws Failure `other-repository`, `no-repository`
 */
export async function saveSnapshot(restic: Restic, standing: RepositoryState, request: BackupRequest): Promise<BackupSummary> {
  if (standing.parent === null) return restic.backup(request)
  try {
    return await restic.backup({ ...request, parent: standing.parent })
  } catch (error) {
    if (!isCode(error, 'parent-missing')) throw error
    // Forgotten by somebody else, or another repository: its id tells.
    requireSame(restic.name, await restic.repositoryId(request), standing.repositoryId)
    return restic.backup(request)
  }
}

async function identify(site: Site, name: string, pinned: string | null, call: CallOptions): Promise<string> {
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

/** Makes the repository if restic says that there is none, the manifest allows it, and its place is there; else throws the error again. */
export async function createIfAllowed(site: Site, name: string, error: unknown, call: CallOptions): Promise<string> {
  if (!isCode(error, 'no-repository') || !site.manifest.repositories[name]?.initialize) throw error
  const restic = site.restic(name)
  await requirePlace(await restic.location())
  // Of two services that start together the second finds the repository there. restic itself lets both initialise, and ruins it.
  return withRepositoryLock(site.state, name, (fd) => {
    const held = { ...call, inheritFds: [...(call.inheritFds ?? []), fd] }
    return restic.repositoryId(held).catch((again: unknown) => (isCode(again, 'no-repository') ? restic.init(held) : Promise.reject(again)))
  })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Failure && error.code === code
}

function requireSame(name: string, id: string, pinned: string | null): void {
  if (pinned === null || id === pinned) return
  throw new Failure(
    'other-repository',
    `repository ${name} is another one (${id.slice(0, 8)}) than before (${pinned.slice(0, 8)}): nothing was written. If that is meant: atelier-backup adopt --repository ${name}`,
  )
}

/** Never create a repository where a disk should be mounted, or where even the folder around it is missing. @throws Failure `not-mounted`, `no-repository` */
export async function requirePlace(location: string): Promise<void> {
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

/** Whether the repository is the one we know. @throws Failure `other-repository`, and restic's own */
export async function requirePinned(site: Site, name: string, call: CallOptions): Promise<void> {
  const pinned = await pinnedRepository(site.state, name)
  if (pinned !== null) requireSame(name, await site.restic(name).repositoryId(call), pinned)
}

/**
 * The same, where its snapshots have been listed: another repository in the old one's place would look like "no backups". Only if none of our
 * latest snapshots is there is its id worth a second call.
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

/** A slip in its name would read as "no backups". @throws Failure `unknown-host` */
export function requireHost(host: string, asked: (readonly [string, Snapshot[]])[]): void {
  const hosts = [...new Set(asked.flatMap(([, snapshots]) => snapshots.map((snapshot) => snapshot.host)))].sort()
  if (hosts.includes(host)) return
  const where = `the repository ${asked.map(([name]) => name).join(', ')}`
  const known = `${hosts.slice(0, hostsNamed).join(', ')}${hosts.length > hostsNamed ? ` and ${hosts.length - hostsNamed} more` : ''}`
  throw new Failure(
    'unknown-host',
    `${where} holds nothing of a host ${JSON.stringify(host.slice(0, 64))}${hosts.length === 0 ? ', nor of any other' : `${didYouMean(host, hosts)}; it knows ${known}`}`,
  )
}
const hostsNamed = 10
