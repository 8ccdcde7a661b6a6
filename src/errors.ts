// Failures that users see: a fixed code, a message of one line, an exit code.
import { oneLine, withShortPaths } from './text.ts'

/** All codes with their exit codes. Their meaning and remedies are in scripts/docs/errors.ts, from which the manual is generated. */
export const exits = {
  skipped: 0,
  'append-only': 1,
  'bad-argument': 1,
  'carry-failed': 1,
  'conditions-unmet': 1,
  'copy-failed': 1,
  'data-missing': 1,
  'disk-full': 1,
  excluded: 1,
  'bad-pattern': 1,
  'postgres-rights': 1,
  'server-files': 1,
  'server-too-old': 1,
  'no-dump': 1,
  'foreign-dump': 1,
  'dump-damaged': 1,
  failed: 1,
  'flush-failed': 1,
  'health-skipped': 1,
  'hook-failed': 1,
  'hook-timeout': 1,
  stalled: 1,
  'in-use': 1,
  'journal-damaged': 1,
  killed: 1,
  'link-loop': 1,
  'lock-failed': 1,
  'manifest-invalid': 1,
  'manifest-missing': 1,
  'manifest-not-stored': 1,
  'manifest-unreadable': 1,
  'masked-unit': 1,
  'missing-path': 1,
  'missing-tool': 1,
  'mount-point': 1,
  'needs-root': 1,
  'no-manifest': 1,
  'not-found': 1,
  'not-given': 1,
  'no-space': 1,
  'no-systemd': 1,
  'not-a-folder': 1,
  'not-carried': 1,
  'not-declared': 1,
  'not-mounted': 1,
  'not-started': 1,
  'nothing-to-resume': 2,
  'nothing-to-roll-back': 2,
  'nothing-to-save': 1,
  'old-data-missing': 1,
  'only-partial': 1,
  'other-repository': 1,
  'parent-missing': 1,
  'postgres-client': 1,
  'postgres-failed': 1,
  'postgres-missing': 1,
  'postgres-unreachable': 1,
  protected: 1,
  'read-only': 1,
  'record-damaged': 1,
  'record-failed': 1,
  'refuses-manual': 1,
  'remove-failed': 1,
  'repository-inside': 1,
  'repository-unreachable': 1,
  'restic-failed': 1,
  'restic-garbled': 1,
  'restic-missing': 1,
  'restic-too-old': 1,
  'restore-lacks': 1,
  'secrets-unreadable': 1,
  shrunk: 1,
  'special-files': 1,
  'sqlite-corrupt': 1,
  'sqlite-failed': 1,
  'sqlite-locked': 1,
  'sqlite-other-name': 1,
  'sqlite-not-a-database': 1,
  'sqlite-replaced': 1,
  'sqlite-unchecked': 1,
  'staging-unsafe': 1,
  'start-failed': 1,
  'state-damaged': 1,
  'state-inside': 1,
  'stop-failed': 1,
  'stops-itself': 1,
  'systemd-failed': 1,
  'tag-failed': 1,
  'too-many-arguments': 1,
  'too-much-output': 1,
  'undo-failed': 1,
  unadopted: 4,
  'unfinished-restore': 1,
  'unit-failed': 1,
  'unknown-repository': 2,
  'unsafe-path': 1,
  'unknown-unit': 1,
  unreadable: 1,
  'view-failed': 1,
  waits: 1,
  'would-empty': 1,
  'no-terminal': 2,
  'target-exists': 2,
  'unknown-path': 2,
  'unknown-host': 2,
  'unknown-service': 2,
  'unknown-snapshot': 2,
  usage: 2,
  'no-repository': 10,
  busy: 11,
  locked: 11,
  'wrong-password': 12,
  declined: 130,
  interrupted: 130,
  left: 130,
}
export type Code = keyof typeof exits

/**
 * A failure with a fixed `code`. `message` says what happened, to which service, and what to do next, on one line.
 * It never contains a secret.
 */
export class Failure extends Error {
  readonly code: Code
  readonly exit: number
  constructor(code: Code, message: string, options?: { cause?: unknown; exit?: number }) {
    super(withShortPaths(message), options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Failure'
    this.code = code
    this.exit = options?.exit ?? exits[code]
  }
}

export function hasCode(error: unknown, code: Code): boolean {
  return error instanceof Failure && error.code === code
}

/** Any error as a Failure: an unexpected one keeps its message, with the code `failed`. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const name = error instanceof Error ? error.name : ''
  if (name === 'AbortError' || name === 'ExitPromptError') return new Failure('interrupted', 'interrupted', { cause: error })
  const message = oneLine(error instanceof Error ? error.message : String(error))
  const { code = '', path } = (error ?? {}) as NodeJS.ErrnoException
  const [known = 'failed', remedy] = systemErrors[code] ?? []
  return new Failure(known, remedy ? `${remedy.replace('PATH', path ?? 'the disk')} (${message})` : message, { cause: error })
}

const systemErrors: Record<string, [code: Code, remedy: string]> = {
  ENOSPC: ['disk-full', 'no space is left on the filesystem of PATH: make room, then run the command again'],
  EDQUOT: ['disk-full', 'the disk quota for PATH is reached: make room or raise the quota, then run the command again'],
  EXDEV: [
    'mount-point',
    "the old and the new data are on two filesystems (a subvolume, an overlay?), so they can't be exchanged: restore without --in-place",
  ],
  EROFS: ['read-only', 'PATH is on a filesystem that is mounted read-only: see dmesg for the reason, mount it writable, then run the command again'],
}
