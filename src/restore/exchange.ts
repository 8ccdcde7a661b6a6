// The exchange of live for restored data, and its way back, phase by phase as the journal states it.
import type { Path } from '../core.ts'
import type { PostgresServer } from '../host/postgres.ts'
import { type RestoreJournal, writeJournal } from '../state/journal.ts'
import { exchangeBackward, exchangeForward } from './databases.ts'
import { copyAside, swapBackward, swapForward } from './swap.ts'

/**
 * Makes the new data live, from wherever that was interrupted. The databases come first: their exchange is the one that others can hinder,
 * and from then on the rest needs no server, as when a host boots. `begun`: from now on something live may be exchanged; before, the journal
 * couldn't be written.
 */
export async function swapIn(state: Path, server: PostgresServer, journal: RestoreJournal, begun = () => {}): Promise<void> {
  if (journal.phase === 'swapped') return
  if (journal.phase !== 'swapping') {
    if (journal.databases.length > 0) {
      journal.phase = 'exchanging'
      await exchangeForward(state, server, journal, begun)
    }
    await writeJournal(state, { ...journal, phase: 'swapping' })
    journal.phase = 'swapping'
  }
  begun()
  await swapForward(journal.moves)
  // From here on what is live is the new data, whoever has written to it, and its staged copies may go.
  if (journal.moves.every(({ copied }) => !copied)) return
  await writeJournal(state, { ...journal, phase: 'swapped' })
  journal.phase = 'swapped'
}

/**
 * Puts the old data back. What was staged is of no use any more then: to go on means to begin anew. `done`: all of it is back, and only the journal
 * doesn't say so yet.
 */
export async function swapBack(state: Path, server: PostgresServer, journal: RestoreJournal, done = () => {}): Promise<void> {
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
  done()
  journal.phase = 'staging'
  await writeJournal(state, journal)
}
