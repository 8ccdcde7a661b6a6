// restic as tests need it: with every call written down, of another version, or killed and stopped where it holds its lock.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { start } from './cli.ts'
import type { World } from './world.ts'

/** PATH with a `restic` that is this script. */
export function fakeRestic(w: World, script: string): Record<string, string> {
  const bin = w.path('fake-bin')
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(bin, 'restic'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return { PATH: `${bin}:${process.env.PATH}` }
}

/** A restic that notes the words of each call and then is the real one. `calls` gives those since it was last asked; asking for its version is none. */
export function watchedRestic(w: World): { env: Record<string, string>; calls(): string[] } {
  const log = w.path('calls')
  const env = fakeRestic(w, `echo "$*" >>'${log}'\nPATH='${process.env.PATH}' exec restic "$@"`)
  return {
    env,
    calls() {
      const lines = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : []
      writeFileSync(log, '')
      return lines.filter((line) => line !== '' && line !== 'version')
    },
  }
}

/** A restic (by default a prune, whose lock is exclusive) that is killed before it takes its lock away, or stays there until its `end`. Needs strace. */
export async function leaveLock(w: World, how: 'killed' | 'alive', args = ['prune']): Promise<{ pid: number; end(): void }> {
  const { repository, passwordFile } = w.repository
  const env = { RESTIC_REPOSITORY: repository, RESTIC_PASSWORD_FILE: passwordFile, RESTIC_CACHE_DIR: w.path('cache') }
  const inject = ['-e', 'trace=unlink,unlinkat', '-e', `inject=unlink,unlinkat:${how === 'killed' ? 'signal=KILL' : 'delay_enter=600s'}:when=1`]
  const { child, ended } = start(['strace', '-f', '-qq', '-o', w.path('trace'), ...inject, 'restic', ...args], { env })
  const locks = () => readdirSync(join(repository, 'locks')).filter((name) => /^[0-9a-f]{64}$/.test(name))
  if (how === 'killed') await ended
  else while (locks().length === 0) await sleep(20)
  const [id = ''] = locks()
  const { pid } = (await w.restic(['cat', 'lock', id, '--no-lock', '--json'], { env })).json() as { pid: number }
  return {
    pid,
    end() {
      if (how === 'killed') return
      process.kill(pid, 'SIGKILL')
      // It would wait for the dead.
      child.kill('SIGKILL')
    },
  }
}

/** The programs on PATH without restic. */
export function withoutRestic(): Record<string, string> {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => !existsSync(join(folder, 'restic')))
  return { PATH: [dirname(process.execPath), ...folders].join(':') }
}
