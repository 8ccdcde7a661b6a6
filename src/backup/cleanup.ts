// Ends what a backup left undone when it was killed: run by systemd after every stop (ExecStopPost), and by the next run of the service.
import type { BackupStep, EventBody, Plan } from '../core.ts'
import { asFailure, type Failure } from '../errors.ts'
import { execute } from '../execute.ts'
import { removeFolder } from '../host/folders.ts'
import { endHook } from '../host/hooks.ts'
import { stoppedUnits } from '../host/systemd.ts'
import { unitsOf } from '../manifest/resolve.ts'
import { removeOwnLocks } from '../repository/locks.ts'
import { type Site, serviceOf, stagingOf } from '../site.ts'
import { isRestoreOpen } from '../state/journal.ts'
import { emptyRecord, isRecorded, readRecord, recordOfKilled, updateRecord, withStopped } from '../state/records.ts'
import { clearState, newRunId, type Running, readKilledRun, removeRunning, setRunningAside } from '../state/running.ts'
import { removeProbes, unknownFacts } from './look.ts'
import { planBackup } from './plan.ts'
import { backupHandlers, type Findings, newFindings } from './steps.ts'

type Output = (line: string) => void

/**
 * Carries out the `always` steps of a killed run's recorded plan: starts units, removes copies, runs postBackup. Then writes the run into the
 * record. Returns whether there was such a run. The service's lock must be held.
 */
export async function cleanUp(site: Site, name: string, output: Output): Promise<boolean> {
  const killed = await readKilledRun(site.state, name).catch((error: unknown) => setAside(site, name, asFailure(error), output))
  await clearState(site.state, name)
  for (const each of [name, ...serviceOf(site, name).formerNames]) await removeFolder(await stagingOf(site, each))
  if (killed?.kind !== 'backup') return false
  const record = await readRecord(site.state, name).catch(() => emptyRecord(name))
  const isUnrecorded = !isRecorded(record, killed)
  if (isUnrecorded) await finishKilledRun(site, name, killed, output)
  await removeRunning(site.state, name)
  return isUnrecorded
}

async function finishKilledRun(site: Site, name: string, killed: Running, output: Output): Promise<void> {
  const warn = (error: unknown) => output(asFailure(error).message)
  const service = serviceOf(site, name)
  for (const each of [name, ...service.formerNames]) await endHook(each)
  if (!killed.plan) await removeProbes(service, { name, run: killed.run }).catch(warn)
  const plan = await planOfKilledRun(site, name, killed)
  // Nobody knows whether the run had stopped the units when it was killed: they are started in any case.
  const findings: Findings = { ...newFindings(), stopped: { at: performance.now(), seconds: null } }
  const handlers = backupHandlers({
    name,
    service,
    manifest: site.manifest,
    state: site.state,
    restic: site.restic(service.repository),
    repositoryState: null,
    baseline: null,
    inheritFds: [],
    findings,
    outcome: () => 'failed',
    warn: (_, message) => output(message),
    output,
  })
  const emit = (event: EventBody) => event.type === 'warning' && output(event.message)
  const { failure } = await execute(plan, handlers, { now: site.now, signal: new AbortController().signal, emit })
  if (failure) warn(failure)
  // A killed restic leaves its lock in the repository, which would keep `prune` out.
  await removeOwnLocks(site, service.repository, { signal: AbortSignal.timeout(60_000) }).catch(warn)
  const stopped = await stoppedUnits(findings.ran, killed.started)
  await updateRecord(site.state, name, (record) => {
    record.runs.push(recordOfKilled(name, killed))
    record.stopped = withStopped(record.stopped, stopped)
  })
}

/** The plan's `always` steps alone. Without a recorded plan: those of a backup of which nothing is known. */
async function planOfKilledRun(site: Site, name: string, killed: Running): Promise<Plan<BackupStep>> {
  const service = serviceOf(site, name)
  // The plan is recorded before units are stopped. Where the record of the run is damaged (pid 0), the plan is lost, and every unit that it may
  // have stopped is started.
  const running = killed.pid === 0 && service.stopForBackup ? unitsOf(name, service) : []
  const facts = { ...unknownFacts({ run: killed.run, name, install: '', staging: await stagingOf(site, name) }), running }
  const { always } = (killed.plan ?? planBackup(service, facts)) as Plan<BackupStep>
  return { run: killed.run, service: name, notes: [], steps: [], always }
}

/** Moves a damaged running/SERVICE.json aside. Returns a backup of which nothing is known; null if it was a restore, which has a journal. */
async function setAside(site: Site, name: string, damage: Failure, output: Output): Promise<Running | null> {
  if (damage.code !== 'state-damaged') throw damage
  output(`${name}: what a killed run has noted is damaged, and set aside as ${await setRunningAside(site.state, name)}`)
  const isRestore = await isRestoreOpen(site.state, name)
  const started = site.now()
  return isRestore ? null : { run: newRunId(started), kind: 'backup', started: started.toISOString(), pid: 0, startTime: '', bootId: '' }
}
