// restic's patterns: literal paths escaped for them, and what an exclude pattern matches.
import { posix } from 'node:path'

/** A literal path as a pattern that matches it alone (and what is below it). */
export function escapePattern(path: string): string {
  return path.replaceAll(/[\\*?[\]]/g, '\\$&')
}

/**
 * Whether a backup with these --exclude patterns leaves an absolute path out: itself, or a folder above it.
 * Source: restic's internal/filter/filter.go; the differential test asks restic itself.
 */
export function excluded(patterns: string[], path: string): boolean {
  const compiled = patterns.filter((pattern) => pattern !== '').map(compile)
  const names = path.split('/').slice(1)
  // Folder by folder: what is below an excluded one isn't looked at, even if a later `!` pattern would take it back.
  return names.some((_, last) => {
    const above = names.slice(0, last + 1)
    return compiled.reduce((matched, pattern) => (pattern.negated ? matched && !matches(pattern, above) : matched || matches(pattern, above)), false)
  })
}

/** Whether restic takes it. */
export function isPattern(pattern: string): boolean {
  return parse(pattern).parts.every((part) => part !== null)
}

interface Pattern {
  negated: boolean
  absolute: boolean
  parts: Part[]
}
/** One name; null matches nothing (restic refuses a malformed pattern, so no backup was ever made with it). */
type Part = RegExp | '**' | null

const known = new Map<string, Pattern>()
function compile(pattern: string): Pattern {
  const found = known.get(pattern) ?? parse(pattern)
  known.set(pattern, found)
  return found
}

function parse(pattern: string): Pattern {
  const negated = pattern.startsWith('!')
  const text = posix.normalize(negated ? pattern.slice(1) : pattern).replace(/(.)\/$/, '$1')
  const absolute = text.startsWith('/')
  // An empty part ("/" alone) means the same as "**" to restic.
  const parts = (absolute ? text.slice(1) : text).split('/').map((part) => (part === '**' || part === '' ? '**' : nameOf(part)))
  return { negated, absolute, parts }
}

/** A pattern matches where its parts match names in a row: from the root if it is absolute, else anywhere. */
function matches({ absolute, parts }: Pattern, names: string[]): boolean {
  return absolute ? matchesFrom(parts, names) : names.some((_, start) => matchesFrom(parts, names.slice(start)))
}

function matchesFrom([part, ...rest]: Part[], names: string[]): boolean {
  if (part === undefined) return true
  if (part === '**') return matchesFrom(rest, names) || (names.length > 0 && matchesFrom([part, ...rest], names.slice(1)))
  const [name, ...deeper] = names
  return name !== undefined && part?.test(name) === true && matchesFrom(rest, deeper)
}

const member = String.raw`(?:\\.|[^\\\]-])`
const token = new RegExp(String.raw`\\(.)|(\*)|(\?)|\[(\^?)((?:${member}(?:-${member})?)+)\]|([^\\[])`, 'suy')

/** One name of a pattern, as Go's path.Match reads it: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before what is meant literally. */
function nameOf(part: string): Part {
  let source = ''
  token.lastIndex = 0
  while (token.lastIndex < part.length) {
    const found = token.exec(part)
    if (!found) return null
    const [, escaped, star, any, negated, members, plain] = found
    source += star ? '.*' : any ? '.' : members !== undefined ? classOf(negated ?? '', members) : literal(escaped ?? plain ?? '')
  }
  return new RegExp(`^${source}$`, 'su')
}

function classOf(negated: string, members: string): string {
  const ranges = [...members.matchAll(/\\?(.)(?:-\\?(.))?/gsu)].map(([, from = '', to = from]) => [from, to] as const)
  // A range the wrong way round holds nothing, in Go; in JavaScript it is an error.
  const inOrder = ranges.filter(([from, to]) => (from.codePointAt(0) ?? 0) <= (to.codePointAt(0) ?? 0))
  return `[${negated}${inOrder.map(([from, to]) => `${literal(from)}-${literal(to)}`).join('')}]`
}

function literal(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`
}
