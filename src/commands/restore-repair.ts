// What ends or takes back an earlier restore in place: it needs no snapshot to be chosen.
import type { Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { emptiedBy, planInPlace, requireEmptyable, restoreInPlace, resumeRestore } from '../restore/inplace.ts'
import { discardOld, latestOld, rollBackRestore } from '../restore/old.ts'
import { type Site, serviceOf } from '../site.ts'
import { readJournal } from '../state/journal.ts'
import { readRecord } from '../state/records.ts'
import { printable } from '../text.ts'
import { formatSeconds, formatTime } from '../ui/format.ts'
import { choose, requireTerminal, typeToConfirm } from '../ui/prompt.ts'
import { print, printJson } from '../ui/terminal.ts'
import { type Input, isSet } from './command.ts'
import { figures, reportOne, type Watcher } from './work.ts'

/** By its flag. */
export const repairs: [flag: string, repair: (site: Site, name: string, input: Input) => Promise<number>][] = [
  ['resume', (site, name, input) => repaired(name, input, (watcher) => resumed(site, name, input, watcher))],
  ['rollback', rollback],
  ['discardOld', discard],
]

export async function chooseName(site: Site): Promise<string> {
  const choices = Object.keys(site.manifest.services).map((name) => ({ name, value: name }))
  return choose('Which service?', choices, "the service's name")
}

export function describeRestore({ outcome, bytes, seconds, downtimeSeconds }: Result): string {
  if (outcome !== 'ok') return outcome
  const stopped = downtimeSeconds === null ? null : `stopped ${formatSeconds(downtimeSeconds)}`
  return ['restored', figures(bytes, seconds), stopped].filter(Boolean).join('  ')
}

function repaired(name: string, { json, outliveTerminal }: Input, work: (watcher: Watcher) => Promise<Result>): Promise<number> {
  outliveTerminal()
  return reportOne(name, { json, describe: describeRestore }, work)
}

async function resumed(site: Site, name: string, input: Input, watcher: Watcher): Promise<Result> {
  const options = { signal: input.signal, ...watcher }
  return resumeRestore(
    site,
    name,
    async (journal) => {
      const all = await site.restic(serviceOf(site, name).repository).snapshots({ signal: input.signal })
      const snapshot = all.find(({ id }) => id === journal.snapshot)
      if (!snapshot)
        throw new Failure(
          'unknown-snapshot',
          `${name}: the snapshot ${journal.snapshot} isn't in the repository any more; nothing was touched. See: atelier-backup list ${name}`,
        )
      const planned = await planInPlace(site, name, snapshot, journal.paths, input.signal)
      requireEmptyable(planned, isSet(input, 'emptyMounts') ? emptiedBy(planned.facts) : (journal.emptied ?? []))
      return restoreInPlace(site, planned, options)
    },
    options,
  )
}

/** What is unfinished is taken back as it is asked; a restore that is finished has live data to lose, which moves aside. */
async function rollback(site: Site, name: string, input: Input): Promise<number> {
  const record = await readRecord(site.state, name)
  const latest = latestOld(record)
  if (latest && !isSet(input, 'yes') && (await readJournal(site.state, name)) === null) {
    requireTerminal('--yes')
    print(
      `Puts back what the restore of ${formatTime(latest.since, site.now())} replaced; what is live now moves aside and is kept:`,
      ...record.old.filter(({ run }) => run === latest.run).flatMap(({ paths }) => paths.map(printable)),
      ...record.oldDatabases.filter(({ run }) => run === latest.run).map(({ database }) => `the database ${printable(database)}`),
    )
    if (!(await typeToConfirm(`Type ${name} to put it back:`, name, '--yes')))
      throw new Failure('declined', `${name}: that isn't its name: nothing was touched`, { exit: 130 })
  }
  return repaired(name, input, (watcher) => rollBackRestore(site, name, { signal: input.signal, ...watcher }))
}

async function discard(site: Site, name: string, input: Input): Promise<number> {
  const { old, oldDatabases } = await readRecord(site.state, name)
  const kept = [...old.map(({ folder, since }) => [folder, since]), ...oldDatabases.map(({ kept, since }) => [kept, since])]
  if (kept.length > 0 && !isSet(input, 'yes')) {
    requireTerminal('--yes')
    print(...kept.flatMap(([what, since]) => (what ? `${formatTime(since ?? '', site.now())}  ${printable(what)}` : [])))
    if (!(await typeToConfirm(`Type ${name} to delete this old data for good:`, name, '--yes')))
      throw new Failure('declined', `${name}: that isn't its name: nothing was deleted`, { exit: 130 })
  }
  const gone = await discardOld(site, name, () => true)
  const words = `${name}: ${gone.length === 0 ? 'no old data is kept' : `deleted ${gone.map(printable).join(', ')}`}`
  if (input.json) printJson({ service: name, discarded: gone })
  else print(words)
  return 0
}
