// restic's patterns: escaping literal paths, and which paths an exclude pattern matches.
import { posix } from 'node:path'

/** A pattern that matches this literal path and everything below it. */
export function escapePattern(path: string): string {
  return path.replaceAll(/[\\*?[\]]/g, '\\$&')
}

/**
 * Whether a backup with these --exclude patterns skips an absolute path, itself or with a folder above it.
 * Source: restic's internal/filter/filter.go; a test compares with restic.
 */
export function excluded(patterns: string[], path: string): boolean {
  const compiled = patterns.filter((pattern) => pattern !== '').map(compile)
  const names = path.split('/').slice(1)
  // From the top down: restic doesn't open an excluded folder, so a `!` pattern has no effect below it.
  return names.some((_, last) => {
    const above = names.slice(0, last + 1)
    return compiled.reduce((matched, pattern) => (pattern.negated ? matched && !matches(pattern, above) : matched || matches(pattern, above)), false)
  })
}

/** Whether it is a valid pattern for restic. */
export function isPattern(pattern: string): boolean {
  return parse(pattern).parts.every((part) => part !== null)
}

interface Pattern {
  negated: boolean
  absolute: boolean
  parts: Part[]
}
/** One name of a path; null: malformed, matches nothing (restic refuses such a pattern, so no backup was made with it). */
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
  // restic treats an empty part (of "/") like "**".
  const parts = (absolute ? text.slice(1) : text).split('/').map((part) => (part === '**' || part === '' ? '**' : nameOf(part)))
  return { negated, absolute, parts }
}

/** The parts of a pattern match consecutive names: from the root if it is absolute, else anywhere. */
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

/** One name of a pattern in the syntax of Go's path.Match: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a literal character. */
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
  // A reversed range matches nothing in Go, and is an error in JavaScript.
  const inOrder = ranges.filter(([from, to]) => (from.codePointAt(0) ?? 0) <= (to.codePointAt(0) ?? 0))
  return `[${negated}${inOrder.map(([from, to]) => `${literal(from)}-${literal(to)}`).join('')}]`
}

function literal(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`
}
