// Runs a service's own commands (hooks and health checks): without our secrets, in a process group of their own, with a time limit.
import { Failure } from '../errors.ts'
import { plainEnvironment, run } from './shell.ts'
import { inTransientUnit, isSandboxed, stopTransientUnit } from './systemd.ts'

export interface HookOptions {
  service: string
  /** The field of the manifest, for messages: `preBackup`, `postBackup`, `healthCheck`. */
  name: string
  timeoutSeconds: number
  signal: AbortSignal
  /** Added to a plain environment. */
  environment?: Record<string, string>
  /** Called with each line of its output. */
  output(line: string): void
}

/** EX_TEMPFAIL of sysexits.h: a preBackup that exits with it has found nothing to do. */
const nothingToDo = 75

/** On SIGTERM (ours, or the kernel's when we died) bash alone would end and leave its children running: this one ends its whole process group. */
const guard = `trap 'trap "" TERM; kill -TERM -- "-$$"; wait' TERM; bash -c "$1" & wait "$!"`

/**
 * Runs a hook. If our unit is sandboxed, the hook runs as a transient unit of its own: the sandbox is meant for us, and hooks need the whole host.
 * @throws Failure `hook-failed` or `hook-timeout`; `interrupted`; `skipped` (exit 0) if preBackup exits with 75: there is nothing to do
 */
export async function runHook(script: string, options: HookOptions): Promise<void> {
  const { service, name } = options
  // A progress bar ends its steps with a carriage return: each is a line too.
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

/** Stops the transient unit in which a killed run left its hook. */
export async function endHook(service: string): Promise<void> {
  await stopTransientUnit(unitOf(service))
}

function unitOf(service: string): string {
  return `atelier-backup-hook-${service}.service`
}
