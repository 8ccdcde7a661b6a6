// One host as the commands see it: its manifest, its state folder, its repositories.
import { join, resolve } from 'node:path'
import { defaultCache, defaultManifest, defaultState } from './defaults.ts'
import { Failure } from './errors.ts'
import { lstatIfThere } from './host/files.ts'
import { loadManifest } from './manifest/load.ts'
import { didYouMean } from './manifest/nearest.ts'
import type { Manifest, Service } from './manifest/types.gen.ts'
import { openRestic } from './restic/client.ts'
import type { Credentials, Restic } from './restic/types.ts'
import { statePath } from './state/install.ts'
import { pinnedRepository } from './state/records.ts'
import { resticProcesses } from './state/restic-processes.ts'

export interface Site {
  manifest: Manifest
  manifestFile: string
  state: string
  now(): Date
  /** Repositories whose secrets were given by a person, and aren't read from the manifest's files. */
  given: ReadonlyMap<string, Credentials>
  /** The client of a repository, by its name in the manifest; one for all callers. */
  restic(repository: string): Restic
}

/** `early`: given the only repository while the rest of the manifest is still unchecked. @throws Failure of the manifest's loader */
export async function openSite(
  options: { manifest?: string | undefined; stateDir?: string | undefined },
  environment = process.env,
  early?: (restic: Restic) => Promise<void>,
): Promise<Site> {
  const manifestFile = resolve(options.manifest ?? (environment.ATELIER_BACKUP_MANIFEST || defaultManifest))
  const places = resolveFolders(options.stateDir, environment)
  const client = clientsOf(places, new Map())
  const manifest = await loadManifest(manifestFile, async (repositories) => {
    const [only, ...others] = Object.entries(repositories)
    if (only && others.length === 0) await early?.(client(...only))
  })
  return siteOf(manifest, manifestFile, places, new Map(), client)
}

/** Where state and cache are. Absolute: what we start runs in another folder. An empty variable counts as none. */
export function resolveFolders(stateDir: string | undefined, environment = process.env): { state: string; cache: string } {
  const state = resolve(stateDir ?? (environment.STATE_DIRECTORY || defaultState))
  const cache = environment.RESTIC_CACHE_DIR || environment.CACHE_DIRECTORY || (state === defaultState ? defaultCache : join(state, 'cache'))
  return { state, cache }
}

/** `manifestFile`: where the manifest came from, for messages. */
export function siteOf(
  manifest: Manifest,
  manifestFile: string,
  places: { state: string; cache: string },
  given: Site['given'] = new Map(),
  client = clientsOf(places, given),
): Site {
  return {
    manifest,
    manifestFile,
    state: places.state,
    now: () => new Date(),
    given,
    restic(name) {
      const repository = manifest.repositories[name]
      if (repository) return client(name, repository)
      throw new Failure('unknown-repository', `no repository "${name}" in ${manifestFile}${didYouMean(name, Object.keys(manifest.repositories))}`, {
        exit: 2,
      })
    },
  }
}

type Clients = (name: string, repository: Manifest['repositories'][string]) => Restic

/** One client for each name. */
function clientsOf({ state, cache }: { state: string; cache: string }, given: Site['given']): Clients {
  const clients = new Map<string, Restic>()
  return (name, repository) => {
    const client =
      clients.get(name) ??
      knowing(state, openRestic({ name, repository, given: given.get(name), cacheDir: cache, processes: resticProcesses(state, name) }))
    clients.set(name, client)
    return client
  }
}

/** restic sees only that there is no repository; the state knows whether there was one. */
function knowing(state: string, client: Restic): Restic {
  const explained = async (error: unknown): Promise<never> => {
    const isMissing = error instanceof Failure && error.code === 'no-repository'
    if (!isMissing || (await pinnedRepository(state, client.name).catch(() => null)) === null) throw error
    throw new Failure(
      'no-repository',
      `repository ${client.name} (${await client.location()}) was there and has vanished, or its place in the manifest was changed: nothing is created in its place. Bring it back, or, if it is gone for good: atelier-backup adopt --repository ${client.name}`,
    )
  }
  return {
    ...client,
    snapshots: (options) => client.snapshots(options).catch(explained),
    repositoryId: (options) => client.repositoryId(options).catch(explained),
    unlock: (options) => client.unlock(options).catch(explained),
    backup: (request) => client.backup(request).catch(explained),
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

/** Folder for a service's copies and dumps. @throws Failure `staging-unsafe` */
export async function stagingOf(site: Site, name: string): Promise<string> {
  const { stagingDir } = site.manifest
  if (stagingDir === null) return statePath(site.state, 'staging', name)
  const ours = join(stagingDir, 'atelier-backup')
  const stat = await lstatIfThere(ours)
  // Whoever owns it could lead us elsewhere by a link: to write there, or to delete.
  if (stat && (!stat.isDirectory() || stat.uid !== process.getuid?.() || (stat.mode & 0o022) !== 0))
    throw new Failure('staging-unsafe', `${name}: ${ours} isn't a folder of this user alone: remove it, or name another folder in stagingDir`)
  return join(ours, name)
}
