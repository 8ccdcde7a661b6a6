// Journals of restores in place: journals/SERVICE.json says what the restore is about to do, fsynced before it does it. It is removed once the
// restore is finished or rolled back.
import { dirname } from 'node:path'
import type { DatabaseMove, Iso, Move, Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { rm } from '../fs.ts'
import { readIfThere, syncFolder, writeDurably } from '../host/files.ts'
import type { Attributes } from '../host/folders.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'

/** A move, with the inode numbers from before it, which tell a resume or rollback which renames have happened. */
export interface JournalMove extends Omit<Move, 'keeps'> {
  /**
   * Inode numbers; null: there was nothing. Without the device's number, which may change at a reboot: a move stays within one filesystem.
   */
  liveId: string | null
  stagedId: string | null
  /** A SQLite database: its -wal, -shm and -journal files move with it. */
  database: boolean
  /** The nearest folder above `live` that existed. */
  parent: Path
  /** Not a rename: the folder `live` stays, and gets new attributes. Its entries have moves of their own, except those in `keeps`. */
  stays: { before: Attributes; after: Attributes; keeps: Path[] } | null
}

/** An exchange of databases, with the server's object ids (OIDs) from before it; null: there was nothing. */
export interface JournalDatabase extends DatabaseMove {
  liveId: string | null
  freshId: string | null
}

export interface RestoreJournal {
  version: 1
  run: string
  service: string
  started: Iso
  /** Full id of the snapshot. Null for a rollback to the data that the restore `putsBack` (id of its run) had replaced. */
  snapshot: string | null
  putsBack: string | null
  /** The paths of --path; empty: all of the service. */
  paths: Path[]
  /** All of the service is restored, from a complete snapshot: afterwards the service counts as adopted. */
  recovers: boolean
  /**
   * `staging`: no live data was touched. `exchanging`: no path was touched; the server says whether the databases, all of them, are old or new.
   * `swapping`: the databases are new, and some of `moves` are done. `swapped`: all are done. Inode numbers can't tell that for a file
   * whose content was overwritten (`copied`).
   */
  phase: 'staging' | 'exchanging' | 'swapping' | 'swapped'
  /** Folders that the restore creates beside the live data or in the state folder: with `new`, the staged data, and `old-RUN`, the replaced data. */
  folders: Path[]
  moves: JournalMove[]
  databases: JournalDatabase[]
  /** Mount points that are emptied, as --empty-mounts allows. */
  emptied: Path[]
  /** Data is restored onto folders of disks that aren't mounted, as --onto-unmounted allows. Missing: no. */
  ontoUnmounted?: boolean
  /** Privileged entries (see restore/privileged.ts) that a person allowed: all of them (--allow-privileged), or these paths. Missing: none. */
  privileged?: Path[] | 'all'
  /** Whether a person allowed databases that the check calls corrupt (--allow-corrupt). Missing: no. */
  corrupt?: boolean
  /** Folder with the dumps from the snapshot. */
  dumps: Path | null
  /** Units that were running: they are started again. */
  units: Unit[]
  /** Units that weren't running, and are started with the restored data. Missing: none. */
  enabled?: Unit[]
  /** Units that are masked while the data is exchanged; written here before they are masked. */
  masked: Unit[]
}

/** @throws Failure `journal-damaged`: a restore is unfinished, and nothing is known of what it did. */
export async function readJournal(state: string, service: string): Promise<RestoreJournal | null> {
  const file = fileOf(state, service)
  const text = await readIfThere(file)
  if (text === null) return null
  const journal = parseWithChecksum(text) as RestoreJournal | null
  if (journal?.version === 1 && journal.service === service && Array.isArray(journal.moves) && Array.isArray(journal.folders)) return journal
  throw new Failure(
    'journal-damaged',
    `${service}: a restore is unfinished, and its journal ${file} is damaged: see which data (old or new) is in .atelier-backup-${service}-* beside its paths, move by hand what is missing into place, then remove the journal`,
  )
}

/** Whether a restore is unfinished. Also true when its journal can't be read: the next command that needs the journal reports that. */
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

/** @throws Failure `unfinished-restore` if there is one */
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
