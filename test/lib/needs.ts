// What a test needs besides restic and sqlite3: `test.skipIf(!has('setfattr'))`. With CI=true scripts/test counts a skip as a failure.
import { execFileSync } from 'node:child_process'

export const isRoot = process.getuid?.() === 0

export function has(tool: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$1"', 'sh', tool])
    return true
  } catch {
    return false
  }
}
