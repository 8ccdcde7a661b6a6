// The package by nixpkgs' real functions, hooks and wrappers, with this machine's programs in place of nixpkgs'.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { cliFile } from '../../lib/cli.ts'
import { nix } from '../nix.ts'
import { build, debian } from './nixos.ts'

const atelier = `${debian()}.callPackage ./nix/package.nix { }`

test('[nix.1] the package is the same when it is built once more', async () => {
  await build(atelier)
  await build(atelier, '--check')
})

test('the package holds what scripts/build.mjs makes', async () => {
  const made = join(await build(atelier), 'lib/atelier-backup')
  expect((await readdir(made)).sort()).toEqual(['atelier-backup.cjs', 'cli.cjs', 'cli.cjs.map'])
  for (const name of ['atelier-backup.cjs', 'cli.cjs'])
    expect(await readFile(join(made, name), 'utf8'), name).toBe(await readFile(join(dirname(cliFile), name), 'utf8'))
})

// Node 20 brings npm 9 or 10, 22 brings 10 or 11, newer ones 11 or 12.
test.each([9, 10, 11, 12])('[nix.1] with npm %i the npm packages are the same', async (version) => {
  const folder = await mkdtemp(join(tmpdir(), 'npm-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const { exit, stderr } = await nix(['npm', 'install', '--silent', '--prefix', folder, `npm@${version}`], process.env)
  expect(exit, stderr).toBe(0)
  const one = `(${debian({ npm: join(folder, 'node_modules/.bin/npm') })}.callPackage ./nix/package.nix { }).npmDeps."node_modules/@inquirer/ansi"`
  await build(one)
  await build(one, '--check')
})
