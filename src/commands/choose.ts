// Shared by commands: finds services with their snapshots, and asks for one of them.
import { Failure } from '../errors.ts'
import { requireKnown } from '../repository/identity.ts'
import type { Node, Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { requireHost } from '../snapshots/hosts.ts'
import { eligible, newestFirst, otherHostsHint, pick, type Subject, snapshotsOf } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { readRecord, savedIn } from '../state/records.ts'
import { printableName } from '../text.ts'
import { dayAndClock, formatBytes, formatCount, formatTime } from '../ui/format.ts'
import { type Choice, choose } from '../ui/prompt.ts'
import { type Column, pad, tableLines } from '../ui/table.ts'
import { columns } from '../ui/terminal.ts'

/** A service and its snapshots, newest first, unadopted and failed ones too. */
export interface Entry {
  subject: Subject
  snapshots: Snapshot[]
  /** Text for the end of a message: other hosts that have snapshots of the service; may be empty. */
  elsewhere: string
}

/**
 * Entries of the named services; one call of restic for each repository. `host`: list the snapshots of this host instead of our own.
 * @throws Failure `unknown-host` (exit 2): none of the repositories has snapshots of it; the message names the hosts that have
 */
export async function findEntries(site: Site, names: string[], host: string | undefined, signal: AbortSignal): Promise<Entry[]> {
  const subjects = await Promise.all(names.map((name) => subjectOf(site, name, host)))
  const repositories = [...new Set(names.map((name) => serviceOf(site, name).repository))]
  const ask = async (name: string) => {
    const snapshots = await site.restic(name).snapshots({ signal })
    await requireKnown(site, name, snapshots, { signal })
    return [name, snapshots] as const
  }
  const asked = await Promise.all(repositories.map(ask))
  const all = new Map(asked)
  if (host !== undefined) requireHost(host, asked)
  return subjects.map((subject) => {
    const its = all.get(serviceOf(site, subject.name).repository) ?? []
    return { subject, snapshots: newestFirst(snapshotsOf(its, subject), subject.order), elsewhere: otherHostsHint(its, subject) }
  })
}

/** What identifies the snapshots of a service. */
async function subjectOf(site: Site, name: string, host = site.manifest.host): Promise<Subject> {
  const record = await readRecord(site.state, name).catch(() => null)
  const origin = host === site.manifest.host ? (record?.origin ?? null) : null
  const order = savedIn(record ?? { runs: [] })
  return { name, service: serviceOf(site, name), host, origin, order, install: await installIdIfThere(site.state) }
}

export async function chooseEntry(site: Site, message: string, entries: Entry[]): Promise<Entry> {
  if (entries.length === 0) throw new Failure('usage', `no service is declared in ${site.manifestFile}`)
  const rows = entries.map(({ subject, snapshots: [newest, ...older] }) => [
    subject.name,
    newest ? `${older.length + 1} ${older.length === 0 ? 'snapshot' : 'snapshots'}` : 'no snapshots',
    ...(newest ? [...dayAndClock(newest.time, site.now()), formatBytes(newest.bytes)] : []),
  ])
  const lines = tableLines([{ title: '', shrink: 'cut' }, right, { title: '' }, { title: '' }, right], rows, columns() - 3)
  return choose(
    message,
    choicesOf(entries, lines, ({ subject }) => subject.name),
    "the service's name",
  )
}

export async function chooseSnapshot({ subject, snapshots }: Entry, now: Date): Promise<Snapshot> {
  if (snapshots.length === 0) return pick(snapshots, subject, { latest: true })
  // The pointer doesn't start on an unadopted or failed snapshot.
  return choose(`Snapshots of ${subject.name}`, snapshotChoices(snapshots, now), '--snapshot or --at', { first: eligible(snapshots, subject)[0] })
}

export function snapshotChoices(snapshots: Snapshot[], now: Date): Choice<Snapshot>[] {
  return choicesOf(snapshots, snapshotLines(snapshots, now), ({ shortId, time }) => `${shortId}, ${formatTime(time, now)}`)
}

function choicesOf<T>(values: T[], lines: string[], short: (value: T) => string): Choice<T>[] {
  return values.map((value, i) => ({ name: lines[i] ?? '', value, short: short(value) }))
}

const right: Column = { title: '', align: 'right' }

/** A table of services: number of snapshots, newest, oldest, size of the newest. */
export function entryLines(entries: Entry[], now: Date): string[] {
  const rows = entries.map(({ subject, snapshots: [newest, ...older] }) => [
    subject.name,
    String(newest ? older.length + 1 : 0),
    ...(newest ? dayAndClock(newest.time, now) : ['–', '']),
    newest ? formatTime((older.at(-1) ?? newest).time, now) : '–',
    formatBytes(newest?.bytes ?? null),
  ])
  const head: Column[] = [
    { title: 'SERVICE', shrink: 'cut' },
    { title: 'SNAPSHOTS', align: 'right' },
    { title: 'NEWEST' },
    { title: '' },
    { title: 'OLDEST' },
    { title: 'SIZE', align: 'right' },
  ]
  return tableLines(head, rows, columns())
}

/** "today  04:12  1.2 GB  20,412 files  +3.1 MB  8f21c0de  manual" */
export function snapshotLines(snapshots: Snapshot[], now: Date): string[] {
  const rows = snapshots.map(({ time, bytes, files, addedBytes, shortId, tags }) => [
    ...dayAndClock(time, now),
    formatBytes(bytes),
    files === null ? '' : `${formatCount(files)} ${files === 1 ? 'file ' : 'files'}`,
    addedBytes === null ? '' : `+${formatBytes(addedBytes)}`,
    shortId,
    tags.filter((tag) => !/^(service|install):/.test(tag)).join(' '),
  ])
  return tableLines([{ title: '' }, { title: '' }, right, right, right, { title: '' }, { title: '', shrink: 'cut' }], rows, columns() - 3)
}

/** "  5.9 MB  today 11:42       notes.db" */
export function fileLine({ type, bytes, mtime }: Node, name: string, now: Date): string {
  const size = type === 'file' ? formatBytes(bytes) : type
  return `${pad(size, 8, true)}  ${pad(formatTime(mtime, now), 16)}  ${printableName(name)}`
}
