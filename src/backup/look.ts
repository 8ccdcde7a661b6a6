// Gathers the facts that a backup is planned from. Changes nothing on the host.
import type { Path, Unit } from '../core.ts'
import { Failure } from '../errors.ts'
import { freeBytes, isWithin, lstatIfThere, outermost, resolveOwnLinks } from '../host/files.ts'
import { nearestFolder } from '../host/folders.ts'
import { type FrozenCopy, probeFrozenCopy, removeProbe } from '../host/frozen.ts'
import { reserveAt } from '../host/space.ts'
import { unitsAtWork } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Service } from '../manifest/types.gen.ts'
import { isPattern } from '../restic/patterns.ts'

export interface BackupFacts {
  run: string
  name: string
  install: string
  /**
   * The repository holds snapshots of this service that another install made, and no person has said which data is right (`adopt`, `dr`).
   * Null: gathering facts failed. The plan then saves nothing, and has the steps alone that always run.
   */
  unadopted: boolean | null
  /** Folder for copies and dumps (0700). */
  staging: Path
  units: Unit[]
  running: Unit[]
  /** Real paths of the databases that exist, by their declared paths. */
  databases: Record<Path, Path>
  /** One for each real path of `paths`. Null: not all of them can be frozen, or the service isn't stopped for its backup. */
  frozenCopies: FrozenCopy[] | null
}

type KnownFacts = Pick<BackupFacts, 'run' | 'name' | 'install' | 'staging'>

/** Where gathering facts failed. */
export function unknownFacts(known: KnownFacts): BackupFacts {
  return { ...known, unadopted: null, units: [], running: [], databases: {}, frozenCopies: null }
}

/** @throws Failure `bad-pattern`, `no-space`, `no-systemd`, `unknown-unit` */
export async function gatherBackupFacts(service: Service, known: KnownFacts & { unadopted: boolean }): Promise<BackupFacts> {
  const { name, staging } = known
  const malformed = service.exclude.findIndex((pattern) => !isPattern(pattern))
  if (malformed >= 0)
    throw new Failure(
      'bad-pattern',
      `${name}: exclude[${malformed}], ${JSON.stringify(service.exclude[malformed])}, is not a valid pattern: a "[" needs its "]", and "\\" must not come last`,
    )
  const found = await Promise.all(service.sqlite.map(async (declared) => [declared, (await resolveOwnLinks(declared)).real] as const))
  const databases = Object.fromEntries(found.flatMap(([declared, real]) => (real === null ? [] : [[declared, real]])))
  await requireSpace(name, staging, Object.values(databases))
  if (!service.stopForBackup) return { ...known, units: [], running: [], databases, frozenCopies: null }
  const probes = await Promise.all((await foldersToFreeze(service, known)).map(([root, folderName]) => probeFrozenCopy(root, folderName)))
  const possible = probes.filter((copy) => copy !== null)
  const frozenCopies = possible.length === probes.length ? possible : null
  return { ...known, ...(await unitsAtWork(name, unitsOf(name, service))), databases, frozenCopies }
}

/** Removes what a run leaves that is killed while it gathers facts: it has no plan yet that names the folders. */
export async function removeProbes(service: Service, run: Pick<BackupFacts, 'run' | 'name'>): Promise<void> {
  if (!service.stopForBackup) return
  for (const [root, folderName] of await foldersToFreeze(service, run)) await removeProbe(root, folderName)
}

/** Real paths, each with the name of the folder for its frozen copy. */
async function foldersToFreeze({ paths }: Service, { name, run }: Pick<BackupFacts, 'run' | 'name'>): Promise<[Path, string][]> {
  const roots = (await Promise.all(paths.map(resolveOwnLinks))).flatMap(({ real }) => real ?? [])
  return outermost(roots).map((root, i) => [root, `.atelier-backup-${name}-${run}-${i}`])
}

/** For the copies of all databases, before the first of them is made. @throws Failure `no-space` */
async function requireSpace(name: string, staging: Path, databases: Path[]): Promise<void> {
  const needed = await bytesToCopy(databases)
  if (needed === 0) return
  const folder = await nearestFolder(staging)
  const [free, reserve] = [await freeBytes(folder), await reserveAt(folder)]
  if (needed + reserve > free)
    throw new Failure(
      'no-space',
      `${name}: the copies of its databases need ${needed} bytes, and ${folder} has ${free} free, of which ${reserve} are left to others: make room, or set stagingDir to another folder`,
    )
}

export async function bytesToCopy(databases: Path[]): Promise<number> {
  const sizes = databases.map(async (database) => ((await lstatIfThere(database))?.size ?? 0) + ((await lstatIfThere(`${database}-wal`))?.size ?? 0))
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

/** The path at which a frozen copy has the entry `path`, or null if none has it. */
export function pathInCopy(copies: FrozenCopy[], path: Path): Path | null {
  const copy = copies.find(({ of }) => isWithin(path, of))
  return copy ? copy.at + path.slice(copy.of.length) : null
}
