// `restore`: a snapshot, into a new folder or in place.
import { join, resolve } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Restic, Snapshot } from '../restic/types.ts'
import type { RestoreFacts } from '../restore/facts.ts'
import { emptiedBy, planInPlace, requireMounted, restoreInPlace } from '../restore/inplace.ts'
import { freeTarget, inspectTarget, restoreInspect } from '../restore/inspect.ts'
import { clockNotes, partialNotes, passedNotes } from '../restore/notes.ts'
import { requirePrivileged } from '../restore/privileged.ts'
import { withPathBytes } from '../restore/tree.ts'
import { type Site, serviceOf } from '../site.ts'
import { completeBefore, datedLater, newerUnadopted, pick, type SnapshotChoice, snapshotChoice } from '../snapshots/select.ts'
import { printable } from '../text.ts'
import { formatBytes, formatTime } from '../ui/format.ts'
import { choose, chooseMany, requireTerminal, typeToConfirm, wizard } from '../ui/prompt.ts'
import { isInteractive, print, printJson, sign } from '../ui/terminal.ts'
import { reportOne } from '../views/report.ts'
import { restorePlanView } from '../views/restore.ts'
import { chooseEntry, chooseSnapshot, type Entry, findEntries } from './choose.ts'
import { type Input, isSet, pathFlags, textFlag } from './command.ts'
import { pathsIn } from './paths.ts'
import { chooseName, describeRestore, repairs } from './restore-repair.ts'

export async function run(input: Input): Promise<number> {
  requireOneMode(input)
  const paths = pathFlags(input)
  const site = await input.site()
  const [given] = input.args
  if (given !== undefined) serviceOf(site, given)
  const repair = repairs.find(([flag]) => isSet(input, flag))
  if (repair) return repair[1](site, given ?? (await chooseName(site)), input)
  if (given === undefined) requireTerminal("the service's name")
  const flags = { snapshot: textFlag(input, 'snapshot'), at: textFlag(input, 'at') }
  const wanted = snapshotChoice(flags)
  const asks = isInteractive() && flags.snapshot === undefined && flags.at === undefined && !isSet(input, 'yes')
  const asksHow = asks && !isSet(input, 'inPlace') && textFlag(input, 'target') === undefined && !isSet(input, 'dryRun')
  const names = given === undefined ? Object.keys(site.manifest.services) : [given]
  const draft = {
    entries: await findEntries(site, names, textFlag(input, 'host'), input.signal),
    wanted: asks ? null : wanted,
    paths: asksHow && paths.length === 0 ? null : paths,
    typed: true,
    inPlace: asksHow ? null : isSet(input, 'inPlace'),
  }
  return restore(site, draft, input)
}

/** What to restore and how. Null values are asked for, and so is the service if there are several entries. `paths`: empty means all. */
export interface Draft {
  entries: Entry[]
  wanted: SnapshotChoice | null
  paths: Path[] | null
  /** `paths` are as a person typed them. */
  typed?: boolean
  inPlace: boolean | null
}

/** Asks for missing values, shows the plan, and restores. @throws Failure `left` if it was cancelled with Esc */
export async function restore(site: Site, draft: Draft, input: Input): Promise<number> {
  let [entry] = draft.entries as [Entry]
  let restic!: Restic
  let snapshot!: Snapshot
  let paths = draft.paths ?? []
  let inPlace = draft.inPlace === true
  let begin: Begin = async () => 0
  await wizard([
    async () => {
      if (draft.entries.length === 1) return false
      entry = await chooseEntry(site, 'Restore which service?', draft.entries)
      return true
    },
    async () => {
      const picked = draft.wanted ? pick(entry.snapshots, entry.subject, draft.wanted) : await chooseSnapshot(entry, site.now())
      restic = site.restic(serviceOf(site, entry.subject.name).repository)
      snapshot = await withPathBytes(restic, picked, { signal: input.signal })
      return draft.wanted === null
    },
    async () => {
      paths = draft.paths ?? []
      if (draft.paths !== null || snapshot.paths.length < 2) return false
      paths = await choosePaths(snapshot)
      return true
    },
    async () => {
      if (draft.inPlace !== null) return false
      inPlace = await chooseInPlace(entry.subject.name, snapshot)
      return true
    },
    async () => {
      const isNewest = draft.wanted !== null && 'latest' in draft.wanted
      const { snapshots, subject } = entry
      const later = datedLater(snapshots, subject, snapshot)
      const beside = {
        later,
        complete: completeBefore(snapshots, subject, snapshot),
        passed: isNewest ? newerUnadopted(snapshots, subject, snapshot) : [],
      }
      if (draft.typed) paths = await pathsIn(restic, snapshot, paths, input.signal)
      begin = await (inPlace ? prepareInPlace : prepareInspect)(site, subject.name, snapshot, paths, beside, input)
      return false
    },
  ])
  return begin()
}

/** @throws Failure `usage` */
function requireOneMode(input: Input): void {
  const modes = [
    ['--in-place', isSet(input, 'inPlace')],
    ['--target', textFlag(input, 'target') !== undefined],
    ['--resume', isSet(input, 'resume')],
    ['--rollback', isSet(input, 'rollback')],
    ['--discard-old', isSet(input, 'discardOld')],
  ].flatMap(([flag, on]) => (on ? [flag] : []))
  if (modes.length > 1) throw new Failure('usage', `${modes.join(' and ')} can't be used together`)
  const repair = modes.find((mode) => mode !== '--in-place' && mode !== '--target')
  const choosing = Object.entries({ '--dry-run': 'dryRun', '--snapshot': 'snapshot', '--at': 'at', '--path': 'path', '--host': 'host' })
  // --at also chooses which restore --rollback undoes.
  const idle = choosing.find(([, name]) => input.flags[name] !== undefined && !(repair === '--rollback' && name === 'at'))?.[0]
  if (repair && idle) throw new Failure('usage', `${idle} can't be used with ${repair}`)
}

async function choosePaths(snapshot: Snapshot): Promise<Path[]> {
  const choices = snapshot.paths.map((path) => ({ name: path, value: path }))
  const chosen = await chooseMany('Restore which paths?', choices, '--path')
  return chosen.length === choices.length ? [] : chosen
}

async function chooseInPlace(name: string, snapshot: Snapshot): Promise<boolean> {
  return choose(
    'Restore how?',
    [
      { name: `Inspect: into ${await freeTarget(name, snapshot)}`, value: false, short: 'inspect' },
      { name: 'In place: replace the live data; you see the plan first', value: true, short: 'in place' },
    ],
    '--in-place or --target',
  )
}

/** Starts the restore; returns the exit code. */
type Begin = () => Promise<number>

/** Other snapshots that the plan mentions. */
type Beside = Required<Pick<RestoreFacts, 'complete' | 'later' | 'passed'>>

async function prepareInspect(site: Site, name: string, snapshot: Snapshot, paths: Path[], beside: Beside, input: Input): Promise<Begin> {
  // If the default folder exists, a script gets an error, and at a terminal the next free name is used.
  const defaultTarget = isInteractive() ? await freeTarget(name, snapshot) : inspectTarget(name, snapshot)
  const target = resolve(textFlag(input, 'target') ?? defaultTarget)
  for (const path of serviceOf(site, name).paths)
    if (isWithin(target, path))
      throw new Failure('usage', `${name}: ${target} is inside its live data: restore to another folder, or with --in-place`)
  const wanted = paths.length > 0 ? paths : snapshot.paths
  const notes = [...partialNotes(snapshot, beside.complete), ...clockNotes(snapshot, beside.later), ...passedNotes(beside.passed)]
  if (!input.json) print(...notes.map((note) => `${sign('warn')} ${printable(note)}`))
  if (isSet(input, 'dryRun')) {
    const { id, time, bytes, shortId } = snapshot
    const words = `Would restore ${name} of ${formatTime(time, site.now())} (${shortId}, ${formatBytes(bytes)}) below ${target}`
    if (input.json) printJson({ service: name, snapshot: id, time, paths: wanted, bytes, target, notes })
    else print(words)
    return async () => 0
  }
  const restic = site.restic(serviceOf(site, name).repository)
  return async () => {
    const exit = await reportOne(name, { json: input.json, describe: describeRestore }, ({ emit }) =>
      restoreInspect({ name, restic, snapshot, paths, target, notes, signal: input.signal, now: site.now, emit }),
    )
    if (exit === 0 && !input.json) print(...wanted.map((path) => printable(join(target, path))))
    return exit
  }
}

async function prepareInPlace(site: Site, name: string, snapshot: Snapshot, paths: Path[], beside: Beside, input: Input): Promise<Begin> {
  const planned = await planInPlace(site, name, snapshot, paths, input.signal, { ...beside, ignoreSpace: isSet(input, 'ignoreSpace') })
  const dryRun = isSet(input, 'dryRun')
  if (!input.json) print(...restorePlanView(site, planned))
  else if (dryRun) printJson(planned)
  if (dryRun) return async () => 0
  requireMounted(planned, isSet(input, 'ontoUnmounted'))
  const emptied = emptiedBy(planned.facts)
  if (emptied.length > 0 && !isSet(input, 'emptyMounts')) {
    const flag = `--empty-mounts (${emptied.map(printable).join(', ')}: mounted, and not in the snapshot)`
    if (!(await typeToConfirm(`Type empty to empty ${emptied.map(printable).join(', ')}:`, 'empty', flag)))
      throw new Failure('declined', `${name}: that isn't "empty": nothing was touched`, { exit: 130 })
  }
  const { privileged } = planned.facts
  const isAllowed = isSet(input, 'allowPrivileged')
  if (!isInteractive()) requirePrivileged(name, privileged, isAllowed ? 'all' : [])
  if (
    privileged.length > 0 &&
    !isAllowed &&
    !(await typeToConfirm('Type privileged to restore these privileged files, too:', 'privileged', '--allow-privileged'))
  )
    throw new Failure('declined', `${name}: that isn't "privileged": nothing was touched`, { exit: 130 })
  if (!isSet(input, 'yes') && !(await typeToConfirm(`Type ${name} to restore it:`, name, '--yes (after a look at --dry-run)')))
    throw new Failure('declined', `${name}: that isn't its name: nothing was touched`, { exit: 130 })
  return () => {
    input.ignoreHangup()
    const options = { json: input.json, describe: describeRestore, hint: 'Ctrl-C undoes it; if this terminal is lost, it continues.' }
    return reportOne(name, options, (watcher) =>
      restoreInPlace(site, planned, {
        ...{ signal: input.signal, privileged: isAllowed ? 'all' : privileged, corrupt: isSet(input, 'allowCorrupt') },
        ...watcher,
      }),
    )
  }
}
