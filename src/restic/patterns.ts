// restic's patterns: literal paths escaped for them, and what an exclude pattern matches.

/** A literal path as a pattern that matches it alone (and what is below it). */
export function escapePattern(path: string): string {
  return path.replaceAll(/[\\*?[\]]/g, '\\$&')
}

/**
 * Whether a backup with these --exclude patterns leaves a path out: itself, or a folder above it.
 * Source: restic's internal/filter/filter.go; the differential test runs restic itself on the same patterns.
 */
export function excluded(patterns: string[], path: string): boolean {
  const compiled = patterns.map(compile)
  const names = path.split('/').filter(Boolean)
  return names.some((_, i) => {
    const strings = ['/', ...names.slice(0, i + 1)]
    return compiled.reduce(
      (matched, { negated, parts }) => (negated ? matched && !matches(parts, strings) : matched || matches(parts, strings)),
      false,
    )
  })
}

type Part = RegExp | '**'

function compile(pattern: string): { negated: boolean; parts: Part[] } {
  const negated = pattern.startsWith('!')
  const text = negated ? pattern.slice(1) : pattern
  const names = text.split('/').filter((name) => name !== '' && name !== '.')
  const parts = names.map((name): Part => (name === '**' ? '**' : partPattern(name)))
  return { negated, parts: text.startsWith('/') ? [/^\/$/, ...parts] : parts }
}

/** One name of a pattern, as Go's filepath.Match reads it. */
function partPattern(name: string): RegExp {
  const source = name.replaceAll(
    /\\([\s\S])|(\*)|(\?)|\[(\^?)((?:\\[\s\S]|[^\]\\])+)\]|([\s\S])/g,
    (_, escaped, star, any, negated, members, plain) => {
      if (star) return '[^/]*'
      if (any) return '[^/]'
      if (members !== undefined)
        return `[${negated}${members.replaceAll(/\\?([\s\S])/g, (member: string, character: string) => (member === '-' ? '-' : literal(character)))}]`
      return literal(escaped ?? plain)
    },
  )
  try {
    return new RegExp(`^(?:${source})$`, 'su')
  } catch {
    // Malformed: restic refuses it when it backs up, so it never kept anything out.
    return /(?!)/
  }
}

function literal(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&')
}

/** A pattern matches where its parts match names in a row: from the root if it is absolute, else anywhere. */
function matches(parts: Part[], strings: string[]): boolean {
  if (parts.length === 0) return false
  const absolute = parts[0] !== '**' && parts[0]?.source === '^\\/$'
  if (absolute) return matchesFrom(parts, strings, 0)
  return strings.some((_, offset) => offset > 0 && matchesFrom(parts, strings, offset))
}

function matchesFrom([part, ...rest]: Part[], strings: string[], at: number): boolean {
  if (part === undefined) return true
  if (part === '**') {
    for (let next = at; next <= strings.length; next++) if (matchesFrom(rest, strings, next)) return true
    return false
  }
  const name = strings[at]
  return name !== undefined && part.test(name) && matchesFrom(rest, strings, at + 1)
}
