// restic's patterns: escaping literal paths, and which paths an exclude pattern matches.
import { posix } from 'node:path'
import { hasBytes } from '../bytes.ts'

/** A pattern that matches this literal path and everything below it. */
export function escapePattern(path: string): string {
  return path.replaceAll(/[\\*?[\]]/g, '\\$&')
}

/**
 * Whether a backup with these --exclude patterns skips an absolute path, itself or with a folder above it.
 * Source: restic's internal/filter/filter.go; a test compares with restic.
 */
export function excluded(patterns: string[], path: string): boolean {
  const names = path
    .split('/')
    .slice(1)
    .map((name) => [...name])
  const compiled = patterns.filter((pattern) => pattern !== '').map(compile)
  const matches = compiled.map((pattern) => ({ negated: pattern.negated, from: firstMatch(pattern, names) }))
  // From the top down: restic doesn't open an excluded folder, so a `!` pattern has no effect below it.
  return names.some((_, depth) => matches.reduce((matched, { negated, from }) => (depth >= from ? !negated : matched), false))
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
type Part = Token[] | '**' | null
/** What one character must be, or any number of characters. */
type Token = ((character: string) => boolean) | '*'

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

/**
 * The number of the name with which the pattern has matched, Infinity if it doesn't: its parts match names in a row, from the root if it is
 * absolute, else anywhere.
 */
function firstMatch({ absolute, parts }: Pattern, names: string[][]): number {
  const whole: Part[] = absolute ? parts : ['**', ...parts]
  // The numbers of parts that the names so far can have matched, all followed at once: no pattern makes this go back.
  let reached = passStars(whole, new Set([0]))
  if (reached.has(whole.length)) return 0
  for (const [depth, name] of names.entries()) {
    const next = [...reached].flatMap((n) => {
      const part = whole[n]
      if (part === '**') return [n]
      return part && matchesName(part, name) ? [n + 1] : []
    })
    reached = passStars(whole, new Set(next))
    if (reached.has(whole.length)) return depth
  }
  return Infinity
}

/** `**` matches no name, too. */
function passStars(parts: Part[], reached: Set<number>): Set<number> {
  for (const n of reached) if (parts[n] === '**') reached.add(n + 1)
  return reached
}

/**
 * In time proportional to tokens × characters, whatever the pattern: it may come out of a snapshot that somebody else wrote. As in Go's path.Match,
 * what failed is tried again one character further for the last `*` alone; to go back to an earlier one can't help.
 */
function matchesName(tokens: Token[], characters: string[]): boolean {
  let [t, c] = [0, 0]
  let retry: { t: number; c: number } | null = null
  while (c < characters.length) {
    const token = tokens[t]
    if (token === '*') {
      retry = { t: t + 1, c }
      t += 1
    } else if (token?.(characters[c] ?? '')) {
      t += 1
      c += 1
    } else if (retry) {
      retry = { t: retry.t, c: retry.c + 1 }
      t = retry.t
      c = retry.c
    } else return false
  }
  return tokens.slice(t).every((token) => token === '*')
}

const member = String.raw`(?:\\.|[^\\\]-])`
const lexer = new RegExp(String.raw`\\(.)|(\*)|(\?)|\[(\^?)((?:${member}(?:-${member})?)+)\]|([^\\[])`, 'suy')

/** One name of a pattern in the syntax of Go's path.Match: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a literal character. */
function nameOf(part: string): Part {
  const tokens: Token[] = []
  lexer.lastIndex = 0
  while (lexer.lastIndex < part.length) {
    const found = lexer.exec(part)
    if (!found) return null
    const [, escaped, star, any, negated, members, plain] = found
    if (star) tokens.push('*')
    else if (any) tokens.push(() => true)
    else if (members !== undefined) tokens.push(classOf(negated === '^', members))
    else {
      const literal = escaped ?? plain
      // In the patterns of a snapshot a byte that isn't UTF-8 has become U+FFFD.
      tokens.push((character) => character === literal || (literal === '\ufffd' && hasBytes(character)))
    }
  }
  return tokens
}

/** A range the wrong way round holds nothing. */
function classOf(negated: boolean, members: string): Token {
  const ranges = [...members.matchAll(/\\?(.)(?:-\\?(.))?/gsu)].map(([, from = '', to = from]) => [codeOf(from), codeOf(to)] as const)
  return (character) => ranges.some(([from, to]) => from <= codeOf(character) && codeOf(character) <= to) !== negated
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? 0
}
