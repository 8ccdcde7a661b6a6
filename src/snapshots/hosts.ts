// Which hosts have snapshots in a repository.
import { Failure } from '../errors.ts'
import { didYouMean } from '../manifest/nearest.ts'
import type { Snapshot } from '../restic/types.ts'

/**
 * Refuses a host that has no snapshots: a mistyped name would look like a host without backups. `listings`: pairs of a repository's name and its
 * snapshots.
 * @throws Failure `unknown-host`
 */
export function requireHost(host: string, listings: (readonly [string, Snapshot[]])[]): void {
  const hosts = [...new Set(listings.flatMap(([, snapshots]) => snapshots.map((snapshot) => snapshot.host)))].sort()
  if (hosts.includes(host)) return
  const where = `the repository ${listings.map(([name]) => name).join(', ')}`
  const known = `${hosts.slice(0, maxHostsNamed).join(', ')}${hosts.length > maxHostsNamed ? ` and ${hosts.length - maxHostsNamed} more` : ''}`
  throw new Failure(
    'unknown-host',
    `${where} holds nothing of a host ${JSON.stringify(host.slice(0, 64))}${hosts.length === 0 ? ', nor of any other' : `${didYouMean(host, hosts)}; it knows ${known}`}`,
  )
}
const maxHostsNamed = 10
