// Where data usually lies. A path elsewhere may be a command: a unit, a cron table, a key, a profile.
import { declaredDatabases } from '../manifest/engines.ts'
import type { Service } from '../manifest/types.gen.ts'
import { printable, shellWord } from '../text.ts'
import { sign } from '../ui/terminal.ts'

const usual = ['/var/lib', '/srv', '/var/www', '/mnt', '/media']
/** Below `usual`, but read by the system itself. */
const ofTheSystem = ['/var/lib/systemd', '/var/lib/nixos', '/var/lib/polkit-1']

function isUsual(path: string): boolean {
  const below = (place: string) => path.startsWith(`${place}/`)
  return usual.some(below) && !ofTheSystem.some((place) => path === place || below(place))
}

/** What a service declares, each as one word. */
export function declaredData(service: Service): string[] {
  const databases = declaredDatabases(service).flatMap(({ engine, databases }) => databases.map((database) => `${engine} ${database}`))
  return [...[...service.paths, ...service.sqlite].map(shownPath), ...databases]
}

/** A path as one word: quoted if it holds blanks, which could pass for the end of it. */
export function shownPath(path: string): string {
  return shellWord(printable(path))
}

/** A line for each path outside of the usual places, none of them cut, below a heading; nothing where there is none. */
export function unusualLines(paths: { service: string; path: string }[]): string[] {
  const odd = paths.filter(({ path }) => !isUsual(path))
  if (odd.length === 0) return []
  return [
    `Written outside of the usual places of data (${usual.join(', ')}):`,
    ...odd.map(({ service, path }) => `${sign('warn')} ${service}   ${shownPath(path)}`),
    '',
  ]
}
