// `dr`, disaster recovery: restores every service on a fresh install, or on a machine that has nothing but the repository.
import { asFailure, Failure } from '../errors.ts'
import type { RecoveryWish } from '../recovery/facts.ts'
import {
  interruptedRecovery,
  type PlannedRecovery,
  planAgain,
  planRecovery,
  type Recovered,
  type Recovery,
  recover,
  saveReport,
} from '../recovery/recover.ts'
import { type Site, serviceOf } from '../site.ts'
import { parseTime } from '../snapshots/select.ts'
import { waitingFor } from '../ui/progress.ts'
import { typeToConfirm } from '../ui/prompt.ts'
import { isInteractive, print, printJson } from '../ui/terminal.ts'
import { describeRecovered, recoveryPlanView, recoveryReportView } from '../views/dr.ts'
import { withReport } from '../views/report.ts'
import { jobsFlag } from './backup.ts'
import { type Input, isSet, listFlag, repeated, textFlag } from './command.ts'
import { requireFromRepository, siteFromRepository } from './dr-from-repository.ts'

export async function run(input: Input): Promise<number> {
  const jobs = jobsFlag(input)
  requireFromRepository(input)
  const { site, again } = isSet(input, 'fromRepository')
    ? await siteFromRepository(input)
    : { site: await openSite(input), again: ['atelier-backup dr', ...repeated(input, choosing)].join(' ') }
  const dryRun = isSet(input, 'dryRun')
  const looking = isSet(input, 'resume') ? resumed(site, input, jobs) : planRecovery(site, wishOf(site, input), jobs, input.signal)
  let plan = await waitingFor('preparing the recovery', looking)
  if (plan.recovery.choices.length === 0) throw new Failure('usage', 'no service is left to recover')
  const failure = commonFailure(plan.recovery)
  if (failure && !dryRun) throw failure
  show(plan, input)
  if (dryRun) return failure?.exit ?? 0
  const consents = isSet(input, 'yes') ? null : await askConsents(plan.recovery)
  if (consents) {
    plan = await waitingFor('preparing the recovery again', planAgain(site, plan.recovery, consents, jobs, input.signal))
    show(plan, input)
  }
  const { recovery } = plan
  const { host } = site.manifest
  // Without services to restore there is nothing to confirm.
  const sure = isSet(input, 'yes') || recovery.choices.every(({ snapshot, skip }) => snapshot === null || skip !== null)
  if (!sure && !(await typeToConfirm(`Type ${host} to bring these services back:`, host, '--yes (after a look at --dry-run)')))
    throw new Failure('declined', "the answer is not this host's name: nothing was touched", { exit: 130 })
  const names = recovery.choices.map(({ name }) => name)
  const begun = performance.now()
  let results: Recovered[] = []
  let report = ''
  const summary = () => recoveryReportView(plan, results, (performance.now() - begun) / 1000, report)
  input.ignoreHangup()
  return withReport(names, { json: input.json, describe: describeRecovered, summary }, async (watcher) => {
    results = await recover(plan, { signal: input.signal, jobs, again, ...watcher })
    // The recovery succeeded even if its report can't be written.
    report = await saveReport(site, recovery, results).catch((error) => `can't be written: ${asFailure(error).message}`)
    return results
  })
}

/** Flags that the advised commands repeat, so that they choose the same snapshots. */
const choosing = { manifest: '--manifest', stateDir: '--state-dir', host: '--host', at: '--at', withoutUnits: '--without-units' }

async function openSite(input: Input): Promise<Site> {
  return input.site().catch((error) => {
    const failure = asFailure(error)
    if (failure.code !== 'manifest-missing') throw error
    throw new Failure(failure.code, `${failure.message}; with the repository and its secrets alone: atelier-backup dr --from-repository`)
  })
}

function show(plan: PlannedRecovery, input: Input): void {
  if (!input.json) print(...recoveryPlanView(plan))
  else if (isSet(input, 'dryRun')) printJson(plan.recovery)
}

function wishOf(site: Site, input: Input): RecoveryWish {
  const only = listFlag(input, 'only')
  const except = listFlag(input, 'except')
  for (const name of [...only, ...except]) serviceOf(site, name)
  const at = textFlag(input, 'at')
  return {
    host: textFlag(input, 'host') ?? site.manifest.host,
    at: at === undefined ? null : parseTime(at).toISOString(),
    only,
    except,
    overwrite: isSet(input, 'overwrite'),
    partial: isSet(input, 'partial'),
    withoutUnits: isSet(input, 'withoutUnits'),
    emptyMounts: isSet(input, 'emptyMounts'),
    ontoUnmounted: isSet(input, 'ontoUnmounted'),
    allowPrivileged: isSet(input, 'allowPrivileged'),
    allowCorrupt: isSet(input, 'allowCorrupt'),
    ignoreSpace: isSet(input, 'ignoreSpace'),
  }
}

/** An interrupted recovery keeps its chosen snapshots; consents can be added by flags. */
async function resumed(site: Site, input: Input, jobs: number): Promise<PlannedRecovery> {
  const recovery = await interruptedRecovery(site)
  const flags = ['overwrite', 'partial', 'withoutUnits', 'emptyMounts', 'ontoUnmounted', 'allowPrivileged', 'allowCorrupt', 'ignoreSpace'] as const
  const consents = flags.filter((flag) => isSet(input, flag)).map((flag) => [flag, true])
  return planAgain(site, recovery, Object.fromEntries(consents), jobs, input.signal)
}

/** If all services are skipped for one reason of the repository (missing, wrong password), that failure. */
function commonFailure({ choices, done }: Recovery): Failure | null {
  const [first] = choices
  const isCommon = done.length === 0 && choices.every(({ skip }) => skip?.of === 'repository' && skip.message === first?.skip?.message)
  return isCommon && first?.skip ? new Failure(first.skip.code, first.skip.message) : null
}

/** Asks for the consents that skipped services need, below the plan that names them. Null: none is needed, or all were declined. */
async function askConsents({ choices }: Recovery): Promise<Partial<RecoveryWish> | null> {
  if (!isInteractive()) return null
  const skipped = (codes: string[]) => choices.filter(({ skip }) => skip && codes.includes(skip.code)).map(({ name }) => name)
  const partial = skipped(['only-partial'])
  const unitless = skipped(['unknown-unit', 'no-systemd'])
  const mounted = skipped(['would-empty'])
  const privileged = skipped(['special-files'])
  const consents: Partial<RecoveryWish> = {}
  if (partial.length > 0)
    consents.partial = await typeToConfirm(
      `Type partial to restore the partial snapshots of ${partial.join(', ')} (Enter: leave them alone):`,
      'partial',
      '--partial',
    )
  if (unitless.length > 0)
    consents.withoutUnits = await typeToConfirm(
      `Type without to restore ${unitless.join(', ')} without the units that systemd doesn't know (Enter: leave them alone):`,
      'without',
      '--without-units',
    )
  if (mounted.length > 0)
    consents.emptyMounts = await typeToConfirm(
      `Type empty to empty the filesystems that are mounted in ${mounted.join(', ')} and not in their snapshots (Enter: leave them alone):`,
      'empty',
      '--empty-mounts',
    )
  if (privileged.length > 0)
    consents.allowPrivileged = await typeToConfirm(
      `Type privileged to restore ${privileged.join(', ')} with their privileged files (Enter: skip these services):`,
      'privileged',
      '--allow-privileged',
    )
  return Object.values(consents).some(Boolean) ? consents : null
}
