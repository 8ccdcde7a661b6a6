// One host as the commands see it: its manifest, its state folder, its repositories.
import { join, resolve } from 'node:path'
import { defaultCache, defaultManifest, defaultState } from './defaults.ts'
import { Failure, hasCode } from './errors.ts'
import { foreignFolder, isRootOnly, lstatIfThere } from './host/files.ts'
import { loadManifest } from './manifest/load.ts'
import { didYouMean } from './manifest/nearest.ts'
import type { Manifest, Service } from './manifest/types.gen.ts'
import { openRestic } from './restic/client.ts'
import type { Credentials, Restic } from './restic/types.ts'
import { statePath } from './state/install.ts'
import { type Lock, lockService } from './state/lock.ts'
import { pinnedRepository } from './state/records.ts'
import { resticProcesses } from './state/restic-processes.ts'

export interface Site {
  manifest: Manifest
  manifestFile: string
  state: string
  now(): Date
  /**
   * By the repository's name: credentials that a person gave. Where there are any, the manifest came out of a repository: no repository is opened
   * without them, and the locations and files that the manifest names are never used.
   */
  credentials: ReadonlyMap<string, Credentials>
  /** The client of a repository, by its name in the manifest. Every call returns the same one. @throws Failure `unknown-repository` */
  restic(repository: string): Restic
}

/** Absolute paths. */
interface Folders {
  state: string
  cache: string
}

/** @throws Failure as `loadManifest` */
export async function openSite(options: { manifest?: string | undefined; stateDir?: string | undefined }, environment = process.env): Promise<Site> {
  const manifestFile = resolve(options.manifest ?? (environment.ATELIER_BACKUP_MANIFEST || defaultManifest))
  return siteOf(await loadManifest(manifestFile), manifestFile, resolveFolders(options.stateDir, environment))
}

/** Folders of state and cache; absolute, because children run in another working directory. An empty variable counts as unset. */
export function resolveFolders(stateDir: string | undefined, environment = process.env): Folders {
  const state = resolve(stateDir ?? (environment.STATE_DIRECTORY || defaultState))
  const cache = environment.RESTIC_CACHE_DIR || environment.CACHE_DIRECTORY || (state === defaultState ? defaultCache : join(state, 'cache'))
  return { state, cache }
}

/** `manifestFile`: where the manifest was read from, for messages. */
export function siteOf(manifest: Manifest, manifestFile: string, { state, cache }: Folders, credentials: Site['credentials'] = new Map()): Site {
  const clients = new Map<string, Restic>()
  const open = (name: string): Restic => {
    const repository = manifest.repositories[name]
    if (!repository) {
      const hint = didYouMean(name, Object.keys(manifest.repositories))
      throw new Failure('unknown-repository', `no repository "${name}" in ${manifestFile}${hint}`, { exit: 2 })
    }
    const client = openRestic({
      ...{ name, repository, cacheDir: cache, processes: resticProcesses(state, name) },
      ...{ credentials: credentials.get(name), onlyGiven: credentials.size > 0 },
    })
    return withMissingExplained(state, client)
  }
  return {
    manifest,
    manifestFile,
    state,
    now: () => new Date(),
    credentials,
    restic(name) {
      const client = clients.get(name) ?? open(name)
      clients.set(name, client)
      return client
    },
  }
}

/** restic reports only that there is no repository; our state records whether there was one. */
function withMissingExplained(state: string, client: Restic): Restic {
  const explain = async (error: unknown): Promise<never> => {
    if (!hasCode(error, 'no-repository') || (await pinnedRepository(state, client.name).catch(() => null)) === null) throw error
    throw new Failure(
      'no-repository',
      `repository ${client.name} (${await client.location()}) existed before and was not found, or its location in the manifest was changed: no new one is created. Bring it back, or, if it is gone for good: atelier-backup adopt --repository ${client.name}`,
    )
  }
  return {
    ...client,
    snapshots: (options) => client.snapshots(options).catch(explain),
    repositoryId: (options) => client.repositoryId(options).catch(explain),
    unlock: (options) => client.unlock(options).catch(explain),
    backup: (request) => client.backup(request).catch(explain),
  }
}

/** @throws Failure `unknown-service` (exit 2) with the nearest name */
export function serviceOf(site: Site, name: string): Service {
  const service = Object.hasOwn(site.manifest.services, name) ? site.manifest.services[name] : undefined
  if (service) return service
  const known = Object.keys(site.manifest.services)
  const hint =
    known.length === 0
      ? ': none is declared'
      : didYouMean(name, known) || `; declared are ${known.slice(0, 10).join(', ')}${known.length > 10 ? ' …' : ''}`
  throw new Failure('unknown-service', `no service ${JSON.stringify(name.slice(0, 64))} in ${site.manifestFile}${hint}`)
}

/** The service's lock. @throws Failure as `lockService` */
export function lockOf(site: Site, name: string): Promise<Lock> {
  return lockService(site.state, name, serviceOf(site, name).formerNames)
}

/** The folder for a service's copies of databases and its dumps. @throws Failure `staging-unsafe` */
export async function stagingOf(site: Site, name: string): Promise<string> {
  const { stagingDir } = site.manifest
  if (stagingDir === null) return statePath(site.state, 'staging', name)
  const ours = join(stagingDir, 'atelier-backup')
  const stat = await lstatIfThere(ours)
  if (stat && !(stat.isDirectory() && stat.uid === process.getuid?.() && isRootOnly(stat)))
    throw new Failure('staging-unsafe', `${name}: ${ours} isn't a folder of this user alone: remove it, or name another folder in stagingDir`)
  // Who can replace a folder above by a link chooses where we write and delete as root.
  const foreign = await foreignFolder(ours)
  if (foreign !== null)
    throw new Failure(
      'staging-unsafe',
      `${name}: copies can't be made in stagingDir ${stagingDir}, because others than root can write to ${foreign}, and could have root delete elsewhere: name a folder in stagingDir that root alone can write to, with all folders above it`,
    )
  return join(ours, name)
}
