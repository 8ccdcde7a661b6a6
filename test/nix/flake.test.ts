// The flake evaluates, without a network and without nixpkgs: a stand-in takes its place.
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { has } from '../lib/needs.ts'
import { nix } from './nix.ts'

describe.skipIf(!has('nix'))('the flake', () => {
  let folder: string
  // Nix copies flakes into its store: one of ours, so that none is needed in /nix.
  let env: Record<string, string>
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flake-'))
    for (const part of [
      'flake.nix',
      'nix',
      'schema',
      'src',
      'scripts/build.mjs',
      'scripts/docs',
      'package.json',
      'package-lock.json',
      'tsconfig.json',
      'test/nix',
    ])
      await cp(part, join(folder, 'flake', part), { recursive: true })
    const places = { STORE: 'store', STATE: 'state', LOG: 'log', CONF: 'etc', DATA: 'share' }
    env = { HOME: folder, ...Object.fromEntries(Object.entries(places).map(([name, place]) => [`NIX_${name}_DIR`, join(folder, place)])) }
  })
  afterAll(async () => {
    await nix(['chmod', '-R', 'u+w', folder])
    await rm(folder, { recursive: true })
  })

  const flake = (...command: string[]) =>
    nix(
      [
        'nix',
        '--extra-experimental-features',
        'nix-command flakes',
        'flake',
        ...command,
        '--override-input',
        'nixpkgs',
        `path:${folder}/flake/test/nix/nixpkgs`,
        `path:${folder}/flake`,
      ],
      env,
    )

  test('passes `nix flake check --no-build`', async () => {
    const { exit, stderr } = await flake('check', '--no-build')
    expect(exit, stderr).toBe(0)
  })

  test('has what its users look for', async () => {
    const { stdout, stderr } = await flake('show', '--json')
    const outputs = JSON.parse(stdout || `"${stderr}"`)
    expect(Object.keys(outputs).sort()).toEqual(['apps', 'checks', 'devShells', 'formatter', 'nixosModules', 'overlays', 'packages'])
    expect(Object.keys(outputs.checks['x86_64-linux'])).toEqual(['manifest-small', 'manifest-twenty-services', 'options', 'package', 'vm'])
  })
})
