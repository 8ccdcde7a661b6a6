// Exchanges live data for restored data, and undoes that, in the phases that the journal records.
import type { Path } from '../core.ts'
import type { PostgresServer } from '../host/postgres.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'
import { exchangeBackward, exchangeForward } from './databases.ts'
import { copyAside, swapBackward, swapForward } from './swap.ts'

/**
 * Makes the new data live, or completes that after an interruption. PostgreSQL databases come first: their exchange can fail (other
 * connections), and the remaining renames need no server, which matters at boot. `onBegin`: called before the first change to live data.
 */
export async function swapIn(state: Path, server: PostgresServer, journal: RestoreJournal, onBegin = () => {}): Promise<void> {
  if (journal.phase === 'swapped') return
  if (journal.phase !== 'swapping') {
    if (journal.databases.length > 0) {
      journal.phase = 'exchanging'
      await exchangeForward(state, server, journal, onBegin)
    }
    await writeJournal(state, { ...journal, phase: 'swapping' })
    journal.phase = 'swapping'
  }
  onBegin()
  await swapForward(journal.moves)
  // The inode of an overwritten file doesn't tell old from new content: the journal says that it is new, and the copies can be removed.
  if (journal.moves.every(({ copied }) => !copied)) return
  await writeJournal(state, { ...journal, phase: 'swapped' })
  journal.phase = 'swapped'
}

/** Puts the old data back; the journal then is at `staging`. `onDone`: called when all data is back, before the journal says so. */
export async function swapBack(state: Path, server: PostgresServer, journal: RestoreJournal, onDone = () => {}): Promise<void> {
  if (journal.phase === 'swapped') {
    await copyAside(journal.moves, 'staged')
    journal.phase = 'swapping'
    await writeJournal(state, journal)
  }
  await swapBackward(journal.moves)
  if (journal.databases.length > 0) {
    if (journal.phase !== 'exchanging') await writeJournal(state, { ...journal, phase: 'exchanging' })
    journal.phase = 'exchanging'
    await exchangeBackward(server, journal.databases)
  }
  onDone()
  journal.phase = 'staging'
  await writeJournal(state, journal)
}
