// `list`: the snapshots of a service, and the files in them.
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { eligible, pick, snapshotChoice } from '../snapshots/select.ts'
import { harmlessJson, printable } from '../text.ts'
import { formatTime } from '../ui/format.ts'
import { waitingFor } from '../ui/progress.ts'
import { choose, unlessCancelled } from '../ui/prompt.ts'
import { drained, isInteractive, print, printJson } from '../ui/terminal.ts'
import { showChanges } from './changes.ts'
import { chooseEntry, type Entry, entryLines, fileLine, findEntries, snapshotChoices, snapshotLines } from './choose.ts'
import { type Input, pathFlags, textFlag } from './command.ts'
import { pathsIn } from './paths.ts'
import { restore } from './restore.ts'
import { walk } from './walk.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const [given] = input.args
  const wanted = textFlag(input, 'snapshot')
  const [path] = pathFlags(input)
  const inside = wanted !== undefined || path !== undefined
  if (given === undefined && inside) throw new Failure('usage', "--snapshot and --path need a service's name: atelier-backup list SERVICE")
  const names = given === undefined ? Object.keys(site.manifest.services) : [given]
  const entries = await waitingFor('asking the repository', findEntries(site, names, textFlag(input, 'host'), input.signal))
  const [only] = entries
  if (only && inside) return files(site, only, pick(only.snapshots, only.subject, snapshotChoice({ snapshot: wanted })), path, input)
  if (isInteractive()) return browse(site, entries, given === undefined, input)
  if (input.json) printJson(given === undefined ? entries.map(overviewOf) : (only?.snapshots ?? []).map(jsonOf), true)
  else if (given === undefined) print(...entryLines(entries, site.now()))
  else if (only) print(...(only.snapshots.length > 0 ? snapshotLines(only.snapshots, site.now()).map(printable) : [noSnapshots(site, only)]))
  return 0
}

function jsonOf({ id, time, host, paths, tags, bytes, files }: Snapshot) {
  return { id, time, host, paths, tags, bytes, files }
}

function overviewOf({ subject, snapshots }: Entry) {
  const [newest = null] = snapshots
  return {
    service: subject.name,
    snapshots: snapshots.length,
    newest: newest?.time ?? null,
    oldest: snapshots.at(-1)?.time ?? null,
    bytes: newest?.bytes ?? null,
  }
}

function noSnapshots(site: Site, { subject: { name, host }, elsewhere }: Entry): string {
  // Snapshots of another host can't be made on this one.
  const advice = host === site.manifest.host ? `; make one with: atelier-backup backup ${name}` : ''
  return printable(`${name}: no snapshots of host ${host}${elsewhere}${advice}`)
}

/** Prints the entries of a snapshot below a path as restic lists them, without holding them in memory. */
async function files(site: Site, { subject }: Entry, snapshot: Snapshot, path: string | undefined, input: Input): Promise<number> {
  let first = true
  const [below] = path === undefined ? [] : await pathsIn(restic(site, subject.name), snapshot, [path], input.signal)
  for await (const node of restic(site, subject.name).ls(snapshot.id, below, { signal: input.signal })) {
    if (below !== undefined && !isWithin(node.path, below)) continue
    // The reader has exited: `| head`.
    if (!process.stdout.writable) return 0
    const { type, bytes, mtime } = node
    if (input.json) process.stdout.write(`${first ? '[' : ','}\n${harmlessJson({ path: node.path, type, bytes, mtime })}`)
    else print(fileLine(node, node.path, site.now()))
    first = false
    await drained()
  }
  if (input.json) process.stdout.write(first ? '[]\n' : '\n]\n')
  if (!first || path === undefined) return 0
  throw new Failure(
    'unknown-path',
    `${subject.name}: ${path} isn't in snapshot ${snapshot.shortId}; see: atelier-backup list ${subject.name} --snapshot ${snapshot.shortId}`,
  )
}

function restic(site: Site, name: string) {
  return site.restic(serviceOf(site, name).repository)
}

/** Menus: services → snapshots → actions. Esc goes back to the previous one. */
async function browse(site: Site, entries: Entry[], several: boolean, input: Input): Promise<number> {
  for (;;) {
    const entry = several ? await unlessCancelled(chooseEntry(site, 'Which service?', entries)) : entries[0]
    if (!entry) return 0
    if (entry.snapshots.length === 0) print(noSnapshots(site, entry))
    else {
      const exit = await browseSnapshots(site, entry, input)
      if (exit !== null) return exit
    }
    if (!several) return 0
  }
}

type Next = 'files' | 'changes' | 'restore' | 'back'

/** Returns the exit code of a restore that was started from here, or null. */
async function browseSnapshots(site: Site, entry: Entry, input: Input): Promise<number | null> {
  const { subject, snapshots } = entry
  let snapshot: Snapshot | null | undefined
  for (;;) {
    const choices = [...snapshotChoices(snapshots, site.now()), { name: 'Leave', value: null }]
    snapshot = await unlessCancelled(choose<Snapshot | null>(`Snapshots of ${subject.name}`, choices, '--snapshot', { first: snapshot }))
    if (snapshot === null) return null
    const older = eligible(snapshots.slice(snapshots.indexOf(snapshot) + 1), subject)[0]
    const actions: { name: string; value: Next }[] = [
      { name: 'Walk its files', value: 'files' },
      ...(older ? [{ name: 'What changed since the one before', value: 'changes' as Next }] : []),
      { name: 'Restore …', value: 'restore' },
      { name: 'Back', value: 'back' },
    ]
    for (let next: Next | undefined; next !== 'back'; ) {
      const title = `${snapshot.shortId}, ${formatTime(snapshot.time, site.now())}`
      next = (await unlessCancelled(choose(title, actions, '--snapshot', { tidy: true, first: next }))) ?? 'back'
      const wish = { entries: [entry], wanted: { id: snapshot.id }, paths: null, inPlace: null }
      let exit: number | null = null
      if (next === 'files') exit = await walk(site, entry, snapshot, input)
      else if (next === 'changes' && older) exit = await showChanges(site, entry, older, snapshot, input)
      else if (next === 'restore') exit = await unlessCancelled(restore(site, wish, input))
      if (exit !== null) return exit
    }
  }
}
