// A service that was renamed (formerNames): what the state folder holds under its former names becomes the service's own.
import { dirname } from 'node:path'
import { rename } from '../fs.ts'
import { asideName, isThere, syncFolder } from '../host/files.ts'
import { statePath } from './install.ts'
import { readJournal, removeJournal, writeJournal } from './journal.ts'
import type { RunRecord } from './record.gen.ts'
import { readRecord, removeRecord, updateRecord, withStopped } from './records.ts'

const folders = ['journals', 'running', 'records'] as const

/** The former names under which something is known. */
export async function leftOf(state: string, formerNames: string[]): Promise<string[]> {
  const isLeft = async (name: string) => (await Promise.all(folders.map((folder) => isThere(fileOf(state, folder, name))))).includes(true)
  const left = await Promise.all(formerNames.map(isLeft))
  return formerNames.filter((_, i) => left[i])
}

/**
 * The locks of both names must be held. Each step can be repeated after a crash. Of two unfinished restores the service's own comes first; the other
 * is taken over once that one is ended.
 */
export async function takeOver(state: string, service: string, former: string): Promise<void> {
  if (!(await isThere(fileOf(state, 'running', service)))) await move(state, 'running', former, service)
  await takeJournal(state, service, former)
  await takeRecord(state, service, former)
}

async function takeJournal(state: string, service: string, former: string): Promise<void> {
  const journal = await readJournal(state, former).catch(() => 'damaged' as const)
  const own = await readJournal(state, service).catch(() => 'damaged' as const)
  // A damaged one keeps its text: whoever reads it says so.
  if (journal === 'damaged') return own === null ? move(state, 'journals', former, service) : undefined
  if (journal === null || own === 'damaged' || (own !== null && own.run !== journal.run)) return
  if (own === null) await writeJournal(state, { ...journal, service })
  await removeJournal(state, former)
}

async function takeRecord(state: string, service: string, former: string): Promise<void> {
  if (!(await isThere(fileOf(state, 'records', former)))) return
  const earlier = await readRecord(state, former).catch(() => null)
  if (earlier !== null) {
    await updateRecord(state, service, (record) => void Object.assign(record, merged(earlier, record)))
    return removeRecord(state, former)
  }
  const own = fileOf(state, 'records', service)
  // Damaged: in the service's place it makes the state unknown, and beside a record it is named by doctor.
  await rename(fileOf(state, 'records', former), (await isThere(own)) ? asideName(own) : own)
  await syncFolder(dirname(own))
}

/** What `earlier` holds comes first, whatever the clock said; and once, if this is repeated. */
function merged(earlier: RunRecord, later: RunRecord): Omit<RunRecord, 'version' | 'service' | 'install'> {
  const decided = earlier.origin === null ? later : earlier
  const missing = <T extends { run: string }>(all: T[], there: T[], keyOf: (value: T) => string) =>
    all.filter((value) => !there.some((other) => keyOf(other) === keyOf(value)))
  return {
    origin: decided.origin,
    inherited: earlier.inherited && later.inherited ? [...new Set([...earlier.inherited, ...later.inherited])] : decided.inherited,
    lastSnapshot: later.lastSnapshot ?? earlier.lastSnapshot,
    clock: later.clock ?? earlier.clock,
    runs: [...missing(earlier.runs, later.runs, ({ run }) => run), ...later.runs],
    old: [...missing(earlier.old, later.old, ({ folder }) => folder), ...later.old],
    stopped: withStopped(earlier.stopped, later.stopped),
    undropped: [...new Set([...earlier.undropped, ...later.undropped])],
    oldDatabases: [...missing(earlier.oldDatabases, later.oldDatabases, ({ run, database }) => `${run} ${database}`), ...later.oldDatabases],
  }
}

async function move(state: string, folder: (typeof folders)[number], from: string, to: string): Promise<void> {
  const file = fileOf(state, folder, from)
  if (!(await isThere(file))) return
  await rename(file, fileOf(state, folder, to))
  await syncFolder(dirname(file))
}

function fileOf(state: string, folder: (typeof folders)[number], name: string): string {
  return `${statePath(state, folder, name)}.json`
}
