// Makes text from outside (snapshots, other programs) safe for terminals and for messages of one line.
import { bytesOf, byteText, hasBytes, textOf } from './bytes.ts'

/**
 * Escapes control characters, and those that reorder or hide text: with them a file name in a snapshot could fake other output. A byte that isn't
 * UTF-8 is shown as \xe9. What is printed twice stays the same.
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code >= 0xdc80 && code <= 0xdcff ? `\\x${(code - 0xdc00).toString(16)}` : `\\u{${code.toString(16)}}`
  })
}

const escapes = /\\(?:x([89a-f][0-9a-f])|u\{([0-9a-f]{1,6})\})/g

/** A name as it was printed, to be read back by `nameRead`: the backslash of a name that would pass for an escape is escaped, too. */
export function printableName(name: string): string {
  return printable(name.replaceAll(escapes, (text) => `\\u{5c}${text.slice(1)}`))
}

/** A typed name with its escapes read, those that `printableName` writes: \xe9, \u{1b}. */
export function nameRead(typed: string): string {
  const read = typed.replaceAll(escapes, (whole, byte?: string, code = '') => {
    if (byte !== undefined) return byteText(Number.parseInt(byte, 16))
    const point = Number.parseInt(code, 16)
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole
  })
  // Several bytes may be one character of UTF-8.
  return textOf(bytesOf(read))
}

/**
 * JSON without characters that a terminal interprets, and without lone surrogates, which many readers refuse: a byte that isn't UTF-8 is the text \xe9.
 * With `indent` on several lines.
 */
export function harmlessJson(value: unknown, indent?: number): string {
  const escaped = (text: string) => text.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  const json = JSON.stringify(value, null, indent)
  const whole = json.includes('\\udc') ? json.replaceAll(/\\\\|\\udc([89a-f][0-9a-f])/g, (all, byte?: string) => (byte ? `\\\\x${byte}` : all)) : json
  return whole.replaceAll(/[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => escaped(character).join(''))
}

/** The text on one line. */
export function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, '; ')
}

/** Quotes a word for a shell, in commands that a user copies. */
export function shellWord(word: string): string {
  if (hasBytes(word)) return `$'${printable(word.replaceAll(/[\\']/g, '\\$&'))}'`
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
