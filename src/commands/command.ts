// What a command is: one entry in the table (index.ts), from which argument parsing, --help, man page and completions are made.
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
  /** Not for people: left out of --help and of the manual. */
  hidden?: boolean
  /** Long work: with --json its last line is a report, whatever happened. */
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
/** These flags as they were given, to be typed again. */
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
