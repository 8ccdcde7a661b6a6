// restic's exit codes and error messages as Failures: what happened, and what to type next.
import { type Code, Failure } from '../errors.ts'
import type { ProcessResult } from '../host/shell.ts'
import { passwordIn, withoutPassword } from '../manifest/location.ts'
import { oneLine, printable } from '../text.ts'
import { isMessage, parseLine } from './json.ts'

/** A repository in error messages. `passwordFile`: null if a person typed the password. `location`: redacted; null until it was read. `secrets`: never shown. */
export interface RepositoryRef {
  name: string
  passwordFile: string | null
  location: string | null
  secrets: string[]
}

/** The Failure of a call that ended badly. `reason`: why we interrupted it. `parent`: the backup's --parent, which has an error code of its own. */
export function failureOf(
  { exit, interrupted, stderr }: ProcessResult,
  repository: RepositoryRef,
  { reason, parent }: { reason?: unknown; parent?: string | undefined } = {},
): Failure {
  const message = lastError(stderr, repository.secrets)
  if (interrupted && isTimeout(reason))
    return failure('repository-unreachable', repository, `no answer in time${redacted(lastRetry(stderr), repository.secrets)}`)
  // 0.18 exits 1 when a backup is interrupted, so `interrupted` and restic's message count too.
  if (interrupted || exit === 130 || /signal \w+ received, cleaning up/.test(stderr)) return interruption(exit)
  const code =
    codes[exit] ??
    (parent !== undefined && missingSnapshot.test(message) ? 'parent-missing' : messages.find(([, pattern]) => pattern.test(message))?.[0])
  return failure(code ?? 'restic-failed', repository, explain(code, { message, exit, stderr, repository, parent }))
}

/** Failures of a repository begin with its name and location. */
export function failure(code: Code, { name, location }: RepositoryRef, text: string, cause?: unknown): Failure {
  return new Failure(code, `repository ${name}${location === null ? '' : ` (${location})`}: ${text}`, cause === undefined ? undefined : { cause })
}

/** `exit`: restic's exit code; without it restic wasn't started. */
export function interruption(exit = 130): Failure {
  const killed = exit === 137 ? '; restic had to be killed: if it left a lock, type: atelier-backup unlock' : ''
  return new Failure('interrupted', `interrupted${killed}`)
}

export function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === 'TimeoutError'
}

/** Without the secrets, and without credentials in URLs (rest:https://user:password@host/). */
export function redacted(text: string, secrets: string[]): string {
  // Longest first: a secret may contain a shorter one, and the rest of it would stay visible.
  const plain = secrets.toSorted((a, b) => b.length - a.length).reduce((rest, secret) => rest.replaceAll(secret, '***'), text)
  return plain
    .replaceAll(/(parse )"((?:[^"\\]|\\.)*)"/g, (_, parse: string, url: string) => `${parse}"${withoutPassword(url)}"`)
    .replaceAll(/\w[\w+.-]*:\/\/[^\s"'<>]+/g, withoutPassword)
    .replaceAll(/(invalid (?:URL escape|port|character)) "(?:[^"\\]|\\.)*"/g, '$1')
}

/** A location without the secrets in it, however short they are. */
export function redactedLocation(location: string, secrets: string[]): string {
  const plain = location.startsWith('rclone:') ? location.replaceAll(rcloneSecret, '$1***') : withoutPassword(location)
  return redacted(plain, secrets)
}

/** As `redactedLocation`, of a location that a stranger wrote: printable, and at most 300 characters. */
export function toldLocation(location: string): string {
  const text = printable(redactedLocation(location.slice(0, 4096), secretsOf(location, {})))
  return text.length > 300 ? `${text.slice(0, 299)}…` : text
}

/** In rclone's connection strings: "remote,user=u,pass=p:path". A value in quotes may hold any character. */
const rcloneSecret = /([,:]\w*(?:pass|secret|key|token|auth|cred|sas|bearer|header|command)\w*=)("(?:[^"]|"")*"|'(?:[^']|'')*'|[^,:]*)/gi

/** Texts that must never be shown: values of variables whose names mean a secret, and the password in the location; percent-encoded or not. */
export function secretsOf(location: string, variables: Record<string, string>): string[] {
  const values = Object.entries(variables).flatMap(([name, value]) => (/PASS|SECRET|KEY|TOKEN|AUTH|CREDENTIAL|SAS/.test(name) ? [value] : []))
  const named = location.startsWith('rclone:')
    ? [...location.matchAll(rcloneSecret)].flatMap(([, , value = '']) => [value, value.replace(/^(["'])(.*)\1$/s, '$2')])
    : []
  const password = passwordIn(location)
  // Go shows parts of a password that isn't percent-encoded as a port or a host.
  const found = [...values, ...named, password, ...password.split(/[/?#@:]/)].flatMap(formsOf)
  // A shorter text also occurs in ordinary words, and redacting it would make messages unreadable.
  return [...new Set(found)].filter((secret) => secret.length >= 4)
}

/** As written, percent-decoded, and in the forms of other programs: Go leaves $&+,;= in a password as they are, and quotes " and \. */
function formsOf(secret: string): string[] {
  const plain = decoded(secret)
  const encoded = encodeURIComponent(plain)
  const go = encoded
    .replaceAll(/%(?:24|26|2B|2C|3B|3D)/g, decodeURIComponent)
    .replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  return [secret, plain, encoded, go].flatMap((form) => [form, JSON.stringify(form).slice(1, -1)])
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

/** For exit code 1: the first pattern that matches restic's message decides. */
const messages: [code: Code, pattern: RegExp][] = [
  ['restic-failed', /already (exists|initialized)/],
  [
    'repository-unreachable',
    /unable to open (repository|config)|dial tcp|no such host|connection (refused|reset)|i\/o timeout|server response unexpected|network is unreachable|input\/output error|stale file handle|transport endpoint/i,
  ],
  ['unknown-snapshot', missingSnapshot],
  ['disk-full', /no space left on device|disk quota exceeded/i],
]

interface ResticError {
  message: string
  exit: number
  stderr: string
  repository: RepositoryRef
  parent: string | undefined
}

function explain(code: string | undefined, { message, exit, stderr, repository, parent }: ResticError): string {
  switch (code) {
    case 'no-repository':
      if (repository.passwordFile === null) return 'no repository found at this location'
      return `no repository found at this location. The first backup creates one if the manifest says initialize = true; or type: atelier-backup restic --repository ${repository.name} -- init`
    case 'locked':
      return `locked${lockedBy(stderr)}; wait, or, if nothing runs there, type: atelier-backup unlock${repository.name === 'main' ? '' : ` --repository ${repository.name}`}`
    case 'wrong-password':
      return repository.passwordFile === null
        ? "the password that was given doesn't open it: give the one that it was created with"
        : `the password in ${repository.passwordFile} doesn't open it: put the one there that it was created with`
    case 'repository-unreachable':
      return `can't be reached: ${message}`
    case 'parent-missing':
      return `doesn't hold the snapshot ${parent?.slice(0, 8)}, which was made there: is it another repository?`
    case 'unknown-snapshot':
      return `holds no such snapshot (${message}); see: atelier-backup list`
    case 'disk-full':
      return `no space left: ${message}`
    default:
      if (message.startsWith('parsing repository location failed'))
        return `its location can't be read (${message}): in a user and password within it, what is no letter or digit is percent-encoded, as / by %2F`
      return `restic failed (exit code ${exit}): ${message || 'it printed no message'}`
  }
}

/** restic's last error message as one printable line. Plain text if there is no JSON (0.17). */
function lastError(stderr: string, secrets: string[]): string {
  const all = stderr.split('\n').filter((line) => line.trim() !== '')
  const last = all.map(parseLine).findLast((message) => isMessage(message, 'exit_error'))?.message
  const plain = all.filter((line) => !line.startsWith('{'))
  const text = last ?? plain.findLast((line) => line.startsWith('Fatal:')) ?? plain.at(-1) ?? ''
  // Drops Go's stack trace, and the question that restic adds about a missing repository.
  const first = text.replace(/\nmain\.[\s\S]*$|\nIs there a repository[\s\S]*$/, '').replace(/^Fatal: /, '')
  // Redacted before it is cut or escaped: half of a secret wouldn't be found.
  return printable(oneLine(redacted(first, secrets))).slice(0, 400)
}

/** The reason of restic's last retry: " (… connection refused)", or an empty text. */
function lastRetry(stderr: string): string {
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
