// What this install remembers of each service: records/SERVICE.json, atomic, fsynced, 0600.
import { link, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Iso } from '../core.ts'
import { Failure } from '../errors.ts'
import { asideName, readIfThere, writeDurably } from '../host/files.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'
import { type Run, type RunRecord, runRecordSchema } from './record.gen.ts'
import { readLeftBehind } from './running.ts'

/** Enough for the strip of 30 days with several runs a day. */
const runsKept = 200

export function emptyRecord(service: string): RunRecord {
  return { version: 1, service, origin: null, lastSnapshot: null, runs: [], old: [], oldDatabases: [] }
}

/**
 * A service's record; an empty one if there is none.
 * @throws Failure `record-damaged` if it can't be read as one: it is never taken for "never backed up".
 */
export async function readRecord(state: string, service: string): Promise<RunRecord> {
  const file = fileOf(state, service)
  const text = await readIfThere(file)
  if (text === null) return emptyRecord(service)
  const parsed = runRecordSchema.safeParse(parseWithChecksum(text))
  if (parsed.success && parsed.data.service === service) return parsed.data
  throw new Failure('record-damaged', `${service}: its record ${file} is damaged; the next backup sets it aside and starts a new one`)
}

/**
 * A service's record as it should stand: with a backup that was killed and that nobody has written down yet (no ExecStopPost after a power cut).
 * @throws Failure `record-damaged`
 */
export async function readHistory(state: string, service: string): Promise<RunRecord> {
  // In this order: a run that comes to its end meanwhile is in the record, or alive.
  const left = await readLeftBehind(state, service)
  const record = await readRecord(state, service)
  return left?.kind === 'backup' && !isRecorded(record, left) ? { ...record, runs: [...record.runs, killedRun(service, left)] } : record
}

/** Killed after its last line in the record, a run has come to its end all the same. */
export function isRecorded({ runs }: RunRecord, { run }: Pick<Run, 'run'>): boolean {
  return runs.some((recorded) => recorded.run === run)
}

/** What is remembered of a run that was killed. */
export function killedRun(name: string, { run, started }: Pick<Run, 'run' | 'started'>): Run {
  const none = { snapshotId: null, downtimeSeconds: null, view: 'live' as const, bytes: null, files: null, addedBytes: null, warnings: [] }
  const message = `${name}: the run was killed before its end`
  return { run, kind: 'backup', started, seconds: 0, outcome: 'failed', code: 'killed', message, ...none }
}

/** Changes a record; call it with the service's lock held. A damaged one is set aside first (returned: where to), and a new one begun. */
export async function updateRecord(state: string, service: string, change: (record: RunRecord) => void): Promise<{ setAside: string | null }> {
  let setAside: string | null = null
  const record = await readRecord(state, service).catch(async (error: unknown) => {
    if (!(error instanceof Failure) || error.code !== 'record-damaged') throw error
    setAside = asideName(fileOf(state, service))
    // link, not rename: at no instant is there no record, which would read as "never backed up".
    await link(fileOf(state, service), setAside)
    return emptyRecord(service)
  })
  change(record)
  record.runs = record.runs.slice(-runsKept)
  await writeDurably(fileOf(state, service), withChecksum(record))
  return { setAside }
}

/** The newest run of a kind, or null. */
export function lastRun(record: RunRecord, kind: Run['kind']): Run | null {
  return record.runs.findLast((run) => run.kind === kind) ?? null
}

/** The id by which a repository was known at the first success, or null. Another one there later is a stranger. */
export async function pinnedRepository(state: string, name: string): Promise<string | null> {
  const file = `${statePath(state, 'repositories', name)}.json`
  const text = await readIfThere(file)
  if (text === null) return null
  const pin = parseWithChecksum(text) as { id?: unknown } | null
  if (typeof pin?.id === 'string' && /^[0-9a-f]{64}$/.test(pin.id)) return pin.id
  throw new Failure('state-damaged', `${file} doesn't hold a repository's id: pin it anew with "atelier-backup adopt --repository ${name}"`)
}

export async function pinRepository(state: string, name: string, id: string, now: Iso): Promise<void> {
  await writeDurably(`${statePath(state, 'repositories', name)}.json`, withChecksum({ id, since: now }))
}

/** Where damaged records were set aside. */
export async function setAsideRecords(state: string): Promise<string[]> {
  const folder = join(state, 'records')
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => /\.json\.damaged-\d+$/.test(name)).map((name) => join(folder, name))
}

function fileOf(state: string, service: string): string {
  return `${statePath(state, 'records', service)}.json`
}
