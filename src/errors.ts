// Every failure a user can meet: a fixed code, one clear line, an exit code.
import { oneLine } from './text.ts'

/** Exit code of each error code; a code that isn't named here is new and exits 1. Source: "Exit codes" in atelier-backup(1). */
const exits = {
  skipped: 0,
  failed: 1,
  usage: 2,
  'no-terminal': 2,
  'unknown-service': 2,
  'unknown-snapshot': 2,
  'unknown-path': 2,
  'target-exists': 2,
  partial: 3,
  'no-repository': 10,
  locked: 11,
  'wrong-password': 12,
  interrupted: 130,
} as const

/**
 * A failure with a fixed `code`. `message` says what happened, to which service, and what to do next, on one line.
 * Secrets never stand in it.
 */
export class Failure extends Error {
  readonly code: string
  readonly exit: number
  constructor(code: string, message: string, options?: { cause?: unknown; exit?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Failure'
    this.code = code
    this.exit = options?.exit ?? (exits as Record<string, number>)[code] ?? 1
  }
}

/** Whatever was thrown, as a Failure: unforeseen errors keep their message under the code `failed`. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const name = error instanceof Error ? error.name : ''
  if (name === 'AbortError' || name === 'ExitPromptError') return new Failure('interrupted', 'interrupted', { cause: error })
  const message = oneLine(error instanceof Error ? error.message : String(error))
  const { code = '', path } = (error ?? {}) as NodeJS.ErrnoException
  const [known = 'failed', remedy] = systemErrors[code] ?? []
  return new Failure(known, remedy ? `${remedy.replace('PATH', path ?? 'the disk')} (${message})` : message, { cause: error })
}

const systemErrors: Record<string, [code: string, remedy: string]> = {
  ENOSPC: ['disk-full', 'no space is left for PATH: make room, then run it again'],
  EDQUOT: ['disk-full', 'the quota leaves no space for PATH: make room, then run it again'],
  EROFS: ['read-only', 'PATH is on a filesystem that is mounted read-only: look why (dmesg), mount it writable, then run it again'],
}
