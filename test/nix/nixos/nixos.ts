// The module in a complete NixOS, and the package by nixpkgs' own functions: what NIXPKGS makes of them. scripts/nixos says what this needs.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Host, nix } from '../nix.ts'

const { NIXPKGS = '', NIX_CHROOT = '', NIXOS_INPUTS = '' } = process.env

export interface NixOS {
  warnings: string[]
  /** What the assertions say that fail. */
  failed: string[]
  /** The texts of our units, by their names. */
  units: Record<string, string>
  manifest: Host['manifest']
}

/** Whether the flake of this name lies in the folder NIXOS_INPUTS: `test.skipIf(!hasInput('agenix'))`. */
export const hasInput = (name: string) => NIXOS_INPUTS !== '' && existsSync(join(NIXOS_INPUTS, name))

/**
 * What a NixOS is made of by `modules`, a Nix list such as `[ ./nix/examples/small.nix "${inputs}/agenix/modules/age.nix" ]`.
 * `more` is a Nix set of what else the test wants to know; it sees `config`, `options`, `pkgs`, `lib` and `toplevel`, the system's derivation.
 */
export async function evaluate<More extends object = object>(modules: string, more = '{ }'): Promise<NixOS & More> {
  return (await value(`
    let host = import ./test/nix/nixos/eval.nix { inherit nixpkgs; modules = ${modules}; };
    in { inherit (host) warnings failed units manifest; } // (with host; ${more})`)) as NixOS & More
}

/** The value of a Nix expression, in which `nixpkgs` and `inputs` are paths. @throws Error with Nix's own text */
export async function value(expression: string): Promise<unknown> {
  return JSON.parse(await output('nix-instantiate', '--eval', '--strict', '--json', '--expr', scoped(expression)))
}

/** Builds the derivation that an expression gives, and says where its output lies on this machine. */
export async function build(expression: string, ...options: string[]): Promise<string> {
  const place = await output('nix-build', '--no-out-link', ...options, '--expr', scoped(expression))
  return join(NIX_CHROOT, place.trim())
}

/** nixpkgs with this machine's programs, a Nix expression. npm: another npm than the machine's. */
export function debian({ npm = 'npm' } = {}): string {
  const esbuild = resolve(`node_modules/@esbuild/${process.platform}-${process.arch}/bin/esbuild`)
  return `(import ./test/nix/nixos/debian.nix { inherit nixpkgs; esbuild = "${esbuild}"; npm = "${npm}"; })`
}

const scoped = (expression: string) => `
  let
    nixpkgs = /. + ${JSON.stringify(resolve(NIXPKGS))};
    inputs = ${JSON.stringify(resolve(NIXOS_INPUTS))};
  in ${expression}`

/** The standard output of a program, in NIX_CHROOT where there is one. @throws Error with what it said otherwise */
async function output(...argv: string[]): Promise<string> {
  const enter = NIX_CHROOT ? ['chroot', NIX_CHROOT, 'env', `--chdir=${resolve('.')}`] : []
  const { exit, stdout, stderr } = await nix([...enter, ...argv], { NIX_SSL_CERT_FILE: process.env.NIX_SSL_CERT_FILE })
  if (exit !== 0) throw new Error(stderr)
  return stdout
}
