// A whole host for tests: a real systemd in a container, with the built CLI as the package installs it. In memory, booted in a second, gone at the end.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { cliFile, type Ended, type StartOptions, start } from './cli.ts'
import { has, isRoot } from './needs.ts'
import { type Terminal, type TerminalOptions, terminal } from './terminal.ts'

/** Whether this machine can run hosts: `describe.skipIf(!canHost)`. */
export const canHost = isRoot && ['systemd-nspawn', 'debootstrap', 'nsenter', 'zstd', 'nix-instantiate'].every(has)

/** Milliseconds for the first host on a machine, whose image has to be made. */
export const imageTimeout = 300_000

export interface TestHost {
  /** A file of the host, as it is reached from outside. */
  path(file: string): string
  write(file: string, content: string | Uint8Array, mode?: number): void
  read(file: string): string
  /** Run a program as root, with all that Debian's /usr/bin has. */
  run(argv: string[], options?: StartOptions): Promise<Ended>
  /** A line of shell that must succeed; gives what it prints. */
  sh(script: string): Promise<string>
  /** Until a line of shell succeeds. */
  until(script: string, seconds?: number): Promise<void>
  /** The CLI as a person at the host calls it: the PATH holds it and the host's own programs, of which there are none unless a test says so. */
  cli(args: string[]): Promise<Ended>
  terminal(args: string[], options?: TerminalOptions): Terminal
  boot(): Promise<void>
  /** Until it is off; `boot` starts it again. */
  shutdown(): Promise<void>
  reboot(): Promise<void>
  /** No unit is stopped, no process told: what a power cut leaves. `boot` starts it again. */
  powerCut(): Promise<void>
  /** The end: no process, no mount, no file is left. */
  remove(): Promise<void>
}

/** Where the module's units look for the CLI (test/nix/nixos.nix). */
export const store = '/nix/store/00000000000000000000000000000000-atelier-backup'
const program = `${store}/bin/atelier-backup`

export interface HostOptions {
  /** A variant of scripts/host. */
  image?: 'postgresql'
}

/** A new host, not yet booted: write its files first. */
export async function makeHost({ image: variant }: HostOptions = {}): Promise<TestHost> {
  const image = execFileSync('scripts/host', variant ? [variant] : [], { encoding: 'utf8' }).trim()
  const name = `atelier-host-${process.pid}-${++count}`
  const binds = [
    [process.execPath, '/nix/store/nodejs'],
    [dirname(cliFile), `${store}/lib`],
  ].map(([from, to]) => `--bind-ro=${from}:${to}`)
  const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc']
  // Killed outright, we take it along.
  const argv = ['--pdeathsig', 'KILL', 'unshare', ...namespaces, resolve('test/host/machine.sh'), image, name, ...binds]
  const machine = spawn('setpriv', argv, { stdio: ['pipe', 'pipe', 'inherit'] }) as unknown as ChildProcessWithoutNullStreams
  const said = createInterface({ input: machine.stdout })[Symbol.asyncIterator]()
  const next = async (word: string): Promise<void> => {
    const { value } = await said.next()
    if (value !== word) throw new Error(`the host said ${value} instead of ${word}`)
  }
  await next('made')
  const path = (file: string) => `/proc/${machine.pid}/root/run/host${file}`
  let init = 0

  const host: TestHost = {
    path,
    write(file, content, mode = 0o644) {
      mkdirSync(dirname(path(file)), { recursive: true })
      writeFileSync(path(file), content)
      chmodSync(path(file), mode)
    },
    read: (file) => readFileSync(path(file), 'utf8'),
    run: (argv, options) => start(inside(init, '/usr/bin:/usr/sbin', argv), options).ended,
    async sh(script) {
      const { exit, stdout, stderr } = await host.run(['bash', '-c', `set -eo pipefail; ${script}`])
      if (exit !== 0) throw new Error(`${script}: ${stderr}${stdout} (exit code ${exit})`)
      return stdout.trimEnd()
    },
    async until(script, seconds = 60) {
      const begun = performance.now()
      while ((await host.run(['bash', '-c', script])).exit !== 0) {
        if (performance.now() - begun > seconds * 1000) throw new Error(`not within ${seconds} s: ${script}`)
        await sleep(50)
      }
    },
    cli: (args) => start(inside(init, person, ['atelier-backup', ...args])).ended,
    terminal: (args, options) => terminal(inside(init, person, ['atelier-backup', ...args]), options),
    async boot() {
      const begun = performance.now()
      machine.stdin.write('boot\n')
      await next('booted')
      for (;;) {
        // machine.sh, systemd-nspawn, and the host's own first process.
        init = childOf(childOf(childOf(machine.pid ?? 0)))
        if (init > 0 && /^(running|degraded)$/m.test((await host.run(['systemctl', 'is-system-running'])).stdout)) return
        if (performance.now() - begun > 60_000) throw new Error(readFileSync(`/proc/${machine.pid}/root/run/console`, 'utf8'))
        await sleep(50)
      }
    },
    async shutdown() {
      await host.run(['systemctl', 'poweroff'])
      await next('ended')
      init = 0
    },
    async reboot() {
      await host.run(['systemctl', 'reboot'])
      await next('ended')
      await host.boot()
    },
    async powerCut() {
      process.kill(init, 'SIGKILL')
      await next('ended')
      init = 0
    },
    async remove() {
      if (machine.exitCode !== null || machine.signalCode !== null) return
      machine.stdin.end()
      if (init > 0) process.kill(init, 'SIGKILL')
      await once(machine, 'exit')
    },
  }
  // As nix/package.nix wraps it: its own programs come first.
  const tools = readdirSync(path('/nix/store')).map((tool) => `/nix/store/${tool}/bin`)
  const wrapper = [
    '#!/usr/bin/bash -e',
    `export PATH=${tools.join(':')}\${PATH:+:$PATH}`,
    `exec /nix/store/nodejs ${store}/lib/atelier-backup.cjs "$@"`,
    '',
  ]
  host.write(program, wrapper.join('\n'), 0o755)
  // Tests start units more often in ten seconds than anybody does.
  host.write('/etc/systemd/system.conf.d/tests.conf', '[Manager]\nDefaultStartLimitIntervalSec=0\n')
  return host
}

let count = 0
/** The PATH of a person at the host: a NixOS has much in there, but what the CLI needs must be its own. */
const person = `${store}/bin:/run/current-system/sw/bin`

/** The only child of a process, or 0. */
function childOf(pid: number): number {
  const file = `/proc/${pid}/task/${pid}/children`
  return existsSync(file) ? Number(readFileSync(file, 'utf8').trim()) || 0 : 0
}

/** A command in the host, as root, that takes this terminal's Ctrl-C for itself. */
function inside(init: number, path: string, argv: string[]): string[] {
  const environment = ['/usr/bin/env', '-i', '--chdir=/', '--default-signal=INT', `PATH=${path}`, 'HOME=/root', 'LANG=C.UTF-8', 'TERM=xterm-256color']
  return ['env', '--ignore-signal=INT', 'nsenter', '--target', String(init), '--all', ...environment, ...argv]
}
