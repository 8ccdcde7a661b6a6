// The hosts that the bench measures on: each with a repository whose key costs what a real one costs.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { run } from '../src/host/shell.ts'
import { forgeSnapshots } from '../test/lib/repository.ts'

const password = 'bench'

/** What a command took: seconds, and the most memory (MiB) of the process itself, its children apart. */
export interface Spent {
  seconds: number
  memory: number
}

export class Host {
  readonly folder = mkdtempSync(join(tmpdir(), 'atelier-bench-'))
  readonly names: string[]
  state = 'state'
  /** `more`: a service's further fields; `top`: the manifest's. */
  constructor(services: number, more: (name: string, host: Host) => object = () => ({}), top: object = {}) {
    this.names = Array.from({ length: services }, (_, i) => `service${i}`)
    writeFileSync(this.at('empty.mjs'), '')
    writeFileSync(this.at('password'), `${password}\n`, { mode: 0o600 })
    // As makeWrapper writes it.
    writeFileSync(this.at('node'), `#!/bin/bash -e\nexport PATH='${process.env.PATH}'\nexec '${process.execPath}' "$@"\n`)
    chmodSync(this.at('node'), 0o755)
    const repository = { repository: this.at('repository'), passwordFile: this.at('password'), environmentFile: null }
    const services_ = Object.fromEntries(this.names.map((name) => [name, { paths: [this.data(name)], units: [], ...more(name, this) }]))
    const manifest = { version: 2, host: 'bench', repositories: { main: repository }, services: services_, ...top }
    writeFileSync(this.at('manifest.json'), JSON.stringify(manifest))
  }

  at(...parts: string[]): string {
    return join(this.folder, ...parts)
  }
  data(name: string): string {
    return this.at('data', name)
  }

  /** Runs our command line, through the same wrapper as an empty program. */
  ours(...args: string[]): Promise<Spent> {
    return this.command([this.at('node'), resolve('dist/atelier-backup.cjs'), ...args])
  }
  empty(): Promise<Spent> {
    return this.command([this.at('node'), this.at('empty.mjs')])
  }
  restic(...args: string[]): Promise<Spent> {
    return this.command(['restic', ...args])
  }

  async command(argv: string[], env: Record<string, string> = {}): Promise<Spent> {
    let memory = 0
    let watch: NodeJS.Timeout | undefined
    const onStart = (pid: number) => {
      const look = () => {
        // Of the process until it is gone.
        const peak = /VmHWM:\s+(\d+)/.exec(statusOf(pid))?.[1]
        if (peak !== undefined) memory = Math.max(memory, Number(peak) / 1024)
      }
      watch = setInterval(look, 20)
    }
    const begun = performance.now()
    const { exit, stdout, stderr } = await run(argv, { env: this.environment(env), cwd: process.cwd(), onStart, onLine: () => {} })
    const seconds = (performance.now() - begun) / 1000
    clearInterval(watch)
    // 4: a forged history is nobody's own.
    if (exit !== 0 && exit !== 4) throw new Error(`${argv.join(' ')} → ${exit}\n${stdout}${stderr}`)
    return { seconds, memory }
  }

  private environment(env: Record<string, string>): Record<string, string> {
    const { PATH = '', HOME = '/root' } = process.env
    return {
      ...{ PATH, HOME, LANG: 'C.UTF-8', RESTIC_REPOSITORY: this.at('repository'), RESTIC_PASSWORD_FILE: this.at('password') },
      ...{ RESTIC_CACHE_DIR: this.at('cache'), ATELIER_BACKUP_MANIFEST: this.at('manifest.json'), STATE_DIRECTORY: this.at(this.state), ...env },
    }
  }

  /** A few small files for each service. */
  writeData(): void {
    for (const name of this.names) {
      mkdirSync(this.data(name), { recursive: true })
      for (let i = 0; i < 10; i++) writeFileSync(join(this.data(name), `file${i}`), `${name} ${i}\n`.repeat(100))
    }
  }

  /** `count` snapshots for each service, an hour apart: one as restic made it, the others after its model. */
  async forgeHistory(count: number): Promise<void> {
    await this.restic('init')
    const model = this.at('model')
    mkdirSync(model, { recursive: true })
    writeFileSync(join(model, 'file'), 'model')
    await this.restic('backup', '--host', 'model', model)
    const env = this.environment({})
    const asked = async (...args: string[]) => JSON.parse((await run(['restic', ...args], { env })).stdout)
    const [{ id }] = await asked('snapshots', '--json')
    const snapshot = await asked('cat', 'snapshot', id)
    await this.restic('forget', id)
    const forged = this.names.flatMap((name) =>
      Array.from({ length: count }, (_, i) => ({
        ...snapshot,
        ...{ hostname: 'bench', tags: [`service:${name}`], paths: [this.data(name)], time: new Date(Date.now() - i * 3_600_000).toISOString() },
      })),
    )
    forgeSnapshots(this.at('repository'), password, forged)
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}

/** A restic on PATH that lists and restores a snapshot of so many files: what it prints costs it next to nothing. Gives the environment. */
export function fakeRestic(host: Host, files: number): Record<string, string> {
  const [name = ''] = host.names
  const id = 'ab'.repeat(32)
  const time = '2026-01-01T00:00:00Z'
  const snapshot = { id, short_id: id.slice(0, 8), time, hostname: 'bench', paths: [host.data(name)], tags: [`service:${name}`] }
  const node = (type: string, path: string) => JSON.stringify({ message_type: 'node', type, path, mtime: time, mode: 420, size: 1 })
  const folders = host
    .data(name)
    .split('/')
    .slice(1)
    .map((_, i, parts) => node('dir', `/${parts.slice(0, i + 1).join('/')}`))
  const script = `#!/bin/sh
case "$1" in
version) echo 'restic 0.18.0 compiled with go1.24.4 on linux/amd64' ;;
snapshots) echo '${JSON.stringify([snapshot])}' ;;
ls) cat '${host.at('folders')}'; seq -f '${node('file', `${host.data(name)}/folder/another/file%.0f`)}' ${files} ;;
restore) seq -f '{"message_type":"status","total_bytes":1000,"bytes_restored":%.0f}' 1000; echo '{"message_type":"summary","total_files":${files}}' ;;
esac
`
  mkdirSync(host.at('fake'), { recursive: true })
  writeFileSync(host.at('folders'), `${folders.join('\n')}\n`)
  writeFileSync(host.at('fake/restic'), script)
  chmodSync(host.at('fake/restic'), 0o755)
  // Not through the wrapper: that would put the real one first.
  return { PATH: `${host.at('fake')}:${process.env.PATH}` }
}
