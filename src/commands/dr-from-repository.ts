// `dr --from-repository`: takes the manifest from the repository, shows it, and uses it for this one command.
import { writeFile } from 'node:fs/promises'
import { asFailure, type Code, Failure } from '../errors.ts'
import { declaredDatabases } from '../manifest/engines.ts'
import { readManifest } from '../manifest/load.ts'
import { holdsPassword } from '../manifest/location.ts'
import { unitsOf } from '../manifest/resolve.ts'
import type { Manifest } from '../manifest/types.gen.ts'
import { parseEnvironmentFile } from '../restic/environment.ts'
import { readSecret } from '../restic/secrets.ts'
import type { Credentials, Restic, Snapshot } from '../restic/types.ts'
import { resolveFolders, type Site, siteOf } from '../site.ts'
import { manifestFiles, type StoredHost, storedManifests } from '../snapshots/manifests.ts'
import { parseTime } from '../snapshots/select.ts'
import { printable, shellWord } from '../text.ts'
import { formatTime } from '../ui/format.ts'
import { waitingFor } from '../ui/progress.ts'
import { askSecret, askText, choose, typeToConfirm } from '../ui/prompt.ts'
import { tableLines } from '../ui/table.ts'
import { columns, isInteractive, print, sign, styled } from '../ui/terminal.ts'
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
  const stored = await chooseManifest(snapshots, input, await restic.location())
  const { manifest, text, repository, file } = await waitingFor('reading the manifest', load(restic, stored, input))
  await save(text, input)
  if (!input.json) print(...manifestView(manifest, stored, await restic.location(), new Date()))
  const allowed = await withConsent(manifest, input)
  const others = await askOthers(siteOf(allowed, file, places), repository, input)
  const site = siteOf(allowed, file, places, new Map([[repository, credentials], ...others]))
  // The client redacts a location that holds a password.
  const location = (await restic.location()) === credentials.location ? credentials.location : 'LOCATION'
  return { site, again: againOf(input, location, manifest.host) }
}

const emptyManifest = JSON.stringify({ version: 2, host: 'nowhere', services: {} })

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
  const location = known ?? textFlag(input, 'repository') ?? (await askText('Location of the repository, as restic takes it:', '--repository'))
  if (location.trim() === '')
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
  return { location: location.trim(), password, variables: await askVariables(input, location) }
}

async function askVariables(input: Input, location: string): Promise<Record<string, string>> {
  const file = textFlag(input, 'environmentFile')
  if (file !== undefined) return parseEnvironmentFile((await readSecret(file, 'variables')).text)
  // Local folders and SFTP need no environment variables.
  const needsNone = /^(local:|\/|sftp:)/.test(location)
  if (needsNone || !isInteractive() || textFlag(input, 'passwordFile') !== undefined) return {}
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
 * Asks at a terminal for the credentials of the manifest's other repositories, unless their secrets are on this machine. Without a terminal one call
 * opens one repository, and the plan names the command for each other one.
 */
async function askOthers(site: Site, first: string, input: Input): Promise<[string, Credentials][]> {
  const [only, except] = [listFlag(input, 'only'), listFlag(input, 'except')]
  const wanted = Object.entries(site.manifest.services).filter(([name]) => (only.length === 0 || only.includes(name)) && !except.includes(name))
  const names = [...new Set(wanted.map(([, { repository }]) => repository))].filter((name) => name !== first)
  const others: [string, Credentials][] = []
  for (const name of isInteractive() && !isSet(input, 'yes') ? names : []) {
    // Its secrets are on this machine, placed by agenix for example.
    if (
      await site
        .restic(name)
        .location()
        .then(Boolean, () => false)
    )
      continue
    const its = wanted.flatMap(([service, { repository }]) => (repository === name ? [service] : []))
    const which = `the repository ${name}, which holds ${its.join(', ')}`
    const location =
      site.manifest.repositories[name]?.repository ??
      (await askText(`Location of ${printable(which)} (Enter: leave them alone):`, '--repository')).trim()
    if (location === '') continue
    const password = await askSecret(`The password of ${printable(which)} (Enter: leave them alone):`, '--password-file')
    if (password !== '') others.push([name, { location, password, variables: await askVariables(input, location) }])
  }
  return others
}

/** The newest stored manifest of the chosen host, not later than `--at`; the oldest if all are later. */
async function chooseManifest(all: Snapshot[], input: Input, location: string): Promise<Snapshot> {
  const now = new Date()
  const hosts = [...new Set(storedManifests(all, now).map(({ host }) => host))].sort()
  if (hosts.length === 0)
    throw new Failure(
      'no-manifest',
      `${location} holds no manifest (older versions stored none): write one by hand, or take the one of the flake, and run dr with --manifest FILE; it holds snapshots of ${[...new Set(all.map(({ host }) => host))].sort().join(', ') || 'no host'}`,
    )
  const newestOf = (host: string) => storedManifests(all, now, host)[0] as Snapshot
  const wanted = textFlag(input, 'host')
  if (wanted !== undefined && !hosts.includes(wanted))
    throw new Failure('usage', `${location} holds no manifest of ${wanted}; it holds those of ${hosts.join(', ')}`)
  if (wanted === undefined && hosts.length > 1 && !isInteractive())
    throw new Failure('no-terminal', `${location} holds the manifests of ${hosts.join(', ')}: name one with --host`)
  const [first = ''] = hosts
  const choices = hosts.map((host) => ({ name: `${host}   ${formatTime(newestOf(host).time, new Date())}`, value: host, short: host }))
  const host = wanted ?? (hosts.length === 1 ? first : await choose('Which host?', choices, '--host'))
  const stored = storedManifests(all, now, host)
  const at = textFlag(input, 'at')
  const limit = at === undefined ? Number.POSITIVE_INFINITY : parseTime(at).getTime()
  return stored.find(({ time }) => Date.parse(time) <= limit) ?? (stored.at(-1) as Snapshot)
}

/** Reads and validates the stored manifest. */
async function load(
  restic: Restic,
  stored: Snapshot,
  { signal }: Input,
): Promise<{ manifest: Manifest; text: string; repository: string; file: string }> {
  const read = (name: string) => restic.dump(stored.id, `${stored.paths[0]}/${name}`, { signal })
  const file = `the manifest of ${stored.host} in snapshot ${stored.shortId}`
  const text = await read(manifestFiles.manifest)
  const manifest = readManifest(text, file, stored.host)
  const { repository } = JSON.parse(await read(manifestFiles.host)) as StoredHost
  return { manifest, text, file, repository: Object.hasOwn(manifest.repositories, repository) ? repository : 'main' }
}

async function save(text: string, input: Input): Promise<void> {
  const file = textFlag(input, 'saveManifest')
  if (file === undefined) return
  await writeFile(file, text, { flag: 'wx', mode: 0o644 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
    throw new Failure('target-exists', `${file} exists: --save-manifest writes a new file`)
  })
}

/** The shell commands in the manifest: they come from the repository, and must not run without consent. */
function commandsOf(manifest: Manifest): { service: string; field: (typeof commandFields)[number]; command: string }[] {
  return Object.entries(manifest.services).flatMap(([service, declared]) =>
    commandFields.flatMap((field) => (declared[field] === null ? [] : [{ service, field, command: declared[field] }])),
  )
}
const commandFields = ['preBackup', 'postBackup', 'healthCheck'] as const

/** The manifest, without its commands unless they are allowed. */
async function withConsent(manifest: Manifest, input: Input): Promise<Manifest> {
  const commands = commandsOf(manifest)
  if (commands.length === 0 || isSet(input, 'runCommands')) return manifest
  const asks = isInteractive() && !isSet(input, 'yes') && !isSet(input, 'dryRun')
  if (asks && (await typeToConfirm('Type run to allow its health checks on this host (Enter: skip them):', 'run', '--run-commands'))) return manifest
  process.stderr.write(`the manifest's commands (${commands.length}) are skipped: --run-commands allows its health checks\n`)
  const without = Object.entries(manifest.services).map(([name, service]) => [
    name,
    { ...service, preBackup: null, postBackup: null, healthCheck: null },
  ])
  return { ...manifest, services: Object.assign(Object.create(null), Object.fromEntries(without)) }
}

function manifestView(manifest: Manifest, { time }: Snapshot, location: string, now: Date): string[] {
  const rows = Object.entries(manifest.services).map(([name, service]) => [
    name,
    unitsOf(name, service).join(' ') || '–',
    [
      ...service.paths,
      ...service.sqlite,
      ...declaredDatabases(service).flatMap(({ engine, databases }) => databases.map((database) => `${engine} ${database}`)),
    ].join(' '),
  ])
  const commands = commandsOf(manifest).map(({ service, field, command }) => `  ${service} ${field}   ${command.trim().replaceAll('\n', ' ; ')}`)
  return [
    styled('bold', `The manifest of ${manifest.host}, stored ${formatTime(time, now)} in ${location}`),
    '',
    ...tableLines(
      [{ title: 'SERVICE' }, { title: 'UNITS' }, { title: 'DATA', shrink: 'cut' }],
      rows.map((row) => row.map(printable)),
      columns(),
    ),
    '',
    ...(commands.length > 0 ? ['Its commands:', ...commands.map(printable), ''] : []),
  ]
}

/** The command to type again; secrets that were typed are left out and asked for again. */
function againOf(input: Input, location: string, host: string): string {
  const opening = repeated(input, { passwordFile: '--password-file', environmentFile: '--environment-file' })
  return [
    ...['atelier-backup dr --from-repository', `--repository ${shellWord(location)}`, ...opening, `--host ${shellWord(host)}`],
    ...repeated(input, { at: '--at', stateDir: '--state-dir', withoutUnits: '--without-units', runCommands: '--run-commands' }),
  ].join(' ')
}
