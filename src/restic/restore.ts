// restic restore.
import { join } from 'node:path'
import { printable } from '../text.ts'
import type { Caller } from './call.ts'
import { failure, redacted } from './errors.ts'
import { isMessage, parseLine, restoreProgressOf } from './json.ts'
import { escapePattern } from './patterns.ts'
import type { Restic, Restored, RestoreSummary } from './types.ts'

/** Bytes of patterns in one call. The kernel takes 2 MiB for arguments and environment together. */
const maxPatternBytes = 100_000

/** In bytes: of a path that the kernel takes. */
export const longestPath = 4095

export function restoreCalls(caller: Caller): Pick<Restic, 'restore'> {
  const { repository, retryLock } = caller
  return {
    async restore({ snapshot, target, include, onProgress, ...options }) {
      const total: Restored = { files: 0, bytes: 0, tooLong: null }
      for (const patterns of inBatches(include.map(escapePattern))) {
        const errors: string[] = []
        let others = 0
        const batch: RestoreSummary = { files: 0, bytes: 0 }
        const includes = patterns.map((pattern) => `--include=${pattern}`)
        const call = (lock: string[]) =>
          caller.finish(['restore', '--json', '--sparse', '--target', target, ...includes, ...lock, '--', snapshot], options, {
            onLine(line) {
              const message = parseLine(line)
              if (isMessage(message, 'status')) onProgress?.(restoreProgressOf(message))
              if (isMessage(message, 'summary')) Object.assign(batch, { files: message.total_files ?? 0, bytes: message.total_bytes ?? 0 })
            },
            onErrorLine(line) {
              const message = parseLine(line)
              if (!isMessage(message, 'error')) return
              const item = message.item ?? ''
              const why = message.error?.message ?? ''
              errors.push(`${item}: ${why}`)
              // A name of more than 255 bytes is too long anywhere.
              if (!why.endsWith('file name too long') || Buffer.byteLength(join(target, item)) <= longestPath) others++
            },
          })
        let result = await call((await caller.isReadOnly()) ? ['--no-lock'] : retryLock)
        // A read-only server refuses the lock. Without one the restore still works, and fails if a prune removes its data meanwhile.
        if (result.exit === 1 && /unable to create lock.*\b(403|forbidden)\b/is.test(result.stderr)) result = await call(['--no-lock'])
        total.files += batch.files
        total.bytes += batch.bytes
        if (result.exit === 0) continue
        const [first] = errors
        if (result.interrupted || first === undefined) throw caller.failureOf(result, options)
        const text = `restoring snapshot ${snapshot.slice(0, 8)} below ${target} met ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}, the first at ${first}`
        const code = first.includes('no space left on device') ? 'disk-full' : 'restic-failed'
        const failed = failure(code, repository, printable(redacted(text, repository.secrets)))
        if (others > 0) throw failed
        total.tooLong ??= failed
      }
      return total
    },
  }
}

/** Patterns as arguments, for one call or several: a file of patterns could not be written on a full disk. No pattern: one batch without any. */
function inBatches(patterns: string[]): string[][] {
  const batches: string[][] = [[]]
  let size = 0
  for (const pattern of patterns) {
    const bytes = Buffer.byteLength(pattern) + 16
    size += bytes
    if (size > maxPatternBytes && batches.at(-1)?.length) {
      batches.push([])
      size = bytes
    }
    batches.at(-1)?.push(pattern)
  }
  return batches
}
