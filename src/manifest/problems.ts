// The problems of a manifest as messages: the path of the value, the value found, and what was expected.
import type { $ZodIssue } from 'zod/v4/core'
import { Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { nearest } from './nearest.ts'

export type Place = readonly PropertyKey[]

/** A manifest that is not valid. `problems` holds one line for each problem; the message holds the first. */
export class ManifestInvalid extends Failure {
  readonly problems: string[]
  constructor(file: string, problems: string[]) {
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
    super('manifest-invalid', `${printable(file)}: ${problems[0]}${more}`)
    this.problems = problems
  }
}

/** The validator's issues as messages; unknown keys first, because a misspelled key is often reported as missing too. */
export function problemsOf(issues: $ZodIssue[], input: unknown, expectations: Record<string, string>): string[] {
  const unknown = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? issue.keys.map((key) => unknownKey([...issue.path, key], expectations)) : [],
  )
  const others = issues.filter((issue) => issue.code !== 'unrecognized_keys')
  return [...unknown, ...others.map((issue) => problem(issue, input, expectations))]
}

/** `services.notes.paths[0]` */
export function placeName(place: Place): string {
  return place.reduce<string>((name, key) => {
    if (typeof key === 'number') return `${name}[${key}]`
    const plain = /^[A-Za-z_][\w-]{0,62}$/.test(String(key))
    if (plain) return name ? `${name}.${String(key)}` : String(key)
    return `${name}[${quoted(key)}]`
  }, '')
}

/** A value as JSON, printable, without credentials, at most 60 characters. */
export function quoted(value: unknown): string {
  const text = printable((JSON.stringify(value) ?? String(value)).replaceAll(/\/\/[^"\s]*@/g, '//***@'))
  return text.length > 60 ? `${text.slice(0, 59).replace(/[\uD800-\uDBFF]$/, '')}…` : text
}

/** `, did you mean "notes"?`, or nothing. */
export function meant(word: string, known: Iterable<string>): string {
  const name = nearest(word, known)
  return name === null ? '' : `, did you mean ${quoted(name)}?`
}

function problem(issue: $ZodIssue, input: unknown, expectations: Record<string, string>): string {
  const place = issue.path
  const named = placeName(place)
  const prefix = named && `${named}: `
  if (issue.code === 'invalid_key') return `${prefix}expected ${expectations[`${patternOf(place.slice(0, -1), expectations)}.(name)`]} as the name`
  const expected = `expected ${expectations[patternOf(place, expectations)]}`
  const value = place.reduce<unknown>((outer, key) => (outer as Record<PropertyKey, unknown>)[key], input)
  if (value === undefined) return `${prefix}missing, ${expected}`
  // Somebody may have written the password itself instead of the path of its file: it must not appear in a log.
  if (place[0] === 'repositories' && place[2] !== 'initialize' && place[2] !== 'retryLock')
    return `${prefix}${expected} (the value isn't shown: it may be a secret)`
  return `${prefix}found ${quoted(value)}, ${expected}`
}

function unknownKey(place: Place, expectations: Record<string, string>): string {
  const parent = patternOf(place.slice(0, -1), expectations)
  const start = parent ? `${parent}.` : ''
  const known = Object.keys(expectations).flatMap((name) =>
    name.startsWith(start) && /^\w+$/.test(name.slice(start.length)) ? [name.slice(start.length)] : [],
  )
  return `${placeName(place)}: unknown key${meant(String(place.at(-1)), known)}`
}

/** The path as a key of the table of expectations: `services.*.paths[]`. */
function patternOf(place: Place, expectations: Record<string, string>): string {
  return place.reduce<string>((pattern, key) => {
    if (typeof key === 'number') return `${pattern}[]`
    const exact = pattern ? `${pattern}.${String(key)}` : String(key)
    return Object.hasOwn(expectations, exact) ? exact : `${pattern}.*`
  }, '')
}
