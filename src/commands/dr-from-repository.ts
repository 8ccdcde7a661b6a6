// `dr --from-repository`: takes the manifest from the repository, shows it, and uses it for this one command.
import { resolve } from 'node:path'
import { asFailure, type Code, Failure } from '../errors.ts'
import { writeFile } from '../fs.ts'
import { readManifest } from '../manifest/load.ts'
import { holdsPassword } from '../manifest/location.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Manifest } from '../manifest/types.gen.ts'
import { parseEnvironmentFile } from '../restic/environment.ts'
import { redactedLocation, toldLocation } from '../restic/errors.ts'
import { readSecret } from '../restic/secrets.ts'
import type { Credentials, Restic, Snapshot } from '../restic/types.ts'
import { resolveFolders, type Site, siteOf } from '../site.ts'
import { futureManifests, installOf, manifestFiles, type StoredHost, storedManifests } from '../snapshots/manifests.ts'
import { byDate, parseTime } from '../snapshots/select.ts'
import { oneLine, pluralize, printable, shellWord } from '../text.ts'
import { formatTime } from '../ui/format.ts'
import { waitingFor } from '../ui/progress.ts'
import { askSecret, askText, choose, typeToConfirm } from '../ui/prompt.ts'
import { tableLines, wrapped } from '../ui/table.ts'
import { columns, isInteractive, print, sign, styled } from '../ui/terminal.ts'
import { declaredData, shownPath, unusualLines } from '../views/places.ts'
import { type Input, isSet, listFlag, repeated, textFlag } from './command.ts'
import { requireRights } from './rights.ts'

/** @throws Failure `usage`: flags that need --from-repository without it */
export function requireFromRepository(input: Input): void {
  const flags = {
    '--repository': 'repository',
    '--password-file': 'passwordFile',
    '--environment-file': 'environmentFile',
    '--run-commands': 'runCommands',
    '--save-manifest': 'saveManifest',
  }
  const idle = Object.entries(flags).find(([, name]) => input.flags[name] !== undefined)?.[0]
  if (idle && !isSet(input, 'fromRepository')) throw new Failure('usage', `${idle} needs --from-repository`)
}

/** `again`: this command, to be typed again, without secrets. @throws Failure */
export async function siteFromRepository(input: Input): Promise<{ site: Site; again: string }> {
  const places = resolveFolders(textFlag(input, 'stateDir'))
  const { credentials, restic, snapshots } = await openRepository(input, places)
  const candidates = await chooseManifests(snapshots, input, await restic.location())
  const loaded = await waitingFor('reading the manifest', loadNewest(restic, candidates, input))
  const { stored, manifest, repository, file } = loaded
  if (!input.json) print(...manifestView(loaded, candidates, await restic.location(), new Date()))
  const allowed = await withConsent(withoutSettings(manifest), input)
  await save(allowed, { repository, location: credentials.location, left: commandsOf(manifest).length - commandsOf(allowed).length }, input)
  const others = await askOthers(allowed, repository, input)
  const site = siteOf(allowed, file, places, new Map([[repository, credentials], ...others]))
  // If the client redacts the location, it holds a password, which no command line may hold.
  const location = (await restic.location()) === credentials.location ? credentials.location : 'LOCATION'
  return { site, again: againOf(input, location, stored.host) }
}

/** The repository and its snapshots. At a terminal a wrong location or password is asked for again. @throws Failure */
async function openRepository(
  input: Input,
  places: Parameters<typeof siteOf>[2],
): Promise<{ credentials: Credentials; restic: Restic; snapshots: Snapshot[] }> {
  for (let location: string | undefined; ; ) {
    const credentials = await askCredentials(input, location)
    const probe = siteOf(readManifest(emptyManifest, 'the manifest'), 'the manifest', places, new Map([['main', credentials]]))
    await requireRights(probe)
    const restic = probe.restic('main')
    try {
      return { credentials, restic, snapshots: await waitingFor('asking the repository', restic.snapshots({ signal: input.signal })) }
    } catch (error) {
      const { code, message } = asFailure(error)
      const flag = mistyped[code]
      if (flag === undefined || textFlag(input, flag) !== undefined || !isInteractive()) throw error
      print(`${sign('bad')} ${printable(message)}`)
      location = flag === 'repository' ? undefined : credentials.location
    }
  }
}
/** Which flag gave the wrong value, by error code. */
const mistyped: Partial<Record<Code, string>> = {
  'wrong-password': 'passwordFile',
  'no-repository': 'repository',
  'repository-unreachable': 'repository',
  'restic-failed': 'repository',
}

/** From flags; at a terminal missing ones are asked for. `known`: a location that was typed and is right. */
async function askCredentials(input: Input, known?: string): Promise<Credentials> {
  const asked = known ?? textFlag(input, 'repository') ?? (await askText('Location of the repository, as restic takes it:', '--repository'))
  const location = asked.trim()
  if (location === '')
    throw new Failure('usage', 'a repository has a location, as restic takes it: /mnt/backup/restic, sftp:user@host:/path, b2:bucket:path')
  if (textFlag(input, 'repository') !== undefined && holdsPassword(location))
    throw new Failure(
      'usage',
      '--repository holds a password that everyone on this host can read: type the location at the prompt, or put RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD into --environment-file',
    )
  const passwordFile = textFlag(input, 'passwordFile')
  const password =
    passwordFile === undefined ? await askSecret("The repository's password:", '--password-file') : await readSecret(passwordFile, 'password')
  if (password === '') throw new Failure('usage', 'an empty password opens no repository')
  const file = textFlag(input, 'environmentFile')
  if (file !== undefined) return { location, password, variables: parseEnvironmentFile((await readSecret(file, 'variables')).text) }
  // A password file without a file of variables is a whole answer: nothing is asked for.
  return { location, password, variables: passwordFile === undefined ? await askVariables(location) : {} }
}

/** Asks at a terminal for what the storage needs. */
async function askVariables(location: string): Promise<Record<string, string>> {
  // Local folders and SFTP need no environment variables.
  if (/^(local:|\/|sftp:)/.test(location) || !isInteractive()) return {}
  const variables: Record<string, string> = {}
  for (;;) {
    const line = await askSecret('A credential of the storage, as NAME=VALUE (Enter: done):', '--environment-file')
    if (line === '') return variables
    const found = parseEnvironmentFile(line)
    if (Object.keys(found).length === 0) print('That is not NAME=VALUE; Backblaze B2, for example, needs B2_ACCOUNT_ID=… and B2_ACCOUNT_KEY=…')
    else print(`${Object.keys(found).join(', ')} is set`)
    Object.assign(variables, found)
  }
}

/**
 * Asks at a terminal for what opens the manifest's other repositories: what the manifest says of them is shown and never used. Without a terminal one
 * call opens one repository, and the plan names the command for each other one.
 */
async function askOthers(manifest: Manifest, first: string, input: Input): Promise<[string, Credentials][]> {
  const [only, except] = [listFlag(input, 'only'), listFlag(input, 'except')]
  const wanted = Object.entries(manifest.services).filter(([name]) => (only.length === 0 || only.includes(name)) && !except.includes(name))
  const names = [...new Set(wanted.map(([, { repository }]) => repository))].filter((name) => name !== first)
  const others: [string, Credentials][] = []
  for (const name of isInteractive() && !isSet(input, 'yes') ? names : []) {
    const itsServices = wanted.flatMap(([service, { repository }]) => (repository === name ? [service] : []))
    const which = `the repository ${name}, which holds ${listed(itsServices)}`
    const declared = manifest.repositories[name]?.repository
    const where = declared ? `; the manifest says ${toldLocation(declared)}` : ''
    const location = (await askText(`Location of ${which}${where} (Enter: skip these services):`, '--repository')).trim()
    if (location === '') continue
    const password = await askSecret(`The password of ${which} (Enter: skip these services):`, '--password-file')
    if (password !== '') others.push([name, { location, password, variables: await askVariables(location) }])
  }
  return others
}

/** At most ten names, and how many there are beyond. */
function listed(names: string[]): string {
  const shown = names.slice(0, 10).map((name) => printable(name.slice(0, 253)))
  return names.length > 10 ? `${shown.join(', ')} and ${names.length - 10} more` : shown.join(', ')
}

/**
 * The stored manifests of the chosen host that are not later than `--at`, newest first; if all are later, from the oldest on. Those that are dated in
 * the future, or later than one that was stored after them, are named and passed over.
 */
async function chooseManifests(all: Snapshot[], input: Input, location: string): Promise<Snapshot[]> {
  const now = new Date()
  const passed = futureManifests(all, now, textFlag(input, 'host'))
  if (passed.length > 0)
    tell(
      `${pluralize(passed.length, 'stored manifest')} dated in the future, passed over: ${listed(passed.map((one) => `${one.shortId} of ${one.host}, ${one.time.slice(0, 10)}`))}`,
    )
  const hosts = [...new Set(storedManifests(all, now).map(({ host }) => host))].sort()
  if (hosts.length === 0)
    throw new Failure(
      'no-manifest',
      `${location} holds no manifest (older versions stored none): write one by hand, or use /etc/atelier/backup-manifest.json, which the flake makes, and run dr with --manifest FILE; it holds snapshots of ${listed([...new Set(all.map(({ host }) => host))].sort()) || 'no host'}`,
    )
  const newestOf = (host: string) => storedManifests(all, now, host)[0] as Snapshot
  const wanted = textFlag(input, 'host')
  if (wanted !== undefined && !hosts.includes(wanted))
    throw new Failure('usage', `${location} holds no manifest of ${wanted}; it holds those of ${listed(hosts)}`)
  if (wanted === undefined && hosts.length > 1 && !isInteractive())
    throw new Failure('no-terminal', `${location} holds the manifests of ${listed(hosts)}: name one with --host`)
  const [first = ''] = hosts
  const choices = hosts.map((host) => {
    const name = printable(host.slice(0, 253))
    return { name: `${name}   ${formatTime(newestOf(host).time, now)}`, value: host, short: name }
  })
  const host = wanted ?? (hosts.length === 1 ? first : await choose('Which host?', choices, '--host'))
  const stored = storedManifests(all, now, host)
  const at = textFlag(input, 'at')
  const limit = at === undefined ? Number.POSITIVE_INFINITY : parseTime(at).getTime()
  // A time is meant as lists show it.
  const until = at === undefined ? stored : byDate(stored).filter(({ time }) => Date.parse(time) <= limit)
  const [newest] = until
  const later = until.filter(({ time }) => newest && Date.parse(time) > Date.parse(newest.time))
  if (newest && later[0])
    tell(
      `${pluralize(later.length, 'stored manifest')} dated later than ${newest.shortId} (${newest.time.slice(0, 10)}), which was stored after them, passed over: ${listed(later.map((one) => `${one.shortId}, ${one.time.slice(0, 10)}`))}. A clock was wrong then; the latest date counts with --at ${later[0].time}`,
    )
  return until.length > 0 ? until : stored.toReversed()
}

interface Loaded {
  stored: Snapshot
  manifest: Manifest
  /** The name that the manifest gives to the repository in which it stands. */
  repository: string
  /** What the manifest is called in messages. */
  file: string
}

/** The first of `candidates` that can be read; those before it are named. @throws Failure `no-manifest` if none can */
async function loadNewest(restic: Restic, candidates: Snapshot[], input: Input): Promise<Loaded> {
  const damaged: string[] = []
  // Each takes two calls of restic, and whoever can write to the repository can add any number.
  for (const stored of candidates.slice(0, mostTries)) {
    try {
      return await load(restic, stored, input)
    } catch (error) {
      const { code, message } = asFailure(error)
      if (!damagedCodes.includes(code)) throw error
      damaged.push(`the manifest in snapshot ${stored.shortId} of ${stored.time.slice(0, 16)} is damaged (${oneLine(message).slice(0, 300)})`)
      tell(`${damaged.at(-1)}: passed over`)
    }
  }
  throw new Failure('no-manifest', `${await restic.location()}: no stored manifest can be read: ${damaged.join('; ')}`)
}
const mostTries = 20
/** Codes that mean that this stored manifest is damaged. Any other error ends the command. */
const damagedCodes: Code[] = ['manifest-invalid', 'too-much-output', 'restic-failed', 'unknown-snapshot']

/** 200 services with all their fields take less than 1 MiB. */
const longestManifest = 4 << 20
const mostServices = 1000
/** No path of Linux is longer. */
const longestPath = 4096

/** Reads and validates a stored manifest. @throws Failure */
async function load(restic: Restic, stored: Snapshot, { signal }: Input): Promise<Loaded> {
  const read = (name: string) => restic.dump(stored.id, `${stored.paths[0]}/${name}`, { signal, maxLength: longestManifest })
  const file = `the manifest of ${printable(stored.host.slice(0, 253))} in snapshot ${stored.shortId}`
  const invalid = (why: string) => new Failure('manifest-invalid', `${file}: ${why}`)
  const manifest = readManifest(await read(manifestFiles.manifest), file, stored.host)
  if (manifest.host !== stored.host) throw invalid(`it belongs to host ${manifest.host}`)
  const services = Object.values(manifest.services)
  if (services.length > mostServices) throw invalid(`it declares more than ${mostServices} services`)
  if (services.some(({ paths, sqlite }) => [...paths, ...sqlite].some((path) => Buffer.byteLength(path) > longestPath)))
    throw invalid(`a path in it is longer than ${longestPath} bytes`)
  const repository = repositoryIn(await read(manifestFiles.host))
  if (repository === null) throw invalid(`${manifestFiles.host} doesn't say which repository it is in`)
  return { stored, manifest, file, repository: Object.hasOwn(manifest.repositories, repository) ? repository : 'main' }
}

/** The name of the repository in the text of `host.json`; null if it is damaged. */
function repositoryIn(text: string): string | null {
  try {
    const { repository } = JSON.parse(text) as Partial<StoredHost>
    return typeof repository === 'string' ? repository : null
  } catch {
    return null
  }
}

/**
 * Keeps only the services of a stored manifest; the settings are the defaults. Whoever wrote it doesn't decide which files of this host are secrets,
 * to which server psql connects and as whom, or where staging folders are made. The other repositories' locations stay, to be shown.
 */
function withoutSettings(manifest: Manifest): Manifest {
  const { postgresql, stagingDir } = defaults()
  const repositories = Object.entries(manifest.repositories).map(([name, { repository }]) => [name, { ...unopened(name), repository }])
  return { ...manifest, postgresql, stagingDir, repositories: withoutPrototype(repositories) as Manifest['repositories'] }
}

/** Settings of a manifest that are replaced by the defaults, in words. */
function ignoredSettings({ postgresql, stagingDir }: Manifest): string[] {
  const { user, socketDir, port } = postgresql
  const differs = JSON.stringify(postgresql) !== JSON.stringify(defaults().postgresql)
  return [
    ...(differs ? [`postgresql: user ${user}, socketDir ${shownPath(socketDir.slice(0, longestPath))}, port ${port}`] : []),
    ...(stagingDir === null ? [] : [`stagingDir: ${shownPath(stagingDir.slice(0, longestPath))}`]),
  ]
}

const emptyManifest = JSON.stringify({ version: 2, host: 'nowhere', services: {} })
function defaults(): Manifest {
  return readManifest(emptyManifest, 'the manifest')
}

/** A repository that nothing here opens, until a person says what does. */
function unopened(name: string): Manifest['repositories']['main'] {
  const place = `/nowhere/${name}`
  return { ...defaults().repositories.main, repositoryFile: `${place}/location`, passwordFile: `${place}/password`, environmentFile: null }
}

/** Writes the manifest that this command goes by: its repositories are opened by what was given, and no others. `left`: how many commands it lacks. */
async function save(manifest: Manifest, opened: { repository: string; location: string; left: number }, input: Input): Promise<void> {
  const file = textFlag(input, 'saveManifest')
  if (file === undefined) return
  const given = (flag: string) => {
    const path = textFlag(input, flag)
    return path === undefined ? undefined : resolve(path)
  }
  const repositories = Object.keys(manifest.repositories).map((name) => {
    if (name !== opened.repository) return [name, unopened(name)]
    const repository = redactedLocation(opened.location, []) === opened.location ? opened.location : null
    const passwordFile = given('passwordFile') ?? unopened(name).passwordFile
    return [name, { ...unopened(name), repository, passwordFile, environmentFile: given('environmentFile') ?? null }]
  })
  const text = `${JSON.stringify({ ...manifest, repositories: Object.fromEntries(repositories) }, null, 2)}\n`
  await writeFile(file, text, { flag: 'wx', mode: 0o644 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    throw new Failure('target-exists', `${file} exists: --save-manifest writes a new file`)
  })
  const without =
    opened.left > 0 ? ` without ${pluralize(opened.left, 'command')} (preBackup, postBackup, healthCheck), which --run-commands keeps` : ''
  tell(`the manifest is written to ${file}${without}`)
}

/** An object without a prototype: a service may be called `constructor`. */
function withoutPrototype<T>(entries: (string | T)[][]): Record<string, T> {
  return Object.assign(Object.create(null), Object.fromEntries(entries))
}

/** On standard error: standard output may be JSON. */
function tell(text: string): void {
  process.stderr.write(`${printable(text)}\n`)
}

/** The shell commands in the manifest: they come from the repository, and must not run without consent. */
function commandsOf(manifest: Manifest): { service: string; field: (typeof commandFields)[number]; command: string }[] {
  return Object.entries(manifest.services).flatMap(([service, declared]) =>
    commandFields.flatMap((field) => (declared[field] === null ? [] : [{ service, field, command: declared[field] }])),
  )
}
const commandFields = ['preBackup', 'postBackup', 'healthCheck'] as const

/** The manifest, without the commands that aren't allowed: --run-commands allows all, an answer the health checks alone. */
async function withConsent(manifest: Manifest, input: Input): Promise<Manifest> {
  if (commandsOf(manifest).length === 0 || isSet(input, 'runCommands')) return manifest
  // A recovery runs no others.
  const checks = commandsOf(manifest).filter(({ field }) => field === 'healthCheck').length
  const asks = checks > 0 && isInteractive() && !isSet(input, 'yes') && !isSet(input, 'dryRun')
  const question = 'Type run to allow the health checks of this manifest on this host (Enter: skip them):'
  const isAllowed = asks && (await typeToConfirm(question, 'run', '--run-commands'))
  if (checks > 0 && !isAllowed) tell(`the manifest's ${pluralize(checks, 'health check')} will not run: --run-commands allows them`)
  const services = Object.entries(manifest.services).map(([name, service]) => [
    name,
    { ...service, preBackup: null, postBackup: null, healthCheck: isAllowed ? service.healthCheck : null },
  ])
  return { ...manifest, services: withoutPrototype(services) as Manifest['services'] }
}

/** All that a person is asked to judge; paths, units and commands whole. First what lies outside of the usual places of data. */
function manifestView({ manifest, stored, repository }: Loaded, candidates: Snapshot[], location: string, now: Date): string[] {
  const services = Object.entries(manifest.services)
  const rows = services.flatMap(([name, service]) => {
    const units = unitsOf(name, service).join(' ') || '–'
    const data = declaredData(service)
    return (data.length > 0 ? data : ['–']).map((each, i) => (i === 0 ? [name, units, each] : ['', '', each]))
  })
  const commands = commandsOf(manifest).map(({ service, field, command }) => `  ${service} ${field}   ${command.trim().replaceAll('\n', ' ; ')}`)
  const others = Object.entries(manifest.repositories).flatMap(([name, { repository: said }]) => {
    const its = services.flatMap(([service, declared]) => (declared.repository === name ? [service] : []))
    return name === repository || its.length === 0
      ? []
      : [`  ${name}   ${said === null ? 'its location is in a file' : toldLocation(said)}; holds ${listed(its)}`]
  })
  const settings = ignoredSettings(manifest)
  return [
    ...wrapped(`The manifest of ${manifest.host}, stored ${formatTime(stored.time, now)} by ${installName(stored)} in ${location}`, columns()).map(
      (line) => styled('bold', line),
    ),
    ...otherInstalls(stored, candidates, now),
    '',
    ...unusualLines(services.flatMap(([service, { paths, sqlite }]) => [...paths, ...sqlite].map((path) => ({ service, path })))),
    ...tableLines([{ title: 'SERVICE' }, { title: 'UNITS' }, { title: 'DATA' }], rows, columns()),
    '',
    ...(commands.length > 0 ? ['Its commands:', ...commands.map(printable), ''] : []),
    ...(others.length > 0 ? ['Its other repositories, which are opened only by what you give:', ...others, ''] : []),
    ...(settings.length > 0
      ? ['Its settings that are not used here (to use them, write them into a manifest file yourself):', ...settings.map((one) => `  ${one}`), '']
      : []),
  ]
}

function installName({ tags }: Snapshot): string {
  const install = installOf(tags)
  return install === null ? 'an unknown install' : `install ${printable(install.slice(0, 64))}`
}

/** A line for each other install that stored manifests of the same host: at most one of them is the machine that was lost. */
function otherInstalls(stored: Snapshot, candidates: Snapshot[], now: Date): string[] {
  const newest = new Map(candidates.toReversed().map((each) => [installName(each), each]))
  newest.delete(installName(stored))
  const shown = [...newest].slice(0, 5).map(([name, { time }]) => `${sign('warn')} another stored manifest is from ${name}, ${formatTime(time, now)}`)
  return newest.size > 5 ? [...shown, `${sign('warn')} and of ${newest.size - 5} more installs`] : shown
}

/** The command to type again; secrets that were typed are left out and asked for again. */
function againOf(input: Input, location: string, host: string): string {
  const opening = repeated(input, { passwordFile: '--password-file', environmentFile: '--environment-file' })
  return [
    ...['atelier-backup dr --from-repository', `--repository ${shellWord(location)}`, ...opening, `--host ${shellWord(host)}`],
    ...repeated(input, { at: '--at', stateDir: '--state-dir', withoutUnits: '--without-units', runCommands: '--run-commands' }),
  ].join(' ')
}
