// The record of each service (its runs, its last snapshot): records/SERVICE.json, written atomically and fsynced, 0600.
import { dirname, join } from 'node:path'
import type { Iso } from '../core.ts'
import { Failure } from '../errors.ts'
import { link, readdir, rm } from '../fs.ts'
import { asideName, readIfThere, syncFolder, writeDurably } from '../host/files.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { tick } from './clock.ts'
import { installIdIfThere, statePath } from './install.ts'
import { type Run, type RunRecord, runRecordSchema } from './record.gen.ts'
import { readKilledRun } from './running.ts'

/** `status` shows 30 days: enough for several runs a day. */
const runsKept = 200

export function emptyRecord(service: string): RunRecord {
  return {
    version: 1,
    service,
    install: null,
    origin: null,
    inherited: null,
    lastSnapshot: null,
    clock: null,
    stopped: [],
    runs: [],
    old: [],
    oldDatabases: [],
    undropped: [],
  }
}

/**
 * A service's record; an empty one if there is none.
 * @throws Failure `record-damaged`: a damaged record must not read as "never backed up".
 */
export async function readRecord(state: string, service: string): Promise<RunRecord> {
  const file = fileOf(state, service)
  const text = await readIfThere(file)
  if (text === null) return emptyRecord(service)
  const parsed = runRecordSchema.safeParse(parseWithChecksum(text))
  if (parsed.success && parsed.data.service === service) return ownRecord(parsed.data, await installIdIfThere(state).catch(() => null))
  throw new Failure('record-damaged', `${service}: its record ${file} is damaged; the next backup sets it aside and starts a new one`)
}

/** What another install decided and saved isn't this one's. */
function ownRecord(record: RunRecord, install: string | null): RunRecord {
  const isForeign = record.install !== null && install !== null && record.install !== install
  return isForeign ? { ...record, origin: null, inherited: null, lastSnapshot: null, stopped: [] } : record
}

/**
 * A service's record, with a killed backup that isn't in it yet: after a power cut systemd runs no ExecStopPost.
 * @throws Failure `record-damaged`
 */
export async function readHistory(state: string, service: string): Promise<RunRecord> {
  // The running file is read first: a run that ends between the two reads is then alive, or in the record.
  const killed = await readKilledRun(state, service)
  const record = await readRecord(state, service)
  return killed?.kind === 'backup' && !isRecorded(record, killed) ? { ...record, runs: [...record.runs, recordOfKilled(service, killed)] } : record
}

/** A run may be killed after it was written into its record: it counts as ended. */
export function isRecorded({ runs }: RunRecord, { run }: Pick<Run, 'run'>): boolean {
  return runs.some((recorded) => recorded.run === run)
}

/** What the record says of a killed run. */
export function recordOfKilled(name: string, { run, started }: Pick<Run, 'run' | 'started'>): Run {
  const none = { snapshotId: null, downtimeSeconds: null, view: 'live' as const, bytes: null, files: null, addedBytes: null, warnings: [] }
  const message = `${name}: the run was killed before its end`
  return { run, kind: 'backup', started, seconds: 0, outcome: 'failed', code: 'killed', message, ...none }
}

/** Changes a record. The service's lock must be held. A damaged record first gets another name (`setAside`, a path), and a new one begins. */
export async function updateRecord(state: string, service: string, change: (record: RunRecord) => void): Promise<{ setAside: string | null }> {
  let setAside: string | null = null
  const record = await readRecord(state, service).catch(async (error: unknown) => {
    if (!(error instanceof Failure) || error.code !== 'record-damaged') throw error
    setAside = asideName(fileOf(state, service))
    // link, not rename: without a record, even for an instant, `status` would say "never backed up".
    await link(fileOf(state, service), setAside)
    return emptyRecord(service)
  })
  change(record)
  record.install = await installIdIfThere(state).catch(() => null)
  record.clock = tick(record.clock, new Date())
  record.runs = record.runs.slice(-runsKept)
  await writeDurably(fileOf(state, service), withChecksum(record))
  return { setAside }
}

/** What is known of stopped units once a run has ended: what it found out of its own takes the place of what earlier runs did. */
export function withStopped(earlier: RunRecord['stopped'], ended: RunRecord['stopped']): RunRecord['stopped'] {
  return [...ended, ...earlier.filter(({ unit }) => !ended.some((other) => other.unit === unit))]
}

/** Of a former name, whose record is the service's now. */
export async function removeRecord(state: string, name: string): Promise<void> {
  await rm(fileOf(state, name), { force: true })
  await syncFolder(dirname(fileOf(state, name)))
}

/** The newest run of a kind, or null. */
export function lastRun(record: RunRecord, kind: Run['kind']): Run | null {
  return record.runs.findLast((run) => run.kind === kind) ?? null
}

/** Ids of the snapshots that its runs saved, oldest first. */
export function savedIn({ runs }: Pick<RunRecord, 'runs'>): string[] {
  return runs.flatMap(({ kind, snapshotId }) => (kind === 'backup' && snapshotId !== null ? [snapshotId] : []))
}

/** The repository's id at the first successful backup, or null. A later backup to a repository with another id is refused. */
export async function pinnedRepository(state: string, name: string): Promise<string | null> {
  const file = `${statePath(state, 'repositories', name)}.json`
  const text = await readIfThere(file)
  if (text === null) return null
  const pin = parseWithChecksum(text) as { id?: unknown } | null
  if (typeof pin?.id === 'string' && /^[0-9a-f]{64}$/.test(pin.id)) return pin.id
  throw new Failure('state-damaged', `${file} doesn't hold a repository's id: write it anew with "atelier-backup adopt --repository ${name}"`)
}

export async function pinRepository(state: string, name: string, id: string, now: Iso): Promise<void> {
  await writeDurably(`${statePath(state, 'repositories', name)}.json`, withChecksum({ id, since: now }))
}

/** Paths of damaged records. */
export async function setAsideRecords(state: string): Promise<string[]> {
  const folder = join(state, 'records')
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => /\.json\.damaged-\d+$/.test(name)).map((name) => join(folder, name))
}

function fileOf(state: string, service: string): string {
  return `${statePath(state, 'records', service)}.json`
}
