// What runs and what is mounted while a test looks: processes of a world, a restic that waits, databases that are written to.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Event } from '../../src/core.ts'
import { cliFile, type Ended, start } from './cli.ts'
import type { World } from './world.ts'

export interface Living {
  pid: number
  argv: string[]
  environment: string
}

/** Processes that this world's folder is named to, in their arguments or their environment; not those that are only waited for. */
export function living({ root }: World): Living[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return []
    try {
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      return argv.length > 0 && [...argv, environment].some((text) => text.includes(root)) ? [{ pid: Number(pid), argv, environment }] : []
    } catch {
      return []
    }
  })
}

/** Whether a process and all that it started wait: no thread runs, wants to run, or waits for a disk. */
export function isWaiting(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      const task = `/proc/${pid}/task/${thread}`
      // The state follows the program's name, which may hold anything.
      const [state = ''] = readFileSync(`${task}/stat`, 'utf8').replace(/^.*\) /s, '')
      if (state === 'R' || state === 'D') return false
      const children = readFileSync(`${task}/children`, 'utf8').split(' ').filter(Boolean)
      return children.every((child) => isWaiting(Number(child)))
    })
  } catch {
    // A thread that ended meanwhile did something.
    return false
  }
}

/** Mount points below a folder, in whichever process's namespace. */
export function mountedAnywhere(folder: string): string[] {
  const found = readdirSync('/proc').flatMap((pid) => {
    try {
      return /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n') : []
    } catch {
      return []
    }
  })
  return [...new Set(found.map((line) => line.split(' ')[4] ?? '').filter((point) => point.startsWith(folder)))]
}

/** Until `look` finds something; gives that. */
export async function until<T>(look: () => T, what = look.toString(), seconds = 60): Promise<NonNullable<T>> {
  for (const end = performance.now() + seconds * 1000; performance.now() < end; await sleep(5)) {
    const found = look()
    if (found) return found
  }
  throw new Error(`${seconds} s went by without: ${what}`)
}

/** Until nobody of this world lives, and nothing of it is mounted: the dying let go of their mounts after their arguments. */
export async function nobodyLives(w: World): Promise<void> {
  await until(() => living(w).length === 0, `nobody lives: ${JSON.stringify(living(w).map(({ argv }) => argv))}`)
  await until(() => mountedAnywhere(w.root).length === 0, `nothing is mounted: ${mountedAnywhere(w.root)}`)
}

/**
 * A restic before the real one on PATH. `shell` runs first, with `$command` (backup, tag …) set and $real naming the program it
 * becomes: it can wait, or change the world in between.
 */
export function resticBefore(w: World, shell: string): { env: { PATH: string } } {
  const real = output(['sh', '-c', 'command -v restic'])
  const file = w.write('bin/restic', `#!/bin/bash\ncommand=$1 real=${real}\n${shell}\nexec "$real" "$@"\n`)
  chmodSync(file, 0o755)
  return { env: { PATH: `${w.path('bin')}:${process.env.PATH}` } }
}

/** A PATH on which `program` is what is given, for other users, too; `$real` names the one that comes first on `path`. */
export function instead(w: World, path: string, program: string, script: string): string {
  const folder = w.path(`instead-${program}-${createHash('sha256').update(script).digest('hex').slice(0, 8)}`)
  const real = output(['bash', '-c', `PATH=${path}; command -v ${program}`])
  chmodSync(w.write(`${folder.slice(w.root.length + 1)}/${program}`, `#!/bin/bash\nreal=${real}\n${script}\n`), 0o755)
  for (const open of [w.root, folder]) chmodSync(open, 0o755)
  return `${folder}:${path}`
}

/** A restic that stops before it saves, until `go`. */
export function waitingRestic(w: World): { env: { PATH: string }; waits(): Promise<number>; go(): void } {
  const reached = w.path('bin/reached')
  const may = w.path('bin/may')
  const { env } = resticBefore(w, `if [ "$command" = backup ]; then echo $$ >${reached}; while [ ! -e ${may} ]; do sleep 0.1; done; fi`)
  return {
    env,
    waits: async () => {
      await until(() => existsSync(reached) && readFileSync(reached, 'utf8').endsWith('\n'), 'restic is started')
      return Number(readFileSync(reached, 'utf8'))
    },
    go: () => writeFileSync(may, ''),
  }
}

/** What a command prints; throws where it fails. */
export function output([program = '', ...args]: string[], input = ''): string {
  return execFileSync(program, args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] }).trim()
}

/** Runs shell commands where mounts are private and end with them; the CLI is `$cli` there, to be left unquoted. */
export function withMounts(w: World, commands: string, env: Record<string, string> = {}): Promise<Ended> {
  const cli = `${process.execPath} ${cliFile}`
  return start(['unshare', '--mount', '--propagation', 'private', 'bash', '-c', commands], { env: { ...w.env, cli, ...env } }).ended
}

export function sql(database: string, statements: string): string {
  return output(['sqlite3', '-batch', '-init', '/dev/null', database], `.timeout 10000\n${statements}`)
}

export interface Writer {
  child: ChildProcess
  /** The newest number of which both rows are committed. */
  committed(): number
  /** What was committed between two times (ms since the epoch), and the longest wait for a commit in there. */
  between(from: number, to: number): { commits: number; worst: number }
  end(): Promise<void>
}

/** A process that commits numbers to a database all the time, each into the tables `a` and `b` together, as an application does. */
export async function writer(database: string, { mode = 'wal', perTick = 2 } = {}): Promise<Writer> {
  sql(
    database,
    `PRAGMA journal_mode=${mode}; CREATE TABLE IF NOT EXISTS a(n INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS b(n INTEGER PRIMARY KEY);`,
  )
  const argv = ['sqlite3', '-batch', '-init', '/dev/null', database]
  return committer(argv, 'BEGIN IMMEDIATE', perTick, '.timeout 60000\nPRAGMA synchronous=OFF;\n')
}

/** The same by any program that takes SQL on standard input and prints what is selected. */
export async function committer(argv: string[], begin: string, perTick = 2, first = ''): Promise<Writer> {
  const [program = '', ...args] = argv
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const times: number[] = []
  let last = 0
  let next = 0
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    last = Math.max(last, ...text.split('\n').map(Number))
    times.push(Date.now())
  })
  child.stdin?.on('error', () => {}).write(first)
  const begun = performance.now()
  const timer = setInterval(() => {
    // As many as the time asks for, since a busy machine leaves ticks out; but no queue that only grows.
    const due = ((performance.now() - begun) / 5) * perTick
    while (next < due && next - last < 100) {
      next += 1
      child.stdin?.write(`${begin}; INSERT INTO a VALUES(${next}); INSERT INTO b VALUES(${next}); COMMIT; SELECT ${next};\n`)
    }
  }, 5)
  await until(() => last > 20, 'the writer writes')
  return {
    child,
    committed: () => last,
    between: (from, to) => {
      const within = times.filter((time) => time > from && time < to)
      const waits = [...within, to].map((time, i) => time - (within[i - 1] ?? from))
      return { commits: within.length, worst: Math.max(...waits) }
    },
    end: async () => {
      clearInterval(timer)
      const closed = new Promise((resolve) => child.on('close', resolve))
      child.stdin?.end(argv[0] === 'sqlite3' ? '.quit\n' : '')
      await closed
    },
  }
}

/** When a step of a run began and ended, by its events: ms since the epoch. */
export function timesOf(events: Event[], kind: string): { begun: number; done: number } {
  const at = (state: string) => Date.parse(events.find((event) => event.type === 'step' && event.do === kind && event.state === state)?.time ?? '')
  return { begun: at('begun'), done: at('done') }
}

/**
 * A program slowed down, so that what happens meanwhile shows: each of its calls of `call` takes some milliseconds more. `times` gives when the first
 * began and the last did: ms since the epoch.
 */
export function slowly(
  w: World,
  path: string,
  program: string,
  call: string,
  ms: number,
): { path: string; times(): { begun: number; done: number } } {
  const trace = w.write(`trace-${program}`, '')
  chmodSync(trace, 0o666)
  const script = `exec strace -D -f -qq -ttt -A -o ${trace} --trace=${call} --inject=${call}:delay_exit=${ms}ms "$real" "$@"`
  return {
    path: instead(w, path, program, script),
    times() {
      const calls = [...readFileSync(trace, 'utf8').matchAll(/^\d+ +(\d+\.\d+) /gm)].map(([, seconds]) => Number(seconds) * 1000)
      return { begun: calls[0] ?? Number.NaN, done: calls.at(-1) ?? Number.NaN }
    },
  }
}
