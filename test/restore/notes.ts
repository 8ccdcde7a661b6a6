// A service with everything that restores meet, in two versions: the one in its newest snapshot ("new" after a restore) and the live one ("old").
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import type { Ended } from '../lib/cli.ts'
import { type Change, changesOf, killedAt } from '../lib/killed.ts'
import { output, sql } from '../lib/live.ts'
import { type Entry, fingerprint, makeHostileTree } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

export interface Notes extends World {
  /** Folder, file, database, and a path whose parent the live version lacks, too. */
  paths: { data: string; config: string; database: string; lost: string }
  snapshot: string
  /** All as it was after the live version was made: state and repository, too. */
  reset(): void
  restore(...args: string[]): Promise<Ended>
  /** The changes that a restore makes to filesystems, in their order, and how it ended. */
  changesOf(...args: string[]): Promise<{ ended: Ended; changes: Change[] }>
  /** A restore that is killed right before this change. False if it ended before that. */
  killedAt(change: Change, ...args: string[]): Promise<boolean>
  /** What is at the service's paths, or, `around`, at and beside them all, without when. */
  look(around?: boolean): Entry[]
  rows(): string
  journal(): { phase: string; putsBack: string | null } | null
  record(): {
    old: { run: string; since: string; folder: string; paths: string[]; absent: object[] }[]
    origin: { how: string } | null
    runs: { kind: string; outcome: string }[]
  }
  /** Folders of ours that stand beside the data. */
  leftovers(): string[]
}

export async function notes(service: object = {}): Promise<Notes> {
  const w = await world()
  const paths = {
    data: w.path('live/data'),
    config: w.path('live/etc/notes.conf'),
    database: w.path('live/db/notes.db'),
    lost: w.path('live/gone/far/lost'),
  }
  const declared = { paths: [paths.data, paths.config, paths.lost], sqlite: [paths.database], exclude: [`${paths.data}/cache`, '*.log'], ...service }
  w.manifest({ services: { notes: declared } })
  makeHostileTree(paths.data, 1)
  w.write('live/data/cache/old', 'excluded from backups')
  w.write('live/etc/notes.conf', 'new = true\n')
  w.write('live/etc/neighbour', 'not declared')
  w.write('live/gone/far/lost/file', 'only in the snapshot')
  output(['chown', '-R', '33:44', w.path('live/gone')])
  output(['chmod', '0751', w.path('live/gone/far')])
  mkdirSync(w.path('live/db'))
  sql(paths.database, "PRAGMA journal_mode=wal; CREATE TABLE notes (text); INSERT INTO notes VALUES ('of the snapshot');")
  const { exit, stderr } = await w.cli(['run', 'notes'])
  if (exit !== 0) throw new Error(stderr)
  const snapshot = JSON.parse((await w.restic(['snapshots', '--json'])).stdout)[0].id as string
  rmSync(w.path('live/data'), { recursive: true })
  makeHostileTree(paths.data, 2)
  for (const path of ['live/data/cache/warm', 'live/data/a.log']) w.write(path, 'made since, and excluded from backups')
  w.write('live/data/since', 'made since')
  w.write('live/etc/notes.conf', 'old = true\n')
  rmSync(w.path('live/gone'), { recursive: true })
  uncheckpointed(w, paths.database)
  const copy = (from: string, to: string) => {
    rmSync(w.path(to), { recursive: true, force: true })
    output(['cp', '-a', w.path(from), w.path(to)])
  }
  const folders = ['live', 'state', 'secrets']
  for (const folder of folders) copy(folder, `saved-${folder}`)
  // A copy of a state folder that is bound to its machine would count as another install's.
  rmSync(w.path('saved-state/machine.json'), { force: true })
  const args = (rest: string[]) => ['restore', 'notes', ...rest, ...(rest.includes('--rollback') && !rest.includes('--yes') ? ['--yes'] : [])]
  const isOurs = (path: string) => path.includes('/.atelier-backup-')
  return {
    ...w,
    paths,
    snapshot,
    reset: () => {
      for (const folder of folders) copy(`saved-${folder}`, folder)
    },
    restore: (...rest) => w.cli(args(rest)),
    changesOf: (...rest) => changesOf(w, args(rest)),
    killedAt: (change, ...rest) => killedAt(w, change, args(rest)),
    look: (around = false) => {
      if (around) return fingerprint(w.path('live'), { times: false }).filter(({ path }) => !isOurs(path))
      const there = [...Object.values(paths), `${paths.database}-wal`].filter((path) => existsSync(path))
      const entries = there.flatMap((path) => fingerprint(path).map((entry) => ({ ...entry, path: path + entry.path.slice(1) })))
      // What is carried over changes the folder that it comes into.
      return entries.map((entry) => (entry.path === paths.data ? { ...entry, mtime: '' } : entry))
    },
    rows: () => {
      // A copy: who looks at a database in WAL mode changes it.
      copy('live/db', 'looked-at')
      return sql(w.path('looked-at/notes.db'), 'PRAGMA integrity_check; SELECT text FROM notes;')
    },
    journal: () => (existsSync(w.path('state/journals/notes.json')) ? JSON.parse(readFileSync(w.path('state/journals/notes.json'), 'utf8')) : null),
    record: () => JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8')),
    leftovers: () =>
      output(['find', w.path('live'), '-name', '.atelier-backup-*'])
        .split('\n')
        .filter(Boolean),
  }
}

/** Rows that are committed and stand in the -wal alone, as after a crash of the service. */
function uncheckpointed(w: World, database: string): void {
  const text = 'committed, in the -wal alone'
  sql(database, `.dbconfig no_ckpt_on_close on\nINSERT INTO notes VALUES ('${text}');`)
  if (!readFileSync(`${database}-wal`).includes(text) || readFileSync(database).includes(text)) throw new Error(`${database} has no -wal of its own`)
  if (!existsSync(w.path('live/db/notes.db-shm'))) w.write('live/db/notes.db-shm', '')
}
