// The plan of one service's backup. Pure.
import { join } from 'node:path'
import type { BackupStep, Plan } from '../core.ts'
import { isWithin } from '../host/files.ts'
import { declaredDatabases } from '../manifest/engines.ts'
import type { Service } from '../manifest/types.gen.ts'
import { dumpsFolder, dumpsOf, reservedPattern, tags } from '../snapshots/select.ts'
import type { Run } from '../state/record.gen.ts'
import { type BackupFacts, inView } from './look.ts'

/** How a plan holds the data still while it is read: what the record says. */
export function heldStill({ steps }: Plan<BackupStep>): Run['view'] {
  const view = steps.find((step) => step.do === 'view')
  if (view?.do === 'view') return view.how
  if (!steps.some((step) => step.do === 'stop')) return 'live'
  return steps.some((step) => step.do === 'start') ? 'copied' : 'stopped'
}

/**
 * With `stopForBackup` the units stop, the data is held still, and they start again before the upload; where the filesystem can't hold it
 * still they stay stopped until the end. What no view shows (dumps, databases elsewhere) is copied while they are stopped, so that all of it
 * agrees.
 */
export function planBackup(service: Service, facts: BackupFacts): Plan<BackupStep> {
  const { run, name, install, staging, units, running, databases } = facts
  const views = facts.views ?? []
  const dumped = declaredDatabases(service)
  const dumps = dumped.length > 0 ? join(staging, dumpsFolder) : null
  const copies = service.sqlite.map((database, i): BackupStep & { do: 'copySqlite' } => {
    const real = databases[database] ?? database
    return { do: 'copySqlite', database, from: inView(views, real) ?? real, to: join(staging, `${i}.db`) }
  })
  const isViewed = ({ from }: { from: string }) => views.some(({ at }) => isWithin(from, at))
  const start: BackupStep[] = running.length > 0 ? [{ do: 'start', units: running }] : []
  const steps: BackupStep[] = [
    ...(service.preBackup === null ? [] : [{ do: 'hook', when: 'pre' } as const]),
    ...(units.length > 0 ? [{ do: 'stop', units } as const] : []),
    ...dumped.map(({ engine, databases }) => ({ do: 'dump', engine, databases, folder: dumpsOf(engine, staging) }) as const),
    ...copies.filter((copy) => !isViewed(copy)),
    ...views.map((view) => ({ do: 'view', ...view }) as const),
    ...(facts.views === null ? [] : start),
    ...copies.filter(isViewed),
    {
      do: 'snapshot',
      // None is left out for standing below another: a link on its way may lead elsewhere.
      paths: [...new Set([...service.paths, ...service.sqlite])],
      views: Object.fromEntries(views.map(({ of, at }) => [of, at])),
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
      ...views.map((view) => ({ do: 'unview', ...view }) as const),
      ...(copies.length > 0 || dumps !== null ? [{ do: 'unstage', folder: staging } as const] : []),
      ...(service.postBackup === null ? [] : [{ do: 'hook', when: 'post' } as const]),
    ],
    notes: [
      ...(facts.unadopted ? [`the repository holds snapshots of ${name} from elsewhere: this one is tagged ${tags.unadopted}`] : []),
      ...(service.stopForBackup && units.length === 0 && facts.views === null
        ? [`${name} is saved as it changes: units is empty, so nothing is stopped, and its filesystem can't hold the data still`]
        : []),
      ...(running.length > 0 && facts.views === null ? [`${name} stays stopped for the whole upload: its filesystem can't hold the data still`] : []),
    ],
  }
}
