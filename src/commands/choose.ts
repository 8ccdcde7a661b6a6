// The questions that several commands ask: which service, which snapshot.
import type { Snapshot } from '../restic/types.ts'
import { type Site, serviceOf } from '../site.ts'
import { newestFirst, pick, type Subject, snapshotsOf, type Wanted } from '../snapshots/select.ts'
import { installIdIfThere } from '../state/install.ts'
import { readRecord } from '../state/records.ts'
import { formatBytes, formatCount, formatTime } from '../ui/format.ts'
import { choose } from '../ui/prompt.ts'
import { pad } from '../ui/table.ts'

export async function chooseService(site: Site, message: string): Promise<string> {
  const names = Object.keys(site.manifest.services)
  return choose(
    message,
    names.map((name) => ({ name, value: name })),
    "the service's name",
  )
}

/** What is known of a service here, to tell its snapshots. `host`: another one's. */
export async function subjectOf(site: Site, name: string, host = site.manifest.host): Promise<Subject> {
  const record = await readRecord(site.state, name).catch(() => null)
  const origin = host === site.manifest.host ? (record?.origin ?? null) : null
  return { name, service: serviceOf(site, name), host, origin, install: await installIdIfThere(site.state) }
}

/** A service's snapshots, newest first, unadopted and failed ones too. */
export async function allSnapshots(site: Site, subject: Subject, signal: AbortSignal): Promise<Snapshot[]> {
  const restic = site.restic(serviceOf(site, subject.name).repository)
  return newestFirst(snapshotsOf(await restic.snapshots({ signal }), subject))
}

async function chooseSnapshot(snapshots: Snapshot[], subject: Subject, now: Date): Promise<Snapshot> {
  if (snapshots.length === 0) return pick(snapshots, subject, { latest: true })
  return choose(
    `Snapshots of ${subject.name}`,
    snapshots.map((snapshot) => ({ name: snapshotLine(snapshot, now), value: snapshot })),
    '--snapshot or --at',
  )
}

/** The snapshot that the flags mean; on a terminal without them, the one that is chosen. */
export async function snapshotFrom(site: Site, subject: Subject, wanted: Wanted | null, signal: AbortSignal): Promise<Snapshot> {
  const snapshots = await allSnapshots(site, subject, signal)
  return wanted === null ? chooseSnapshot(snapshots, subject, site.now()) : pick(snapshots, subject, wanted)
}

/** "today 04:12   1.2 GB  20,412 files  +3.1 MB  8f21c0de  manual" */
export function snapshotLine(snapshot: Snapshot, now: Date): string {
  const { time, bytes, files, addedBytes, shortId } = snapshot
  const marks = snapshot.tags.filter((tag) => !/^(service|install):/.test(tag))
  const cells = [
    pad(formatTime(time, now), 16),
    pad(formatBytes(bytes), 8, true),
    pad(files === null ? '' : `${formatCount(files)} files`, 14, true),
    pad(addedBytes === null ? '' : `+${formatBytes(addedBytes)}`, 9, true),
    shortId,
    marks.join(' '),
  ]
  return cells.join('  ').trimEnd()
}
