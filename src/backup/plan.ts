// The plan of one service's backup. Pure.
import { join } from 'node:path'
import type { BackupStep, Plan } from '../core.ts'
import { isWithin } from '../host/files.ts'
import { declaredDatabases } from '../manifest/engines.ts'
import type { Service } from '../manifest/types.gen.ts'
import { dumpsFolder, dumpsOf, reservedPattern, tags } from '../snapshots/select.ts'
import type { Run } from '../state/record.gen.ts'
import { type BackupFacts, pathInCopy } from './look.ts'

/** How a plan keeps the data unchanged while restic reads it: the record's field `view`. */
export function freezeMethod({ steps }: Plan<BackupStep>): Run['view'] {
  const freeze = steps.find((step) => step.do === 'view')
  if (freeze?.do === 'view') return freeze.how
  if (!steps.some((step) => step.do === 'stop')) return 'live'
  return steps.some((step) => step.do === 'start') ? 'copied' : 'stopped'
}

/**
 * With `stopForBackup` the units stop, frozen copies of the data are made, and the units start again before the upload. Where the filesystem
 * can't make frozen copies, the units stay stopped until the upload has ended. What no frozen copy holds (dumps, databases in other folders) is
 * copied while the units are stopped, so that the snapshot is of one instant.
 */
export function planBackup(service: Service, facts: BackupFacts): Plan<BackupStep> {
  const { run, name, install, staging, units, running, databases } = facts
  const frozenCopies = facts.frozenCopies ?? []
  const dumped = declaredDatabases(service)
  const dumps = dumped.length > 0 ? join(staging, dumpsFolder) : null
  const copies = service.sqlite.map((database, i): BackupStep & { do: 'copySqlite' } => {
    const real = databases[database] ?? database
    return { do: 'copySqlite', database, from: pathInCopy(frozenCopies, real) ?? real, to: join(staging, `${i}.db`) }
  })
  const isFrozen = ({ from }: { from: string }) => frozenCopies.some(({ at }) => isWithin(from, at))
  const start: BackupStep[] = running.length > 0 ? [{ do: 'start', units: running }] : []
  const steps: BackupStep[] = [
    ...(service.preBackup === null ? [] : [{ do: 'hook', when: 'pre' } as const]),
    ...(units.length > 0 ? [{ do: 'stop', units } as const] : []),
    ...dumped.map(({ engine, databases }) => ({ do: 'dump', engine, databases, folder: dumpsOf(engine, staging) }) as const),
    ...copies.filter((copy) => !isFrozen(copy)),
    ...frozenCopies.map((copy) => ({ do: 'view', ...copy }) as const),
    ...(facts.frozenCopies === null ? [] : start),
    ...copies.filter(isFrozen),
    {
      do: 'snapshot',
      // A path below another one is kept, too: there may be a symbolic link on its way, which leads out of the other one.
      paths: [...new Set([...service.paths, ...service.sqlite])],
      views: Object.fromEntries(frozenCopies.map(({ of, at }) => [of, at])),
      databases: service.sqlite,
      dumps,
      exclude: [...service.exclude, reservedPattern],
      tags: [tags.service(name), tags.install(install), ...service.tags, ...(facts.unadopted ? [tags.unadopted] : [])],
    },
  ]
  return {
    run,
    service: name,
    steps: facts.unadopted === null ? [] : steps,
    always: [
      ...start,
      ...frozenCopies.map((copy) => ({ do: 'unview', ...copy }) as const),
      ...(copies.length > 0 || dumps !== null ? [{ do: 'unstage', folder: staging } as const] : []),
      ...(service.postBackup === null ? [] : [{ do: 'hook', when: 'post' } as const]),
    ],
    notes: [
      ...(facts.unadopted ? [`the repository holds snapshots of ${name} from elsewhere: this one is tagged ${tags.unadopted}`] : []),
      ...(service.stopForBackup && units.length === 0 && facts.frozenCopies === null
        ? [`${name} is saved while it may change: units is empty, so nothing is stopped, and its filesystem can't make a frozen copy of the data`]
        : []),
      ...(running.length > 0 && facts.frozenCopies === null
        ? [`${name} stays stopped for the whole upload: its filesystem can't make a frozen copy of the data`]
        : []),
    ],
  }
}
