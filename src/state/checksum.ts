// Checksums of state files: a changed byte would otherwise go unnoticed, and name another inode, snapshot or process.
import { createHash } from 'node:crypto'

/** The value as one line of JSON, whose first field `sum` is the checksum of the rest. */
export function withChecksum(value: object): string {
  const rest = JSON.stringify(value).slice(1)
  return `{"sum":"${sumOf(rest)}",${rest}\n`
}

/** The value, or null if the text is damaged. A file without a checksum is accepted: a person has edited it. */
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
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
