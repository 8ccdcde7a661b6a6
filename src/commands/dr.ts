// Disaster recovery: every service brought back on a fresh install.
import type { Result } from '../core.ts'
import { Failure } from '../errors.ts'
import { interruptedRecovery, lookRecovery, type Recovery, recover, saveReport } from '../restore/dr.ts'
import { type Site, serviceOf } from '../site.ts'
import { parseTime } from '../snapshots/select.ts'
import { newRunId } from '../state/running.ts'
import { typeToConfirm } from '../ui/prompt.ts'
import { print, printJson } from '../ui/terminal.ts'
import { jobsFlag } from './backup.ts'
import { type Input, isSet, listFlag, textFlag } from './command.ts'
import { planView, reportView } from './dr-view.ts'
import { figures, withReport } from './work.ts'

export async function run(input: Input): Promise<number> {
  const jobs = jobsFlag(input)
  const site = await input.site()
  const { host } = site.manifest
  const recovery = isSet(input, 'resume') ? await interruptedRecovery(site, input.signal) : await look(site, input)
  const dryRun = isSet(input, 'dryRun')
  if (!input.json) print(...planView(site, recovery))
  else if (dryRun) printJson(recovery)
  if (dryRun) return 0
  // Where nothing would be touched, nothing is asked.
  const sure = isSet(input, 'yes') || recovery.choices.every(({ snapshot }) => snapshot === null)
  if (!sure && !(await typeToConfirm(`Type ${host} to bring these services back:`, host, '--yes (after a look at --dry-run)')))
    throw new Failure('declined', "that isn't this host's name: nothing was touched", { exit: 130 })
  const names = recovery.choices.map(({ name }) => name)
  const begun = performance.now()
  let report = ''
  const summary = (results: Result[]) => reportView(site, results, (performance.now() - begun) / 1000, report)
  return withReport(names, { json: input.json, describe, summary }, async (watcher) => {
    const results = await recover(site, recovery, jobs, { signal: input.signal, ...watcher })
    report = await saveReport(site, recovery, results)
    return results
  })
}

async function look(site: Site, input: Input): Promise<Recovery> {
  const only = listFlag(input, 'only')
  const except = listFlag(input, 'except')
  for (const name of [...only, ...except]) serviceOf(site, name)
  const at = textFlag(input, 'at')
  const wish = {
    host: textFlag(input, 'host') ?? site.manifest.host,
    at: at === undefined ? null : parseTime(at).toISOString(),
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

/** What went wrong stands in the report below. */
function describe({ outcome, bytes, seconds }: Result): string {
  return outcome === 'ok' ? `recovered  ${figures(bytes, seconds)}` : outcome
}
