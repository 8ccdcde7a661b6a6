// Which restics of ours may hold a lock in a repository: repositories/NAME.lockers/PID, gone when they end by themselves.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readIfThere } from '../host/files.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'
import { identity, isAlive } from './running.ts'

/** A restic that we started; alive or not. */
export interface ResticProcess {
  pid: number
  startTime: string
  bootId: string
  /** ISO 8601: no lock of its can be older. */
  since: string
}

/** Keeps the notes. What can't be noted is no reason to stop: its lock then counts as a stranger's. */
export function resticProcesses(state: string, repository: string): { started(pid: number): void; ended(pid: number): void } {
  const folder = folderOf(state, repository)
  return {
    started(pid) {
      try {
        const locker: ResticProcess = { pid, ...identity(pid), since: new Date().toISOString() }
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        writeFileSync(join(folder, String(pid)), withChecksum(locker), { mode: 0o600, flush: true })
      } catch {
        // A user without the rights, a full disk, a restic that is done already.
      }
    },
    ended(pid) {
      try {
        rmSync(join(folder, String(pid)), { force: true })
      } catch {
        // What stands in the folder's place. A note that is left tells of no lock that is alive.
      }
    },
  }
}

/** Those that are dead and may have left their lock. */
export async function deadResticProcesses(state: string, repository: string): Promise<ResticProcess[]> {
  const folder = folderOf(state, repository)
  const texts = await Promise.all((await readdir(folder).catch(() => [])).map((pid) => readIfThere(join(folder, pid))))
  // A crash may have left half of one: its lock counts as a stranger's.
  const lockers = texts.flatMap((text) => (text === null ? [] : ((parseWithChecksum(text) as ResticProcess | null) ?? [])))
  return lockers.filter((locker) => Number.isInteger(locker.pid) && !isAlive(locker))
}

export async function forgetResticProcesses(state: string, repository: string, lockers: ResticProcess[]): Promise<void> {
  for (const { pid } of lockers) await rm(join(folderOf(state, repository), String(pid)), { force: true })
}

function folderOf(state: string, repository: string): string {
  return `${statePath(state, 'repositories', repository)}.lockers`
}
