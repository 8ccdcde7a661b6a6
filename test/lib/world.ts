// A scratch host for one test: a manifest, a repository with keys that cost nothing, state and cache of its own.
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'vitest'
import { cli, cliFile, type Ended, type StartOptions, start, startCli } from './cli.ts'
import { makeRepository, type TestRepository } from './repository.ts'
import { type Terminal, type TerminalOptions, terminal } from './terminal.ts'

export interface World {
  /** A folder that symbolic links don't lead to, removed at the end. */
  root: string
  path(...parts: string[]): string
  /** Write a file below the root, making its folders; gives its path. */
  write(path: string, content: string | Uint8Array): string
  repository: TestRepository
  env: Record<string, string>
  /**
   * Write manifest.json: version 2, host `testhost`, the repository `main`, and what is given. A service that names no units uses none
   * (the default would ask systemd).
   */
  manifest(manifest?: { services?: Record<string, object>; repositories?: Record<string, object>; [field: string]: unknown }): string
  cli(args: string[], options?: StartOptions): Promise<Ended>
  startCli(args: string[], options?: StartOptions): ReturnType<typeof startCli>
  /** The CLI at a pseudo-terminal. */
  terminal(args: string[], options?: TerminalOptions): Terminal
  /** restic itself on the repository, past everything of ours. `snapshots --json` without `--tag` leaves the stored manifests out. */
  restic(args: string[], options?: StartOptions): Promise<Ended>
  cleanup(): void
}

/** With a test's context the world ends with the test; otherwise call `cleanup`. */
export async function world(test?: TestContext): Promise<World> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'atelier-test-')))
  const path = (...parts: string[]) => join(root, ...parts)
  const cleanup = () => remove(root)
  test?.onTestFinished(cleanup)
  for (const folder of ['state', 'cache', 'secrets']) mkdirSync(path(folder), { mode: 0o700 })
  const repository = await makeRepository(path('secrets'))
  const env = { ATELIER_BACKUP_MANIFEST: path('manifest.json'), STATE_DIRECTORY: path('state'), RESTIC_CACHE_DIR: path('cache') }
  const secrets = { RESTIC_REPOSITORY: repository.repository, RESTIC_PASSWORD_FILE: repository.passwordFile, RESTIC_CACHE_DIR: path('cache') }
  const within = <Options extends StartOptions>(options = {} as Options): Options => ({ ...options, env: { ...env, ...options.env } })
  const write = (name: string, content: string | Uint8Array) => {
    mkdirSync(dirname(path(name)), { recursive: true })
    writeFileSync(path(name), content)
    return path(name)
  }
  return {
    root,
    path,
    write,
    repository,
    env,
    manifest({ services = {}, repositories = {}, ...rest } = {}) {
      const withUnits = Object.entries(services).map(([name, service]) => [name, { units: [], ...service }])
      const manifest = {
        version: 2,
        host: 'testhost',
        repositories: { main: repository, ...repositories },
        services: Object.fromEntries(withUnits),
        ...rest,
      }
      return write('manifest.json', JSON.stringify(manifest, null, 2))
    },
    cli: (args, options) => cli(args, within(options)),
    startCli: (args, options) => startCli(args, within(options)),
    terminal: (args, options) => terminal([process.execPath, cliFile, ...args], within(options)),
    async restic(args, options) {
      const ended = await start(['restic', ...args], { ...options, env: { ...secrets, ...options?.env } }).ended
      const lists = ended.exit === 0 && args[0] === 'snapshots' && args.includes('--json') && !args.includes('--tag')
      return lists ? { ...ended, ...servicesOnly(ended.stdout) } : ended
    },
    cleanup,
  }
}

/** A list of snapshots as restic prints it, without the manifests that runs store beside their service's. */
function servicesOnly(list: string): Pick<Ended, 'stdout' | 'json'> {
  const kept = (JSON.parse(list) as { tags?: string[] }[]).filter(({ tags }) => !tags?.includes('atelier:manifest'))
  return { stdout: JSON.stringify(kept), json: () => kept }
}

/** Remove a world. Nothing may be left mounted in it: it would be emptied too. */
function remove(root: string): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mount) => mount.startsWith(`${root}/`))
  if (mounts.length > 0) throw new Error(`left mounted: ${mounts.join(' ')}`)
  rmSync(root, { recursive: true, force: true })
}
