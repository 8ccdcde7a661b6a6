// Makes text from outside (snapshots, other programs) safe for terminals and for messages of one line.

/** Escapes control characters, and those that reorder or hide text: with them a file name in a snapshot could fake other output. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
}

/** JSON without characters that a terminal interprets. With `indent` on several lines. */
export function harmlessJson(value: unknown, indent?: number): string {
  const escaped = (text: string) => text.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return JSON.stringify(value, null, indent).replaceAll(/[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => escaped(character).join(''))
}

/** The text on one line. */
export function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, '; ')
}

/** Quotes a word for a shell, in commands that a user copies. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

/** How many characters of a path a message holds at most. */
const pathShown = 300

/** A path for a message: a long one without its middle, so that its begin and its name are seen. */
export function shortPath(path: string): string {
  if (path.length <= pathShown) return path
  const half = Math.floor((pathShown - 1) / 2)
  return `${path.slice(0, half)}…${path.slice(-half)}`
}

/** A message with each long path in it shortened. A path with spaces is several words here. */
export function withShortPaths(message: string): string {
  return message.length <= pathShown ? message : message.replaceAll(/\/\S+/g, shortPath)
}

/** The first paths of a list, and how many more there are. */
export function listed(paths: string[], most = 5): string {
  const more = paths.length - most
  return `${paths.slice(0, most).map(shortPath).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

/** "1 snapshot", "2 snapshots". */
export function pluralize(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
