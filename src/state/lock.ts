// One lock for each service, shared by run, restore, dr and adopt. It dies with its process, and children can hold it too.
import { closeSync, openSync } from 'node:fs'
import { Failure } from '../errors.ts'
import { run } from '../host/shell.ts'
import { statePath } from './install.ts'
import { readRunning } from './running.ts'

/** `fd`: hand it to children (`inheritFds`), and the lock lasts until the last of them has ended, even if we are killed. */
export interface Lock {
  fd: number
  release(): void
}

/** Does something to a repository that must not happen twice at once on this host: waits for whoever does it. */
export async function withRepositoryLock<T>(state: string, repository: string, work: (fd: number) => Promise<T>): Promise<T> {
  const fd = openSync(`${statePath(state, 'repositories', repository)}.lock`, 'a', 0o600)
  try {
    const { exit, stderr } = await run(['flock', '--exclusive', '3'], { inheritFds: [fd] })
    if (exit !== 0) throw new Failure('lock-failed', `repository ${repository}: the lock can't be taken: ${stderr.trim()}`)
    return await work(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Takes a service's lock, without waiting for another run. flock(2) belongs to the open file, not to the process: the short-lived `flock` locks
 * the file that we keep open.
 * @throws Failure `busy` (exit 11), which says what holds it.
 */
export async function lockService(state: string, service: string): Promise<Lock> {
  const fd = openSync(`${statePath(state, 'locks', service)}.lock`, 'a', 0o600)
  const release = () => closeSync(fd)
  try {
    const take = (...how: string[]) => run(['flock', ...how, '--exclusive', '3'], { inheritFds: [fd] })
    let { exit, stderr } = await take('--nonblock')
    const running = exit === 1 ? await readRunning(state, service).catch(() => null) : null
    // Children of one that was killed or interrupted: they end in a moment.
    if (exit === 1 && !running) ({ exit, stderr } = await take('--timeout', '2'))
    if (exit === 0) return { fd, release }
    if (exit !== 1) throw new Failure('lock-failed', `${service}: the lock can't be taken: ${stderr.trim()}`)
    const who = running ? `a ${running.kind} runs since ${running.started} (pid ${running.pid})` : 'another atelier-backup is at work'
    throw new Failure('busy', `${service}: ${who}; wait for it, or look with: atelier-backup status ${service}`, { exit: 11 })
  } catch (error) {
    release()
    throw error
  }
}
