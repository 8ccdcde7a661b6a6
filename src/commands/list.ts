// Snapshots of a service, down to their files.
import { dirname } from 'node:path'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Node, Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { newestFirst, pick, snapshotsOf, wantedFrom } from '../snapshots/select.ts'
import { printable } from '../text.ts'
import { formatBytes, formatTime } from '../ui/format.ts'
import { choose } from '../ui/prompt.ts'
import { pad, tableLines } from '../ui/table.ts'
import { columns, isInteractive } from '../ui/terminal.ts'
import { allSnapshots, chooseService, snapshotLine, subjectOf } from './choose.ts'
import { type Input, textFlag } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const [given] = input.args
  const wanted = textFlag(input, 'snapshot')
  const path = textFlag(input, 'path')
  const browsing = isInteractive() && !input.json && wanted === undefined && path === undefined
  if (given === undefined && !browsing) return overview(site, input)
  const name = given ?? (await chooseService(site, 'Which service?'))
  const subject = await subjectOf(site, name, textFlag(input, 'host'))
  const snapshots = await allSnapshots(site, subject, input.signal)
  if (wanted !== undefined || path !== undefined) return files(site, name, pick(snapshots, subject, wantedFrom({ snapshot: wanted })), path, input)
  if (input.json) process.stdout.write(`${JSON.stringify(snapshots.map(jsonOf), null, 2)}\n`)
  else if (snapshots.length === 0) process.stdout.write(`${name}: no snapshots on ${subject.host}\n`)
  else if (browsing) return browse(site, name, snapshots, input)
  else for (const snapshot of snapshots) process.stdout.write(`${printable(snapshotLine(snapshot, site.now()))}\n`)
  return 0
}

function jsonOf({ id, time, host, paths, tags, bytes, files }: Snapshot) {
  return { id, time, host, paths, tags, bytes, files }
}

/** Without a service: how many snapshots each has. One call for each repository. */
async function overview(site: Site, input: Input): Promise<number> {
  const repositories = [...new Set(Object.values(site.manifest.services).map(({ repository }) => repository))]
  const asked = await Promise.all(repositories.map(async (name) => [name, await site.restic(name).snapshots({ signal: input.signal })] as const))
  const all = new Map(asked)
  const rows = await Promise.all(
    Object.entries(site.manifest.services).map(async ([service, { repository }]) => {
      const own = newestFirst(snapshotsOf(all.get(repository) ?? [], await subjectOf(site, service, textFlag(input, 'host'))))
      return { service, snapshots: own.length, newest: own[0]?.time ?? null, oldest: own.at(-1)?.time ?? null, bytes: own[0]?.bytes ?? null }
    }),
  )
  if (input.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`)
  else {
    const now = site.now()
    const cells = rows.map(({ service, snapshots, newest, oldest, bytes }) => [
      service,
      String(snapshots),
      newest ? formatTime(newest, now) : '–',
      oldest ? formatTime(oldest, now) : '–',
      formatBytes(bytes),
    ])
    const head = [
      { title: 'SERVICE', shrink: true },
      { title: 'SNAPSHOTS', align: 'right' as const },
      { title: 'NEWEST' },
      { title: 'OLDEST' },
      { title: 'SIZE', align: 'right' as const },
    ]
    process.stdout.write(`${tableLines(head, cells, columns()).join('\n')}\n`)
  }
  return 0
}

/** The entries of a snapshot below a path, as they come: a million of them need no memory. */
async function files(site: Site, name: string, snapshot: Snapshot, path: string | undefined, input: Input): Promise<number> {
  const restic = site.restic(serviceOf(site, name).repository)
  let first = true
  for await (const node of restic.ls(snapshot.id, path, { signal: input.signal })) {
    if (path !== undefined && !isWithin(node.path, path.replace(/(.)\/+$/, '$1'))) continue
    const { type, bytes, mtime } = node
    if (input.json) process.stdout.write(`${first ? '[' : ','}\n${JSON.stringify({ path: node.path, type, bytes, mtime })}`)
    else process.stdout.write(`${fileLine(node, site.now())}\n`)
    first = false
  }
  if (input.json) process.stdout.write(first ? '[]\n' : '\n]\n')
  if (!first || path === undefined) return 0
  throw new Failure('unknown-path', `${name}: ${path} isn't in snapshot ${snapshot.shortId}`)
}

function fileLine({ path, type, bytes, mtime }: Node, now: Date): string {
  const size = type === 'file' ? formatBytes(bytes) : type
  return `${pad(size, 8, true)}  ${pad(formatTime(mtime, now), 22)}  ${printable(path)}`
}

type Next = 'files' | 'restore' | 'back'

async function browse(site: Site, name: string, snapshots: Snapshot[], input: Input): Promise<number> {
  for (;;) {
    const lines = snapshots.map((snapshot) => ({ name: snapshotLine(snapshot, site.now()), value: snapshot as Snapshot | null }))
    const snapshot = await choose(`Snapshots of ${name}`, [...lines, { name: 'Leave', value: null }], '--snapshot')
    if (snapshot === null) return 0
    const actions = [
      { name: 'Walk its files', value: 'files' as Next },
      { name: 'Restore …', value: 'restore' as Next },
      { name: 'Back', value: 'back' as Next },
    ]
    const next = await choose(`${snapshot.shortId}, ${formatTime(snapshot.time, site.now())}`, actions, '--snapshot')
    if (next === 'files') await walk(site, name, snapshot, input)
    if (next === 'restore') {
      const restore = await import('./restore.ts')
      return restore.run({ ...input, args: [name], flags: { ...input.flags, snapshot: snapshot.id } })
    }
  }
}

async function walk(site: Site, name: string, snapshot: Snapshot, input: Input): Promise<void> {
  const restic = site.restic(serviceOf(site, name).repository)
  const children = new Map<string, Node[]>()
  for await (const node of restic.ls(snapshot.id, undefined, { signal: input.signal })) {
    const parent = dirname(node.path)
    if (node.path === '/') continue
    const siblings = children.get(parent)
    if (siblings) siblings.push(node)
    else children.set(parent, [node])
  }
  let folder = '/'
  // Begin where the service's data begins, not at a chain of single folders.
  for (let only = children.get(folder); only?.length === 1 && only[0]?.type === 'dir'; only = children.get(folder)) folder = only[0].path
  for (;;) {
    const entries = (children.get(folder) ?? []).map((node) => ({
      name: fileLine({ ...node, path: node.path.slice(folder === '/' ? 1 : folder.length + 1) }, site.now()),
      value: node as Node | 'up' | 'leave',
    }))
    const up = folder === '/' ? [] : [{ name: '..', value: 'up' as const }]
    const chosen = await choose(printable(folder), [...up, ...entries, { name: 'Leave', value: 'leave' as const }], '--path')
    if (chosen === 'leave') return
    if (chosen === 'up') folder = dirname(folder)
    else if (chosen.type === 'dir') folder = chosen.path
  }
}
