// `find`: files by name or pattern, in all snapshots of this host's services.
import { basename, dirname } from 'node:path'
import { Failure } from '../errors.ts'
import { escapePattern } from '../restic/patterns.ts'
import type { Node, Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { tags } from '../snapshots/select.ts'
import { nameRead, printable, printableName } from '../text.ts'
import { formatBytes, formatCount, formatTime } from '../ui/format.ts'
import { waitingFor } from '../ui/progress.ts'
import { askText, choose, unlessCancelled } from '../ui/prompt.ts'
import { cutStart, displayWidth, tableLines } from '../ui/table.ts'
import { columns, isInteractive, print, printJson } from '../ui/terminal.ts'
import { type Entry, findEntries } from './choose.ts'
import { type Input, textFlag } from './command.ts'
import { restore } from './restore.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const [given, ...services] = input.args
  const names = services.length > 0 ? [...new Set(services)] : Object.keys(site.manifest.services)
  for (const name of names) serviceOf(site, name)
  const pattern = given ?? (await askText('Find which file? A part of its name, or a pattern (*.txt)', 'a pattern'))
  if (pattern.trim() === '') throw new Failure('usage', 'an empty pattern matches nothing: give a part of the name')
  const entries = await waitingFor('asking the repository', findEntries(site, names, textFlag(input, 'host'), input.signal))
  const matches = await waitingFor('looking through all snapshots', find(site, entries, pattern, input.signal))
  const asks = isInteractive() && matches.length > 0
  if (asks) return browse(site, matches, pattern, input)
  if (input.json) printJson(matches.map(jsonOf), true)
  else if (matches.length > 0) print(...versionLines(versionsOf(matches), site.now(), Number.POSITIVE_INFINITY))
  if (matches.length > 0) return 0
  const count = entries.reduce((sum, { snapshots }) => sum + snapshots.length, 0)
  throw new Failure(
    'not-found',
    `nothing matches ${JSON.stringify(pattern)} in ${formatCount(count)} ${count === 1 ? 'snapshot' : 'snapshots'} of ${names.join(', ')}`,
  )
}

interface Match {
  entry: Entry
  snapshot: Snapshot
  node: Node
}

function jsonOf({ entry, snapshot, node: { path, type, bytes, mtime } }: Match) {
  return { service: entry.subject.name, snapshot: snapshot.id, time: snapshot.time, path, type, bytes, mtime }
}

/** Matches, newest snapshot first. A text without pattern characters is searched as a part of names. */
async function find(site: Site, entries: Entry[], wanted: string, signal: AbortSignal): Promise<Match[]> {
  const name = nameRead(wanted)
  const isPart = !/[*?[\]\\/]/.test(name)
  const pattern = isPart ? `*${escapePattern(name)}*` : name
  const repositories = new Map<string, Entry[]>()
  for (const entry of entries) {
    const { repository } = serviceOf(site, entry.subject.name)
    repositories.set(repository, [...(repositories.get(repository) ?? []), entry])
  }
  const found = await Promise.all(
    [...repositories].map(async ([repository, its]) => {
      const owners = new Map(its.flatMap((entry) => entry.snapshots.map((snapshot) => [snapshot.id, { entry, snapshot }] as const)))
      if (owners.size === 0) return []
      const host = its[0]?.subject.host ?? site.manifest.host
      const answers = await site.restic(repository).find({ pattern, host, tags: tagsOf(its), signal })
      return answers.flatMap(({ snapshot, nodes }) => {
        const owner = owners.get(snapshot)
        return owner ? ownMatches(nodes, isPart ? name : null).map((node) => ({ ...owner, node })) : []
      })
    }),
  )
  return found.flat().sort((a, b) => Date.parse(b.snapshot.time) - Date.parse(a.snapshot.time))
}

/** Tags that restrict restic's search to these services; none if some snapshots (of the shell version) have no such tag. */
function tagsOf(entries: Entry[]): string[] {
  const all = entries.flatMap(({ subject: { name, service } }) => [name, ...service.formerNames].map(tags.service))
  return entries.every(({ snapshots }) => snapshots.every((snapshot) => snapshot.tags.some((tag) => all.includes(tag)))) ? all : []
}

/** Removes matches that restic reports only because their folder matches. */
function ownMatches(nodes: Node[], part: string | null): Node[] {
  if (part !== null) return nodes.filter(({ path }) => basename(path).toLowerCase().includes(part.toLowerCase()))
  const paths = new Set(nodes.map(({ path }) => path))
  return nodes.filter(({ path }) => !paths.has(dirname(path)))
}

/** One version of a file: the newest snapshot that holds it, and the number of snapshots that do. */
interface Version extends Match {
  count: number
}

function versionsOf(matches: Match[]): Version[] {
  const versions = new Map<string, Version>()
  for (const match of matches) {
    const { path, type, bytes, mtime } = match.node
    const key = JSON.stringify([match.entry.subject.name, path, type, bytes, mtime])
    const known = versions.get(key)
    if (known) known.count += 1
    else versions.set(key, { ...match, count: 1 })
  }
  return [...versions.values()]
}

/** "notes  1.2 kB  today 04:12  8f21c0de +3  /var/lib/notes/a.txt" */
function versionLines(versions: Version[], now: Date, width: number): string[] {
  const cells = versions.map(({ entry, snapshot, node, count }) => [
    entry.subject.name,
    node.type === 'file' ? formatBytes(node.bytes) : node.type,
    formatTime(node.mtime, now),
    `${snapshot.shortId}${count > 1 ? ` +${formatCount(count - 1)}` : ''}`,
  ])
  const head = [{ title: 'SERVICE' }, { title: 'SIZE', align: 'right' as const }, { title: 'CHANGED' }, { title: 'SNAPSHOT' }, { title: 'PATH' }]
  const bare = tableLines(
    head,
    cells.map((row) => [...row, '']),
    Number.POSITIVE_INFINITY,
  )
  const room = width - bare.reduce((most, line) => Math.max(most, displayWidth(line)), 0) - 2
  return tableLines(
    head,
    cells.map((row, n) => [...row, cutStart(printableName(versions[n]?.node.path ?? ''), Math.max(16, room))]),
    Number.POSITIVE_INFINITY,
  )
}

/** Lists the versions at a terminal, to restore one of them. */
async function browse(site: Site, matches: Match[], pattern: string, input: Input): Promise<number> {
  const versions = versionsOf(matches)
  const [, ...lines] = versionLines(versions, site.now(), columns() - 4)
  const title = `${formatCount(versions.length)} ${versions.length === 1 ? 'version' : 'versions'} of ${printable(pattern)}`
  const choices = versions.map((version, n) => {
    const { path } = version.node
    return { name: `${printable(path)} ${lines[n]}`, line: () => lines[n] ?? '', value: version, short: printable(path) }
  })
  for (let version: Version | undefined; ; ) {
    const chosen = await unlessCancelled(choose(title, choices, '--json', { first: version }))
    if (chosen === null) return 0
    version = chosen
    const { entry, snapshot, node } = chosen
    const exit = await unlessCancelled(restore(site, { entries: [entry], wanted: { id: snapshot.id }, paths: [node.path], inPlace: null }, input))
    if (exit !== null) return exit
  }
}
