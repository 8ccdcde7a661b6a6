// What runs now: running/SERVICE.json says who, running/SERVICE.ndjson its events.
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import type { Event, Iso, Plan } from '../core.ts'
import { Failure } from '../errors.ts'
import { crypto } from '../host/crypto.ts'
import { asideName, clearUnfinished, readIfThere, writeDurably } from '../host/files.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'

export interface Running {
  run: string
  kind: 'backup' | 'restore'
  started: Iso
  pid: number
  /** Clock ticks since boot at which the process started, and the boot: a pid alone may be somebody else's by now. */
  startTime: string
  bootId: string
  /** As soon as it is made: `--cleanup` carries out what should always have happened. */
  plan?: Plan
}

/** Sorts by time, unique. */
export function newRunId(now: Date): string {
  return `${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${crypto().randomBytes(3).toString('hex')}`
}

/** Takes away what writes of a service's state left that were killed. Call it with the service's lock held. */
export async function clearState(state: string, service: string): Promise<void> {
  for (const place of ['running', 'records', 'journals'] as const) await clearUnfinished(`${statePath(state, place, service)}.json`)
}

/** Announces a run: what is left of this tells the next one that we didn't come to our end. Returns the writer of its events. */
export async function announce(state: string, service: string, about: Pick<Running, 'run' | 'kind' | 'started'>): Promise<(event: Event) => void> {
  await clearState(state, service)
  const base = statePath(state, 'running', service)
  const running: Running = { ...about, pid: process.pid, ...identity(process.pid) }
  writeFileSync(`${base}.ndjson`, '', { mode: 0o600 })
  await writeDurably(`${base}.json`, withChecksum(running))
  return (event) => {
    try {
      appendFileSync(`${base}.ndjson`, `${JSON.stringify(event)}\n`)
    } catch {
      // Events are for those who watch: they needn't outlive a power cut, and a full disk doesn't end the work for them.
    }
  }
}

/** Before its first step: what must be undone if we don't come to our end. */
export async function recordPlan(state: string, service: string, plan: Plan): Promise<void> {
  await writeDurably(fileOf(state, service), withChecksum({ ...(await readAnnounced(state, service)), plan }))
}

/** The run is over. Its events stay for those who still read them. */
export async function announceEnd(state: string, service: string): Promise<void> {
  await rm(fileOf(state, service), { force: true })
}

/** Sets a damaged file aside. Returns where to. */
export async function setRunningAside(state: string, service: string): Promise<string> {
  const aside = asideName(fileOf(state, service))
  await rename(fileOf(state, service), aside)
  return aside
}

/** What a run left behind that can't be running any more, or null. @throws Failure `state-damaged` */
export async function readLeftBehind(state: string, service: string): Promise<Running | null> {
  const running = await readAnnounced(state, service)
  return running && !isAlive(running) ? running : null
}

/** The run that is at work now, proved by pid, start time and boot, or null. @throws Failure `state-damaged` */
export async function readRunning(state: string, service: string): Promise<Running | null> {
  const running = await readAnnounced(state, service)
  return running && isAlive(running) ? running : null
}

async function readAnnounced(state: string, service: string): Promise<Running | null> {
  const text = await readIfThere(fileOf(state, service))
  if (text === null) return null
  const running = parseWithChecksum(text) as Running | null
  if (running?.kind === 'backup' || running?.kind === 'restore') return running
  throw new Failure(
    'state-damaged',
    `${service}: ${fileOf(state, service)} is damaged, and what a killed run has left can't be told; set it aside with: atelier-backup run --cleanup ${service}`,
  )
}

function fileOf(state: string, service: string): string {
  return `${statePath(state, 'running', service)}.json`
}

/** Whether a process that was noted with its identity still runs. */
export function isAlive({ pid, startTime, bootId }: Pick<Running, 'pid' | 'startTime' | 'bootId'>): boolean {
  try {
    const now = identity(pid)
    return now.startTime === startTime && now.bootId === bootId
  } catch {
    return false
  }
}

/** @throws if there is no such process, or only what its parent hasn't buried yet */
export function identity(pid: number): { startTime: string; bootId: string } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  // Fields 3 and 22, proc_pid_stat(5); the name in field 2 may hold anything, so count from its last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') throw new Error(`process ${pid} is dead`)
  return { startTime: fields[19] ?? '', bootId }
}
