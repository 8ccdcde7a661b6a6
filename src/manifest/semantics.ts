// Checks that the schema can't express: names that must exist, data declared by two services, secrets that everyone could read.
import { posix } from 'node:path'
import { declaredDatabases, engineNames } from './engines.ts'
import { holdsPassword } from './location.ts'
import { ancestors, cleanPath } from './paths.ts'
import { meant, type Place, placeName, quoted } from './problems.ts'
import type { Manifest, Service } from './types.gen.ts'

/** One message for each problem. */
export function semanticProblems(manifest: Manifest): string[] {
  return checks.flatMap((check) => [...check(manifest)])
}

type Check = (manifest: Manifest) => Iterable<string>
const checks: Check[] = [names, repositories, references, cycles, emptiness, paths, owners, databases, tags, formerNames]

function* names({ services }: Manifest) {
  for (const name of Object.keys(services)) if (name.includes('..')) yield problemAt(['services', name], 'a service\'s name must not contain ".."')
}

function* repositories({ repositories }: Manifest) {
  for (const [name, { repository, ...files }] of Object.entries(repositories)) {
    if (holdsPassword(repository ?? ''))
      yield problemAt(
        ['repositories', name, 'repository'],
        'the location holds a password that everyone on this host can read: put the location into a file and name that as repositoryFile',
      )
    for (const field of ['repositoryFile', 'passwordFile', 'environmentFile', 'rcloneConfigFile'] as const) {
      if (/^\/nix\/store(\/|$)/.test(posix.normalize(files[field] ?? '/')))
        yield problemAt(['repositories', name, field], 'everyone can read the Nix store: name a file outside of it')
    }
  }
}

function* references({ services, repositories }: Manifest) {
  for (const [name, { repository, restoreAfter }] of Object.entries(services)) {
    if (!Object.hasOwn(repositories, repository))
      yield problemAt(['services', name, 'repository'], `there is no repository ${quoted(repository)}${meant(repository, Object.keys(repositories))}`)
    for (const [i, other] of restoreAfter.entries()) {
      if (!Object.hasOwn(services, other))
        yield problemAt(['services', name, 'restoreAfter', i], `there is no service ${quoted(other)}${meant(other, Object.keys(services))}`)
    }
  }
}

/** Removes services that wait for no other until only cycles remain, and reports the first. */
function* cycles({ services }: Manifest) {
  let remaining = new Map(Object.entries(services))
  const next = (service?: Service) => service?.restoreAfter.find((other) => remaining.has(other))
  for (let before = -1; before !== remaining.size; ) {
    before = remaining.size
    remaining = new Map([...remaining].filter(([, service]) => next(service) !== undefined))
  }
  const trail: string[] = []
  for (let at = [...remaining.keys()][0]; at !== undefined; at = next(remaining.get(at))) {
    if (trail.includes(at)) {
      const circle = trail.slice(trail.indexOf(at))
      const long = circle.length > 6 ? [...circle.slice(0, 5), `${circle.length - 5} more`] : circle
      yield problemAt(['services', at, 'restoreAfter'], `a circle: ${[...long, at].join(' → ')}`)
      return
    }
    trail.push(at)
  }
}

function* emptiness({ services }: Manifest) {
  for (const [name, service] of Object.entries(services)) {
    if (service.enable && service.paths.length + service.sqlite.length + declaredDatabases(service).length === 0)
      yield problemAt(['services', name], `nothing to back up: name paths, sqlite or ${engineNames.join(' or ')}, or set enable to false`)
  }
}

function* paths({ services }: Manifest) {
  for (const { path, place } of dataOf(services)) {
    if (path === '/') yield problemAt(place, '"/" is the whole host, not the data of a service')
    else if (/\/\.\.?(\/|$)/.test(path)) yield problemAt(place, `${quoted(path)} must not go through "." or ".."`)
    else if (/[\0\p{Cs}]/u.test(path)) yield problemAt(place, `${quoted(path)} can't be the name of a file`)
  }
}

/** A restore of one service replaces all its paths, so no other service may have data there. */
function* owners({ services }: Manifest) {
  const owners = new Map<string, { name: string; place: Place }>()
  const data = [...dataOf(services)]
  for (const { name, path, place } of data) {
    const owner = owners.get(path)
    if (owner && owner.name !== name)
      yield problemAt(
        place,
        `${quoted(path)} belongs to service ${owner.name} too (${placeName(owner.place)}): a restore of one would replace the other's data`,
      )
    if (!owner) owners.set(path, { name, place })
  }
  for (const { name, path, place } of data) {
    for (const above of ancestors(path)) {
      const owner = owners.get(above)
      if (!owner || owner.name === name) continue
      const where = `${quoted(above)} of service ${owner.name} (${placeName(owner.place)})`
      yield problemAt(place, `${quoted(path)} is inside ${where}: a restore of ${owner.name} would replace ${name}'s data`)
    }
  }
}

function* databases({ services }: Manifest) {
  const owners = new Map<string, string>()
  for (const [name, service] of Object.entries(services)) {
    for (const { engine, databases } of declaredDatabases(service)) {
      for (const [i, database] of databases.entries()) {
        const owner = owners.get(`${engine} ${database}`)
        if (owner)
          yield problemAt(
            ['services', name, engine, i],
            `database ${quoted(database)} belongs to service ${owner} too: a restore of one would replace the other's data`,
          )
        else owners.set(`${engine} ${database}`, name)
      }
    }
  }
}

function* tags({ services }: Manifest) {
  for (const [name, { tags }] of Object.entries(services)) {
    for (const [i, tag] of tags.entries()) {
      if (/^((service|install|atelier):.*|unadopted|partial|failed)$/.test(tag))
        yield problemAt(['services', name, 'tags', i], `${quoted(tag)} is a tag that atelier-backup sets itself`)
    }
  }
}

function* formerNames({ services }: Manifest) {
  const owners = new Map(Object.keys(services).map((name) => [name, name]))
  for (const [name, { formerNames }] of Object.entries(services)) {
    for (const [i, former] of formerNames.entries()) {
      const owner = owners.get(former) ?? name
      if (owner === name) owners.set(former, name)
      else
        yield problemAt(
          ['services', name, 'formerNames', i],
          `${quoted(former)} is ${owner === former ? 'another service' : `a former name of service ${owner}`}`,
        )
    }
  }
}

function* dataOf(services: Manifest['services']) {
  for (const [name, service] of Object.entries(services)) {
    for (const field of ['paths', 'sqlite'] as const) {
      for (const [i, path] of service[field].entries()) yield { name, path: cleanPath(path), place: ['services', name, field, i] satisfies Place }
    }
  }
}

function problemAt(place: Place, what: string): string {
  return `${placeName(place)}: ${what}`
}
