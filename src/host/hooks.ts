// A service's own commands: hooks and health checks, without our secrets, in a process group of their own, with a time limit.
import { Failure } from '../errors.ts'
import { plainEnvironment, run } from './shell.ts'
import { inTransientUnit, isSandboxed, stopTransientUnit } from './systemd.ts'

export interface HookOptions {
  service: string
  /** What to call it in messages: `preBackup`, `postBackup`, `healthCheck`. */
  name: string
  timeoutSeconds: number
  signal: AbortSignal
  /** Added to a plain environment. */
  environment?: Record<string, string>
  /** Where its output goes, line by line. */
  output(line: string): void
}

/** sysexits.h's EX_TEMPFAIL: a preBackup that exits so has found nothing to do. */
const nothingToDo = 75

/** A shell that is told to end (by us, or because we died) leaves its own children behind: this one takes its whole group along. */
const guard = `trap 'trap "" TERM; kill -TERM -- "-$$"; wait' TERM; bash -c "$1" & wait "$!"`

/**
 * In the world of the host: out of our unit, whose sandbox is made for us, a hook runs in a unit of its own.
 * @throws Failure `hook-failed` or `hook-timeout`; `interrupted`; `skipped` (exit 0) where preBackup says that there is nothing to do
 */
export async function runHook(script: string, options: HookOptions): Promise<void> {
  const { service, name } = options
  // A progress bar's steps are lines, too.
  const output = (line: string) => {
    for (const part of line.replace(/\r$/, '').split('\r')) options.output(part)
  }
  const env = { ...plainEnvironment(), ATELIER_SERVICE: service, ...options.environment }
  const argv = (await isSandboxed()) ? [...inTransientUnit(unitOf(service), env), 'bash', '-c', script] : ['bash', '-c', guard, 'bash', script]
  const { exit, timedOut, interrupted } = await run(argv, {
    env,
    group: true,
    graceSeconds: 10,
    timeoutSeconds: options.timeoutSeconds,
    signal: options.signal,
    onLine: output,
    onErrorLine: output,
  })
  if (interrupted) throw new Failure('interrupted', `${service}: ${name} was interrupted`)
  if (timedOut)
    throw new Failure('hook-timeout', `${service}: ${name} took longer than ${options.timeoutSeconds} s and was ended; hookTimeoutSec sets the limit`)
  if (exit === nothingToDo && name === 'preBackup') throw new Failure('skipped', `${service}: preBackup says that there is nothing to do`)
  if (exit !== 0) throw new Failure('hook-failed', `${service}: ${name} failed with exit code ${exit}`)
}

/** Ends what a run that was killed left of a hook outside of its unit. */
export async function endHook(service: string): Promise<void> {
  await stopTransientUnit(unitOf(service))
}

function unitOf(service: string): string {
  return `atelier-backup-hook-${service}.service`
}
