// Bring back a snapshot: to look at, or in place.
import { resolve } from 'node:path'
import { newRunId } from '../backup/run.ts'
import type { Plan, RestoreStep, Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { isWithin } from '../host/files.ts'
import type { Snapshot } from '../restic/types.ts'
import { discardOld, planInPlace, restoreInPlace, resumeRestore, rollBackRestore } from '../restore/inplace.ts'
import { inspectTarget, restoreInspect } from '../restore/inspect.ts'
import type { RestoreFacts } from '../restore/look.ts'
import { type Site, serviceOf } from '../site.ts'
import { wantedFrom } from '../snapshots/select.ts'
import { readRecord } from '../state/records.ts'
import { printable } from '../text.ts'
import { formatAge, formatBytes, formatCount, formatSeconds, formatTime } from '../ui/format.ts'
import { choose, chooseMany, requireTerminal, typeToConfirm } from '../ui/prompt.ts'
import { isInteractive, styled } from '../ui/terminal.ts'
import { chooseService, snapshotFrom, subjectOf } from './choose.ts'
import { type Input, isSet, listFlag, textFlag } from './command.ts'
import { type Watcher, withReport } from './work.ts'

export async function run(input: Input): Promise<number> {
  requireOneMode(input)
  const site = await input.site()
  const [given] = input.args
  if (given === undefined) requireTerminal("the service's name")
  const name = given ?? (await chooseService(site, 'Restore which service?'))
  serviceOf(site, name)
  if (isSet(input, 'resume')) return ended(name, input, (watcher) => resumed(site, name, input, watcher))
  if (isSet(input, 'rollback'))
    return ended(name, input, (watcher) => rollBackRestore(site, name, newRunId(site.now()), { signal: input.signal, ...watcher }))
  if (isSet(input, 'discardOld')) return discard(site, name, input)
  const subject = await subjectOf(site, name, textFlag(input, 'host'))
  const flags = { snapshot: textFlag(input, 'snapshot'), at: textFlag(input, 'at') }
  const asks = isInteractive() && !input.json && flags.snapshot === undefined && flags.at === undefined && !isSet(input, 'yes')
  const snapshot = await snapshotFrom(site, subject, asks ? null : wantedFrom(flags), input.signal)
  const paths = listFlag(input, 'path').map((path) => resolve('/', path).replace(/(.)\/+$/, '$1'))
  const wizard = asks && !isSet(input, 'inPlace') && textFlag(input, 'target') === undefined && !isSet(input, 'dryRun')
  if (wizard && paths.length === 0) paths.push(...(await choosePaths(snapshot)))
  const inPlace = isSet(input, 'inPlace') || (wizard && (await chooseMode(name, snapshot)) === 'in-place')
  return inPlace ? restoreHere(site, name, snapshot, paths, input) : inspect(site, name, snapshot, paths, input)
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
  if (modes.length > 1) throw new Failure('usage', `${modes.join(' and ')} exclude each other`)
  for (const path of listFlag(input, 'path'))
    if (!path.startsWith('/'))
      throw new Failure('usage', `--path takes an absolute path, as "atelier-backup list" shows it, not ${JSON.stringify(path)}`)
}

async function choosePaths(snapshot: Snapshot): Promise<string[]> {
  if (snapshot.paths.length < 2) return []
  const chosen = await chooseMany(
    'What',
    snapshot.paths.map((path) => ({ name: path, value: path, checked: true })),
    '--path',
  )
  return chosen.length === snapshot.paths.length ? [] : chosen
}

async function chooseMode(name: string, snapshot: Snapshot): Promise<'inspect' | 'in-place'> {
  return choose<'inspect' | 'in-place'>(
    'How',
    [
      { name: `Inspect: into ${inspectTarget(name, snapshot)}, nothing live is touched`, value: 'inspect' },
      { name: 'In place: replace the live data (the plan is shown first)', value: 'in-place' },
    ],
    '--in-place or --target',
  )
}

async function inspect(site: Site, name: string, snapshot: Snapshot, paths: string[], input: Input): Promise<number> {
  const target = resolve(textFlag(input, 'target') ?? inspectTarget(name, snapshot))
  for (const path of serviceOf(site, name).paths)
    if (isWithin(target, path))
      throw new Failure('usage', `${name}: ${target} stands among its live data: restore to another folder, or with --in-place`)
  if (isSet(input, 'dryRun')) {
    const plan = {
      service: name,
      snapshot: snapshot.id,
      time: snapshot.time,
      paths: paths.length > 0 ? paths : snapshot.paths,
      bytes: snapshot.bytes,
      target,
    }
    process.stdout.write(
      input.json
        ? `${JSON.stringify(plan)}\n`
        : `Would restore ${name} of ${formatTime(snapshot.time, site.now())} (${snapshot.shortId}, ${formatBytes(snapshot.bytes)}) below ${target}\n`,
    )
    return 0
  }
  const restic = site.restic(serviceOf(site, name).repository)
  const exit = await ended(name, input, ({ emit }) =>
    restoreInspect({ name, restic, snapshot, paths, target, signal: input.signal, now: site.now, emit }),
  )
  if (exit === 0 && !input.json) for (const path of paths.length > 0 ? paths : snapshot.paths) process.stdout.write(`${printable(target + path)}\n`)
  return exit
}

async function restoreHere(site: Site, name: string, snapshot: Snapshot, paths: string[], input: Input): Promise<number> {
  const planned = await planInPlace(site, name, snapshot, paths, newRunId(site.now()), input.signal)
  const dryRun = isSet(input, 'dryRun')
  if (dryRun && input.json) process.stdout.write(`${JSON.stringify(planned)}\n`)
  else if (!input.json) process.stdout.write(`${planView(site, planned).join('\n')}\n`)
  if (dryRun) return 0
  if (!isSet(input, 'yes')) {
    requireTerminal('--yes (after a look at --dry-run)')
    if (!(await typeToConfirm(`Type ${name} to restore it:`, name, '--yes'))) throw new Failure('interrupted', `${name}: nothing was touched`)
  }
  return ended(name, input, (watcher) => restoreInPlace(site, planned, paths, { signal: input.signal, ...watcher }))
}

async function resumed(site: Site, name: string, input: Input, watcher: Watcher): Promise<Result> {
  const options = { signal: input.signal, ...watcher }
  return resumeRestore(
    site,
    name,
    async (journal) => {
      const subject = await subjectOf(site, name)
      const all = await site.restic(serviceOf(site, name).repository).snapshots({ signal: input.signal })
      const snapshot = all.find(({ id }) => id === journal.snapshot)
      if (!snapshot)
        throw new Failure(
          'unknown-snapshot',
          `${name}: the snapshot ${journal.snapshot} isn't in the repository any more; nothing was touched. See: atelier-backup list ${subject.name}`,
        )
      return restoreInPlace(site, await planInPlace(site, name, snapshot, journal.paths, newRunId(site.now()), input.signal), journal.paths, options)
    },
    options,
  )
}

async function discard(site: Site, name: string, input: Input): Promise<number> {
  const { old } = await readRecord(site.state, name)
  if (old.length > 0 && !isSet(input, 'yes')) {
    for (const { folder, since } of old) process.stderr.write(`${formatTime(since, site.now())}  ${folder}\n`)
    if (!(await typeToConfirm(`Type ${name} to delete this old data for good:`, name, '--yes')))
      throw new Failure('interrupted', `${name}: nothing was deleted`)
  }
  const gone = await discardOld(site, name, () => true)
  process.stdout.write(
    input.json
      ? `${JSON.stringify({ service: name, discarded: gone })}\n`
      : `${name}: ${gone.length === 0 ? 'no old data is kept' : `deleted ${gone.join(', ')}`}\n`,
  )
  return 0
}

function ended(name: string, { json }: Input, work: (watcher: Watcher) => Promise<Result>): Promise<number> {
  return withReport([name], { json, describe }, async (watcher) => {
    const result = await work(watcher)
    watcher.result(result)
    return [result]
  })
}

function describe({ outcome, bytes, seconds, downtimeSeconds }: Result): string {
  if (outcome !== 'ok') return outcome
  return [
    'restored',
    bytes === null ? null : formatBytes(bytes),
    formatSeconds(seconds),
    downtimeSeconds === null ? null : `stopped ${formatSeconds(downtimeSeconds)}`,
  ]
    .filter(Boolean)
    .join('   ')
}

function planView(site: Site, { plan, facts }: { plan: Plan<RestoreStep>; facts: RestoreFacts }): string[] {
  const now = site.now()
  const { snapshot, roots, units, running, databases, excluded } = facts
  const { healthCheck } = serviceOf(site, plan.service)
  const size = roots.reduce((sum, { bytes }) => sum + bytes, 0)
  const line = (word: string, text: string) => `  ${word.padEnd(9)} ${printable(text)}`
  const replaces = roots.map(({ path, bytes, files, live }) =>
    line('replaces', `${path}   ${live ? formatBytes(live.bytes) : 'nothing'} → ${formatBytes(bytes)}, ${formatCount(files)} entries`),
  )
  const stops = units.map((unit) => line('stops', `${unit}   ${running.includes(unit) ? 'running now; started again at the end' : 'not running'}`))
  const checks = [...databases.map((database) => `${database} integrity`), ...(healthCheck === null ? [] : [healthCheck])]
  return [
    styled(
      'bold',
      `Restore ${plan.service} in place from ${snapshot.shortId} · ${formatTime(snapshot.time, now)} (${formatAge(snapshot.time, now)}) · ${snapshot.host} · ${formatBytes(size)}`,
    ),
    '',
    ...replaces,
    ...stops,
    ...(checks.length > 0 ? [line('checks', checks.join(' · '))] : []),
    line('keeps', `the old data for ${site.manifest.restore.keepOldDays} days, then until a newer complete backup`),
    ...excluded.slice(0, 5).map(({ path, bytes }) => line('carries', `${path}   ${formatBytes(bytes)}, which backups exclude`)),
    ...(excluded.length > 5 ? [line('carries', `and ${excluded.length - 5} more`)] : []),
    ...plan.notes.map((note) => line('note', note)),
    line('undo', `atelier-backup restore ${plan.service} --rollback`),
    '',
    `What changed since ${formatTime(snapshot.time, now)} is lost from the live data.`,
  ]
}
