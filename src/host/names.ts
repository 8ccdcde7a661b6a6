// Names of users and groups, and their numbers, as this host has them.
import { readFile } from 'node:fs/promises'

/** Numbers by name. */
export interface Names {
  users: Record<string, number>
  groups: Record<string, number>
}

/** Those of /etc/passwd and /etc/group; nothing else of them, no password field among it. */
export async function localNames(): Promise<Names> {
  return { users: await numbers('/etc/passwd'), groups: await numbers('/etc/group') }
}

async function numbers(file: string): Promise<Record<string, number>> {
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'))
  return Object.fromEntries(lines.flatMap(([name, , id]) => (name && id ? [[name, Number(id)]] : [])))
}
