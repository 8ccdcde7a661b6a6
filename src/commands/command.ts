// The type of a command: an entry of the table in index.ts, from which parsing, --help, man page and completions are generated.
import { resolve } from 'node:path'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import type { Site } from '../site.ts'
import { shellWord } from '../text.ts'

export interface Option {
  /** As commander takes it: "--at <time>". */
  flags: string
  description: string
  /** May be given several times. */
  repeatable?: boolean
}

export interface CommandSpec {
  name: string
  aliases?: string[]
  /** "[pattern] [service...]"; a service's name is completed. */
  arguments?: string
  summary: string
  description?: string
  options: Option[]
  /** Called by units and shells only: not in --help, not in the manual. */
  hidden?: boolean
  /** With --json the last line of its output is a report, also after an error. */
  reports?: boolean
  load(): Promise<{ run(input: Input): Promise<number> }>
}

/** The command line, parsed. Flags by their long name in camel case. */
export interface Input {
  args: string[]
  flags: Record<string, string | boolean | string[] | undefined>
  json: boolean
  signal: AbortSignal
  /** From now on a lost terminal (SIGHUP) ends nothing: live data is being exchanged. */
  ignoreHangup(): void
  site(): Promise<Site>
}

export function textFlag({ flags }: Input, name: string): string | undefined {
  const value = flags[name]
  return typeof value === 'string' ? value : undefined
}
export function isSet({ flags }: Input, name: string): boolean {
  return flags[name] === true
}
/** The given flags among `wanted`, as text to be typed again. */
export function repeated({ flags }: Input, wanted: Record<string, string>): string[] {
  return Object.entries(wanted).flatMap(([name, flag]) => {
    const value = flags[name]
    return typeof value === 'string' ? [`${flag} ${shellWord(value)}`] : value === true ? [flag] : []
  })
}
export function listFlag({ flags }: Input, name: string): string[] {
  const value = flags[name]
  return Array.isArray(value) ? value : []
}

/** The paths given with --path, as a snapshot holds them. @throws Failure `usage` */
export function pathFlags({ flags }: Input): Path[] {
  const given = [flags.path ?? []].flat().map(String)
  const relative = given.find((path) => !path.startsWith('/'))
  if (relative !== undefined)
    throw new Failure('usage', `--path takes an absolute path, as "atelier-backup list" shows it, not ${JSON.stringify(relative)}`)
  return given.map((path) => resolve(path))
}
