// argv → one command, loaded when it runs. The only place that ends the process.
import { Command, CommanderError, Option } from 'commander'
import type { CommandSpec, Input } from './commands/command.ts'
import { commands, globalOptions } from './commands/index.ts'
import { asFailure, Failure } from './errors.ts'
import type { Restic } from './restic/types.ts'
import type { Site } from './site.ts'
import { oneLine, printable } from './text.ts'

declare const __VERSION__: string

const exitCodes =
  'Exit codes: 0 ok, 1 failed, 2 wrong\ncommand line, 3 partial, 4 overdue, unadopted or never backed up, 10 no\nrepository, 11 locked, 12 wrong password, 130 interrupted.'

const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
const opened: NodeJS.WriteStream[] = [process.stdout]

leaveLostFolder()
// Should there be nothing left to wait for before the command has told how it ended, it didn't.
process.exitCode = 1
// Open handles (a terminal's, a timer's) don't keep a finished command alive.
void main(process.argv.slice(2)).then((exit) => process.exit(exit))

/** The folder we were started in may be gone, and with it what relative paths could mean; libraries ask for it as soon as they are loaded. */
function leaveLostFolder(): void {
  try {
    process.cwd()
  } catch {
    process.chdir('/')
  }
}

async function main(argv: string[]): Promise<number> {
  // Whoever read our output has left (`| head`): that is no reason to break off a backup.
  let unwritten: Failure | null = null
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    const isLost = error.code === 'EPIPE' || (error.code === 'EIO' && process.stdout.isTTY)
    if (!isLost)
      unwritten = new Failure(error.code === 'ENOSPC' ? 'disk-full' : 'failed', `what was to be printed can't be written: ${error.message}`)
  })
  let exit = 0
  const start: Start = async (run, input) => {
    const interruption = new AbortController()
    let ignoresHangup = false
    for (const signal of endings)
      process.on(signal, () => {
        if (signal !== 'SIGHUP' || !ignoresHangup) interruption.abort(new Failure('interrupted', `interrupted by ${signal}`))
      })
    // While the first files are read.
    setImmediate(openErrors)
    const ignoreHangup = () => {
      ignoresHangup = true
    }
    ;(await import('./ui/terminal.ts')).askUntil(interruption.signal)
    exit = await run({ ...input, signal: interruption.signal, ignoreHangup })
  }
  const program = makeProgram(start, argv)
  try {
    await program.parseAsync(argv, { from: 'user' }).catch((error) => withoutCommand(error, start, program.opts()))
  } catch (error) {
    exit = await ended(error, argv)
  }
  await written()
  if (!unwritten) return exit
  exit = await ended(unwritten, argv)
  await written()
  return exit
}

/** Standard error takes its time to come into being, for which --help has no use. */
function openErrors(): void {
  if (opened.includes(process.stderr)) return
  opened.push(process.stderr)
  // A lost terminal is no reason to break off.
  process.stderr.on('error', () => {})
}

/** Until all that was printed is out: a pipe takes 64 KiB, and what its reader hasn't fetched yet would end with us. */
async function written(): Promise<void> {
  // No work is left: a signal just ends us, should nobody read.
  for (const signal of endings) process.removeAllListeners(signal)
  for (const stream of opened) if (stream.writableLength > 0 && !stream.destroyed) await new Promise((resolve) => stream.write('', resolve))
  // A failed write is told a moment later.
  await new Promise(setImmediate)
}

type Unsignalled = Omit<Input, 'signal' | 'ignoreHangup'>
type Start = (run: (input: Input) => Promise<number>, input: Unsignalled) => Promise<void>

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
    // Its options alone are read: --help tells of the others' names and summaries.
    if (spec === called) for (const option of spec.options) command.addOption(made(option))
    command.action(async (...rest: unknown[]) => {
      // Last come the options and the command.
      const args = rest
        .slice(0, -2)
        .flat()
        .filter((arg): arg is string => typeof arg === 'string')
      if (spec.name === 'restic' && args.length !== argv.length - argv.indexOf('--') - 1)
        throw new Failure('usage', "restic's own arguments stand after two dashes: atelier-backup restic -- snapshots")
      const input = await inputOf(args, command.optsWithGlobals())
      await start(async (input) => {
        await foresee(spec, input)
        return (await spec.load()).run(input)
      }, input)
    })
  }
  for (const command of [program, ...program.commands]) command.exitOverride().configureOutput({ outputError: () => {}, writeErr: () => {} })
  return program
}

/** A repository takes its time: what the command will ask it for is asked while the command itself is loaded. */
async function foresee({ looksAt }: CommandSpec, input: Input): Promise<void> {
  const names = looksAt?.(input)
  if (!names) return
  let only: Restic | null = null
  const { manifest, restic } = await input.site(async (restic) => {
    only = restic
    await foreseen([restic], input)
  })
  if (only !== null) return
  const services = Object.entries(manifest.services).filter(([name]) => names.length === 0 || names.includes(name))
  await foreseen([...new Set(services.map(([, service]) => service.repository))].map(restic), input)
}

async function foreseen(repositories: Restic[], { signal }: Input): Promise<void> {
  for (const restic of repositories) restic.foreseeSnapshots({ signal })
  // Now, not when what comes next has run: the check of the rest of the manifest, the command's own modules.
  await new Promise(setImmediate)
}

function made({ flags, description, repeatable }: CommandSpec['options'][number]): Option {
  const option = new Option(flags, description)
  return repeatable ? option.argParser((value: string, before: string[] = []) => [...before, value]) : option
}

/** @throws Failure `usage` */
async function inputOf(args: string[], flags: Input['flags']): Promise<Unsignalled> {
  // A variable in a script that isn't set: it would mean the folder that one is in.
  for (const [name, flag] of [
    ['manifest', '--manifest'],
    ['stateDir', '--state-dir'],
  ] as const)
    if (flags[name] === '') throw new Failure('usage', `${flag} is empty: name a path, or leave it out`)
  if (flags.color === false) process.env.NO_COLOR = '1'
  const json = flags.json === true
  if (json) (await import('./ui/terminal.ts')).askNothing()
  const open = async (early: Parameters<Input['site']>[0]) => {
    const [{ openSite }, { requireRights }] = await Promise.all([import('./site.ts'), import('./commands/rights.ts')])
    const site = await openSite({ manifest: text(flags.manifest), stateDir: text(flags.stateDir) }, process.env, early)
    await requireRights(site)
    return site
  }
  let site: Promise<Site> | undefined
  return {
    args,
    flags,
    json,
    site(early) {
      site ??= open(early)
      return site
    },
  }
}

function text(value: Input['flags'][string]): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** commander calls it a cry for help; at a terminal the menu answers. */
async function withoutCommand(error: unknown, start: Start, flags: Input['flags']): Promise<void> {
  if (!(error instanceof CommanderError) || error.code !== 'commander.help') throw error
  const input = await inputOf([], flags)
  if (!(await import('./ui/terminal.ts')).isInteractive()) throw new Failure('no-terminal', 'which command? See: atelier-backup --help')
  await start((await import('./commands/menu.ts')).run, input)
}

/** Tells what went wrong, on one line; where it is for want of rights, the command may run again as root. Returns the exit code. */
async function ended(error: unknown, argv: string[]): Promise<number> {
  if (error instanceof CommanderError && error.exitCode === 0) return 0
  openErrors()
  const spec = commandOf(argv)
  const failure = error instanceof CommanderError ? usage(error, spec) : asFailure(error)
  const again = await (await import('./commands/rights.ts')).asRoot(failure, argv)
  if (again !== null) return again
  // By it the manual's list of errors tells more; a wrong command line has its own help.
  const code = process.stderr.isTTY && ![2, 130].includes(failure.exit) ? ` [${failure.code}]` : ''
  process.stderr.write(`atelier-backup: ${printable(oneLine(failure.message))}${code}\n`)
  const { stack = '' } = failure.cause instanceof Error ? failure.cause : failure
  if (process.env.DEBUG) process.stderr.write(`${stack.split('\n').map(printable).join('\n')}\n`)
  if (spec?.reports && argv.includes('--json')) (await import('./views/report.ts')).printReport([], failure.exit, failure)
  return failure.exit
}

/** The first word that is no option, nor the value of one. */
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
