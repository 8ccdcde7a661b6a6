// argv → one command, loaded when it runs. Only this file ends the process.
import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { textOf } from './bytes.ts'
import type { CommandSpec, Input } from './commands/command.ts'
import { commands, globalOptions } from './commands/index.ts'
import { asFailure, Failure } from './errors.ts'
import type { Site } from './site.ts'
import { oneLine, printable } from './text.ts'

declare const __VERSION__: string

const exitCodes =
  'Exit codes: 0 ok, 1 failed, 2 wrong\ncommand line, 3 partial, 4 overdue, unadopted or never backed up, 10 no\nrepository, 11 locked, 12 wrong password, 130 interrupted.'

const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const outputs = [process.stdout, process.stderr]

leaveMissingFolder()
// Node exits when its event loop is empty. If that happens before `main` returns, the command has not finished: a failure.
process.exitCode = 1
// process.exit: open handles (the terminal, timers) must not keep a finished command alive.
void main(ownArguments()).then((exit) => process.exit(exit))

/** Our arguments with all bytes: Node decodes them as UTF-8. */
function ownArguments(): string[] {
  const decoded = process.argv.slice(2)
  if (!decoded.some((word) => word.includes('\ufffd'))) return decoded
  return textOf(readFileSync('/proc/self/cmdline')).split('\0').slice(0, -1).slice(-decoded.length)
}

/** process.cwd() throws in a working directory that was deleted, and libraries call it while they are loaded. */
function leaveMissingFolder(): void {
  try {
    process.cwd()
  } catch {
    process.chdir('/')
  }
}

async function main(argv: string[]): Promise<number> {
  let writeFailure: Failure | null = null
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // A backup goes on when the reader of its output has exited (`| head`), or the terminal was closed.
    const isReaderGone = error.code === 'EPIPE' || (error.code === 'EIO' && process.stdout.isTTY)
    if (!isReaderGone) writeFailure = new Failure(error.code === 'ENOSPC' ? 'disk-full' : 'failed', `can't write the output: ${error.message}`)
  })
  process.stderr.on('error', () => {})
  let exit = 0
  let interrupted = false
  const start: Start = async (run, input) => {
    const interruption = new AbortController()
    interruption.signal.addEventListener('abort', () => {
      interrupted = true
    })
    let ignoresHangup = false
    for (const signal of stopSignals)
      process.on(signal, () => {
        if (signal !== 'SIGHUP' || !ignoresHangup) interruption.abort(new Failure('interrupted', `interrupted by ${signal}`))
      })
    const ignoreHangup = () => {
      ignoresHangup = true
    }
    ;(await import('./ui/terminal.ts')).askUntil(interruption.signal)
    exit = await run({ ...input, signal: interruption.signal, ignoreHangup })
  }
  const program = makeProgram(start, argv)
  try {
    await program.parseAsync(argv, { from: 'user' }).catch((error) => runMenu(error, start, program.opts()))
  } catch (error) {
    exit = await reportError(error, argv)
  }
  await flushOutputs(interrupted)
  if (!writeFailure) return exit
  exit = await reportError(writeFailure, argv)
  await flushOutputs(interrupted)
  return exit
}

/** Waits until stdout and stderr are written: a pipe takes 64 KiB at once, and process.exit would drop the rest. Errors of earlier writes are emitted by then. */
async function flushOutputs(interrupted: boolean): Promise<void> {
  // The command has ended: a signal may end the process, if nobody reads the pipe.
  for (const signal of stopSignals) process.removeAllListeners(signal)
  const written = Promise.all(outputs.map((stream) => new Promise((resolve) => stream.write('', resolve))))
  // A command that a signal has ended must not need a second one: whoever reads the pipe has five seconds.
  await (interrupted ? Promise.race([written, new Promise((resolve) => setTimeout(resolve, 5000))]) : written)
}

type ParsedInput = Omit<Input, 'signal' | 'ignoreHangup'>
type Start = (run: (input: Input) => Promise<number>, input: ParsedInput) => Promise<void>

function makeProgram(start: Start, argv: string[]): Command {
  const program = new Command('atelier-backup')
    .description('Restic backups of the services of this host, from one manifest.')
    .version(__VERSION__, '-V, --version')
    .helpCommand(false)
    .showSuggestionAfterError()
    .configureHelp({
      showGlobalOptions: true,
      subcommandTerm: (command) => `${[command.name(), ...command.aliases()].join(', ')} ${command.usage().replace(/^\[options\] ?/, '')}`,
    })
    .addHelpText('after', `\nAlone on a terminal it opens a menu. ${exitCodes}`)
  for (const { flags, description } of globalOptions) program.option(flags, description)
  const called = commandOf(argv)
  for (const spec of commands) {
    const command = program
      .command(spec.name, { hidden: spec.hidden ?? false })
      .summary(spec.summary)
      .description(spec.description ?? `${spec.summary}.`)
    if (spec.aliases) command.aliases(spec.aliases)
    if (spec.arguments) command.arguments(spec.arguments)
    // The help of the program shows only names and summaries of the other commands.
    if (spec === called) for (const option of spec.options) command.addOption(optionOf(option))
    command.action(async (...rest: unknown[]) => {
      // commander passes the options and the command last.
      const args = rest
        .slice(0, -2)
        .flat()
        .filter((arg): arg is string => typeof arg === 'string')
      if (spec.name === 'restic' && args.length !== argv.length - argv.indexOf('--') - 1)
        throw new Failure('usage', "restic's own arguments go after two dashes: atelier-backup restic -- snapshots")
      const input = await inputOf(args, command.optsWithGlobals())
      await start(async (input) => (await spec.load()).run(input), input)
    })
  }
  for (const command of [program, ...program.commands]) command.exitOverride().configureOutput({ outputError: () => {}, writeErr: () => {} })
  return program
}

function optionOf({ flags, description, repeatable }: CommandSpec['options'][number]): Option {
  const option = new Option(flags, description)
  return repeatable ? option.argParser((value: string, before: string[] = []) => [...before, value]) : option
}

/** @throws Failure `usage` */
async function inputOf(args: string[], flags: Input['flags']): Promise<ParsedInput> {
  // An unset variable in a script gives an empty path, which `resolve` would turn into the working directory.
  for (const [name, flag] of [
    ['manifest', '--manifest'],
    ['stateDir', '--state-dir'],
  ] as const)
    if (flags[name] === '') throw new Failure('usage', `${flag} is empty: name a path, or leave it out`)
  if (flags.color === false) process.env.NO_COLOR = '1'
  const json = flags.json === true
  if (json) (await import('./ui/terminal.ts')).askNothing()
  const open = async () => {
    const [{ openSite }, { requireRights }, { takeOverFormer }] = await Promise.all([
      import('./site.ts'),
      import('./commands/rights.ts'),
      import('./state/lock.ts'),
    ])
    const site = await openSite({ manifest: text(flags.manifest), stateDir: text(flags.stateDir) })
    await requireRights(site)
    await takeOverFormer(site.state, site.manifest.services)
    return site
  }
  let site: Promise<Site> | undefined
  return {
    args,
    flags,
    json,
    site() {
      site ??= open()
      return site
    },
  }
}

function text(value: Input['flags'][string]): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** commander reports a missing command as a request for help. On a terminal the menu opens instead. @throws Failure `no-terminal` */
async function runMenu(error: unknown, start: Start, flags: Input['flags']): Promise<void> {
  if (!(error instanceof CommanderError) || error.code !== 'commander.help') throw error
  const input = await inputOf([], flags)
  if (!(await import('./ui/terminal.ts')).isInteractive()) throw new Failure('no-terminal', 'which command? See: atelier-backup --help')
  await start((await import('./commands/menu.ts')).run, input)
}

/** Prints one line for an error, unless the command is run again as root because it lacked the rights. Returns the exit code. */
async function reportError(error: unknown, argv: string[]): Promise<number> {
  if (error instanceof CommanderError && error.exitCode === 0) return 0
  const spec = commandOf(argv)
  const failure = error instanceof CommanderError ? usage(error, spec) : asFailure(error)
  const again = await (await import('./commands/rights.ts')).asRoot(failure, argv)
  if (again !== null) return again
  // The manual explains each code; for a wrong command line the message names --help.
  const code = process.stderr.isTTY && ![2, 130].includes(failure.exit) ? ` [${failure.code}]` : ''
  process.stderr.write(`atelier-backup: ${printable(oneLine(failure.message))}${code}\n`)
  const { stack = '' } = failure.cause instanceof Error ? failure.cause : failure
  if (process.env.DEBUG) process.stderr.write(`${stack.split('\n').map(printable).join('\n')}\n`)
  if (spec?.reports && argv.includes('--json')) (await import('./views/report.ts')).printReport([], failure.exit, failure)
  return failure.exit
}

/** The command that argv names: its first word that is neither an option nor the value of one. */
function commandOf(argv: string[]): CommandSpec | undefined {
  const valued = globalOptions.flatMap(({ flags }) => (flags.includes('<') ? flags.split(' ').slice(0, 1) : []))
  const word = argv.find((word, i) => !word.startsWith('-') && !valued.includes(argv[i - 1] ?? ''))
  return commands.find(({ name, aliases = [] }) => word !== undefined && [name, ...aliases].includes(word))
}

function usage({ message }: CommanderError, spec: CommandSpec | undefined): Failure {
  return new Failure(
    'usage',
    `${message.replace(/^error: /, '').replaceAll('\n', ' ')}; see: ${['atelier-backup', spec?.name, '--help'].filter(Boolean).join(' ')}`,
  )
}
