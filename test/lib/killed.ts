// Killed outright right before any of the changes that a command makes to filesystems: strace tells them, and kills there.
import { readFileSync } from 'node:fs'
import { cliFile, type Ended, start } from './cli.ts'
import type { World } from './world.ts'

/** The nth call of a system call. */
export interface Change {
  call: string
  n: number
}

const changing = ['rename', 'link', 'unlink', 'mkdir', 'rmdir', 'chown', 'chmod'].flatMap((call) => [
  `?${call}`,
  `?${call === 'chown' ? 'fchown' : call}at`,
])

/** The changes that the CLI makes to filesystems, in their order, and how it ended. Not those of the programs that it starts. */
export async function changesOf(w: World, args: string[], env?: Record<string, string>): Promise<{ ended: Ended; changes: Change[] }> {
  const ended = await traced(w, `--trace=fsync,${changing}`, w.path('trace'), args, env)
  const counts = new Map<string, number>()
  // strace counts a thread's calls, each thread's apart.
  const calls = [...readFileSync(w.path('trace'), 'utf8').matchAll(/^(\d+) +(\w+)\(/gm)]
  const changes = calls.map(([, thread = '', call = '']) => {
    const n = (counts.get(thread + call) ?? 0) + 1
    counts.set(thread + call, n)
    return { call, n }
  })
  return { ended, changes }
}

/** The CLI, killed right before this change. False if it ended before that. */
export async function killedAt(w: World, { call, n }: Change, args: string[], env?: Record<string, string>): Promise<boolean> {
  return (await traced(w, `--inject=${call}:signal=KILL:when=${n}`, '/dev/null', args, env)).exit === 137
}

/** One thread, since strace counts for each; children leave the trace when they become another program. */
function traced(w: World, what: string, to: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  const argv = ['strace', '-f', '-qq', '-o', to, '--detach-on=execve', what, process.execPath, cliFile, ...args]
  return start(argv, { env: { ...w.env, UV_THREADPOOL_SIZE: '1', ...env } }).ended
}

/** A number that looks like chance, the same for the same seed. */
export function random(seed: number): number {
  return Math.abs(Math.imul(seed + 1, 2_654_435_761) >> 3)
}
