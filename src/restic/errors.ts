// restic's exit codes and last words as errors: what happened, and what to type next.
import { type Code, Failure } from '../errors.ts'
import type { ProcessResult } from '../host/shell.ts'
import { oneLine, printable } from '../text.ts'
import { isMessage, parseLine } from './json.ts'

/** Which repository was asked. `passwordFile`: null where a person gave the password. `location` is redacted; null: not known yet. `secrets` are never shown. */
export interface RepositoryRef {
  name: string
  passwordFile: string | null
  location: string | null
  secrets: string[]
}

/** What a finished call that failed means. `reason`: why we interrupted it. `parent` was given: its absence has a meaning of its own. */
export function failureOf(
  finished: ProcessResult,
  asked: RepositoryRef,
  { reason, parent }: { reason?: unknown; parent?: string | undefined } = {},
): Failure {
  const { exit, interrupted, stderr } = finished
  const words = redacted(lastWords(stderr), asked.secrets)
  if (interrupted && isTimeout(reason))
    return failure('repository-unreachable', asked, `no answer in time${redacted(lastTry(stderr), asked.secrets)}`)
  // 0.18 exits 1 when a backup is interrupted: we remember ourselves that we did it, or restic says so.
  if (interrupted || exit === 130 || /signal \w+ received, cleaning up/.test(stderr)) return interruption(exit)
  const code =
    codes[exit] ?? (parent !== undefined && missingSnapshot.test(words) ? 'parent-missing' : said.find(([, pattern]) => pattern.test(words))?.[0])
  return failure(code ?? 'restic-failed', asked, explain(code, { words, exit, stderr, asked, parent }))
}

/** Every failure of a repository begins alike: which one, and where it is. */
export function failure(code: Code, { name, location }: RepositoryRef, text: string, cause?: unknown): Failure {
  return new Failure(code, `repository ${name}${location === null ? '' : ` (${location})`}: ${text}`, cause === undefined ? undefined : { cause })
}

/** A call that was aborted before restic started. */
export function interruption(exit = 130): Failure {
  const killed = exit === 137 ? '; restic had to be killed: if it left a lock, type: atelier-backup unlock' : ''
  return new Failure('interrupted', `interrupted${killed}`)
}

export function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === 'TimeoutError'
}

/** Credentials in URLs (rest:https://user:password@host/) and in the environment file are nobody's business. */
export function redacted(text: string, secrets: string[]): string {
  // A name without a password may be a token, where it isn't that of an account on an SSH server.
  const plain = text
    .replaceAll(/(:\/\/[^:/@\s]*):[^/\s]*@/g, '$1:***@')
    .replaceAll(/(https?:\/\/)[^:/@\s]+@/gi, '$1***@')
    .replaceAll(/(invalid URL escape) "[^"]*"/g, '$1')
  // Longest first: of one that holds another nothing may be left.
  return secrets.toSorted((a, b) => b.length - a.length).reduce((shown, secret) => shown.replaceAll(secret, '***'), plain)
}

/** What must never be shown: the values of variables whose names say so, and the password within the location; percent-encoded or not. */
export function secretsOf(location: string, variables: Record<string, string>): string[] {
  const values = Object.entries(variables).flatMap(([name, value]) => (/PASS|SECRET|KEY|TOKEN|AUTH|CREDENTIAL|SAS/.test(name) ? [value] : []))
  const password = passwordIn(location)
  // rclone's connection strings: "remote,user=u,pass=p:path".
  const named = [...location.matchAll(/[,:]\w*(?:pass|secret|key|token)\w*=("(?:[^"]|"")*"|[^,:]*)/gi)].flatMap(([, value = '']) => [
    value,
    value.replaceAll('"', ''),
  ])
  // Of one with a slash or the like that should have been encoded restic shows a part alone, as what it takes for a port.
  const token = /https?:\/\/([^:/@\s]+)@/i.exec(location)?.[1] ?? ''
  const found = [...values, ...named, token, password, ...password.split(/[/?#]/)].flatMap((secret) => [
    secret,
    decoded(secret),
    encodeURIComponent(decoded(secret)),
  ])
  // Shorter ones stand in ordinary words, and would garble them.
  return [...new Set(found)].filter((secret) => secret.length >= 4)
}

/** Up to the last @ before what ends a URL's authority; or, if there is none, to the last one at all. A port isn't one. */
function passwordIn(location: string): string {
  const [, well, badly = ''] = /:\/\/[^:/@\s[]*:(?:([^/?#\s]*)@|(?!\d+\/)(\S*)@)/.exec(location) ?? []
  return well ?? badly
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Source: "Exit codes" in restic's doc/075_scripting.rst; since 0.17. */
const codes: Record<number, Code> = { 10: 'no-repository', 11: 'locked', 12: 'wrong-password' }

const missingSnapshot = /failed to (load|find) snapshot.*(no such file|not exist|not found|404)|no matching ID|invalid id/i

/** Exit 1 says nothing: the words decide, the first that fits. */
const said: [code: Code, pattern: RegExp][] = [
  ['restic-failed', /already (exists|initialized)/],
  [
    'repository-unreachable',
    /unable to open (repository|config)|dial tcp|no such host|connection (refused|reset)|i\/o timeout|server response unexpected|network is unreachable|input\/output error|stale file handle|transport endpoint/i,
  ],
  ['unknown-snapshot', missingSnapshot],
  ['disk-full', /no space left on device|disk quota exceeded/i],
]

interface Said {
  words: string
  exit: number
  stderr: string
  asked: RepositoryRef
  parent: string | undefined
}

function explain(code: string | undefined, { words, exit, stderr, asked, parent }: Said): string {
  switch (code) {
    case 'no-repository':
      if (asked.passwordFile === null) return 'there is none: is that its place?'
      return `there is none: is that its place? A new one is made by the first backup where the manifest says initialize = true, or by: atelier-backup restic --repository ${asked.name} -- init`
    case 'locked':
      return `locked${lockedBy(stderr)}; wait, or, if nothing runs there, type: atelier-backup unlock${asked.name === 'main' ? '' : ` --repository ${asked.name}`}`
    case 'wrong-password':
      return asked.passwordFile === null
        ? "the password that was given doesn't open it: give the one that it was created with"
        : `the password in ${asked.passwordFile} doesn't open it: put the one there that it was created with`
    case 'repository-unreachable':
      return `can't be reached: ${words}`
    case 'parent-missing':
      return `doesn't hold the snapshot ${parent?.slice(0, 8)}, which was made there: is it another repository?`
    case 'unknown-snapshot':
      return `holds no such snapshot (${words}); see: atelier-backup list`
    case 'disk-full':
      return `no space left: ${words}`
    default:
      if (words.startsWith('parsing repository location failed'))
        return `its location can't be read (${words}): in a user and password within it, what is no letter or digit is percent-encoded, as / by %2F`
      return `restic failed (exit code ${exit}): ${words || 'it said nothing'}`
  }
}

/** restic's own last error, on one line and harmless to show. Plain text counts where there is no JSON (0.17). */
function lastWords(stderr: string): string {
  const all = stderr.split('\n').filter((line) => line.trim() !== '')
  const last = all.map(parseLine).findLast((message) => isMessage(message, 'exit_error'))?.message
  const plain = all.filter((line) => !line.startsWith('{'))
  const text = last ?? plain.findLast((line) => line.startsWith('Fatal:')) ?? plain.at(-1) ?? ''
  // A Go error prints its stack trace, an absent repository asks a question.
  const first = text.replace(/\nmain\.[\s\S]*$|\nIs there a repository[\s\S]*$/, '').replace(/^Fatal: /, '')
  return printable(oneLine(first)).slice(0, 400)
}

/** Why restic tries again, the last time that it said so: " (… connection refused)". */
function lastTry(stderr: string): string {
  const why = [...stderr.matchAll(/ returned error, retrying after [^:]*: (.*)/g)].at(-1)?.[1]
  return why === undefined ? '' : ` (${printable(why)})`
}

/** " by PID 12 on host, since 2026-11-23 02:10:00 (5m1s ago)". Source: the lock's String() in restic's internal/repository. */
function lockedBy(stderr: string): string {
  const text = stderr.replaceAll('\\n', '\n')
  const who = /by (PID \d+ on \S+)/.exec(text)?.[1]
  const [, since, age] = /lock was created at (\S+ \S+) \(([^)]*) ago\)/.exec(text) ?? []
  return who ? printable(` by ${who}${since ? `, since ${since} (${age?.replace(/\.\d+/, '')} ago)` : ''}`) : ''
}
