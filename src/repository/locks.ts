// Locks in a repository that our own killed restic processes left behind.
import { hostname } from 'node:os'
import type { CallOptions, RepositoryLock } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { deadResticProcesses, forgetResticProcesses } from '../state/restic-processes.ts'

/**
 * Removes the locks of our killed restic processes: restic doesn't remove them by itself, and the lock of a killed prune blocks every later call.
 * Only if every lock in the repository is provably ours: `restic unlock` compares host name and pid, and would remove the live lock of another
 * machine with our host name.
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
