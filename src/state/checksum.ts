// State files carry a checksum: with one byte changed they could name another inode, snapshot or pid, and be believed.
import { crypto } from '../host/crypto.ts'

/** The text of a file: the value on one line of JSON, whose first field is the checksum of the rest. */
export function withChecksum(value: object): string {
  const rest = JSON.stringify(value).slice(1)
  return `{"sum":"${sumOf(rest)}",${rest}\n`
}

/** The value, or null if the text is damaged. One without a checksum was written by a person, who meant it. */
export function parseWithChecksum(text: string): unknown {
  const [, sum, rest = ''] = /^\{"sum":"([0-9a-f]{16})",([^\n]*)\n$/.exec(text) ?? []
  if (sum !== undefined) return sumOf(rest) === sum ? JSON.parse(`{${rest}`) : null
  try {
    const value = JSON.parse(text) as object | null
    return typeof value === 'object' && value !== null && 'sum' in value ? null : value
  } catch {
    return null
  }
}

function sumOf(text: string): string {
  return crypto().createHash('sha256').update(text).digest('hex').slice(0, 16)
}
