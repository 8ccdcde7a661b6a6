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

/** The units that use the data, and those of them that are active. `ran`: units that were active until an interrupted restore stopped them. */
export async function gatherUnits(name: string, service: Service, ran: Unit[]): Promise<{ units: Unit[]; running: Unit[] }> {
  const { units, running } = await unitsAtWork(name, unitsOf(name, service), [...service.paths, ...service.sqlite])
  return { units: [...new Set([...units, ...ran])], running: [...new Set([...running, ...ran])] }
}

/** Stops and masks units. The masks are in the journal before they are made. */
export async function stopAndMaskUnits(state: Path, journal: RestoreJournal, units: Unit[], patience: StopTimeout): Promise<void> {
  const masked = [...new Set([...journal.masked, ...(await maskableUnits(units))])]
  // Only if there is something new: the disk may be full by now.
  if (masked.length > journal.masked.length) await writeJournal(state, { ...journal, masked })
  journal.masked = masked
  await stopAndMask(journal.service, units, journal.masked, patience)
}

/** Removes our masks, and starts units. */
export async function unmaskAndStartUnits({ service, masked }: RestoreJournal, units: Unit[], how: { patience?: number } = {}): Promise<void> {
  await unmaskUnits(masked)
  await startUnits(service, units, how)
}

/** @throws Failure `in-use`: a process with a file open would keep writing to the old data */
export async function requireUnused(name: string, moves: Move[]): Promise<void> {
  // On a fresh install no path exists, and /proc isn't searched.
  const there = await Promise.all(moves.map(async ({ live }) => ((await isThere(live)) ? [live] : [])))
  const paths = there.flat()
  let users = await processesUsing(paths)
  // A process that only reads a file is done in a moment: try for 2 seconds.
  for (let left = 5; left > 0 && users.length > 0; left--) {
    await sleep(400)
    users = await processesUsing(paths)
  }
  if (users.length === 0) return
  const words = users.slice(0, 3).map(({ pid, command, path }) => `${command} (pid ${pid}) has ${path} open`)
  throw new Failure('in-use', `${name}: ${words.join(', ')}: end the process, or leave that folder, and try again`)
}
