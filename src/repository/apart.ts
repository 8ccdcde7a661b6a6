// A repository and the data it saves must not contain each other.
import { Failure } from '../errors.ts'
import { isWithin, realAsFarAsThere } from '../host/files.ts'
import { excluded } from '../restic/patterns.ts'
import { type Site, serviceOf } from '../site.ts'

/**
 * A repository inside a service's data would be saved into itself, and the first restore in place would replace it by an older copy.
 * `exclude`: the patterns that a backup leaves out. A restore replaces excluded files too, and passes none.
 * @throws Failure `repository-inside`
 */
export async function requireRepositoryApart(site: Site, name: string, exclude: string[] = []): Promise<void> {
  const service = serviceOf(site, name)
  const location = (await site.restic(service.repository).location()).replace(/^local:/, '')
  if (!location.startsWith('/')) return
  const repository = await realAsFarAsThere(location)
  for (const path of [...service.paths, ...service.sqlite]) {
    const real = await realAsFarAsThere(path)
    if ((!isWithin(repository, real) || excluded(exclude, repository)) && !isWithin(real, repository)) continue
    throw new Failure(
      'repository-inside',
      `${name}: its repository ${location} and its data ${path} stand one inside the other: a restore would replace the repository by an older one. Keep them apart`,
    )
  }
}
