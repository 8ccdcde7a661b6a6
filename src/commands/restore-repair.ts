// `restore --resume`, `--rollback` and `--discard-old`: they act on an earlier restore in place and choose no snapshot.
import type { Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { emptiedBy, nothingToResume, planInPlace, requireEmptyable, requireMounted, restoreInPlace, resumeRestore } from '../restore/inplace.ts'
import { requirePrivileged } from '../restore/privileged.ts'
import { discardOld, type KeptRestore, keptRestores, keptUntil, nothingKept, rollBackRestore } from '../restore/rollback.ts'
import { type Site, serviceOf } from '../site.ts'
import { parseTime } from '../snapshots/select.ts'
import { readJournal } from '../state/journal.ts'
import { readRecord } from '../state/records.ts'
import { printable } from '../text.ts'
import { formatSeconds, formatTime } from '../ui/format.ts'
import { choose, requireTerminal, typeToConfirm } from '../ui/prompt.ts'
import { print, printJson } from '../ui/terminal.ts'
import { figures, reportOne, type Watcher } from '../views/report.ts'
import { type Input, isSet, textFlag } from './command.ts'

/** By its flag. */
export const repairs: [flag: string, repair: (site: Site, name: string, input: Input) => Promise<number>][] = [
  ['resume', resume],
  ['rollback', rollback],
  ['discardOld', discard],
]

export async function chooseName(site: Site): Promise<string> {
  const choices = Object.keys(site.manifest.services).map((name) => ({ name, value: name }))
  return choose('Which service?', choices, "the service's name")
}

export const describeRestore = described('restored')
const describeRollback = described('put back')

function described(done: string): (result: Result) => string {
  return ({ outcome, bytes, seconds, downtimeSeconds }) => {
    if (outcome !== 'ok') return outcome
    const stopped = downtimeSeconds === null ? null : `stopped ${formatSeconds(downtimeSeconds)}`
    return [done, bytes === null ? null : figures(bytes, seconds), stopped].filter(Boolean).join('  ')
  }
}

function repaired(
  name: string,
  { json, ignoreHangup }: Input,
  work: (watcher: Watcher) => Promise<Result>,
  describe = describeRestore,
): Promise<number> {
  ignoreHangup()
  return reportOne(name, { json, describe }, work)
}

/** Without an unfinished restore this fails before a run is written to the record. */
async function resume(site: Site, name: string, input: Input): Promise<number> {
  if ((await readJournal(site.state, name).catch(() => undefined)) === null) throw nothingToResume(name)
  return repaired(name, input, (watcher) => resumed(site, name, input, watcher))
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
      const planned = await planInPlace(site, name, snapshot, journal.paths, input.signal, { ignoreSpace: isSet(input, 'ignoreSpace') })
      requireEmptyable(planned, isSet(input, 'emptyMounts') ? emptiedBy(planned.facts) : (journal.emptied ?? []))
      requireMounted(planned, isSet(input, 'ontoUnmounted') || journal.ontoUnmounted === true)
      const privileged = isSet(input, 'allowPrivileged') ? 'all' : (journal.privileged ?? [])
      requirePrivileged(name, planned.facts.privileged, privileged)
      return restoreInPlace(site, planned, { ...options, privileged, corrupt: isSet(input, 'allowCorrupt') || journal.corrupt === true })
    },
    options,
  )
}

/** Undoes an unfinished restore without a question; for a finished one the user confirms, because live data is replaced. */
async function rollback(site: Site, name: string, input: Input): Promise<number> {
  const at = textFlag(input, 'at')
  const until = at === undefined ? null : parseTime(at)
  if ((await readJournal(site.state, name)) !== null) {
    if (until)
      throw new Failure('usage', `${name}: a restore is unfinished, and --rollback undoes that one: give no --at, or finish it with --resume`)
    return repaired(name, input, (watcher) => rollBackRestore(site, name, { signal: input.signal, ...watcher }), describeRollback)
  }
  const all = keptRestores(await readRecord(site.state, name))
  const named = until ? keptUntil(name, all, until) : all.length === 1 || isSet(input, 'yes') ? all[0] : null
  if (all.length === 0) throw nothingKept(name)
  const kept = named ?? (await chooseKept(site, all))
  if (!input.json) print(...keptView(site, all, kept))
  if (!isSet(input, 'yes') && !(await typeToConfirm(`Type ${name} to undo this restore:`, name, '--yes')))
    throw new Failure('declined', `${name}: that isn't its name: nothing was touched`, { exit: 130 })
  return repaired(name, input, (watcher) => rollBackRestore(site, name, { signal: input.signal, ...watcher }, kept.run), describeRollback)
}

function chooseKept(site: Site, all: KeptRestore[]): Promise<KeptRestore> {
  const choices = all.map((kept) => ({
    name: `${formatTime(kept.since, site.now())}  ${replacedBy(kept).map(printable).join(', ')}`,
    short: formatTime(kept.since, site.now()),
    value: kept,
  }))
  return choose('Undo which restore?', choices, '--yes (the newest), with --at TIME for another one')
}

function keptView(site: Site, all: KeptRestore[], kept: KeptRestore): string[] {
  const older = all.slice(1).map(({ since }) => formatTime(since, site.now()))
  const which = all.length === 1 ? 'the restore' : kept === all[0] ? 'the newest restore,' : 'the restore'
  return [
    `Undoes ${which} of ${formatTime(kept.since, site.now())}${which.endsWith(',') ? ',' : ''} and puts back what it replaced; what is live now is moved aside and kept:`,
    ...replacedBy(kept).map(printable),
    ...(kept === all[0] && older.length > 0 ? [`Kept too, from the restores of ${older.join(', ')}: --at TIME puts that back instead.`] : []),
  ]
}

/** Paths and databases that are put back or removed. */
function replacedBy({ olds, databases }: KeptRestore): string[] {
  return [
    ...olds.flatMap(({ paths, absent, folders, copied }) => [
      ...[...paths, ...copied, ...folders.map(({ path }) => path)],
      ...absent.map(({ path }) => `${path} (nothing was there: it goes)`),
    ]),
    ...databases.map(({ database }) => `the database ${database}`),
  ]
}

async function discard(site: Site, name: string, input: Input): Promise<number> {
  const { old, oldDatabases, undropped } = await readRecord(site.state, name)
  const dated = ({ since }: { since: string }, what: string) => `${formatTime(since, site.now())}  ${printable(what)}`
  const kept = [
    ...old.map((data) => dated(data, data.folder)),
    ...oldDatabases.flatMap((data) => (data.kept === null ? [] : dated(data, data.kept))),
    ...undropped.map((database) => `not dropped  ${printable(database)}`),
  ]
  if (old.length + oldDatabases.length + undropped.length > 0 && !isSet(input, 'yes')) {
    requireTerminal('--yes')
    print(...kept)
    if (!(await typeToConfirm(`Type ${name} to delete this old data for good:`, name, '--yes')))
      throw new Failure('declined', `${name}: that isn't its name: nothing was deleted`, { exit: 130 })
  }
  const gone = await discardOld(site, name, () => true)
  const words = `${name}: ${gone.length === 0 ? 'no old data is kept' : `deleted ${gone.map(printable).join(', ')}`}`
  if (input.json) printJson({ service: name, discarded: gone })
  else print(words)
  return 0
}
