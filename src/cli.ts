// argv → one command, loaded when it runs. The only place that ends the process.
import * as nodeModule from 'node:module'
import { Command, CommanderError, Option } from 'commander'
import type { CommandSpec, Input } from './commands/command.ts'
import { commands, globalOptions } from './commands/index.ts'
import { asFailure, Failure } from './errors.ts'

declare const __VERSION__: string

// Node ≥ 22.1; the types are those of Node 20.
;(nodeModule as { enableCompileCache?: () => void }).enableCompileCache?.()
process.exitCode = await main(process.argv.slice(2))
// Open handles (a terminal's, a timer's) don't keep a finished command alive.
process.exit()

async function main(argv: string[]): Promise<number> {
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => interruption.abort(new Failure('interrupted', `interrupted by ${signal}`)))
  let exit = 0
  const program = makeProgram(
    (spec) => async (input) => {
      exit = await (await spec.load()).run({ ...input, signal: interruption.signal })
    },
    argv,
  )
  try {
    if (argv.length === 0) return await withoutCommand(program, interruption.signal)
    await program.parseAsync(argv, { from: 'user' })
    return exit
  } catch (error) {
    return report(error, argv)
  }
}

type Start = (input: Omit<Input, 'signal'>) => Promise<void>

function makeProgram(starter: (spec: CommandSpec) => Start, argv: string[]): Command {
  const program = new Command('atelier-backup')
    .description('Restic backups of the services of this host, from one manifest.')
    .version(__VERSION__, '-V, --version')
    .helpCommand(false)
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', '\nAlone on a terminal it opens a menu. Exit codes: see atelier-backup(1).')
  for (const { flags, description } of globalOptions) program.option(flags, description)
  for (const spec of commands) {
    const command = program
      .command(spec.name, { hidden: spec.hidden ?? false })
      .summary(spec.summary)
      .description(spec.description ?? `${spec.summary}.`)
    if (spec.aliases) command.aliases(spec.aliases)
    if (spec.arguments) command.argument(spec.arguments)
    for (const option of spec.options) command.addOption(made(option))
    command.action(async (...rest: unknown[]) => {
      const args = spec.arguments ? [rest[0]].flat().filter((arg): arg is string => typeof arg === 'string') : []
      const flags = command.optsWithGlobals() as Input['flags']
      if (flags.color === false) process.env.NO_COLOR = '1'
      if (spec.name === 'restic' && args.length !== argv.length - argv.indexOf('--') - 1)
        throw new Failure('usage', "restic's own arguments stand after two dashes: atelier-backup restic -- snapshots")
      await starter(spec)({
        args,
        flags,
        json: flags.json === true,
        site: async () => (await import('./site.ts')).openSite({ manifest: text(flags.manifest), stateDir: text(flags.stateDir) }),
      })
    })
  }
  for (const command of [program, ...program.commands]) command.exitOverride().configureOutput({ outputError: () => {} })
  return program
}

function made({ flags, description, repeatable }: CommandSpec['options'][number]): Option {
  const option = new Option(flags, description)
  return repeatable ? option.argParser((value: string, before: string[] = []) => [...before, value]) : option
}

function text(value: Input['flags'][string]): string | undefined {
  return typeof value === 'string' ? value : undefined
}

async function withoutCommand(program: Command, signal: AbortSignal): Promise<number> {
  const { isInteractive } = await import('./ui/terminal.ts')
  if (isInteractive()) return (await import('./commands/menu.ts')).menu(signal)
  process.stderr.write(program.helpInformation())
  return 2
}

function report(error: unknown, argv: string[]): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0
    process.stderr.write(
      `atelier-backup: ${error.message.replace(/^error: /, '').replaceAll('\n', ' ')}; see: atelier-backup ${argv.find((word) => commands.some(({ name }) => name === word)) ?? ''} --help\n`.replace(
        '  ',
        ' ',
      ),
    )
    return 2
  }
  const failure = asFailure(error)
  process.stderr.write(`atelier-backup: ${failure.message}\n`)
  if (process.env.DEBUG) process.stderr.write(`${failure.cause instanceof Error ? failure.cause.stack : failure.stack}\n`)
  return failure.exit
}
