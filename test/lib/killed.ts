// Killed outright right before any of the changes that a command makes to filesystems: strace tells them, and kills there.
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { cliFile, type Ended, start } from './cli.ts'
import { instead } from './live.ts'
import type { World } from './world.ts'

/** The nth call of a system call. */
export interface Change {
  call: string
  n: number
}
/** With the first path that it names, or "". */
export interface SeenChange extends Change {
  path: string
}

const changing = ['rename', 'link', 'unlink', 'mkdir', 'rmdir', 'chown', 'chmod'].flatMap((call) => [
  `?${call}`,
  `?${call === 'chown' ? 'fchown' : call}at`,
])

/** The changes that the CLI makes to filesystems, in their order, and how it ended. Not those of the programs that it starts. */
export async function changesOf(w: World, args: string[], env?: Record<string, string>): Promise<{ ended: Ended; changes: SeenChange[] }> {
  const ended = await traced(w, `--trace=fsync,${changing}`, w.path('trace'), args, env)
  const counts = new Map<string, number>()
  // strace counts a thread's calls, each thread's apart.
  const calls = [...readFileSync(w.path('trace'), 'utf8').matchAll(/^(\d+) +(\w+)\((?:[^"\n]*"([^"\n]*)")?/gm)]
  const changes = calls.map(([, thread = '', call = '', path = '']) => {
    const n = (counts.get(thread + call) ?? 0) + 1
    counts.set(thread + call, n)
    return { call, n, path }
  })
  return { ended, changes }
}

/** The CLI, killed right before this change. False if it ended before that. */
export async function killedAt(w: World, change: Change, args: string[], env?: Record<string, string>): Promise<boolean> {
  return (await traced(w, killing(change), '/dev/null', args, env)).exit === 137
}

/** As `killedAt`, and all that it has started is killed with it: without power nothing goes on. */
export async function powerlessAt(w: World, change: Change, args: string[]): Promise<boolean> {
  const { child, ended } = start(['setsid', ...tracing(killing(change), '/dev/null', args)], { env: tracedEnvironment(w) })
  child.once('exit', () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // No process of the group is left.
    }
  })
  return (await ended).exit === 137
}

/** When a program ends the process group that it was started in: before its work, amid or after it. */
export type Moment = 'before' | 'amid' | 'after'

/** The nth call of a program, or of one of its commands: "restic restore". */
export type Death = readonly [program: string, moment: Moment, n: number]

/**
 * The CLI in a process group of its own, which is killed at once, with all that it has started, at the nth call of one of its programs. False if it
 * ended before that.
 */
export async function groupKilledAt(w: World, [program, moment, n]: Death, args: string[], env: Record<string, string> = {}): Promise<boolean> {
  const calls = w.path('calls')
  rmSync(calls, { recursive: true, force: true })
  mkdirSync(calls)
  const deeds: Record<Moment, string> = {
    before: 'kill -KILL 0',
    amid: '"$real" "$@" & sleep 0.15; kill -KILL 0',
    after: '"$real" "$@"; kill -KILL 0',
  }
  const [name = '', command] = program.split(' ')
  const others = command === undefined ? '' : `[ "$1" = ${command} ] || exec "$real" "$@"\n`
  // Several may be called at once.
  const count = `i=1; until mkdir ${calls}/$i 2>/dev/null; do i=$((i + 1)); done; [ $i = ${n} ] || exec "$real" "$@"`
  const path = instead(w, env.PATH ?? w.env.PATH ?? process.env.PATH ?? '', name, `${others}${count}\n${deeds[moment]}`)
  const { exit } = await start(['setsid', process.execPath, cliFile, ...args], { env: { ...w.env, ...env, PATH: path } }).ended
  return exit === 137
}

function traced(w: World, what: string, to: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  return start(tracing(what, to, args), { env: { ...tracedEnvironment(w), ...env } }).ended
}

function killing({ call, n }: Change): string {
  return `--inject=${call}:signal=KILL:when=${n}`
}

/** Children leave the trace when they become another program. */
function tracing(what: string, to: string, args: string[]): string[] {
  return ['strace', '-f', '-qq', '-o', to, '--detach-on=execve', what, process.execPath, cliFile, ...args]
}

/** One thread, since strace counts for each. */
function tracedEnvironment(w: World): Record<string, string> {
  return { ...w.env, UV_THREADPOOL_SIZE: '1' }
}

/** A number that looks like chance, the same for the same seed. */
export function random(seed: number): number {
  return Math.abs(Math.imul(seed + 1, 2_654_435_761) >> 3)
}
