// The restic processes that we started, as files repositories/NAME.lockers/PID. A killed restic leaves its lock in the repository: these files
// prove that the lock is ours to remove.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readdir, rm } from '../fs.ts'
import { readIfThere } from '../host/files.ts'
import { parseWithChecksum, withChecksum } from './checksum.ts'
import { statePath } from './install.ts'
import { isAlive, processIdentity } from './running.ts'

/** A restic process that we started: running or dead. */
export interface ResticProcess {
  pid: number
  startTime: string
  bootId: string
  /** ISO 8601. A lock of this process can't be older. */
  since: string
}

/**
 * Writes and removes the file of a process. An error is ignored: the backup goes on, and without its file the lock of a killed restic is not
 * removed, like one of another program.
 */
export function resticProcesses(state: string, repository: string): { started(pid: number): void; ended(pid: number): void } {
  const folder = folderOf(state, repository)
  return {
    started(pid) {
      try {
        const restic: ResticProcess = { pid, ...processIdentity(pid), since: new Date().toISOString() }
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        writeFileSync(join(folder, String(pid)), withChecksum(restic), { mode: 0o600, flush: true })
      } catch {
        // No permission, a full disk, or restic has ended already.
      }
    },
    ended(pid) {
      try {
        rmSync(join(folder, String(pid)), { force: true })
      } catch {
        // Something else is in the folder's place. A file that stays does no harm: its process is dead.
      }
    },
  }
}

/** Processes that were killed, and may have left a lock. */
export async function deadResticProcesses(state: string, repository: string): Promise<ResticProcess[]> {
  const folder = folderOf(state, repository)
  // A damaged file (half written before a power cut), and what is no file, is ignored: the lock isn't removed.
  const texts = await Promise.all((await readdir(folder).catch(() => [])).map((pid) => readIfThere(join(folder, pid)).catch(() => null)))
  const processes = texts.flatMap((text) => (text === null ? [] : ((parseWithChecksum(text) as ResticProcess | null) ?? [])))
  return processes.filter((restic) => Number.isInteger(restic.pid) && !isAlive(restic))
}

export async function forgetResticProcesses(state: string, repository: string, processes: ResticProcess[]): Promise<void> {
  for (const { pid } of processes) await rm(join(folderOf(state, repository), String(pid)), { force: true })
}

function folderOf(state: string, repository: string): string {
  return `${statePath(state, 'repositories', repository)}.lockers`
}
