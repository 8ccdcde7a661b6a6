// The units that use the data: which they are, stopped and masked before the exchange, started after it.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Move, Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { isThere } from '../host/files.ts'
import { processesUsing } from '../host/processes.ts'
import { maskableUnits, type StopTimeout, startUnits, stopAndMask, unitsAtWork, unmaskUnits } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'

/** The units that use the data, and those of them that run (or did, before an interrupted restore stopped them: `ran`). */
export async function gatherUnits(name: string, service: Service, ran: Unit[]): Promise<{ units: Unit[]; running: Unit[] }> {
  const { units, running } = await unitsAtWork(name, unitsOf(name, service))
  return { units: [...new Set([...units, ...ran])], running: [...new Set([...running, ...ran])] }
}

/** Stops and masks units; the journal knows the masks before they are there. */
export async function closeUnits(state: Path, journal: RestoreJournal, units: Unit[], patience: StopTimeout): Promise<void> {
  const masked = [...new Set([...journal.masked, ...(await maskableUnits(units))])]
  // What it knows already needn't find room on a disk that has become full.
  if (masked.length > journal.masked.length) await writeJournal(state, { ...journal, masked })
  journal.masked = masked
  await stopAndMask(journal.service, units, journal.masked, patience)
}

/** Takes our masks away, and starts units. */
export async function openUnits({ service, masked }: RestoreJournal, units: Unit[], how: { patience?: number } = {}): Promise<void> {
  await unmaskUnits(masked)
  await startUnits(service, units, how)
}

/** @throws Failure `in-use`: who has a file open would go on with the old data */
export async function requireUnused(name: string, moves: Move[]): Promise<void> {
  // What isn't there nobody has open: on a fresh install nothing is searched.
  const there = await Promise.all(moves.map(async ({ live }) => ((await isThere(live)) ? [live] : [])))
  const paths = there.flat()
  let users = await processesUsing(paths)
  // Who only looks in is gone in a moment.
  for (let left = 5; left > 0 && users.length > 0; left--) {
    await sleep(400)
    users = await processesUsing(paths)
  }
  if (users.length === 0) return
  const words = users.slice(0, 3).map(({ pid, command, path }) => `${command} (pid ${pid}) has ${path} open`)
  throw new Failure('in-use', `${name}: ${words.join(', ')}: end it, or leave that folder, and try again`)
}
