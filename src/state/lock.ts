// flock(2) on a file for each service (run, restore, dr and adopt take it) and for each repository. The kernel releases it when the last
// process that has inherited the descriptor ends.
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { Failure } from '../errors.ts'
import { openOwn } from '../host/files.ts'
import { run } from '../host/shell.ts'
import { leftOf, takeOver } from './former.ts'
import { statePath } from './install.ts'
import { readRunning } from './running.ts'

/** `fd`: for the `inheritFds` of children. The lock lasts until the last of them has ended, even if we are killed. */
export interface Lock {
  fd: number
  release(): void
}

/** Does `work` while no other process of this host does such work on the repository; waits for it. `fd`: as in `Lock`. */
export function withRepositoryLock<T>(state: string, repository: string, work: (fd: number) => Promise<T>): Promise<T> {
  return withLock(`${statePath(state, 'repositories', repository)}.lock`, `repository ${repository}`, work)
}

/** Does `work` while no other process changes what is the whole install's; waits for it. */
export function withStateLock<T>(state: string, work: () => Promise<T>): Promise<T> {
  return withLock(join(state, 'install.lock'), 'the state folder', work)
}

/** Does `work` while no other process of this host loads databases: loads share a role. No service has a name with a dot in front. */
export function withLoadLock<T>(state: string, work: () => Promise<T>): Promise<T> {
  return withLock(join(state, 'locks', '.postgresql.lock'), 'PostgreSQL', work)
}

async function withLock<T>(file: string, what: string, work: (fd: number) => Promise<T>): Promise<T> {
  const fd = openOwn(file)
  try {
    const { exit, stderr } = await run(['flock', '--exclusive', '3'], { inheritFds: [fd] })
    if (exit !== 0) throw new Failure('lock-failed', `${what}: flock failed: ${stderr.trim()}`)
    return await work(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Takes a service's lock, without waiting for another run. flock(2) belongs to the open file, not to the process: flock(1) locks the descriptor
 * that it inherits from us, and we keep it open. What is known under the service's former names becomes its own: a run that is still at work under one
 * of them (it was started before the rename) holds that name's lock.
 * @throws Failure `busy` (exit 11), which names the run that holds it.
 */
export async function lockService(state: string, service: string, formerNames: string[] = []): Promise<Lock> {
  const lock = await lockName(state, service)
  try {
    for (const former of await leftOf(state, formerNames)) {
      if (former === service) continue
      const held = await lockName(state, former)
      try {
        await takeOver(state, service, former)
      } finally {
        held.release()
      }
    }
    return lock
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Takes over what is known under former names, as far as nothing is at work: for commands that only read. */
export async function takeOverFormer(state: string, services: Record<string, { formerNames: string[] }>): Promise<void> {
  for (const [name, { formerNames }] of Object.entries(services)) {
    if (formerNames.length === 0 || (await leftOf(state, formerNames)).length === 0) continue
    await lockService(state, name, formerNames).then(
      ({ release }) => release(),
      () => {},
    )
  }
}

async function lockName(state: string, service: string): Promise<Lock> {
  const fd = openOwn(`${statePath(state, 'locks', service)}.lock`)
  const release = () => closeSync(fd)
  try {
    const take = (...how: string[]) => run(['flock', ...how, '--exclusive', '3'], { inheritFds: [fd] })
    let { exit, stderr } = await take('--nonblock')
    const running = exit === 1 ? await readRunning(state, service).catch(() => null) : null
    // Children of a killed run still hold it, and end within two seconds.
    if (exit === 1 && !running) ({ exit, stderr } = await take('--timeout', '2'))
    if (exit === 0) return { fd, release }
    if (exit !== 1) throw new Failure('lock-failed', `${service}: flock failed: ${stderr.trim()}`)
    const who = running ? `a ${running.kind} has been running since ${running.started} (pid ${running.pid})` : 'another atelier-backup is running'
    throw new Failure('busy', `${service}: ${who}; wait for it, or see: atelier-backup status ${service}`, { exit: 11 })
  } catch (error) {
    release()
    throw error
  }
}
