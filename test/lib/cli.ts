// The built CLI as a user starts it: a process, its exit code, what it printed.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Event } from '../../src/core.ts'

export const cliFile = process.env.ATELIER_TEST_CLI ?? fileURLToPath(new URL('../../dist/atelier-backup.cjs', import.meta.url))

export interface StartOptions {
  /** Beside PATH, HOME and LANG, which are all that is inherited. */
  env?: Record<string, string>
  /** Standard input; without it, its end at once. */
  input?: string
  cwd?: string
}

export interface Ended {
  /** 128 + signal where a signal ended it. */
  exit: number
  stdout: string
  stderr: string
  /** Standard output as one JSON value. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it with matchers.
  json(): any
  /** Standard output as JSON lines. */
  events(): Event[]
}

/** Run the CLI to its end. */
export function cli(args: string[], options: StartOptions = {}): Promise<Ended> {
  return startCli(args, options).ended
}

/** Start the CLI: to signal it, or to do something meanwhile. */
export function startCli(args: string[], options: StartOptions = {}): { child: ChildProcessWithoutNullStreams; ended: Promise<Ended> } {
  return start([process.execPath, cliFile, ...args], options)
}

/** Start any program, in the same way. */
export function start(
  [program = '', ...args]: string[],
  { env, input, cwd }: StartOptions = {},
): { child: ChildProcessWithoutNullStreams; ended: Promise<Ended> } {
  const child = spawn(program, args, { env: testEnvironment(env), cwd })
  // Whether a child reads its input is its own business.
  child.stdin.on('error', () => {}).end(input)
  return { child, ended: ended(child) }
}

export function testEnvironment(env: Record<string, string> = {}): Record<string, string> {
  const { PATH = '', HOME = '/root' } = process.env
  return { PATH, HOME, LANG: 'C.UTF-8', ...env }
}

const signals: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGPIPE: 13, SIGTERM: 15 }

async function ended(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const exit = new Promise<number>((resolve, reject) => {
    child.on('error', reject).on('close', (code, signal) => resolve(code ?? 128 + (signals[signal ?? ''] ?? 0)))
  })
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return {
    exit: await exit,
    stdout,
    stderr,
    json: () => JSON.parse(stdout),
    events: () =>
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
  }
}
