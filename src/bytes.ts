// Names are bytes. Inside the program a path is a string: UTF-8 is decoded as everywhere, and each byte that isn't UTF-8 becomes the lone surrogate
// U+DC80…U+DCFF (Python's "surrogateescape"). So node:path, comparisons, Maps and JSON.stringify keep every name, and `bytesOf` gives its bytes back.
// Buffers would keep them as well, but nothing above works with those. Node itself turns a lone surrogate into U+FFFD without a word, so strings become
// bytes, and bytes strings, in these places alone: src/fs.ts (all calls of node:fs that take a path), host/shell.ts (arguments, input and output of
// processes), restic/read.ts (names in restic's JSON) and cli.ts (our own arguments). test/house.test.ts keeps node:fs out of all other files.
import { isUtf8 } from 'node:buffer'

const isByte = /[\udc80-\udcff]/u
/** In Latin-1 text of bytes: as many characters of UTF-8 as there are in a row, or one byte that belongs to none. Source: RFC 3629, section 4. */
const parts = new RegExp(
  `(?:${[
    '[\\x00-\\x7f]',
    '[\\xc2-\\xdf][\\x80-\\xbf]',
    '\\xe0[\\xa0-\\xbf][\\x80-\\xbf]',
    '[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]{2}',
    '\\xed[\\x80-\\x9f][\\x80-\\xbf]',
    '\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}',
    '[\\xf1-\\xf3][\\x80-\\xbf]{3}',
    '\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2}',
  ].join('|')})+|[^]`,
  'g',
)

/** Whether the text holds bytes that aren't UTF-8. */
export function hasBytes(text: string): boolean {
  return isByte.test(text)
}

/** The text of bytes, whatever they are; `bytesOf` gives the same bytes back. */
export function textOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString()
  const found = bytes.toString('latin1').match(parts) ?? []
  return found.map((part) => (part.length > 1 || part < '\x80' ? Buffer.from(part, 'latin1').toString() : byteText(part.charCodeAt(0)))).join('')
}

/** How text holds a byte that isn't UTF-8. */
export function byteText(byte: number): string {
  return String.fromCharCode(0xdc00 + byte)
}

export function bytesOf(text: string): Buffer {
  if (!hasBytes(text)) return Buffer.from(text)
  return Buffer.concat(text.split(/([\udc80-\udcff])/u).map((part, i) => (i % 2 === 0 ? Buffer.from(part) : Buffer.of(part.charCodeAt(0) & 0xff))))
}

/** As Go's JSON shows a name: U+FFFD for each byte that isn't UTF-8. */
export function withoutBytes(text: string): string {
  return hasBytes(text) ? text.replaceAll(/[\udc80-\udcff]/gu, '\ufffd') : text
}

/** Decodes a stream: a character may be cut by the end of a chunk. */
export class TextReader {
  private rest: Buffer = Buffer.alloc(0)

  write(chunk: Buffer): string {
    const bytes = this.rest.length > 0 ? Buffer.concat([this.rest, chunk]) : chunk
    const whole = bytes.length - cutOff(bytes)
    this.rest = bytes.subarray(whole)
    return textOf(bytes.subarray(0, whole))
  }

  end(): string {
    return textOf(this.rest)
  }
}

/** How many bytes at the end may be the beginning of a character. */
function cutOff(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if ((byte & 0xc0) === 0x80) continue
    return byte >= 0xc0 && (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0
  }
  return 0
}

/** An absolute path as a file: URI, which holds bytes as %XX. Node's pathToFileURL turns those that aren't UTF-8 into U+FFFD. */
export function fileUri(path: string): string {
  return `file://${bytesOf(path)
    .toString('latin1')
    .replaceAll(/[^\w/.~-]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`)}`
}
