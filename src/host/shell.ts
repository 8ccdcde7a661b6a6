// The only way to start a process, and to wait for it (by zx): environment from nothing, children that die with us, output as lines.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { ProcessOutput } from 'zx/core'
import { Failure } from '../errors.ts'

export interface ProcessOptions {
  /** The whole environment; nothing is inherited. Default: `plainEnvironment()`. */
  env?: Record<string, string>
  cwd?: string
  /** Written to standard input; without it standard input is /dev/null. */
  input?: string
  /** Aborted: SIGTERM, and SIGKILL after `graceSeconds`. */
  signal?: AbortSignal
  timeoutSeconds?: number
  /** How long a child may take to end after SIGTERM. Default 30 s: restic removes its lock, perhaps over a slow line. */
  graceSeconds?: number
  /** File descriptors that the child keeps open as 3, 4, …: a lock held on them lasts as long as the child. */
  inheritFds?: number[]
  /** Own process group: Ctrl-C at the terminal doesn't reach it, and the whole group is ended with it. */
  group?: boolean
  /** This terminal's standard streams. */
  terminal?: boolean
  /** Each line of standard output as it comes; it isn't kept then. Of a line beyond a million characters only its beginning. */
  onLine?: (line: string) => void
  onErrorLine?: (line: string) => void
  /** All of standard output so far, whenever it ends in a line's end: what reads it may begin while the program comes to its end. */
  onOutput?: (text: string) => void
  /** As soon as it runs; the program that is started in the end keeps this pid. */
  onStart?: (pid: number) => void
}

/** `exit` is 128 + signal where a signal ended the process. `stderr` holds the last 64 KiB. */
export interface ProcessResult {
  exit: number
  stdout: string
  stderr: string
  /** We ended it because `signal` was aborted. */
  interrupted: boolean
  timedOut: boolean
}

/**
 * Run a program to its end. Never throws on an exit code.
 * @throws Failure `missing-tool` if the program doesn't exist; `bad-argument` for a NUL in an argument; `too-much-output` beyond 256 MiB.
 */
export async function run(argv: string[], options: ProcessOptions = {}): Promise<ProcessResult> {
  const out: string[] = []
  let size = 0
  const keep = (text: string) => {
    size += text.length
    if (size <= mostOutput) out.push(text)
    if (options.onOutput && text.endsWith('\n') && size <= mostOutput) options.onOutput(out.join(''))
  }
  const { child, ended } = start(argv, options)
  const read = child.stdout ? readAll(child.stdout, options.onLine ? lineCutter(options.onLine) : keep) : undefined
  const finished = await ended
  await read
  if (size > mostOutput) throw new Failure('too-much-output', `${argv[0]} printed more than ${mostOutput} characters: that can't be its answer`)
  return { ...finished, stdout: out.join('') }
}

/**
 * Standard output line by line, at the reader's pace (memory stays flat). Leaving the loop early ends the process.
 * The return value is how the process ended.
 */
export async function* lines(argv: string[], options: ProcessOptions = {}): AsyncGenerator<string, ProcessResult> {
  const early = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, early.signal]) : early.signal
  const { child, ended } = start(argv, { ...options, signal })
  try {
    let ready: string[] = []
    const cut = lineCutter((line) => void ready.push(line))
    const decoder = new StringDecoder('utf8')
    for await (const chunk of child.stdout ?? []) {
      cut(decoder.write(chunk))
      yield* ready
      ready = []
    }
    cut(decoder.end(), true)
    yield* ready
    return await ended
  } finally {
    early.abort()
    await ended.catch(() => {})
  }
}

/** PATH, HOME and a neutral locale: what a program needs that is told everything else. */
export function plainEnvironment(): Record<string, string> {
  const { PATH = '/run/current-system/sw/bin:/usr/bin:/bin', HOME = '/root', TMPDIR } = process.env
  return { PATH, HOME, ...(TMPDIR ? { TMPDIR } : {}), LANG: 'C.UTF-8' }
}

function start(argv: string[], options: ProcessOptions): { child: ChildProcess; ended: Promise<ProcessResult> } {
  if (argv.some((argument) => argument.includes('\0'))) throw new Failure('bad-argument', `a NUL byte stands in an argument of ${argv[0]}`)
  options.signal?.throwIfAborted()
  const child = spawned(argv, options)
  if (child.pid !== undefined) options.onStart?.(child.pid)
  return { child, ended: finish(child, argv[0] ?? '', options) }
}

/** Killed outright, we take our children along: restic and hooks must not go on without us. */
function alongWithUs(argv: string[], { group }: ProcessOptions): string[] {
  const script = [
    // Killed before it asked to be told of that, we are not its parent any more.
    `[ "$PPID" = ${process.pid} ] || exit 143`,
    // A lost terminal is ours to judge: its SIGHUP reaches us, and those that we end get SIGTERM.
    ...(group ? [] : ["trap '' HUP"]),
    'exec "$@"',
  ].join('; ')
  return ['setpriv', '--pdeathsig', 'TERM', '--', '/bin/sh', '-c', script, 'sh', ...argv]
}

function spawned(argv: string[], options: ProcessOptions): ChildProcess {
  const [program = '', ...args] = options.terminal ? ['/bin/sh', '-c', 'exec "$@"', 'sh', ...argv] : alongWithUs(argv, options)
  try {
    // Not by zx, which would write all arguments into one for the shell: one alone holds 128 KiB at most, all of them together 2 MiB.
    const child = spawn(program, args, {
      cwd: options.cwd ?? '/',
      // SHLVL: without it bash takes a socket for a remote shell's and reads ~/.bashrc.
      env: { SHLVL: '1', ...(options.env ?? plainEnvironment()) },
      stdio: options.terminal ? 'inherit' : [options.input ? 'pipe' : 'ignore', 'pipe', 'pipe', ...(options.inheritFds ?? [])],
      detached: options.group ?? false,
    })
    // One that ends before it has read all: how it ended tells more.
    child.stdin?.on('error', () => {})
    return child
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'E2BIG') throw error
    throw new Failure('too-many-arguments', `${argv[0]} can't be started: its arguments are more than one command line takes`)
  }
}

async function finish(child: ChildProcess, program: string, options: ProcessOptions): Promise<ProcessResult> {
  let interrupted = false
  let timedOut = false
  let killer: NodeJS.Timeout | undefined
  // Not zx's kill: it needs `ps` on PATH.
  const send = (signal: NodeJS.Signals) => {
    const pid = child.pid
    // A group may outlive the process that leads it.
    if (pid === undefined || (!options.group && child.exitCode !== null)) return
    try {
      process.kill(options.group ? -pid : pid, signal)
    } catch {
      // It ended by itself in between.
    }
  }
  const end = () => {
    send('SIGTERM')
    killer ??= setTimeout(
      () => {
        send('SIGKILL')
        // A stranger that still holds its output (a daemon that left the group) isn't waited for.
        child.stdout?.destroy()
        child.stderr?.destroy()
      },
      (options.graceSeconds ?? 30) * 1000,
    )
  }
  const onAbort = () => {
    interrupted = true
    end()
  }
  options.signal?.addEventListener('abort', onAbort, { once: true })
  if (options.signal?.aborted) onAbort()
  const timer = options.timeoutSeconds
    ? setTimeout(() => {
        timedOut = true
        end()
      }, options.timeoutSeconds * 1000)
    : undefined
  let stderr = ''
  let unstarted: NodeJS.ErrnoException | null = null
  child.on('error', (error) => {
    unstarted = error
  })
  const onLine = (line: string) => {
    stderr = `${stderr}${line}\n`.slice(-65_536)
    options.onErrorLine?.(line)
  }
  const read = child.stderr ? readAll(child.stderr, lineCutter(onLine)) : undefined
  try {
    const output = await waitFor(child, options.input)
    await read
    if (unstarted) throw new Failure('failed', `${program} can't be started: ${(unstarted as NodeJS.ErrnoException).message}`, { cause: unstarted })
    const exit = output.exitCode ?? 128 + (signalNumbers[output.signal ?? 'SIGKILL'] ?? 9)
    if (exit === 127 && (stderr.includes(`${program}: not found`) || (options.terminal && !stderr)))
      throw new Failure('missing-tool', `${program} is not installed, or not on PATH`)
    return { exit, stdout: '', stderr, interrupted, timedOut }
  } finally {
    clearTimeout(timer)
    clearTimeout(killer)
    options.signal?.removeEventListener('abort', onAbort)
  }
}

/** By zx, which takes longer to load than many a program to end: it is loaded while the child works, and then told what that has missed. */
async function waitFor(child: ChildProcess, input: string | undefined): Promise<ProcessOutput> {
  const missed: [event: string, ...args: unknown[]][] = []
  const watches = ['error', 'exit', 'close'].map((event) => [event, (...args: unknown[]) => void missed.push([event, ...args])] as const)
  for (const [event, watch] of watches) child.on(event, watch)
  const { $ } = await import('zx/core')
  for (const [event, watch] of watches) child.off(event, watch)
  const promise = $({
    spawn: (() => child) as unknown as typeof spawn,
    nothrow: true,
    quiet: true,
    store: nothingKept(),
    ...(input ? { input } : {}),
  })`${child.spawnfile}`
  for (const [event, ...args] of missed) child.emit(event, ...args)
  return promise
}

const signalNumbers: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15 }

/** In characters: all that a call may print that isn't read line by line, and of one line. Memory stays bounded, whatever runs in a program's place. */
const mostOutput = 256 * 1024 * 1024
const longestLine = 1024 * 1024

type TextReader = (text: string, last?: boolean) => void

/** Lines end with \n alone: what else ends one for a terminal may stand in a file's name. */
function lineCutter(onLine: (line: string) => void): TextReader {
  let begun = ''
  return (text, last = false) => {
    for (let from = 0; ; ) {
      const to = text.indexOf('\n', from)
      const part = text.slice(from, to < 0 ? undefined : to)
      if (begun.length < longestLine) begun += part.slice(0, longestLine - begun.length)
      if (to < 0) break
      onLine(begun)
      begun = ''
      from = to + 1
    }
    if (last && begun !== '') onLine(begun)
  }
}

async function readAll(stream: Readable, read: TextReader): Promise<void> {
  const decoder = new StringDecoder('utf8')
  stream.on('data', (chunk: Buffer) => read(decoder.write(chunk)))
  // Destroyed, a stream doesn't end.
  await once(stream, 'close')
  read(decoder.end(), true)
}

/** zx keeps all output by default: 287 MB of memory for 100 MB of lines. */
function nothingKept() {
  const none = () => Object.assign([], { push: () => 0 })
  return { stdout: none(), stderr: none(), stdall: none() }
}
