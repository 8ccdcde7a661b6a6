// One call of restic: its environment, the check of its version, the record of processes that may hold locks, and its errors.
import { constants } from 'node:fs'
import { asFailure, Failure, hasCode } from '../errors.ts'
import { access } from '../fs.ts'
import { lines, type ProcessOptions, type ProcessResult, run } from '../host/shell.ts'
import { printable } from '../text.ts'
import { parseEnvironmentFile, resticEnvironment } from './environment.ts'
import { failure, failureOf, interruption, isTimeout, type RepositoryRef, redactedLocation, secretsOf } from './errors.ts'
import { type Message, parseAnswer, parseLine } from './json.ts'
import { heldFile, readSecret, type Secret, type SecretKind } from './secrets.ts'
import type { CallOptions, Credentials } from './types.ts'

export interface ClientOptions {
  /** Name of the repository in the manifest. */
  name: string
  /** As in the manifest. */
  repository: {
    repository: string | null
    repositoryFile: string
    passwordFile: string
    environmentFile: string | null
    rcloneConfigFile?: string | null
    extraOptions?: string[]
    retryLock: string
  }
  /** Used instead of the repository's files. */
  credentials?: Credentials | undefined
  /** Only `credentials` may open it: what else is declared comes from a repository, and whoever can write to it could have chosen it. */
  onlyGiven?: boolean
  cacheDir: string
  /** The program; tests pass others. */
  program?: string
  /** Called for each process that may lock the repository: when it starts, and when it ends, except where its lock may still be there. */
  processes?: { started(pid: number): void; ended(pid: number): void }
}

/** Starts restic for one repository. Arguments are those after the program, the subcommand first. */
export interface Caller {
  repository: RepositoryRef
  /** Options of every call that locks the repository. */
  retryLock: string[]
  /** restic's version, asked once. @throws Failure `restic-missing`, `restic-too-old` */
  version(options: CallOptions): Promise<string>
  /** Reads the secrets, once. `folder`: where a local repository is, else null. @throws Failure `secrets-unreadable`, `not-given` */
  opened(): Promise<{ env: Record<string, string>; folder: string | null }>
  /** Whether it is a local repository on a filesystem that is mounted read-only. */
  isReadOnly(): Promise<boolean>
  /** One call, whatever its exit code. `prefix`: argv before restic's own. */
  finish(args: string[], options: CallOptions, more?: ProcessOptions & { prefix?: string[] }): Promise<ProcessResult>
  /** Standard output of a call that must exit 0. */
  output(args: string[], options: CallOptions): Promise<string>
  /** As `output`, read by `parse`. @throws Failure `restic-garbled` */
  ask<T>(args: string[], parse: (value: unknown) => T, options: CallOptions): Promise<T>
  /** Lines of standard output as they come. The exit code must be 0, else the last step throws. */
  lines(args: string[], options: CallOptions): AsyncGenerator<string>
  /** As `lines`, of JSON. The whole output must be valid. */
  stream(args: string[], options: CallOptions): AsyncGenerator<Message>
  /** @throws Failure `restic-garbled` */
  parse<T>(text: string, parse: (value: unknown) => T): T
  /** The error of a call that ended badly. */
  failureOf(result: ProcessResult, options: CallOptions, parent?: string): Failure
  garbled(): Failure
}

/** restic has removed its lock when it exits with one of these codes. Otherwise it was killed, or could not reach its storage any more. */
const exitsUnlocked = [0, 3, 10, 11, 12]

export function callerOf({
  name,
  repository: declared,
  credentials,
  onlyGiven = false,
  cacheDir,
  program = 'restic',
  processes,
}: ClientOptions): Caller {
  const repository: RepositoryRef = { name, passwordFile: credentials ? null : declared.passwordFile, location: null, secrets: [] }
  // Before all arguments: those that a person passes on may begin with an option, which would take ours for its value.
  const command = [program, ...(onlyGiven ? [] : (declared.extraOptions ?? [])).flatMap((option) => ['--option', option])]
  const version = memoize((options: CallOptions) => askVersion(program, options))

  // Before restic starts: a missing file is reported by its own name.
  const opened = memoize(async () => {
    if (onlyGiven && !credentials) throw failure('not-given', repository, "what opens it wasn't given")
    const { location, variables } = credentials ?? (await readSecrets(repository, declared))
    const password = credentials?.password ?? (await read(repository, declared.passwordFile, 'password'))
    repository.secrets = [...secretsOf(location, variables), ...(credentials ? [typeof password === 'string' ? password : password.text] : [])]
    repository.location = printable(redactedLocation(location, repository.secrets))
    const path = location.replace(/^local:/, '')
    const given = credentials && { location, password: typeof password === 'string' ? password : { file: heldFile(password.bytes) } }
    const rclone = onlyGiven ? null : (declared.rcloneConfigFile ?? null)
    const env = resticEnvironment({
      ...declared,
      credentials: given ?? null,
      cacheDir,
      variables: rclone === null ? variables : { ...variables, RCLONE_CONFIG: rclone },
    })
    return { env, folder: path.startsWith('/') ? path : null }
  })

  const isReadOnly = async () => {
    const { folder } = await opened()
    return folder !== null && (await access(`${folder}/locks`, constants.W_OK).catch((error: NodeJS.ErrnoException) => error.code)) === 'EROFS'
  }

  const prepare = async ({ signal, inheritFds }: CallOptions): Promise<ProcessOptions> => {
    await version(signal ? { signal } : {})
    const { env } = await opened()
    return { env, ...(signal ? { signal } : {}), ...(inheritFds ? { inheritFds } : {}) }
  }

  const caller: Caller = {
    repository,
    retryLock: ['--retry-lock', declared.retryLock],
    version,
    opened,
    isReadOnly,

    async finish(args, options, { prefix = [], ...more } = {}) {
      const prepared = await prepare(options).catch(notStarted(repository))
      const locks = !args.includes('--no-lock')
      // restic would try for 15 minutes to write its lock.
      if (locks && !more.terminal && (await isReadOnly()))
        throw failure(
          'read-only',
          repository,
          'it is mounted read-only: restores work, nothing can be saved or changed; look why (dmesg), mount it writable',
        )
      let pid: number | null = null
      const onStart = (started: number) => {
        if (!locks) return
        pid = started
        processes?.started(pid)
      }
      const result = await run([...prefix, ...command, ...args], { ...prepared, ...more, onStart }).catch(notStarted(repository))
      if (pid !== null && exitsUnlocked.includes(result.exit)) processes?.ended(pid)
      return result
    },

    async output(args, options) {
      const result = await caller.finish(args, options)
      if (result.exit !== 0) throw caller.failureOf(result, options)
      return result.stdout
    },

    async ask(args, parse, options) {
      return caller.parse(await caller.output(args, options), parse)
    },

    async *lines(args, options) {
      const output = lines([...command, ...args], await prepare(options).catch(notStarted(repository)))
      try {
        for (;;) {
          const { value, done } = await output.next().catch(notStarted(repository))
          if (done && value.exit !== 0) throw caller.failureOf(value, options)
          if (done) return
          yield value
        }
      } finally {
        await output.return({ exit: 0, stdout: '', stderr: '', interrupted: false, timedOut: false })
      }
    },

    async *stream(args, options) {
      for await (const line of caller.lines(args, options)) {
        const message = parseLine(line)
        if (message) yield message
        else if (line.startsWith('{')) throw caller.garbled()
      }
    },

    parse(text, parse) {
      const answer = parseAnswer(text, parse)
      if (answer === null) throw caller.garbled()
      return answer
    },

    failureOf: (result, { signal }, parent) => failureOf(result, repository, { reason: signal?.reason, parent }),

    garbled: () => failure('restic-garbled', repository, `restic's answer can't be read; is the restic on PATH the right one? atelier-backup doctor`),
  }
  return caller
}

/** Calls `ask` once for all callers. A rejection isn't kept: the next caller asks again. */
export function memoize<A extends unknown[], T>(ask: (...args: A) => Promise<T>): (...args: A) => Promise<T> {
  let answer: Promise<T> | undefined
  return (...args) => {
    answer ??= ask(...args).catch((error) => {
      answer = undefined
      throw error
    })
    return answer
  }
}

/** Rethrows an error of a process that was never started, as a Failure where it has a code of its own. */
function notStarted(repository: RepositoryRef) {
  return (error: unknown): never => {
    if (isTimeout(error)) throw failure('repository-unreachable', repository, 'no answer in time')
    if (error instanceof Error && error.name === 'AbortError') throw interruption()
    throw error
  }
}

async function askVersion(program: string, options: CallOptions): Promise<string> {
  const { stdout, interrupted } = await run([program, 'version'], options).catch((error) => {
    if (hasCode(error, 'missing-tool'))
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

async function readSecrets(
  repository: RepositoryRef,
  { repository: location, repositoryFile, environmentFile }: ClientOptions['repository'],
): Promise<Pick<Credentials, 'location' | 'variables'>> {
  return {
    location: location ?? (await read(repository, repositoryFile, 'location')).text,
    variables: environmentFile === null ? {} : parseEnvironmentFile((await read(repository, environmentFile, 'variables')).text),
  }
}

async function read(repository: RepositoryRef, file: string, kind: SecretKind): Promise<Secret> {
  return readSecret(file, kind).catch((error) => {
    throw failure('secrets-unreadable', repository, asFailure(error).message, error)
  })
}
