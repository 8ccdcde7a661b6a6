// Snapshots of a service, down to their files.
import { dirname } from 'node:path'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Node, Restic, Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { countable, pick, wantedFrom } from '../snapshots/select.ts'
import { printable } from '../text.ts'
import { formatBytes, formatCount, formatTime } from '../ui/format.ts'
import { choose, unlessLeft } from '../ui/prompt.ts'
import { pad } from '../ui/table.ts'
import { isInteractive, print, printJson } from '../ui/terminal.ts'
import { chooseEntry, type Entry, entryLines, lookUp, snapshotChoices, snapshotLines } from './choose.ts'
import { type Input, pathFlags, textFlag } from './command.ts'
import { type Draft, restore } from './restore.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const [given] = input.args
  const wanted = textFlag(input, 'snapshot')
  const [path] = pathFlags(input)
  const inside = wanted !== undefined || path !== undefined
  if (given === undefined && inside) throw new Failure('usage', "--snapshot and --path need a service's name: atelier-backup list SERVICE")
  const names = given === undefined ? Object.keys(site.manifest.services) : [given]
  const entries = await lookUp(site, names, textFlag(input, 'host'), input.signal)
  const [only] = entries
  if (only && inside) return files(site, only, pick(only.snapshots, only.subject, wantedFrom({ snapshot: wanted })), path, input)
  if (isInteractive()) return browse(site, entries, given === undefined, input)
  if (input.json) printJson(given === undefined ? entries.map(overviewOf) : (only?.snapshots ?? []).map(jsonOf), true)
  else if (given === undefined) print(...entryLines(entries, site.now()))
  else if (only) print(...(only.snapshots.length > 0 ? snapshotLines(only.snapshots, site.now()).map(printable) : [noSnapshots(only)]))
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

function noSnapshots({ subject: { name, host } }: Entry): string {
  return `${name}: no snapshots of host ${host}; make one with: atelier-backup backup ${name}`
}

/** The entries of a snapshot below a path, as they come: a million of them need no memory. */
async function files(site: Site, { subject }: Entry, snapshot: Snapshot, path: string | undefined, input: Input): Promise<number> {
  let first = true
  for await (const node of restic(site, subject.name).ls(snapshot.id, path, { signal: input.signal })) {
    if (path !== undefined && !isWithin(node.path, path)) continue
    // Whoever read it has left: `| head`.
    if (!process.stdout.writable) return 0
    const { type, bytes, mtime } = node
    if (input.json) process.stdout.write(`${first ? '[' : ','}\n${JSON.stringify({ path: node.path, type, bytes, mtime })}`)
    else print(fileLine(node, node.path, site.now()))
    first = false
  }
  if (input.json) process.stdout.write(first ? '[]\n' : '\n]\n')
  if (!first || path === undefined) return 0
  throw new Failure(
    'unknown-path',
    `${subject.name}: ${path} isn't in snapshot ${snapshot.shortId}; see: atelier-backup list ${subject.name} --snapshot ${snapshot.shortId}`,
  )
}

function fileLine({ type, bytes, mtime }: Node, name: string, now: Date): string {
  const size = type === 'file' ? formatBytes(bytes) : type
  return `${pad(size, 8, true)}  ${pad(formatTime(mtime, now), 16)}  ${printable(name)}`
}

function restic(site: Site, name: string) {
  return site.restic(serviceOf(site, name).repository)
}

/** Services → snapshots → what to do with one; each can be left for the one before. */
async function browse(site: Site, entries: Entry[], several: boolean, input: Input): Promise<number> {
  for (;;) {
    const entry = several ? await unlessLeft(chooseEntry(site, 'Which service?', entries)) : entries[0]
    if (!entry) return 0
    if (entry.snapshots.length === 0) print(noSnapshots(entry))
    else {
      const exit = await browseSnapshots(site, entry, input)
      if (exit !== null) return exit
    }
    if (!several) return 0
  }
}

type Next = 'files' | 'changes' | 'restore' | 'back'

/** The exit code of a restore that was begun from here, or null. */
async function browseSnapshots(site: Site, entry: Entry, input: Input): Promise<number | null> {
  const { name } = entry.subject
  for (;;) {
    const choices = [...snapshotChoices(entry.snapshots, site.now()), { name: 'Leave', value: null }]
    const snapshot = await unlessLeft(choose<Snapshot | null>(`Snapshots of ${name}`, choices, '--snapshot'))
    if (snapshot === null) return null
    const { snapshots, subject } = entry
    const older = countable(snapshots.slice(snapshots.indexOf(snapshot) + 1), subject)[0]
    for (let next: Next | null = null; next !== 'back'; ) {
      const actions: { name: string; value: Next }[] = [
        { name: 'Walk its files', value: 'files' },
        ...(older ? [{ name: 'What changed since the one before', value: 'changes' as Next }] : []),
        { name: 'Restore …', value: 'restore' },
        { name: 'Back', value: 'back' },
      ]
      const title = `${snapshot.shortId}, ${formatTime(snapshot.time, site.now())}`
      next = (await unlessLeft(choose(title, actions, '--snapshot', { tidy: true }))) ?? 'back'
      const wish = { entries: [entry], wanted: { id: snapshot.id }, paths: null, inPlace: null }
      if (next === 'changes' && older) await showChanges(restic(site, name), older, snapshot, input)
      const exit =
        next === 'files' ? await walk(site, entry, snapshot, wish, input) : next === 'restore' ? await unlessLeft(restore(site, wish, input)) : null
      if (exit !== null) return exit
    }
  }
}

/** Enough to see what kind of change it was. */
const changesShown = 200

async function showChanges(restic: Restic, older: Snapshot, newer: Snapshot, { signal }: Input): Promise<void> {
  let count = 0
  for await (const { path, modifier } of restic.diff(older.id, newer.id, { signal })) {
    count += 1
    if (count <= changesShown) print(`  ${modifier}  ${printable(path)}`)
  }
  if (count > changesShown) print(`  and ${formatCount(count - changesShown)} more: atelier-backup restic -- diff ${older.shortId} ${newer.shortId}`)
  print(`${formatCount(count)} changes since ${older.shortId}: + new, - gone, M other content, T other type`)
}

type Step = Node | 'up' | 'restore' | 'back'

/** Through the folders of a snapshot. Esc goes up, and at the top back. The exit code of a restore that was begun from here, or null. */
async function walk(site: Site, { subject }: Entry, snapshot: Snapshot, wish: Draft, input: Input): Promise<number | null> {
  const children = await treeOf(restic(site, subject.name), snapshot, input)
  let top = '/'
  // Begin where the service's data begins, not at a chain of single folders.
  for (let only = children.get(top); only?.length === 1 && only[0]?.type === 'dir'; only = children.get(top)) top = only[0].path
  for (let folder = top; ; ) {
    const inside = (children.get(folder) ?? []).map((node) => ({
      name: fileLine(node, node.path.slice(folder === '/' ? 1 : folder.length + 1) + (node.type === 'dir' ? '/' : ''), site.now()),
      value: node as Step,
    }))
    const ways = [
      ...(folder === '/' ? [] : [{ name: '..', value: 'up' as Step }]),
      ...inside,
      { name: 'Restore this folder …', value: 'restore' as Step },
      { name: 'Back', value: 'back' as Step },
    ]
    const leaving = folder === top ? 'back' : 'up'
    const step = (await unlessLeft(choose<Step>(printable(folder), ways, '--path', { tidy: true }))) ?? leaving
    if (step === 'back') return null
    if (step === 'up') folder = dirname(folder)
    else if (step !== 'restore' && step.type === 'dir') folder = step.path
    else {
      const exit = await unlessLeft(restore(site, { ...wish, paths: step !== 'restore' ? [step.path] : folder === '/' ? [] : [folder] }, input))
      if (exit !== null) return exit
    }
  }
}

/** The entries of each folder. One call of restic: to ask again for every folder would take a second each. */
async function treeOf(restic: Restic, snapshot: Snapshot, { signal }: Input): Promise<Map<string, Node[]>> {
  const children = new Map<string, Node[]>()
  for await (const node of restic.ls(snapshot.id, undefined, { signal })) {
    if (node.path === '/') continue
    const siblings = children.get(dirname(node.path))
    if (siblings) siblings.push(node)
    else children.set(dirname(node.path), [node])
  }
  return children
}
