// The plan of one service's backup. Pure.
import { join } from 'node:path'
import type { BackupStep, Path, Plan } from '../core.ts'
import { Failure } from '../errors.ts'
import type { Service } from '../manifest/types.gen.ts'
import { reservedPattern, tags } from '../snapshots/select.ts'

export interface BackupFacts {
  run: string
  name: string
  install: string
  /**
   * The repository holds this service's snapshots from elsewhere, and nobody said which data is the truth.
   * Null: the repository couldn't be asked, so nothing is saved, and only what runs always is left.
   */
  unadopted: boolean | null
  /** Folder for the copies of databases (0700). */
  staging: Path
}

export function planBackup(service: Service, facts: BackupFacts): Plan<BackupStep> {
  const { run, name, install, staging } = facts
  const copies = service.sqlite.map((from, i): BackupStep & { do: 'copySqlite' } => ({ do: 'copySqlite', from, to: join(staging, `${i}.db`) }))
  const snapshot: BackupStep = {
    do: 'snapshot',
    // None is left out for standing below another: a link on its way may lead elsewhere.
    paths: [...new Set([...service.paths, ...service.sqlite])],
    over: Object.fromEntries(copies.map(({ from, to }) => [from, to])),
    exclude: [...service.exclude, reservedPattern],
    tags: [tags.service(name), tags.install(install), ...service.tags, ...(facts.unadopted ? [tags.unadopted] : [])],
  }
  return {
    run,
    service: name,
    steps: facts.unadopted === null ? [] : [...(service.preBackup === null ? [] : [{ do: 'hook', when: 'pre' } as const]), ...copies, snapshot],
    always: [
      ...(copies.length > 0 ? [{ do: 'unstage', folder: staging } as const] : []),
      ...(service.postBackup === null ? [] : [{ do: 'hook', when: 'post' } as const]),
    ],
    notes: facts.unadopted ? [`the repository holds snapshots of ${name} from elsewhere: this one is tagged ${tags.unadopted}`] : [],
  }
}

/** @throws Failure `not-supported` for what is declared and can't be carried out: nothing declared is silently ignored. */
export function requireSupported(name: string, service: Service): void {
  if (service.postgres.length > 0)
    throw new Failure(
      'not-supported',
      `${name}: postgres (${service.postgres.join(', ')}) can't be backed up by this version yet; dump it in preBackup into a declared path, and remove it from postgres`,
    )
  if (service.stopForBackup)
    throw new Failure(
      'not-supported',
      `${name}: stopForBackup isn't carried out by this version yet; stop and start the units in preBackup and postBackup, and remove it`,
    )
}
