// What `doctor` checks on this host. Each check is data: what was found, and what to do about it.
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname } from 'node:path'
import { asFailure } from '../errors.ts'
import { access, constants, stat } from '../fs.ts'
import { resolveLinks } from '../host/files.ts'
import { canMountPrivately, missingAround, missingMounts } from '../host/mounts.ts'
import { askServer, requireClient, restoreLacks, sharedWith } from '../host/postgres.ts'
import { run } from '../host/shell.ts'
import { requireRepositoryApart } from '../repository/apart.ts'
import { createdByFirst } from '../repository/identity.ts'
import type { RepositoryLock } from '../restic/types.ts'
import { type Site, stagingOf } from '../site.ts'
import { installIdIfThere, strangeEntries } from '../state/install.ts'
import { readJournal } from '../state/journal.ts'
import { readMachine } from '../state/machine.ts'
import { pinnedRepository, readRecord, setAsideRecords } from '../state/records.ts'
import { readRunning } from '../state/running.ts'
import { pluralize, shellWord } from '../text.ts'
import { withTimeout } from '../timeouts.ts'
import { bad, type Check, checkClock, checkSecrets, good, installRestic, judgeRepository } from './check.ts'

/** Runs all checks at the same time. Never throws. */
export async function examine(site: Site, signal: AbortSignal): Promise<Check[]> {
  const repositories = [...new Set(Object.values(site.manifest.services).map(({ repository }) => repository))]
  const groups = await Promise.all([
    [good('manifest', `${site.manifestFile}: ${pluralize(Object.keys(site.manifest.services).length, 'service')}`)],
    checkRestic(site, repositories),
    ...repositories.map((name) => checkSecrets(site, name)),
    ...repositories.map((name) => checkRepository(site, name, signal)),
    checkPaths(site),
    checkState(site, repositories),
    checkAdopted(site),
    checkNamespaces(site),
    checkDumps(site, signal),
    checkDatabases(site, signal),
    checkClock([]),
  ])
  return groups.flat()
}

async function checkRestic(site: Site, [first]: string[]): Promise<Check[]> {
  if (first === undefined) return []
  try {
    return [good('restic', `restic ${await site.restic(first).version()}`)]
  } catch (error) {
    return [bad('restic', asFailure(error).message, installRestic)]
  }
}

async function checkRepository(site: Site, name: string, signal: AbortSignal): Promise<Check[]> {
  const restic = site.restic(name)
  const call = { signal: withTimeout(signal) }
  const location = await restic.location().catch(() => '')
  try {
    const id = await restic.repositoryId(call)
    // checkState reports a damaged pin.
    const pinned = await pinnedRepository(site.state, name).catch(() => null)
    const identity =
      pinned === null || pinned === id
        ? good('repository', `${name} (${location}) answers`)
        : bad(
            'repository',
            `${name} (${location}) is not the repository that was used before`,
            `if it was replaced on purpose: atelier-backup adopt --repository ${name}`,
          )
    return [identity, good('password', `the password opens ${name}`), checkLocks(site, name, await restic.locks(call))]
  } catch (error) {
    const { code, message } = asFailure(error)
    const wasThere = code === 'no-repository' && (await pinnedRepository(site.state, name).catch(() => '')) !== null
    if (wasThere) return [bad('repository', message, 'mount its disk, or restore the repository')]
    if (code === 'no-repository' && site.manifest.repositories[name]?.initialize) return [await judgePlace(site, name, error)]
    return judgeRepository(name, location, asFailure(error))
  }
}

/** For a repository that the first backup will create. */
function judgePlace(site: Site, name: string, missing: unknown): Promise<Check> {
  return createdByFirst(site, name, missing).then(
    (words) => good('repository', words),
    (error) =>
      bad(
        'repository',
        `${name}: ${asFailure(error).message}`,
        'then the first backup creates the repository; or correct its location in the manifest',
      ),
  )
}

/** restic refreshes its locks every 5 minutes (internal/repository/lock.go). An exclusive lock blocks all other calls, stale or not. */
function checkLocks(site: Site, name: string, locks: RepositoryLock[]): Check {
  const stale = ({ time }: RepositoryLock) => site.now().getTime() - Date.parse(time) > 30 * 60_000
  const gone = ({ host, pid }: RepositoryLock) => host === hostname() && !existsSync(`/proc/${pid}`)
  const lock = locks.find(({ exclusive }) => exclusive) ?? locks.find((each) => stale(each) || gone(each))
  if (!lock) return good('locks', `${name} has no stale or exclusive lock`)
  return bad(
    'locks',
    `${name} is locked by ${lock.host}, pid ${lock.pid}, since ${lock.time}`,
    `wait, or: atelier-backup unlock --repository ${name}`,
  )
}

async function checkPaths(site: Site): Promise<Check[]> {
  const services = Object.entries(site.manifest.services).filter(([, { enable }]) => enable)
  const declared = services.flatMap(([name, { paths, sqlite }]) => [...paths, ...sqlite].map((path) => ({ name, path })))
  const missing = await missingMounts().catch(() => [])
  const unmounted = await Promise.all(
    declared.map(async ({ name, path }) => {
      const { above, below } = await missingAround(path, missing).catch(() => ({ above: null, below: [] }))
      return (above === null ? below : [above]).map((point) => ({ name, path, point }))
    }),
  )
  const unmountedChecks = unmounted
    .flat()
    .map(({ name, path, point }) =>
      bad(
        'paths',
        `${name}: ${point} should be mounted and isn't, so ${path} is neither saved nor restored as it should be`,
        `mount ${shellWord(point)}`,
      ),
    )
  const absent = await Promise.all(
    declared.map(async ({ name, path }, i) =>
      unmounted[i]?.length === 0 && (await resolveLinks(path).catch(() => null))?.real == null
        ? [
            bad(
              'paths',
              `${name}: ${path} doesn't exist`,
              `if it was lost: atelier-backup dr --only ${name}; else create it, or remove it from the manifest`,
            ),
          ]
        : [],
    ),
  )
  const mixed = services.map(([name, { exclude }]) =>
    requireRepositoryApart(site, name, exclude).then(
      () => [],
      (error) => {
        const { code, message } = asFailure(error)
        return code === 'repository-inside' ? [bad('paths', message, 'move the repository to a folder (better: a disk) of its own')] : []
      },
    ),
  )
  const found = [...unmountedChecks, ...absent, ...(await Promise.all(mixed))].flat()
  return found.length > 0 ? found : [good('paths', `${pluralize(declared.length, 'declared path')} ${declared.length === 1 ? 'exists' : 'exist'}`)]
}

async function checkState(site: Site, repositories: string[]): Promise<Check[]> {
  const checks: Check[] = []
  const failing = (remedy: string) => (error: unknown) => void checks.push(bad('state', asFailure(error).message, remedy))
  await installIdIfThere(site.state).catch(failing('remove the file, then: atelier-backup adopt --all'))
  const foreign = await readMachine(site.state).then(
    (machine) => machine.foreign,
    () => null,
  )
  if (foreign !== null)
    checks.push(
      bad(
        'state',
        `this isn't the install that ${site.state} belongs to: ${foreign}`,
        'backups made from now on are unadopted: keep the data of this host (atelier-backup adopt), or, if it was lost, restore the others (atelier-backup dr)',
      ),
    )
  for (const name of repositories) await pinnedRepository(site.state, name).catch(failing(`atelier-backup adopt --repository ${name}`))
  for (const name of Object.keys(site.manifest.services)) {
    await readRecord(site.state, name).catch(failing(`atelier-backup backup ${name}`))
    await readRunning(site.state, name).catch(failing(`atelier-backup run --cleanup ${name}`))
    const resume = `atelier-backup restore ${name} --resume; --rollback undoes it`
    const journal = await readJournal(site.state, name).catch(
      failing('put the data in order by hand, then remove the journal: --resume and --rollback need a readable one'),
    )
    if (journal) checks.push(bad('state', `${name}: a restore is unfinished`, resume))
  }
  for (const { message } of await strangeEntries(site.state)) checks.push(bad('state', message, 'move it away: nothing is lost by that'))
  for (const file of await setAsideRecords(site.state))
    checks.push(
      bad('state', `a damaged record was set aside as ${file}`, 'look in it for old data of restores that no other record names, then remove it'),
    )
  const open = await stat(site.state).then(
    ({ mode }) => (mode & 0o077) !== 0,
    () => false,
  )
  if (open) checks.push(bad('state', `${site.state} is accessible to other users`, `chmod --recursive go= ${site.state}`))
  const writable = await access(site.state, constants.W_OK).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  )
  if (!writable) checks.push(bad('state', `${site.state} isn't writable`, 'run this as root'))
  return checks.length > 0 ? checks : [good('state', `${site.state} is in order`)]
}

/** From the records only: services with backups that don't count yet. */
async function checkAdopted(site: Site): Promise<Check[]> {
  const names = Object.entries(site.manifest.services).flatMap(([name, { enable }]) => (enable ? [name] : []))
  const records = await Promise.all(names.map((name) => readRecord(site.state, name).catch(() => null)))
  const unadopted = names.filter((_, n) => records[n]?.origin === null && records[n]?.lastSnapshot !== null)
  if (unadopted.length === 0) return []
  return [
    bad(
      'adopted',
      `backups of ${unadopted.join(', ')} are unadopted: the repository holds snapshots of another install`,
      'keep the data of this host (atelier-backup adopt), or, if it was lost, restore those (atelier-backup dr)',
    ),
  ]
}

async function checkNamespaces(site: Site): Promise<Check[]> {
  const needed = Object.values(site.manifest.services).some(({ sqlite }) => sqlite.length > 0)
  if (!needed) return []
  if (!(await canMountPrivately().catch(() => false)))
    return [
      bad(
        'sqlite',
        'copying live databases needs a private mount namespace, which this process may not create',
        'run this as root, outside of restricted containers',
      ),
    ]
  const { stdout } = await run(['sqlite3', '--version']).catch(() => ({ stdout: '' }))
  return [
    stdout ? good('sqlite', `sqlite ${stdout.split(' ')[0]}, private mounts work`) : bad('sqlite', 'sqlite3 is not installed', 'install sqlite3'),
  ]
}

/** Where dumps are staged: on the disk of the server's data, both share the room. Without PostgreSQL's programs on PATH nothing is known of it. */
async function checkDumps(site: Site, signal: AbortSignal): Promise<Check[]> {
  const service = Object.entries(site.manifest.services).find(([, { enable, postgres }]) => enable && postgres.length > 0)
  if (!service) return []
  try {
    const staging = dirname(await stagingOf(site, service[0]))
    const { folders } = await askServer(site.manifest.postgresql, [], { signal: withTimeout(signal), inheritFds: [] })
    const shared = await sharedWith(staging, folders)
    if (shared !== null)
      return [
        good(
          'dumps',
          `dumps are staged in ${staging}, on the disk that PostgreSQL writes to (${shared}): a dump that leaves it too little room is given up; stagingDir can name another disk`,
        ),
      ]
    return folders.length === 0 ? [] : [good('dumps', `dumps are staged in ${staging}, apart from PostgreSQL's data in ${folders[0]}`)]
  } catch (error) {
    const { code, message } = asFailure(error)
    return code === 'postgres-unreachable' || code === 'staging-unsafe'
      ? [bad('dumps', message, 'start the server, or correct postgresql and stagingDir in the manifest')]
      : []
  }
}

/** What a restore in place would need of the server, and the programs. A server that doesn't answer is reported by `checkDumps`. */
async function checkDatabases(site: Site, signal: AbortSignal): Promise<Check[]> {
  const databases = Object.values(site.manifest.services).flatMap(({ enable, postgres }) => (enable ? postgres : []))
  if (databases.length === 0) return []
  const server = site.manifest.postgresql
  const options = { signal: withTimeout(signal), inheritFds: [] }
  try {
    const asked = await askServer(server, databases, options)
    const { version } = asked
    for (const program of ['pg_dump', 'pg_restore']) await requireClient(program, server, version, options)
    const lacking = await restoreLacks(server, asked, databases, options)
    if (lacking.length > 0) return lacking.map((message) => bad('databases', message, 'a restore in place would fail; dumps are made'))
    return [
      good('databases', `${pluralize(databases.length, 'database')} of PostgreSQL ${version}: the server has all that a restore in place needs`),
    ]
  } catch (error) {
    const { code, message } = asFailure(error)
    return code === 'postgres-client' || code === 'postgres-failed' ? [bad('databases', message, 'until then no database is saved')] : []
  }
}
