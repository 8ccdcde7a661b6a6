// What changed between two snapshots, as a list to restore from.
import type { Path } from '../core.ts'
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { printable } from '../text.ts'
import { formatBytes, formatCount, formatTime } from '../ui/format.ts'
import { waitingFor } from '../ui/progress.ts'
import { choose, unlessCancelled } from '../ui/prompt.ts'
import { cutStart } from '../ui/table.ts'
import { columns, print } from '../ui/terminal.ts'
import type { Entry } from './choose.ts'
import type { Input } from './command.ts'
import { restore } from './restore.ts'

interface Change {
  path: Path
  kind: 'new' | 'gone' | 'changed'
}

/** Changes that are listed at most; all are counted. */
const changesKept = 20_000

/** Returns the exit code of a restore that was started from the list, or null. */
export async function showChanges(site: Site, entry: Entry, older: Snapshot, newer: Snapshot, input: Input): Promise<number | null> {
  const { counts, kept } = await waitingFor('comparing', changesOf(site, entry, older, newer, input))
  const all = counts.new + counts.gone + counts.changed
  const kinds = (['new', 'changed', 'gone'] as const).flatMap((kind) => (counts[kind] > 0 ? `${formatCount(counts[kind])} ${kind}` : []))
  const title = `${kinds.join(', ')} since ${older.shortId}`
  if (all === 0) {
    print(`Nothing changed since ${older.shortId}.`)
    return null
  }
  const rows = kept.map((change) => ({
    name: `${change.kind} ${printable(change.path)}`,
    line: () => `${change.kind.padEnd(7)}  ${cutStart(printable(change.path), Math.max(20, columns() - 14))}`,
    value: change as Change | null,
  }))
  const more = `and ${formatCount(all - kept.length)} more: atelier-backup restic -- diff ${older.shortId} ${newer.shortId}`
  const choices = all > kept.length ? [...rows, { name: more, value: null }] : rows
  for (let change: Change | null | undefined; ; ) {
    change = await unlessCancelled(choose(withSize(title, newer), choices, '--path', { tidy: true, first: change }))
    if (change === null) return null
    const exit = await restoreOne(site, entry, change, older, newer, input)
    if (exit !== null) return exit
  }
}

function withSize(title: string, { addedBytes }: Snapshot): string {
  return addedBytes === null ? title : `${title}, +${formatBytes(addedBytes)}`
}

async function changesOf(site: Site, { subject }: Entry, older: Snapshot, newer: Snapshot, { signal }: Input) {
  const counts = { new: 0, gone: 0, changed: 0 }
  const kept: Change[] = []
  const restic = site.restic(serviceOf(site, subject.name).repository)
  for await (const { path, modifier } of restic.diff(older.id, newer.id, { signal })) {
    const kind = modifier.startsWith('+') ? 'new' : modifier.startsWith('-') ? 'gone' : 'changed'
    counts[kind] += 1
    if (kept.length < changesKept) kept.push({ path: path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path, kind })
  }
  return { counts, kept }
}

/** Offers to restore the path from either snapshot. */
async function restoreOne(site: Site, entry: Entry, { path, kind }: Change, older: Snapshot, newer: Snapshot, input: Input): Promise<number | null> {
  const choices = [
    ...[...(kind === 'new' ? [] : [older]), ...(kind === 'gone' ? [] : [newer])].map((snapshot) => ({
      name: `Restore it as of ${formatTime(snapshot.time, site.now())} (${snapshot.shortId}) …`,
      value: snapshot as Snapshot | null,
    })),
    { name: 'Back', value: null },
  ]
  const snapshot = await unlessCancelled(choose(printable(path), choices, '--path', { tidy: true }))
  if (snapshot === null) return null
  return unlessCancelled(restore(site, { entries: [entry], wanted: { id: snapshot.id }, paths: [path], inPlace: null }, input))
}
