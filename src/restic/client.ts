// The only caller of restic: arguments and environment in, typed results out, exit codes as errors.
import { open, readFile } from 'node:fs/promises'
import { Failure } from '../errors.ts'
import { type Finished, lines, type ProcessOptions, run } from '../host/shell.ts'
import type { Repository } from '../manifest/types.gen.ts'
import { parseEnvironmentFile, resticEnvironment } from './environment.ts'
import { type Asked, failureOf, redacted } from './errors.ts'
import { isMessage, type Message, nodeOf, parseLine, progressOf, type RawSnapshot, snapshotOf, withoutSuperseded } from './json.ts'
import { escapePattern } from './patterns.ts'
import type { BackupSummary, CallOptions, Restic, RestoreSummary, Snapshot } from './types.ts'

/** Enough to name what wasn't read; the count says the rest. */
const unreadableKept = 1000
const oldestVersion = [0, 17] as const

export interface ClientOptions {
  name: string
  repository: Repository
  cacheDir: string
  /** The program; tests name others. */
  program?: string
}

export function openRestic({ name, repository, cacheDir, program = 'restic' }: ClientOptions): Restic {
  const asked: Asked = { name, passwordFile: repository.passwordFile, location: null }
  let version: Promise<string> | null = null
  let environment: Promise<Record<string, string>> | null = null

  /** Starts one call. Secrets travel in the environment, never in the arguments. */
  const prepared = async (options: CallOptions): Promise<ProcessOptions> => {
    environment ??= prepare()
    const env = await environment.catch((error) => {
      environment = null
      throw error
    })
    return { env, ...(options.signal ? { signal: options.signal } : {}), ...(options.hold ? { hold: options.hold } : {}) }
  }
  const prepare = async (): Promise<Record<string, string>> => {
    const text = repository.environmentFile === null ? null : await readSecret(name, repository.environmentFile)
    await readSecret(name, repository.passwordFile)
    asked.location = redacted(repository.repository ?? (await readSecret(name, repository.repositoryFile)).trim())
    return resticEnvironment({ ...repository, cacheDir, variables: text === null ? {} : parseEnvironmentFile(text) })
  }
  const call = async (args: string[], options: CallOptions, extra: ProcessOptions & { prefix?: string[] } = {}): Promise<Finished> => {
    const { prefix = [], ...more } = extra
    const finished = await run([...prefix, program, ...args], { ...(await prepared(options)), ...more }).catch(notInstalled)
    if (finished.exit === 0 && !finished.interrupted) return finished
    throw failureOf(finished, asked)
  }
  const json = async (args: string[], options: CallOptions): Promise<unknown> => JSON.parse((await call([...args, '--json'], options)).stdout)
  const retryLock = ['--retry-lock', repository.retryLock]

  return {
    name,
    async location() {
      if (asked.location === null) asked.location = redacted(repository.repository ?? (await readSecret(name, repository.repositoryFile)).trim())
      return asked.location
    },
    version(options = {}) {
      version ??= askVersion(program, options).catch((error) => {
        version = null
        throw error
      })
      return version
    },
    async repositoryId(options = {}) {
      return ((await json(['cat', 'config', '--no-lock'], options)) as { id: string }).id
    },
    async init(options = {}) {
      return ((await json(['init'], options)) as { id: string }).id
    },
    async snapshots(options = {}) {
      const all = (await json(['snapshots', '--no-lock'], options)) as RawSnapshot[]
      const byTime = (a: Snapshot, b: Snapshot) => Date.parse(b.time) - Date.parse(a.time)
      return withoutSuperseded(all.map(snapshotOf)).sort(byTime)
    },
    async *ls(snapshot, under, options = {}) {
      const stream = lines(
        [
          program,
          'ls',
          '--no-lock',
          '--json',
          ...(under === undefined ? [] : ['--recursive']),
          '--',
          snapshot,
          ...(under === undefined ? [] : [under]),
        ],
        await prepared(options),
      )
      for (;;) {
        const { value, done } = await stream.next().catch(notInstalled)
        if (done) {
          if (value.exit !== 0 || value.interrupted) throw failureOf(value, asked)
          return
        }
        const node = nodeOf(parseLine(value))
        if (node) yield node
      }
    },
    async backup({ paths, exclude, tags, host, time, parent, prefix, onProgress, ...options }) {
      if (paths.length === 0) throw new Failure('nothing-to-save', `no path to save to repository ${name}`)
      const unreadable: BackupSummary['unreadable'] = []
      let summary: Message | null = null
      const args = [
        ...['backup', '--json', '--host', host, ...retryLock],
        ...tags.flatMap((tag) => ['--tag', tag]),
        ...exclude.map((pattern) => `--exclude=${pattern}`),
        ...(parent === undefined ? [] : ['--parent', parent]),
        ...(time === undefined ? [] : ['--time', localTime(time)]),
        ...['--', ...paths],
      ]
      const onLine = (line: string) => {
        const message = parseLine(line)
        if (isMessage(message, 'status')) onProgress?.(progressOf(message))
        if (isMessage(message, 'summary')) summary = message
      }
      const onErrorLine = (line: string) => {
        const message = parseLine(line)
        if (isMessage(message, 'error') && unreadable.length < unreadableKept)
          unreadable.push({ path: String(message.item ?? ''), message: redacted(String(message.error?.message ?? '')) })
      }
      const finished = await run([...(prefix ?? []), program, ...args], { ...(await prepared(options)), onLine, onErrorLine }).catch(notInstalled)
      const result = summary as Message | null
      // 3: some of it could not be read, and the rest is saved.
      if ((finished.exit !== 0 && finished.exit !== 3) || finished.interrupted || !result?.snapshot_id) throw failureOf(finished, asked, parent)
      if (finished.exit === 3 && unreadable.length === 0)
        unreadable.push({ path: paths[0] ?? '', message: 'restic says that something could not be read' })
      return {
        snapshotId: result.snapshot_id,
        time: new Date(result.backup_start ?? Date.now()).toISOString(),
        bytes: result.total_bytes_processed ?? 0,
        files: result.total_files_processed ?? 0,
        addedBytes: result.data_added_packed ?? result.data_added ?? 0,
        unreadable,
      }
    },
    async restore({ snapshot, target, include, onProgress, ...options }) {
      const total: RestoreSummary = { files: 0, bytes: 0 }
      for (const some of inBatches(include)) {
        let firstError: string | null = null
        const onLine = (line: string) => {
          const message = parseLine(line)
          if (isMessage(message, 'status'))
            onProgress?.({
              doneBytes: message.bytes_restored ?? 0,
              totalBytes: message.total_bytes ?? null,
              files: message.files_restored ?? 0,
              secondsLeft: null,
            })
          if (!isMessage(message, 'summary')) return
          total.files += message.files_restored ?? 0
          total.bytes += message.bytes_restored ?? 0
        }
        const onErrorLine = (line: string) => {
          const message = parseLine(line)
          if (isMessage(message, 'error')) firstError ??= `${message.item ?? ''}: ${message.error?.message ?? ''}`
        }
        const args = [
          'restore',
          '--json',
          '--target',
          target,
          ...some.map((path) => `--include=${escapePattern(path)}`),
          ...retryLock,
          '--',
          snapshot,
        ]
        const finished = await run([program, ...args], { ...(await prepared(options)), onLine, onErrorLine }).catch(notInstalled)
        if (finished.exit === 0 && !finished.interrupted) continue
        const failure = failureOf(finished, asked)
        throw failure.code === 'restic-failed' && firstError !== null
          ? new Failure('restic-failed', `repository ${name}: the restore failed at ${redacted(firstError)}`)
          : failure
      }
      return total
    },
    async tag(snapshot, add, options = {}) {
      const { stdout } = await call(['tag', '--json', ...retryLock, ...add.flatMap((tag) => ['--add', tag]), '--', snapshot], options)
      const changed = stdout
        .split('\n')
        .map(parseLine)
        .find((message) => isMessage(message, 'changed'))
      // restic 0.17 prints no JSON here: the new snapshot names the old one.
      return (
        changed?.new_snapshot_id ??
        (await this.snapshots(options)).find(({ original, id }) => original === snapshot || id === snapshot)?.id ??
        snapshot
      )
    },
    async forget({ service, host, keep, dryRun, ...options }) {
      const rules = Object.entries(keep).flatMap(([rule, count]) => (count > 0 ? [`--keep-${rule}`, String(count)] : []))
      // Without a rule restic would keep everything, or, in other versions, refuse.
      if (rules.length === 0) return { keep: [], remove: [] }
      const args = [
        'forget',
        '--json',
        ...retryLock,
        '--tag',
        `service:${service}`,
        '--host',
        host,
        '--group-by',
        'host',
        ...rules,
        ...(dryRun ? ['--dry-run'] : []),
      ]
      const { stdout } = await call(args, options)
      const groups = (stdout.trim() ? JSON.parse(stdout) : []) as {
        keep: RawSnapshot[] | null
        remove: RawSnapshot[] | null
        reasons: { snapshot: RawSnapshot; matches: string[] }[] | null
      }[]
      return {
        keep: groups.flatMap(({ keep: kept, reasons }) =>
          (kept ?? []).map((raw) => ({
            snapshot: snapshotOf(raw),
            reasons: reasons?.find(({ snapshot }) => snapshot.time === raw.time)?.matches ?? [],
          })),
        ),
        remove: groups.flatMap(({ remove }) => (remove ?? []).map(snapshotOf)),
      }
    },
    async prune({ dryRun, ...options }) {
      return (await call(['prune', ...retryLock, ...(dryRun ? ['--dry-run'] : [])], options)).stdout
    },
    async check(options = {}) {
      const finished = await run([program, 'check', '--json', ...retryLock], await prepared(options)).catch(notInstalled)
      const summary = finished.stdout
        .split('\n')
        .map(parseLine)
        .find((message) => isMessage(message, 'summary'))
      if (finished.exit !== 0 && !summary) throw failureOf(finished, asked)
      return { errors: summary?.num_errors ?? 0 }
    },
    async locks(options = {}) {
      const { stdout } = await call(['list', 'locks', '--no-lock'], options)
      const ids = stdout.split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line))
      const read = async (id: string) => {
        // One that is gone meanwhile was alive.
        const lock = (await json(['cat', 'lock', id, '--no-lock'], options).catch(() => null)) as {
          hostname: string
          pid: number
          username?: string
          time: string
          exclusive?: boolean
        } | null
        return lock
          ? [{ id, host: lock.hostname, pid: lock.pid, user: lock.username ?? '', time: lock.time, exclusive: lock.exclusive ?? false }]
          : []
      }
      return (await Promise.all(ids.map(read))).flat()
    },
    async unlock({ all, ...options } = {}) {
      const { stdout, stderr } = await call(['unlock', ...(all ? ['--remove-all'] : [])], options)
      return Number(/successfully removed (\d+) locks?/.exec(stdout + stderr)?.[1] ?? 0)
    },
    async passthrough(args, options = {}) {
      return (await run([program, ...args], { ...(await prepared(options)), terminal: true }).catch(notInstalled)).exit
    },
  }
}

function notInstalled(error: unknown): never {
  if (error instanceof Failure && error.code === 'missing-tool')
    throw new Failure('restic-missing', 'restic is not installed, or not on PATH: install restic 0.17 or newer')
  throw error
}

async function askVersion(program: string, options: CallOptions): Promise<string> {
  const { stdout } = await run([program, 'version'], options.signal ? { signal: options.signal } : {}).catch(notInstalled)
  const [, text = '', major = '0', minor = '0'] = /restic ((\d+)\.(\d+)\S*)/.exec(stdout) ?? []
  if (Number(major) > oldestVersion[0] || Number(minor) >= oldestVersion[1]) return text
  throw new Failure('restic-too-old', `restic ${text || stdout.trim().slice(0, 40)} is too old: 0.17 or newer is needed`)
}

/** Read before restic starts, so that what is missing is named as what it is. */
async function readSecret(name: string, file: string): Promise<string> {
  try {
    const handle = await open(file, 'r')
    await handle.close()
    return await readFile(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const why =
      code === 'ENOENT'
        ? "doesn't exist: place the secret, or correct its path in the manifest"
        : code === 'EACCES'
          ? "isn't ours to read: run this as root"
          : `can't be read (${code})`
    throw new Failure('secrets-unreadable', `repository ${name}: ${file} ${why}`)
  }
}

/** Includes go as arguments (a file of patterns would expand $VARIABLES), as many as one command line takes. */
function inBatches(include: string[]): string[][] {
  const batches: string[][] = [[]]
  let size = 0
  for (const path of include) {
    size += path.length * 4 + 16
    if (size > 100_000) {
      batches.push([])
      size = 0
    }
    batches.at(-1)?.push(path)
  }
  return batches
}

/** restic takes local time without a zone. */
function localTime(time: Date): string {
  const two = (number: number) => String(number).padStart(2, '0')
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
}
