// Nix without a store and without nixpkgs: what a configuration evaluates to, or the error that its author reads.
import { resolve } from 'node:path'
import { run } from '../../src/host/shell.ts'
import { has } from '../lib/needs.ts'

export const hasNix = has('nix-instantiate')

/** Our stand-in, and nixpkgs' own lib where NIXPKGS_LIB names it: [what runs, a Nix expression]. */
export const libs: [string, string][] = [
  [process.env.NIXPKGS_LIB ? 'the stand-in lib' : 'the stand-in lib (NIXPKGS_LIB names no real one)', resolve('test/nix/nixpkgs/lib.nix')],
]
if (process.env.NIXPKGS_LIB) libs.push(["nixpkgs' lib", resolve(process.env.NIXPKGS_LIB)])

export interface Unit {
  description: string
  path: string[]
  wants: string[]
  before: string[]
  after: string[]
  restartIfChanged: boolean
  unitConfig: { RequiresMountsFor: string[]; ConditionPathExists: string[] }
  serviceConfig: Record<string, unknown>
}
export interface Host {
  manifest: { repositories: Record<string, Record<string, unknown>>; services: Record<string, Record<string, unknown>>; [field: string]: unknown }
  assertions: string[]
  warnings: string[]
  etc: Record<string, string>
  units: {
    services: Record<string, Unit>
    timers: Record<string, { wantedBy: string[]; timerConfig: Record<string, unknown> }>
    sockets: object
    paths: object
    targets: object
    mounts: { where: string; what: string; type?: string; options?: string; wantedBy?: string[] }[]
  }
}

/** What a host is given by NixOS modules, which are a Nix list such as `[ ./nix/examples/small.nix { atelier.backup.enable = true; } ]`. */
export async function host(lib: string, modules: string): Promise<Host> {
  return (await evaluate(
    `let r = import ./test/nix/nixos.nix { lib = import ${lib}; modules = ${modules}; }; in { inherit (r) manifest assertions warnings etc units; }`,
  )) as Host
}

/** The value of a Nix expression; paths in it are relative to the project. @throws Error with Nix's own text */
export async function evaluate(expression: string): Promise<unknown> {
  const { exit, stdout, stderr } = await nix(['nix-instantiate', '--store', 'dummy://', '--eval', '--strict', '--json', '--expr', expression])
  if (exit !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

/** The text of the error that a configuration of atelier.backup ends in, without the places where Nix was when it came. */
export async function errorOf(lib: string, config: string): Promise<string> {
  const module = `{ _file = "/etc/nixos/configuration.nix"; config = { atelier.backup = ${config}; }; }`
  try {
    const { assertions } = await host(lib, `[ { atelier.backup.enable = true; } ${module} ]`)
    return assertions.join('\n')
  } catch (error) {
    return (error as Error).message.replaceAll(/\s+/g, ' ')
  }
}

export function nix(argv: string[], env: Record<string, string | undefined> = {}) {
  const { PATH, HOME } = process.env
  const given = Object.entries({ PATH, HOME, LANG: 'C.UTF-8', ...env }).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return run(argv, { cwd: resolve('.'), env: Object.fromEntries(given) })
}
