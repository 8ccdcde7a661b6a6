// What a backup may know before it is planned. Nothing is touched.
import { stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin, lstatIfThere, outermost, resolveLinks } from '../host/files.ts'
import { unitsAtWork } from '../host/systemd.ts'
import { probeView, removeProbe, type View } from '../host/views.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { isPattern } from '../restic/patterns.ts'

export interface BackupFacts {
  run: string
  name: string
  install: string
  /**
   * The repository holds this service's snapshots from elsewhere, and nobody said which data is the truth.
   * Null: looking failed, so nothing is saved, and only what runs always is left.
   */
  unadopted: boolean | null
  /** Folder for copies and dumps (0700). */
  staging: Path
  units: Unit[]
  running: Unit[]
  /** Real paths of the databases that are there, by how they are declared. */
  databases: Record<Path, Path>
  /** How each real path (of `paths`) can be held still; null: not all of them can, or none needs to. */
  views: View[] | null
}

type About = Pick<BackupFacts, 'run' | 'name' | 'install' | 'staging'>

/** What is known where looking failed. */
export function factsUnknown(about: About): BackupFacts {
  return { ...about, unadopted: null, units: [], running: [], databases: {}, views: null }
}

/** @throws Failure `bad-pattern`, `no-space`, `no-systemd`, `unknown-unit` */
export async function gatherBackupFacts(service: Service, about: About & { unadopted: boolean }): Promise<BackupFacts> {
  const { name, staging } = about
  const malformed = service.exclude.findIndex((pattern) => !isPattern(pattern))
  if (malformed >= 0)
    throw new Failure(
      'bad-pattern',
      `${name}: exclude[${malformed}], ${JSON.stringify(service.exclude[malformed])}, is no pattern: "[" begins a set that "]" ends, and a last "\\" stands for nothing`,
    )
  const found = await Promise.all(service.sqlite.map(async (declared) => [declared, (await resolveLinks(declared)).real] as const))
  const databases = Object.fromEntries(found.flatMap(([declared, real]) => (real === null ? [] : [[declared, real]])))
  await requireRoom(name, staging, Object.values(databases))
  if (!service.stopForBackup) return { ...about, units: [], running: [], databases, views: null }
  const views = await Promise.all((await viewable(service, about)).map(([root, folderName]) => probeView(root, folderName)))
  const whole = views.filter((view) => view !== null)
  return { ...about, ...(await unitsAtWork(name, unitsOf(name, service))), databases, views: whole.length === views.length ? whole : null }
}

/** Takes away what a look leaves that was killed: no plan knows of it yet. */
export async function clearLook(service: Service, about: Pick<BackupFacts, 'run' | 'name'>): Promise<void> {
  if (!service.stopForBackup) return
  for (const [root, folderName] of await viewable(service, about)) await removeProbe(root, folderName)
}

/** The real paths that views would show, each with the name of the folder that its view would stand in. */
async function viewable({ paths }: Service, { name, run }: Pick<BackupFacts, 'run' | 'name'>): Promise<[Path, string][]> {
  const roots = (await Promise.all(paths.map(resolveLinks))).flatMap(({ real }) => real ?? [])
  return outermost(roots).map((root, i) => [root, `.atelier-backup-${name}-${run}-${i}`])
}

/** The copies need room before the first of them is made. */
async function requireRoom(name: string, staging: Path, databases: Path[]): Promise<void> {
  const sizes = await Promise.all(
    databases.map(async (database) => (await stat(database)).size + ((await lstatIfThere(`${database}-wal`))?.size ?? 0)),
  )
  const needed = sizes.reduce((sum, size) => sum + size, 0)
  let folder = staging
  while (!(await lstatIfThere(folder))) folder = dirname(folder)
  const { bavail, bsize } = await statfs(folder)
  if (needed > bavail * bsize)
    throw new Failure(
      'no-space',
      `${name}: the copies of its databases need ${needed} bytes, and ${folder} has ${bavail * bsize} free: make room, or name another folder in stagingDir`,
    )
}

/** The same entry as a view shows it, or null if none does. */
export function inView(views: View[], path: Path): Path | null {
  const view = views.find(({ of }) => isWithin(path, of))
  return view ? view.at + path.slice(view.of.length) : null
}
