// `complete`: candidates for the next word of a command line. The completions of bash, zsh and fish all call it, so they agree.
// Not a library: existing completion libraries pass the typed text through `eval`, so that Tab after $(…) would run a command.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultManifest, defaultState } from '../defaults.ts'
import { printable } from '../text.ts'
import type { CommandSpec, Input, Option } from './command.ts'
import { commands, globalOptions } from './index.ts'

/** Prints one candidate per line, with its description after a tab. Asks no repository, validates nothing, shows no error. */
export async function run({ args }: Input): Promise<number> {
  const [last = ''] = args.slice(-1)
  // The files aren't validated: a damaged one gives no candidates.
  const candidates = quietly(() => candidatesFor(args.slice(0, -1), last, process.env), [])
  for (const { value, description } of candidates)
    if (value.startsWith(last)) process.stdout.write(`${printable(value)}\t${printable(description)}\n`)
  return 0
}

interface Candidate {
  value: string
  description: string
}

/** `words`: the words of the command line between the program's name and the word that is being typed. */
export function candidatesFor(words: string[], typed: string, environment: Record<string, string | undefined>): Candidate[] {
  if (words.includes('--')) return []
  const spec = commands.find(({ name, aliases }) => words.includes(name) || aliases?.some((alias) => words.includes(alias)))
  const options = [...(spec?.options ?? []), ...globalOptions]
  const option = options.find(({ flags }) => takesValue(flags) && flagOf(flags) === words.at(-1))
  if (option) return valuesOf(option, spec, words, environment)
  if (typed.startsWith('-'))
    return options
      .filter(({ flags, repeatable }) => repeatable || !words.includes(flagOf(flags)))
      .map(({ flags, description }) => ({ value: flagOf(flags), description }))
  if (!spec) return commands.filter(({ hidden }) => !hidden).map(({ name, summary }) => ({ value: name, description: summary }))
  if (!spec.arguments?.includes('service')) return []
  // Words before the command belong to global options.
  const positionals = words.slice(words.findIndex((word) => [spec.name, ...(spec.aliases ?? [])].includes(word)) + 1)
  if (spec.arguments.startsWith('[pattern]') && positionals.length === 0) return []
  return services(words, environment).filter(({ value }) => !words.includes(value))
}

function flagOf(flags: string): string {
  return flags.split(' ')[0] ?? ''
}
function takesValue(flags: string): boolean {
  return flags.includes('<')
}

function valuesOf({ flags }: Option, spec: CommandSpec | undefined, words: string[], environment: Record<string, string | undefined>): Candidate[] {
  const sources: Record<string, () => Candidate[]> = {
    '<service>': () => services(words, environment),
    '<id>': () => [{ value: 'latest', description: 'the newest' }, ...snapshots(spec, words, environment)],
    '<name>': () => (flagOf(flags) === '--repository' ? keys(manifestOf(words, environment), 'repositories', 'repository') : []),
  }
  return sources[flags.slice(flags.indexOf('<'))]?.() ?? []
}

function services(words: string[], environment: Record<string, string | undefined>): Candidate[] {
  return keys(manifestOf(words, environment), 'services', 'service')
}

function keys(manifest: unknown, field: string, description: string): Candidate[] {
  const value = (manifest as Record<string, unknown> | null)?.[field]
  return typeof value === 'object' && value !== null ? Object.keys(value).map((name) => ({ value: name, description })) : []
}

/** Snapshots in the records of this host: a call to the repository would take a second. */
function snapshots(spec: CommandSpec | undefined, words: string[], environment: Record<string, string | undefined>): Candidate[] {
  const folder = join(valueAfter(words, '--state-dir') ?? environment.STATE_DIRECTORY ?? defaultState, 'records')
  const files = quietly(() => readdirSync(folder), [] as string[])
  const wanted = files.filter((file) => file.endsWith('.json') && (words.includes(file.slice(0, -5)) || !spec?.arguments))
  return wanted.flatMap((file) => {
    const { runs = [] } = quietly(
      () => JSON.parse(readFileSync(join(folder, file), 'utf8')) as { runs?: { kind: string; snapshotId: string | null; started: string }[] },
      {},
    )
    return runs
      .flatMap(({ kind, snapshotId, started }) => (kind === 'backup' && snapshotId ? [{ value: snapshotId.slice(0, 8), description: started }] : []))
      .reverse()
  })
}

function manifestOf(words: string[], environment: Record<string, string | undefined>): unknown {
  const file = valueAfter(words, '--manifest') ?? environment.ATELIER_BACKUP_MANIFEST ?? defaultManifest
  return quietly(() => JSON.parse(readFileSync(file, 'utf8')), null)
}

function valueAfter(words: string[], flag: string): string | undefined {
  return words.includes(flag) ? words[words.indexOf(flag) + 1] : words.find((word) => word.startsWith(`${flag}=`))?.slice(flag.length + 1)
}

function quietly<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch {
    return otherwise
  }
}
