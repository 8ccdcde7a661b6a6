// The only place that starts processes, with zx: the environment is built from nothing, children end with us, output comes as lines.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { $, type ProcessPromise } from 'zx/core'
import { bytesOf, hasBytes, TextReader } from '../bytes.ts'
import { Failure } from '../errors.ts'

export interface ProcessOptions {
  /** The whole environment; nothing is inherited. Default: `plainEnvironment()`. */
  env?: Record<string, string>
  cwd?: string
  /** Written to standard input. Without it (or if it is empty) standard input is /dev/null. */
  input?: string
  /** Input and output are bytes, a character each. Default: UTF-8. */
  bytes?: boolean
  /** When it is aborted, the child gets SIGTERM, and SIGKILL after `graceSeconds`. */
  signal?: AbortSignal
  timeoutSeconds?: number
  /** How long the child may take to end after SIGTERM. Default 30 s: restic removes its lock, perhaps over a slow connection. */
  graceSeconds?: number
  /** The child inherits these file descriptors as 3, 4, …: a lock on one of them lasts as long as the child. */
  inheritFds?: number[]
  /** The child leads a process group of its own: Ctrl-C at the terminal doesn't reach it, and signals go to the whole group. */
  group?: boolean
  /** The child uses our standard streams. */
  terminal?: boolean
  /** Called with each line of standard output, which isn't kept then. A longer line is cut after `maxLineLength` characters. */
  onLine?: (line: string) => void
  onErrorLine?: (line: string) => void
  /** In characters: how much of standard output `run` takes; a program that prints more is ended. */
  maxOutputLength?: number
  /** Called as soon as the child runs. Each wrapper replaces itself by exec, so this is the pid of the program itself. */
  onStart?: (pid: number) => void
}

/** `exit` is 128 + signal if a signal ended the process. `stderr` holds the last 64 KiB. */
export interface ProcessResult {
  exit: number
  stdout: string
  stderr: string
  /** We ended the process because `signal` was aborted. */
  interrupted: boolean
  timedOut: boolean
}

/** In characters. They bound our memory, whatever program runs. */
const defaultOutputLength = 256 * 1024 * 1024
const maxLineLength = 1024 * 1024
const maxErrorLength = 64 * 1024

const signalNumbers: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15 }

/**
 * Run a program to its end. Never throws on an exit code.
 * @throws Failure `missing-tool` if the program doesn't exist; `bad-argument` for a NUL in an argument; `too-many-arguments`;
 * `too-much-output` beyond `maxOutputLength`; `failed` if the program can't be started.
 */
export async function run(argv: string[], options: ProcessOptions = {}): Promise<ProcessResult> {
  const { maxOutputLength = defaultOutputLength } = options
  const kept: string[] = []
  let length = 0
  const full = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, full.signal]) : full.signal
  const keep = (text: string) => {
    length += text.length
    if (length <= maxOutputLength) kept.push(text)
    else full.abort()
  }
  const { stdout, result } = start(argv, { ...options, signal })
  const reading = stdout ? readAll(stdout, options.onLine ? lineCutter(options.onLine) : keep, options.bytes ? 'latin1' : 'utf8') : undefined
  const finished = await result
  await reading
  if (length > maxOutputLength) throw new Failure('too-much-output', `${argv[0]} printed more than ${maxOutputLength} characters`)
  return { ...finished, stdout: kept.join('') }
}

/**
 * Standard output line by line. A slow reader slows the child down, so memory stays flat. Leaving the loop early ends the process.
 * The return value is how the process ended.
 */
export async function* lines(argv: string[], options: ProcessOptions = {}): AsyncGenerator<string, ProcessResult> {
  const leftEarly = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, leftEarly.signal]) : leftEarly.signal
  const { stdout, result } = start(argv, { ...options, signal })
  try {
    let ready: string[] = []
    const cut = lineCutter((line) => void ready.push(line))
    const reader = new TextReader()
    for await (const chunk of stdout ?? []) {
      cut(reader.write(chunk))
      yield* ready
      ready = []
    }
    cut(reader.end(), true)
    yield* ready
    return await result
  } finally {
    leftEarly.abort()
    await result.catch(() => {})
  }
}

/** PATH, HOME and a neutral locale: every other setting is passed to a program explicitly. */
export function plainEnvironment(): Record<string, string> {
  const { PATH = '/run/current-system/sw/bin:/usr/bin:/bin', HOME = '/root', TMPDIR } = process.env
  return { PATH, HOME, ...(TMPDIR ? { TMPDIR } : {}), LANG: 'C.UTF-8' }
}

function start(argv: string[], options: ProcessOptions): { stdout: Readable | null; result: Promise<ProcessResult> } {
  if (argv.some((argument) => argument.includes('\0'))) throw new Failure('bad-argument', `an argument of ${argv[0]} contains a NUL byte`)
  // Node's own error would quote the value, which may be a secret.
  const odd = Object.entries(options.env ?? {}).find(([, value]) => value.includes('\0'))
  if (odd) throw new Failure('bad-argument', `the variable ${odd[0]} for ${argv[0]} contains a NUL byte`)
  options.signal?.throwIfAborted()
  const running = startWithZx(argv, options)
  const { child } = running
  // A child may end before it has read its input. Its exit code then says more than our EPIPE.
  child?.stdin?.on('error', () => {})
  if (child?.pid !== undefined) options.onStart?.(child.pid)
  return { stdout: child?.stdout ?? null, result: resultOf(running, argv[0] ?? '', options) }
}

function startWithZx(argv: string[], options: ProcessOptions): ProcessPromise {
  const [program = '', ...args] = options.terminal ? viaShell(argv) : endingWithUs(argv, options)
  return $({
    ...zxSettings,
    // zx would join all arguments to one command line for a shell. A single argument can hold 128 KiB at most, all of them together 2 MiB.
    spawn: ((_line, _args, given) => spawn(program, args, { ...given, shell: false })) as typeof spawn,
    cwd: options.cwd ?? '/',
    // Without SHLVL bash takes a socket on standard input for a remote shell and reads ~/.bashrc.
    env: { SHLVL: '1', ...(options.env ?? plainEnvironment()) },
    stdio: options.terminal ? 'inherit' : [options.input ? 'pipe' : 'ignore', 'pipe', 'pipe', ...(options.inheritFds ?? [])],
    detached: options.group ?? false,
    store: discardingStore(),
    ...(options.input ? { input: options.bytes ? Buffer.from(options.input, 'latin1') : bytesOf(options.input) } : {}),
  })`${program}`
}

// zx reads defaults from ZX_* in our environment: each of them that zx still looks at is set here or per call.
const zxSettings = {
  nothrow: true,
  quiet: true,
  preferLocal: false,
  timeout: 0,
  // The command line that zx builds is only shown. Without bash on PATH zx has no way to quote it.
  shell: true,
  quote: String,
} as const

// The kill of zx runs `ps`, which may be missing on PATH. A negative pid is a process group.
$.kill = async (pid, signal) => void process.kill(Number(pid), signal)

/** If we are killed outright, our children end too: restic and hooks must not go on without us. */
function endingWithUs(argv: string[], { group }: ProcessOptions): string[] {
  const script = [
    // If we were killed before setpriv ran, the child has another parent by now and gets no signal.
    `[ "$PPID" = ${process.pid} ] || exit 143`,
    // When the terminal is lost, we get SIGHUP ourselves and decide which children end; those get SIGTERM.
    ...(group ? [] : ["trap '' HUP"]),
    'exec "$@"',
  ].join('; ')
  return ['setpriv', '--pdeathsig', 'TERM', '--', ...viaShell(argv, script)]
}

/** sh reports a missing program by exit code 127 and a message, also behind setpriv. */
function viaShell(argv: string[], script = 'exec "$@"'): string[] {
  if (!argv.some(hasBytes)) return ['/bin/sh', '-c', script, 'sh', ...argv]
  return ['/bin/sh', '-c', `${withBytes}\n${script}`, 'sh', ...argv.map((word) => (hasBytes(word) ? `%${octal(word)}` : `=${word}`))]
}

/**
 * Node can't give a program arguments that aren't UTF-8, and a shell can: here each argument comes with a mark before it, "%" if it is in octal.
 * The "." keeps the line breaks at its end, which $(…) would take away.
 */
const withBytes = `
  n=0 words=
  for word; do
    n=$((n + 1))
    case $word in
      %*) word=$(printf '%b.' "\${word#%}"); eval "word$n=\\\${word%.}"; words="$words \\"\\$word$n\\"" ;;
      *) words="$words \\"\\\${$n#=}\\"" ;;
    esac
  done
  eval "set -- $words"`

function octal(word: string): string {
  return [...bytesOf(word)].map((byte) => `\\0${byte.toString(8).padStart(3, '0')}`).join('')
}

async function resultOf(running: ProcessPromise, program: string, options: ProcessOptions): Promise<ProcessResult> {
  const { child } = running
  let interrupted = false
  let timedOut = false
  let killTimer: NodeJS.Timeout | undefined
  const send = (signal: NodeJS.Signals) => {
    if (child?.pid === undefined) return
    // Members of a group may outlive its leader. The pid of a single child that has ended may already belong to another process.
    if (!options.group && (child.exitCode !== null || child.signalCode !== null)) return
    // It fails if the process has ended by itself meanwhile.
    $.kill(options.group ? -child.pid : child.pid, signal).catch(() => {})
  }
  const terminate = () => {
    send('SIGTERM')
    killTimer ??= setTimeout(
      () => {
        send('SIGKILL')
        // A daemon that left the group may still hold the output open: we don't wait for it.
        child?.stdout?.destroy()
        child?.stderr?.destroy()
      },
      (options.graceSeconds ?? 30) * 1000,
    )
  }
  const onAbort = () => {
    interrupted = true
    terminate()
  }
  options.signal?.addEventListener('abort', onAbort, { once: true })
  // The signal may have been aborted while `onStart` ran.
  if (options.signal?.aborted) onAbort()
  const timer = options.timeoutSeconds
    ? setTimeout(() => {
        timedOut = true
        terminate()
      }, options.timeoutSeconds * 1000)
    : undefined
  let stderr = ''
  const onErrorLine = (line: string) => {
    stderr = `${stderr}${line}\n`.slice(-maxErrorLength)
    options.onErrorLine?.(line)
  }
  const reading = child?.stderr ? readAll(child.stderr, lineCutter(onErrorLine)) : undefined
  try {
    const output = await running
    await reading
    if (output.cause) throw notStarted(program, output.cause)
    const exit = output.exitCode ?? 128 + (signalNumbers[output.signal ?? 'SIGKILL'] ?? 9)
    if (exit === 127 && (stderr.includes(`${program}: not found`) || (options.terminal && !stderr)))
      throw new Failure('missing-tool', `${program} is not installed, or not on PATH`)
    return { exit, stdout: '', stderr, interrupted, timedOut }
  } finally {
    clearTimeout(timer)
    clearTimeout(killTimer)
    options.signal?.removeEventListener('abort', onAbort)
  }
}

function notStarted(program: string, error: NodeJS.ErrnoException): Failure {
  if (error.code === 'E2BIG')
    return new Failure('too-many-arguments', `${program} can't be started: its arguments are more than one command line takes`, { cause: error })
  return new Failure('failed', `${program} can't be started: ${error.message}`, { cause: error })
}

type OnText = (text: string, last?: boolean) => void

/** Only \n ends a line: all other line separators may be part of a file name. */
function lineCutter(onLine: (line: string) => void): OnText {
  let partial = ''
  return (text, last = false) => {
    for (let from = 0; ; ) {
      const to = text.indexOf('\n', from)
      const part = text.slice(from, to < 0 ? undefined : to)
      if (partial.length < maxLineLength) partial += part.slice(0, maxLineLength - partial.length)
      if (to < 0) break
      onLine(partial)
      partial = ''
      from = to + 1
    }
    if (last && partial !== '') onLine(partial)
  }
}

async function readAll(stream: Readable, read: OnText, encoding: BufferEncoding = 'utf8'): Promise<void> {
  const reader = encoding === 'utf8' ? new TextReader() : new StringDecoder(encoding)
  stream.on('data', (chunk: Buffer) => read(reader.write(chunk)))
  // A destroyed stream emits no `end`.
  await once(stream, 'close')
  read(reader.end(), true)
}

/** Without it zx keeps all output: 287 MB of memory for 100 MB of lines. */
function discardingStore() {
  const discard = () => Object.assign([], { push: () => 0 })
  return { stdout: discard(), stderr: discard(), stdall: discard() }
}
