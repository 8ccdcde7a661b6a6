// Journals of restores in place: journals/SERVICE.json states, durably, what is about to happen; it is gone once the service is settled.
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { DatabaseMove, Iso, Move, Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { readIfThere, syncFolder, writeDurably } from '../host/files.ts'
import type { Attributes } from '../host/folders.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'

/** A move, and what was there before: it tells which renames have happened. */
export interface JournalMove extends Omit<Move, 'keeps'> {
  /**
   * Inode numbers, null where nothing was. Not the device's: after a reboot its number may be another one, and a move stays within one
   * filesystem.
   */
  liveId: string | null
  stagedId: string | null
  /** A SQLite database: its sidecars go where it goes. */
  database: boolean
  /** The nearest folder above `live` that was there. */
  parent: Path
  /** Not a rename: a folder that stays where it is, whose entries have their own moves, but for `keeps`; its attributes change. */
  stays: { before: Attributes; after: Attributes; keeps: Path[] } | null
}

/** An exchange of databases, and what was there before: the server's object ids, null where nothing was. */
export interface JournalDatabase extends DatabaseMove {
  liveId: string | null
  freshId: string | null
}

export interface RestoreJournal {
  version: 1
  run: string
  service: string
  started: Iso
  /** Full id of the snapshot; null when data kept from an earlier restore, that of the run `putsBack`, is put back. */
  snapshot: string | null
  putsBack: string | null
  /** What was asked for: empty for all of the service. */
  paths: Path[]
  /** All of the service, from a complete snapshot: afterwards its data here is the truth. */
  recovers: boolean
  /**
   * `staging`: nothing that is live was touched. `exchanging`: no path was touched, and the databases, all of them, are old or new, as the
   * server says. `swapping`: the databases are new, and `moves` are on their way. `swapped`: they are done. Inode numbers say that of those
   * that are renamed, and of no file whose content was replaced: it is written down where there is one.
   */
  phase: 'staging' | 'exchanging' | 'swapping' | 'swapped'
  /** Folders of ours beside the live data, or in our state: `new` is staged in them, `old-RUN` kept. */
  folders: Path[]
  moves: JournalMove[]
  databases: JournalDatabase[]
  /** Mount points that are emptied, as somebody allowed. */
  emptied: Path[]
  /** Folder in which dumps were fetched. */
  dumps: Path | null
  /** Units that ran before, to be started again. */
  units: Unit[]
  /** Names of units that we mask while the data is exchanged; written down before they are masked. */
  masked: Unit[]
}

/** @throws Failure `journal-damaged`: a restore is unfinished, and what it did can't be read. */
export async function readJournal(state: string, service: string): Promise<RestoreJournal | null> {
  const file = fileOf(state, service)
  const text = await readIfThere(file)
  if (text === null) return null
  const journal = parseWithChecksum(text) as RestoreJournal | null
  if (journal?.version === 1 && journal.service === service && Array.isArray(journal.moves) && Array.isArray(journal.folders)) return journal
  throw new Failure(
    'journal-damaged',
    `${service}: a restore is unfinished, and its journal ${file} is damaged: look what stands in .atelier-backup-${service}-* beside its paths (old data, or new), put right by hand what is missing, then remove the journal`,
  )
}

/** Whether a restore is unfinished. Also true when its journal can't be read: whoever goes on reports that. */
export async function isRestoreOpen(state: string, service: string): Promise<boolean> {
  return readJournal(state, service).then(Boolean, () => true)
}

export async function writeJournal(state: string, journal: RestoreJournal): Promise<void> {
  await writeDurably(fileOf(state, journal.service), withChecksum(journal))
}

export async function removeJournal(state: string, service: string): Promise<void> {
  const file = fileOf(state, service)
  await rm(file, { force: true })
  await syncFolder(dirname(file))
}

/** @throws Failure `unfinished-restore`: nothing runs over an open journal */
export async function requireNoJournal(state: string, service: string): Promise<void> {
  if ((await readJournal(state, service)) !== null) throw unfinished(service)
}

export function unfinished(service: string): Failure {
  return new Failure(
    'unfinished-restore',
    `${service}: a restore is unfinished; finish it with: atelier-backup restore ${service} --resume; --rollback takes it back`,
  )
}

function fileOf(state: string, service: string): string {
  return `${statePath(state, 'journals', service)}.json`
}
