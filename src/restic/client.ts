// The only caller of restic: arguments and environment in, typed results out, exit codes as errors.
import { constants, existsSync, readFileSync, statSync } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { asFailure, Failure } from '../errors.ts'
import { lines, type ProcessOptions, type ProcessResult, run } from '../host/shell.ts'
import { printable } from '../text.ts'
import { parseEnvironmentFile, resticEnvironment } from './environment.ts'
import { failure, failureOf, interruption, isTimeout, type RepositoryRef, redacted, secretsOf } from './errors.ts'
import {
  forgottenOf,
  foundOf,
  idOf,
  isMessage,
  isSummary,
  linkTargetOf,
  lockOf,
  type Message,
  messages,
  nodeOf,
  ownersOf,
  parseAnswer,
  parseLine,
  progressOf,
  restoreProgressOf,
  snapshotsOf,
  treesOf,
} from './json.ts'
import { escapePattern } from './patterns.ts'
import type { BackupSummary, CallOptions, Credentials, Node, Restic, RestoreSummary, Snapshot } from './types.ts'

export interface ClientOptions {
  /** Name of the repository in the manifest. */
  name: string
  /** As in the manifest. */
  repository: {
    repository: string | null
    repositoryFile: string
    passwordFile: string
    environmentFile: string | null
    retryLock: string
  }
  /** In place of what the repository's files hold. */
  given?: Credentials | undefined
  cacheDir: string
  /** The program; tests name others. */
  program?: string
  /** Told of each process that may lock the repository, and of its end, except where it may have left its lock. */
  processes?: { started(pid: number): void; ended(pid: number): void }
}

export function openRestic({ name, repository, given, cacheDir, program = 'restic', processes: lockers }: ClientOptions): Restic {
  const asked: RepositoryRef = { name, passwordFile: given ? null : repository.passwordFile, location: null, secrets: [] }
  const retryLock = ['--retry-lock', repository.retryLock]
  const version = memoize((options: CallOptions) => askVersion(program, options))

  /** Reads the secrets before restic starts, so that what is missing is named as what it is. */
  const opened = memoize(async () => {
    const location = given?.location ?? repository.repository ?? (await readSecret(asked, repository.repositoryFile)).trim()
    const variables =
      given?.variables ?? (repository.environmentFile === null ? {} : parseEnvironmentFile(await readSecret(asked, repository.environmentFile, true)))
    asked.secrets = [...secretsOf(location, variables), ...(given ? [given.password] : [])]
    asked.location = printable(redacted(location, asked.secrets))
    if (!given) await readSecret(asked, repository.passwordFile)
    const local = location.replace(/^local:/, '')
    return { env: resticEnvironment({ ...repository, given: given ?? null, cacheDir, variables }), folder: local.startsWith('/') ? local : null }
  })

  const prepared = async ({ signal, inheritFds }: CallOptions, reading = false): Promise<ProcessOptions> => {
    if (!reading) await version({ ...(signal ? { signal } : {}) })
    const { env } = await opened().catch(async (error) => {
      await version({ ...(signal ? { signal } : {}) })
      throw error
    })
    return { env, ...(signal ? { signal } : {}), ...(inheritFds ? { inheritFds } : {}) }
  }

  const isReadOnly = async () => {
    const { folder } = await opened()
    return folder !== null && (await access(`${folder}/locks`, constants.W_OK).catch((error: NodeJS.ErrnoException) => error.code)) === 'EROFS'
  }

  /** Asks for the version while what only reads is at work, and waits for both. @throws Failure `restic-missing`, `restic-too-old` */
  const meanwhile = async (work: Promise<unknown>, options: CallOptions): Promise<void> => {
    const over = work.catch(() => {})
    // Not at once: two cores have enough to do then, with that call and with what loads meanwhile.
    await Promise.race([over, sleep(100, undefined, { ref: false })])
    await Promise.all([over, version(options).catch(aborted(asked))])
  }

  /** One call, however it ends. */
  const ended = async (argv: string[], options: CallOptions, more: ProcessOptions = {}): Promise<ProcessResult> => {
    // What only reads begins before the version is asked for.
    const reading = argv.includes('--no-lock')
    const ready = await prepared(options, reading).catch(aborted(asked))
    // restic would try to write its lock for a quarter of an hour.
    if (!reading && !more.terminal && (await isReadOnly()))
      throw failure(
        'read-only',
        asked,
        'it is mounted read-only: restores work, nothing can be saved or changed; look why (dmesg), mount it writable',
      )
    let pid: number | null = null
    const onStart = (started: number) => {
      if (reading) return
      pid = started
      lockers?.started(pid)
    }
    const ending = run(argv, { ...ready, ...more, onStart })
    if (reading) await meanwhile(ending, options)
    const finished = await ending.catch(aborted(asked))
    if (pid !== null && unlocked.includes(finished.exit)) lockers?.ended(pid)
    return finished
  }

  const call = async (args: string[], options: CallOptions, more: ProcessOptions = {}): Promise<string> => {
    const finished = await ended([program, ...args], options, more)
    if (finished.exit !== 0) throw failureOf(finished, asked, { reason: options.signal?.reason })
    return finished.stdout
  }

  /** @throws Failure `restic-garbled` */
  const understood = <T>(text: string, as: (value: unknown) => T): T => {
    const answer = parseAnswer(text, as)
    if (answer === null) throw garbled()
    return answer
  }
  const garbled = () => failure('restic-garbled', asked, `restic's answer can't be read; is the restic on PATH the right one? atelier-backup doctor`)

  const entryOf = (message: Message) => {
    try {
      return nodeOf(message)
    } catch {
      throw garbled()
    }
  }

  const ask = async <T>(args: string[], as: (value: unknown) => T, options: CallOptions): Promise<T> => {
    return understood(await call(args, options), as)
  }

  /** What a call prints, as it comes: nothing of it may be missing. */
  async function* stream(args: string[], options: CallOptions): AsyncGenerator<Message> {
    const output = lines([program, ...args], await prepared(options, true).catch(aborted(asked)))
    try {
      const first = output.next()
      await meanwhile(first, options)
      for (let next = first; ; next = output.next()) {
        const { value, done } = await next.catch(aborted(asked))
        if (done && value.exit !== 0) throw failureOf(value, asked, { reason: options.signal?.reason })
        if (done) return
        const message = parseLine(value)
        if (message) yield message
        else if (value.startsWith('{')) throw garbled()
      }
    } finally {
      await output.return({ exit: 0, stdout: '', stderr: '', interrupted: false, timedOut: false })
    }
  }

  async function* nodesOf(snapshot: string, under: string | undefined, options: CallOptions): AsyncGenerator<Node> {
    const where = under === undefined ? ['--', snapshot] : ['--recursive', '--', snapshot, under]
    for await (const message of stream(['ls', '--no-lock', '--json', ...where], options)) {
      const node = entryOf(message)
      if (node) yield node
    }
  }
  const askId = (options: CallOptions) => ask(['cat', 'config', '--no-lock', '--json'], (config) => idOf((config as { id: unknown }).id), options)
  const sameId = memoize(askId)
  const listed = (options: CallOptions) => ask(['snapshots', '--no-lock', '--json'], snapshotsOf, options)
  let listing: { snapshots: Promise<Snapshot[]>; end: AbortController } | null = null
  let foreseen: { snapshot: string; nodes: AsyncGenerator<Node>; first: Promise<IteratorResult<Node>> } | null = null

  const forgotten = async (argv: string[], options: CallOptions): Promise<string> => {
    const finished = await ended(argv, options)
    // 0.18 exits 0 when the storage forbids deleting, 0.19 exits 3.
    const kept = /^unable to remove .*/m.exec(finished.stderr)?.[0]
    if (kept && /\b403\b|forbidden/i.test(finished.stderr)) throw failure('append-only', asked, 'nothing can be deleted from here')
    if (kept) throw failure('restic-failed', asked, `${kept}: does the storage allow deleting?`)
    if (finished.exit !== 0) throw failureOf(finished, asked, { reason: options.signal?.reason })
    return finished.stdout
  }

  return {
    name,
    async location() {
      await opened()
      return asked.location ?? ''
    },
    async version(options = {}) {
      return version(options)
    },
    async repositoryId(options = {}) {
      return askId(options)
    },
    async sameId(options = {}) {
      return sameId(options)
    },
    async init(options = {}) {
      return ask(['init', '--json'], (made) => idOf((made as { id: unknown }).id), options)
    },
    async snapshots(options = {}) {
      const begun = listing
      listing = null
      if (!begun) return listed(options)
      const { signal } = options
      signal?.addEventListener('abort', () => begun.end.abort(signal.reason), { once: true })
      return begun.snapshots
    },

    foreseeSnapshots({ signal, ...options } = {}) {
      const end = new AbortController()
      const snapshots = listed({ ...options, signal: signal ? AbortSignal.any([signal, end.signal]) : end.signal })
      // Whoever asks for them is told.
      snapshots.catch(() => {})
      listing = { snapshots, end }
    },

    async *ls(snapshot, under, options = {}) {
      const begun = foreseen
      foreseen = null
      if (begun?.snapshot === snapshot && under === undefined) {
        try {
          const { value, done } = await begun.first
          if (!done) yield value
          yield* begun.nodes
        } finally {
          await begun.nodes.return(undefined)
        }
        return
      }
      // Not waited for: its answer is of no use any more.
      begun?.nodes.return(undefined).catch(() => {})
      yield* nodesOf(snapshot, under, options)
    },

    foresee(snapshot, options = {}) {
      const nodes = nodesOf(snapshot, undefined, options)
      const first = nodes.next()
      // Whoever asks for it is told.
      first.catch(() => {})
      foreseen = { snapshot, nodes, first }
    },

    async folder(snapshot, path, options = {}) {
      const nodes: Node[] = []
      let isThere = path === '/'
      for await (const message of stream(['ls', '--no-lock', '--json', '--', snapshot, path], options)) {
        const node = nodeOf(message)
        if (node?.path === path) isThere = node.type === 'dir'
        else if (node) nodes.push(node)
      }
      if (!isThere) throw new Failure('unknown-path', `${printable(path)} is no folder in snapshot ${snapshot.slice(0, 8)}`)
      return nodes
    },

    async find({ pattern, host, tags, ...options }) {
      const only = ['--host', host, ...tags.flatMap((tag) => ['--tag', tag])]
      const argv = [program, 'find', '--no-lock', '--json', '--ignore-case', ...only, '--', pattern]
      const finished = await ended(argv, options).catch((error) => {
        if (asFailure(error).code !== 'too-much-output') throw error
        throw new Failure(
          'usage',
          `${JSON.stringify(pattern)} matches more than can be shown: give more of the name, or of its path ("/var/lib/x/**/*.txt")`,
        )
      })
      if (finished.stderr.includes('syntax error in pattern'))
        throw new Failure('usage', `${JSON.stringify(pattern)} is no pattern: a [ begins a set of letters, which a ] ends; \\[ is a bracket`)
      if (finished.exit !== 0) throw failureOf(finished, asked, { reason: options.signal?.reason })
      return understood(finished.stdout || '[]', foundOf)
    },

    async *diff(older, newer, options = {}) {
      for await (const message of stream(['diff', '--no-lock', '--json', '--', older, newer], options))
        if (isMessage(message, 'change')) yield { path: message.path ?? '', modifier: message.modifier ?? '' }
    },

    async readlink(snapshot, path, options = {}) {
      const cut = path.lastIndexOf('/')
      const tree = ['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${path.slice(0, cut) || '/'}`]
      return (await ask(tree, (value) => ({ target: linkTargetOf(value, path.slice(cut + 1)) }), options)).target
    },

    async owners(snapshot, folder, options = {}) {
      return ask(['cat', 'tree', '--no-lock', '--json', '--', `${snapshot}:${folder}`], ownersOf, options)
    },

    async trees(snapshots, options = {}) {
      const which = snapshots.flatMap((id) => ['--snapshot', id])
      return ask(['find', '--no-lock', '--json', ...which, '--', '*'], treesOf, options)
    },

    async dump(snapshot, path, options = {}) {
      return call(['dump', '--no-lock', '--', snapshot, path], options)
    },

    async backup({ paths, exclude, tags, host, time, parent, prefix = [], onProgress, ...options }) {
      const unreadable: BackupSummary['unreadable'] = []
      let unreadableCount = 0
      let summary: (Message & { snapshot_id: string }) | undefined
      const missed = (path: string, message: string) => {
        unreadableCount += 1
        if (unreadable.length < unreadableKept) unreadable.push({ path, message: redacted(message, asked.secrets) })
      }
      const argv = [
        ...[...prefix, program, 'backup', '--json', '--host', host, ...retryLock],
        ...tags.flatMap((tag) => ['--tag', tag]),
        // Not by --exclude-file: the snapshot wouldn't tell what it leaves out, and a restore in place must carry that over.
        ...exclude.map((pattern) => `--exclude=${pattern}`),
        ...(parent === undefined ? [] : ['--parent', parent]),
        ...(time === undefined ? [] : ['--time', time.toISOString().slice(0, 19).replace('T', ' ')]),
        ...['--', ...paths],
      ]
      const { env, folder } = await opened()
      const finished = await ended(argv, options, {
        // --time is in local time, without a zone.
        ...(time === undefined ? {} : { env: { ...env, TZ: 'UTC' } }),
        onLine(line) {
          const message = parseLine(line)
          if (isMessage(message, 'status')) onProgress?.(progressOf(message))
          if (isSummary(message)) summary = message
        },
        onErrorLine(line) {
          const message = parseLine(line)
          // What the scan for the progress bar can't read, the backup itself will meet, too.
          if (isMessage(message, 'error') && message.during !== 'scan') missed(message.item ?? '', message.error?.message ?? '')
          // 0.18 exits 0 all the same.
          const missing = /^(\/.*) does not exist, skipping$/.exec(line)?.[1]
          if (missing) missed(missing, 'does not exist')
        },
      })
      // 3: the snapshot was saved without what could not be read.
      if (finished.exit !== 0 && finished.exit !== 3) throw failureOf(finished, asked, { reason: options.signal?.reason, parent })
      if (!summary) throw garbled()
      // A folder that vanishes meanwhile is made anew by restic, without a word: what was written before went with it.
      if (folder !== null && !existsSync(`${folder}/config`)) throw failure('repository-unreachable', asked, 'it vanished during the backup')
      if (finished.exit === 3 && unreadableCount === 0) missed(paths[0] ?? '', 'restic says that something could not be read')
      return {
        snapshotId: summary.snapshot_id,
        time: time?.toISOString() ?? summary.backup_start ?? new Date().toISOString(),
        bytes: summary.total_bytes_processed ?? 0,
        files: summary.total_files_processed ?? 0,
        addedBytes: summary.data_added_packed ?? 0,
        unreadable,
        unreadableCount,
      }
    },

    async restore({ snapshot, target, include, onProgress, ...options }) {
      const total: RestoreSummary = { files: 0, bytes: 0 }
      for (const some of inBatches(include.map(includePattern))) {
        const errors: string[] = []
        const batch: RestoreSummary = { files: 0, bytes: 0 }
        const includes = some.map((pattern) => `--include=${pattern}`)
        const argv = (lock: string[]) => [program, 'restore', '--json', '--sparse', '--target', target, ...includes, ...lock, '--', snapshot]
        const reading: ProcessOptions = {
          onLine(line) {
            const message = parseLine(line)
            if (isMessage(message, 'status')) onProgress?.(restoreProgressOf(message))
            if (isMessage(message, 'summary')) Object.assign(batch, { files: message.total_files ?? 0, bytes: message.total_bytes ?? 0 })
          },
          onErrorLine(line) {
            const message = parseLine(line)
            if (isMessage(message, 'error')) errors.push(`${message.item ?? ''}: ${message.error?.message ?? ''}`)
          },
        }
        let finished = await ended(argv((await isReadOnly()) ? ['--no-lock'] : retryLock), options, reading)
        // What may only be read can be restored from all the same; a prune meanwhile would be noticed.
        if (finished.exit === 1 && /unable to create lock.*\b(403|forbidden)\b/is.test(finished.stderr))
          finished = await ended(argv(['--no-lock']), options, reading)
        total.files += batch.files
        total.bytes += batch.bytes
        if (finished.exit === 0) continue
        const [first] = errors
        if (finished.interrupted || first === undefined) throw failureOf(finished, asked, { reason: options.signal?.reason })
        const text = `restoring snapshot ${snapshot.slice(0, 8)} below ${target} met ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}, the first at ${first}`
        throw failure(first.includes('no space left on device') ? 'disk-full' : 'restic-failed', asked, printable(redacted(text, asked.secrets)))
      }
      return total
    },

    async tag(snapshot, add, options = {}) {
      const argv = [program, 'tag', '--json', ...retryLock, ...add.flatMap((tag) => ['--add', tag]), '--', snapshot]
      const finished = await ended(argv, options)
      const told = messages(finished.stdout)
      // A snapshot that is missing or can't be replaced is only mentioned: restic exits 0.
      const complaint = /^(Ignoring|unable to modify the tags).*/m.exec(finished.stderr)?.[0]
      if (finished.exit !== 0) throw failureOf(finished, asked, { reason: options.signal?.reason })
      if (complaint) throw failure(complaint.startsWith('Ignoring') ? 'unknown-snapshot' : 'restic-failed', asked, complaint)
      if (told.length > 0) return told.find((message) => isMessage(message, 'changed'))?.new_snapshot_id ?? snapshot
      // 0.17 tells only in the list.
      const all = await this.snapshots(options)
      const changed = all.find(({ id, original }) => id === snapshot || original === snapshot)
      if (!changed) throw failure('restic-failed', asked, `snapshot ${snapshot.slice(0, 8)} was tagged, but its new id isn't known`)
      return changed.id
    },

    async forget({ service, host, keep, dryRun, ...options }) {
      const rules = Object.entries(keep).flatMap(([rule, count]) => (count > 0 ? [`--keep-${rule}`, String(count)] : []))
      if (rules.length === 0) {
        // restic refuses to forget without a rule: nothing goes.
        const all = await this.snapshots(options)
        const its = all.filter((snapshot) => snapshot.host === host && snapshot.tags.includes(`service:${service}`))
        return { keep: its.map((snapshot) => ({ snapshot, reasons: ['no rule'] })), remove: [] }
      }
      const argv = [program, 'forget', '--json', ...retryLock, '--tag', `service:${service}`, '--host', host, '--group-by', 'host', ...rules]
      const stdout = await forgotten([...argv, ...(dryRun ? ['--dry-run'] : [])], options)
      // 0.18 prints nothing where nothing matches.
      return understood(stdout.trim() || '[]', forgottenOf)
    },

    async forgetSnapshots(ids, options = {}) {
      if (ids.length > 0) await forgotten([program, 'forget', ...retryLock, '--', ...ids], options)
    },

    async prune({ dryRun, ...options }) {
      return call(['prune', ...retryLock, ...(dryRun ? ['--dry-run'] : [])], options)
    },

    async check(options = {}) {
      const finished = await ended([program, 'check', '--json', ...((await isReadOnly()) ? ['--no-lock'] : retryLock)], options)
      const errors = messages(finished.stdout).find((message) => isMessage(message, 'summary'))?.num_errors ?? 0
      // It counts "locked" as an error, too; that has an exit code of its own.
      if (finished.exit !== 0 && (finished.exit !== 1 || errors === 0)) throw failureOf(finished, asked, { reason: options.signal?.reason })
      return { errors }
    },

    async locks(options = {}) {
      const ids = (await call(['list', 'locks', '--no-lock'], options)).split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line))
      const read = async (id: string) => {
        // Gone meanwhile: its owner is alive and done.
        const text = await call(['cat', 'lock', id, '--no-lock', '--json'], options).catch((error) => {
          if (error instanceof Failure && error.code === 'restic-failed') return null
          throw error
        })
        return text === null ? [] : [understood(text, (value) => lockOf(id, value))]
      }
      return (await Promise.all(ids.map(read))).flat()
    },

    async unlock({ all, ...options } = {}) {
      return Number(/removed (\d+) lock/.exec(await call(['unlock', ...(all ? ['--remove-all'] : [])], options))?.[1] ?? 0)
    },

    async passthrough(args, options = {}) {
      return (await ended([program, ...args], options, { terminal: true, cwd: process.cwd() })).exit
    },
  }
}

/** Exit codes by which no lock of its is left: otherwise it was killed, or its storage went away before it could remove it. */
const unlocked = [0, 3, 10, 11, 12]

/** Enough to name; the count says the rest. */
const unreadableKept = 1000

/** Asks once; a failure isn't kept. */
function memoize<A extends unknown[], T>(ask: (...args: A) => Promise<T>): (...args: A) => Promise<T> {
  let answer: Promise<T> | undefined
  return (...args) => {
    answer ??= ask(...args).catch((error) => {
      answer = undefined
      throw error
    })
    return answer
  }
}

/** What keeps restic from starting, as a Failure. */
function aborted(asked: RepositoryRef) {
  return (error: unknown): never => {
    if (isTimeout(error)) throw failure('repository-unreachable', asked, 'no answer in time')
    if (error instanceof Error && error.name === 'AbortError') throw interruption()
    throw error
  }
}

async function askVersion(program: string, options: CallOptions): Promise<string> {
  const { stdout, interrupted } = await run([program, 'version'], options).catch((error) => {
    if (error instanceof Failure && error.code === 'missing-tool')
      throw new Failure('restic-missing', `${program} is not installed, or not on PATH: install restic 0.17 or newer`)
    throw error
  })
  if (interrupted) throw interruption()
  const [, version, major, minor] = /^restic ((\d+)\.(\d+)\S*)/m.exec(stdout) ?? []
  if (version && (Number(major) > 0 || Number(minor) >= 17)) return version
  throw new Failure(
    'restic-too-old',
    `${version ? `restic ${version} is too old` : `${program} doesn't say its version`}: install restic 0.17 or newer`,
  )
}

async function readSecret(asked: RepositoryRef, file: string, mayBeEmpty = false): Promise<string> {
  let text: string
  try {
    // To pass a small file to another thread and back takes longer than to read it; for what a pipe brings one may have to wait.
    text = new TextDecoder('utf-8', { fatal: true }).decode(statSync(file).isFile() ? readFileSync(file) : await readFile(file))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    throw failure('secrets-unreadable', asked, `${file} ${unreadableFiles[code] ?? `can't be read (${code})`}`, error)
  }
  if (!mayBeEmpty && text.trim() === '') throw failure('secrets-unreadable', asked, `${file} is empty`)
  if (text.includes('\0')) throw failure('secrets-unreadable', asked, `${file} isn't text`)
  return text
}

const unreadableFiles: Record<string, string> = {
  ENOENT: "doesn't exist: place the secret there, or correct its path in the manifest",
  EACCES: "isn't ours to read: run this as root",
  ERR_ENCODING_INVALID_ENCODED_DATA: "isn't UTF-8 text",
}

/** `ls` shows a byte that isn't UTF-8 as U+FFFD; in a pattern `?` stands for such a byte. */
function includePattern(path: string): string {
  return escapePattern(path).replaceAll('\ufffd', '?')
}

/** As arguments, as many as one command line takes: nothing has to be written where a disk may be full. No path: everything. */
function inBatches(patterns: string[]): string[][] {
  const batches: string[][] = [[]]
  let size = 0
  for (const pattern of patterns) {
    const bytes = Buffer.byteLength(pattern) + 16
    size += bytes
    if (size > 100_000 && batches.at(-1)?.length) {
      batches.push([])
      size = bytes
    }
    batches.at(-1)?.push(pattern)
  }
  return batches
}
