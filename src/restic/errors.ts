// restic's exit codes and last words as errors: what happened, and what to type next.
import { Failure } from '../errors.ts'
import type { Finished } from '../host/shell.ts'
import { oneLine, printable } from '../text.ts'
import { isMessage, parseLine } from './json.ts'

/** Which repository was asked. `location` is redacted; null: not known yet. */
export interface Asked {
  name: string
  passwordFile: string
  location: string | null
}

/** What a finished call that failed means. `parent` was given: its absence has a meaning of its own. */
export function failureOf(finished: Finished, { name, passwordFile, location }: Asked, parent?: string): Failure {
  const { exit, interrupted, stderr } = finished
  const where = `repository ${name}${location ? ` (${location})` : ''}`
  // 0.18 exits 1 when a backup is interrupted: we remember ourselves that we did it.
  if (interrupted || exit === 130 || exit === 143) return new Failure('interrupted', 'interrupted; restic ended and left no lock')
  const words = lastWords(stderr)
  if (exit === 10 || /repository does not exist: unable to open config file|Is there a repository at the following location/.test(words))
    return new Failure(
      'no-repository',
      `${where}: there is none; let the first backup create it (initialize = true), or: atelier-backup restic --repository ${name} -- init`,
    )
  if (exit === 11 || /repository is already locked/.test(words))
    return new Failure('locked', `${where} is locked${lockedBy(stderr)}; wait, or, if nothing runs there: atelier-backup unlock --repository ${name}`)
  if (exit === 12 || /wrong password or no key found/.test(words))
    return new Failure('wrong-password', `${where}: the password in ${passwordFile} doesn't open it`)
  if (parent !== undefined && /failed to load snapshot|no matching ID|invalid id/.test(words))
    return new Failure('parent-missing', `${where} doesn't hold the snapshot ${parent.slice(0, 8)}`)
  if (/failed to (load|find) snapshot|no matching ID found|invalid id|no snapshot found/.test(words))
    return new Failure('unknown-snapshot', `${where}: ${words}`)
  if (/unshare failed|mount: /.test(stderr)) return new Failure('mount-failed', `the private view for restic can't be made: ${words}`)
  if (/No space left on device/.test(stderr)) return new Failure('disk-full', `${where}: no space is left on the device (${words})`)
  if (
    /dial tcp|no such host|connection refused|i\/o timeout|server response unexpected|unable to open repository|Network is unreachable|connection reset|unable to open config file/i.test(
      stderr,
    )
  )
    return new Failure('repository-unreachable', `${where} can't be reached: ${words}`)
  return new Failure('restic-failed', `${where}: restic failed (exit code ${exit}): ${words || 'it said nothing'}`)
}

/** restic's own last error, on one line, without what must not be shown. */
function lastWords(stderr: string): string {
  const all = stderr.split('\n').filter((line) => line.trim() !== '')
  const said = all.map(parseLine).findLast((message) => isMessage(message, 'exit_error'))?.message
  const plain = all.filter((line) => !line.startsWith('{'))
  const fatal = plain.findLast((line) => /^(Fatal|error)/i.test(line)) ?? plain.at(-1) ?? ''
  return printable(redacted(oneLine(said ?? fatal).replace(/^Fatal: /, ''))).slice(0, 400)
}

/** ": by PID 12 on host by root, since 2026-11-23 02:10:00 (5m ago)". Source: restic's internal/restic/lock.go. */
function lockedBy(stderr: string): string {
  const text = stderr.replaceAll('\\n', '\n')
  const who = /by (PID \d+ on \S+)/.exec(text)?.[1]
  const since = /lock was created at ([^\n(]+)(\([^)]*\))?/.exec(text)
  return who ? ` by ${printable(who)}${since ? `, since ${since[1]?.trim().slice(0, 19)} ${since[2] ?? ''}`.trimEnd() : ''}` : ''
}

/** Credentials in URLs (rest:https://user:password@host/) are nobody's business. */
export function redacted(text: string): string {
  return text.replaceAll(/(\w:\/\/)[^/@\s]*@/g, '$1***@')
}
