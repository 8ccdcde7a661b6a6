// The install id is bound to its machine: a clone, or a state folder that was copied, must not act as the machine that it was copied from.
import { join } from 'node:path'
import { stat } from '../fs.ts'
import { readIfThere, writeDurably } from '../host/files.ts'
import type { Snapshot } from '../restic/types.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { installId, installIdIfThere, newInstallId } from './install.ts'
import { withStateLock } from './lock.ts'
import type { RunRecord } from './record.gen.ts'

/** machine.json in the state folder. */
interface Binding {
  /** /etc/machine-id; null: there is none. */
  machineId: string | null
  /** Inode number and birth time of the file `install-id`: a copy of the state folder has others. */
  file: string
  /** Why this id replaced an earlier one; null: it is the first. */
  replaced: string | null
}

/**
 * The id of this install on this machine. If the state folder comes from another machine, a new id is made: from then on this is a fresh install,
 * whose backups are `unadopted` until a person decides, by `dr` or `adopt`, which data to keep.
 */
export async function boundInstallId(state: string): Promise<string> {
  const id = await installId(state)
  const binding = await readBinding(state)
  if (binding === null) await bind(state, null)
  else {
    const why = await mismatch(state, binding)
    if (why !== null) return replaceInstallId(state, id, why)
  }
  return id
}

/** Why the state folder isn't this machine's (`foreign`), and why its id replaced an earlier one (`replaced`); null: it is, it didn't. Changes nothing. */
export async function readMachine(state: string): Promise<{ foreign: string | null; replaced: string | null }> {
  const binding = await readBinding(state)
  return { foreign: binding && (await mismatch(state, binding)), replaced: binding?.replaced ?? null }
}

/** Makes a new id in place of `known`, unless another run has done so meanwhile. Returns the id that is valid from now on. */
export function replaceInstallId(state: string, known: string, why: string): Promise<string> {
  return withStateLock(state, async () => {
    const now = await installIdIfThere(state)
    if (now !== null && now !== known) return now
    const id = newInstallId()
    await writeDurably(join(state, 'install-id'), `${id}\n`)
    await bind(state, why)
    return id
  })
}

/**
 * Snapshots that claim to be this install's, are newer than its last one, and that its record doesn't know: another machine has the same id, or
 * this one was set back to an older state. A killed run may have made a snapshot without recording its id: one made after the start of such a run
 * counts as known. `own`: the service's snapshots.
 */
export function unknownToRecord(own: Snapshot[], { lastSnapshot, runs }: RunRecord, install: string | null): Snapshot[] {
  if (lastSnapshot === null || install === null) return []
  const last = Date.parse(lastSnapshot.time)
  // Where the clock was behind, the last one has an old date. What the record has forgotten by now was made before its oldest run.
  const oldest = Math.max(last, Date.parse(runs[0]?.started ?? '') || last)
  // Without the nulls of runs that saved nothing: a snapshot that isn't a copy has no `original` either.
  const known = new Set<string | null>([lastSnapshot.id, ...runs.flatMap(({ snapshotId }) => snapshotId ?? [])])
  const unfinished = runs.filter(({ kind, snapshotId }) => kind === 'backup' && snapshotId === null).map(({ started }) => Date.parse(started))
  const isLeftover = (time: number) => unfinished.some((started) => time >= started - clockSlackMs)
  return own.filter(({ id, time, original, tags }) => {
    const at = Date.parse(time)
    return at > oldest + clockSlackMs && tags.includes(`install:${install}`) && !known.has(id) && !known.has(original) && !isLeftover(at)
  })
}
/** In ms. A snapshot's time and the run's start come from two readings of the clock. */
const clockSlackMs = 1000

async function mismatch(state: string, binding: Binding): Promise<string | null> {
  const now = await bindingNow(state, null)
  if (now.machineId !== binding.machineId) return 'its state folder was made on another machine (/etc/machine-id differs)'
  return now.file === binding.file ? null : 'its state folder is a copy of another one'
}

async function bind(state: string, replaced: string | null): Promise<void> {
  await writeDurably(join(state, 'machine.json'), withChecksum(await bindingNow(state, replaced)))
}

async function bindingNow(state: string, replaced: string | null): Promise<Binding> {
  const { ino, birthtimeNs } = await stat(join(state, 'install-id'), { bigint: true })
  const machineId = (await readIfThere('/etc/machine-id').catch(() => null))?.trim() || null
  return { machineId, file: `${ino} ${birthtimeNs}`, replaced }
}

/** A damaged machine.json counts as missing: the next run writes it again. */
async function readBinding(state: string): Promise<Binding | null> {
  const text = await readIfThere(join(state, 'machine.json'))
  const value = text === null ? null : (parseWithChecksum(text) as Partial<Binding> | null)
  if (typeof value?.file !== 'string') return null
  return { machineId: value.machineId ?? null, file: value.file, replaced: value.replaced ?? null }
}
