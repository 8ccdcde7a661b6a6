// Text from elsewhere, made harmless for terminals and one-line messages.

/** Control characters, and those that reorder or hide text, written out: names in a snapshot could otherwise fake a terminal's output. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
}

/** The text on one line. */
export function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, '; ')
}
