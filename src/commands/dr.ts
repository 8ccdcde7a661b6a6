// Disaster recovery: every service brought back on a fresh install.
import { newRunId } from '../backup/run.ts'
import type { Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { interruptedRecovery, lookRecovery, type Recovery, recover, saveReport } from '../restore/dr.ts'
import { type Site, serviceOf } from '../site.ts'
import { parseTime } from '../snapshots/select.ts'
import { printable } from '../text.ts'
import { formatBytes, formatSeconds, formatTime } from '../ui/format.ts'
import { requireTerminal, typeToConfirm } from '../ui/prompt.ts'
import { tableLines } from '../ui/table.ts'
import { columns, sign, styled } from '../ui/terminal.ts'
import { jobsFlag } from './backup.ts'
import { type Input, isSet, listFlag, textFlag } from './command.ts'
import { withReport } from './work.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const jobs = jobsFlag(input)
  const recovery = isSet(input, 'resume') ? await interruptedRecovery(site) : await look(site, input)
  const dryRun = isSet(input, 'dryRun')
  if (dryRun && input.json) process.stdout.write(`${JSON.stringify(recovery)}\n`)
  else if (!input.json) process.stdout.write(`${planView(site, recovery).join('\n')}\n`)
  if (dryRun) return 0
  if (!isSet(input, 'yes')) {
    requireTerminal('--yes (after a look at --dry-run)')
    if (!(await typeToConfirm(`Type ${site.manifest.host} to bring these services back:`, site.manifest.host, '--yes')))
      throw new Failure('interrupted', 'nothing was touched')
  }
  const begun = performance.now()
  let results: Result[] = []
  const exit = await withReport(
    recovery.choices.map(({ name }) => name),
    { json: input.json, describe },
    async (watcher) => {
      results = await recover(site, recovery, jobs, { signal: input.signal, ...watcher })
      return results
    },
  )
  const report = await saveReport(site, recovery, results)
  if (!input.json) process.stdout.write(`${summary(site, results, (performance.now() - begun) / 1000, report).join('\n')}\n`)
  return exit
}

async function look(site: Site, input: Input): Promise<Recovery> {
  const only = listFlag(input, 'only')
  const except = listFlag(input, 'except')
  for (const name of [...only, ...except]) serviceOf(site, name)
  const at = textFlag(input, 'at')
  const wish = {
    host: textFlag(input, 'host') ?? site.manifest.host,
    at: at === undefined ? null : parseTime(at),
    only,
    except,
    overwrite: isSet(input, 'overwrite'),
  }
  const recovery = await lookRecovery(site, wish, newRunId(site.now()), input.signal)
  if (recovery.choices.length === 0) throw new Failure('usage', 'no service is left to recover')
  // One reason for all (no repository, wrong password) is told once, by its own code.
  const reasons = new Set(recovery.choices.map(({ skip }) => skip?.message ?? ''))
  const [first] = recovery.choices
  if (reasons.size === 1 && first?.skip && first.skip.code !== 'protected' && first.skip.code !== 'unknown-snapshot')
    throw new Failure(first.skip.code, first.skip.message)
  return recovery
}

function describe({ outcome, bytes, seconds, message }: Result): string {
  return outcome === 'ok'
    ? ['recovered', formatBytes(bytes), formatSeconds(seconds)].join('   ')
    : `${outcome}${message === null ? '' : `: ${message}`}`
}

function planView(site: Site, { host, choices, done }: Recovery): string[] {
  const rows = choices.map(({ name, snapshot, skip, after, notes }) => [
    name,
    snapshot ? formatTime(snapshot.time, site.now()) : '–',
    snapshot ? formatBytes(snapshot.bytes) : '–',
    snapshot?.shortId ?? '',
    done.includes(name)
      ? 'done already'
      : (skip?.message.replace(`${name}: `, '') ?? [...notes, ...(after.length > 0 ? [`after ${after.join(', ')}`] : [])].join('; ')),
  ])
  const bytes = choices.reduce((sum, { snapshot }) => sum + (snapshot?.bytes ?? 0), 0)
  return [
    styled(
      'bold',
      `Recover ${choices.filter(({ snapshot }) => snapshot).length} of ${choices.length} services of ${host} on ${site.manifest.host} (${formatBytes(bytes)})`,
    ),
    '',
    ...tableLines(
      [{ title: 'SERVICE' }, { title: 'SNAPSHOT OF' }, { title: 'SIZE', align: 'right' }, { title: 'ID' }, { title: '', shrink: true }],
      rows.map((row) => row.map(printable)),
      columns(),
    ),
    '',
    'Data that is there now is moved aside and kept.',
  ]
}

function summary(site: Site, results: Result[], seconds: number, report: string): string[] {
  const good = results.filter(({ exit }) => exit === 0)
  const bytes = results.reduce((sum, result) => sum + (result.bytes ?? 0), 0)
  const unchecked = good.filter(({ name }) => serviceOf(site, name).healthCheck === null).map(({ name }) => name)
  const bad = results.filter(({ exit }) => exit !== 0)
  return [
    '',
    styled(
      'bold',
      `Recovered ${good.length} of ${results.length} services on ${site.manifest.host} in ${formatSeconds(seconds)} (${formatBytes(bytes)})`,
    ),
    ...(good.length > unchecked.length ? [`${sign('good')} ${good.length - unchecked.length} healthy`] : []),
    ...(unchecked.length > 0 ? [`${sign('good')} ${unchecked.join(', ')}: restored; no healthCheck is declared`] : []),
    ...bad.map(({ name, message, code }) => `${sign(code === 'waits' || code === 'protected' ? 'waiting' : 'bad')} ${printable(message ?? name)}`),
    ...(bad.some(({ code }) => code !== 'protected') ? ['', 'Go on:   atelier-backup dr --resume'] : []),
    `Report:  ${report}`,
  ]
}
