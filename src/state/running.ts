// The run of a service that is at work now: running/SERVICE.json, and its events in running/SERVICE.ndjson. A run that ends removes the first
// file; a killed one leaves it, which tells the next run what to clean up.
import { randomBytes } from 'node:crypto'
import { appendFileSync, closeSync, constants, readFileSync, rmSync, utimesSync } from 'node:fs'
import type { Event, Iso, Plan } from '../core.ts'
import { Failure } from '../errors.ts'
import { rename, stat } from '../fs.ts'
import { asideName, clearUnfinished, openOwn, readIfThere, writeDurably } from '../host/files.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'

export interface Running {
  run: string
  kind: 'backup' | 'restore'
  started: Iso
  pid: number
  /** When the process started, in clock ticks since boot, and the id of the boot: the kernel reuses pids. */
  startTime: string
  bootId: string
  /** Once it exists. `run --cleanup` carries out its `always` steps. */
  plan?: Plan
}

/** Unique; run ids sort by time. */
export function newRunId(now: Date): string {
  return `${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${randomBytes(3).toString('hex')}`
}

/** Removes the unfinished files that a killed write of the service's state left. The service's lock must be held. */
export async function clearState(state: string, service: string): Promise<void> {
  for (const place of ['running', 'records', 'journals'] as const) await clearUnfinished(`${statePath(state, place, service)}.json`)
}

/** At the begin of a run. Returns the function that appends its events. */
export async function writeRunning(state: string, service: string, run: Pick<Running, 'run' | 'kind' | 'started'>): Promise<(event: Event) => void> {
  await clearState(state, service)
  const base = statePath(state, 'running', service)
  const running: Running = { ...run, pid: process.pid, ...processIdentity(process.pid) }
  closeSync(openOwn(`${base}.ndjson`, constants.O_TRUNC))
  await writeDurably(`${base}.json`, withChecksum(running))
  let done = ''
  return (event) => {
    // restic prints a status each second, also while nothing happens.
    const now = event.type === 'progress' ? `${event.doneBytes} ${event.files}` : event.type
    if (event.type !== 'progress' || now !== done) noteProgress(state, service)
    done = now
    try {
      appendFileSync(`${base}.ndjson`, `${JSON.stringify(event)}\n`)
    } catch {
      // Events are for `status` and progress alone: no fsync, and a full disk doesn't fail the run because of them.
    }
  }
}

/** The time of the file running/SERVICE.json is that of the run's latest progress. */
export function noteProgress(state: string, service: string): void {
  const now = new Date()
  try {
    utimesSync(fileOf(state, service), now, now)
  } catch {
    // The run has ended.
  }
}

/** When the run that is at work last made progress; null: none is at work. */
export async function lastProgress(state: string, service: string): Promise<Date | null> {
  return stat(fileOf(state, service)).then(
    ({ mtime }) => mtime,
    () => null,
  )
}

/** Before the first step: the clean-up of a killed run needs the plan. */
export async function recordPlan(state: string, service: string, plan: Plan): Promise<void> {
  await writeDurably(fileOf(state, service), withChecksum({ ...(await readRunningFile(state, service)), plan }))
}

/** At the end of a run. The file of events stays for those who still read it. */
export async function removeRunning(state: string, service: string): Promise<void> {
  // By our own thread: a test kills the run right here, and counts calls by thread.
  rmSync(fileOf(state, service), { force: true })
}

/** Renames a damaged file. Returns its new path. */
export async function setRunningAside(state: string, service: string): Promise<string> {
  const aside = asideName(fileOf(state, service))
  await rename(fileOf(state, service), aside)
  return aside
}

/** The run whose process has died before its end, or null. @throws Failure `state-damaged` */
export async function readKilledRun(state: string, service: string): Promise<Running | null> {
  const running = await readRunningFile(state, service)
  return running && !isAlive(running) ? running : null
}

/** The run whose process is alive (pid, start time and boot agree), or null. @throws Failure `state-damaged` */
export async function readRunning(state: string, service: string): Promise<Running | null> {
  const running = await readRunningFile(state, service)
  return running && isAlive(running) ? running : null
}

async function readRunningFile(state: string, service: string): Promise<Running | null> {
  const text = await readIfThere(fileOf(state, service))
  if (text === null) return null
  const running = parseWithChecksum(text) as Running | null
  if (running?.kind === 'backup' || running?.kind === 'restore') return running
  throw new Failure(
    'state-damaged',
    `${service}: ${fileOf(state, service)} is damaged, so what a killed run left behind is unknown; rename the file and clean up with: atelier-backup run --cleanup ${service}`,
  )
}

function fileOf(state: string, service: string): string {
  return `${statePath(state, 'running', service)}.json`
}

/** Whether the process runs: the same process, not another one that has its pid by now. */
export function isAlive({ pid, startTime, bootId }: Pick<Running, 'pid' | 'startTime' | 'bootId'>): boolean {
  try {
    const now = processIdentity(pid)
    return now.startTime === startTime && now.bootId === bootId
  } catch {
    return false
  }
}

/** @throws Error if there is no such process, or only a zombie */
export function processIdentity(pid: number): { startTime: string; bootId: string } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  // Fields 3 (state) and 22 (starttime), proc_pid_stat(5). The program's name in field 2 may hold spaces and parentheses: fields are counted from
  // the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') throw new Error(`process ${pid} is dead`)
  return { startTime: fields[19] ?? '', bootId }
}
