// The package by its own recipe, without nixpkgs: npm brings what the lock file names, and the program esbuild bundles it as the npm package does.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cliFile } from '../lib/cli.ts'
import { evaluate, hasNix, nix } from './nix.ts'

interface Recipe {
  phases: string[]
  npmDeps: { file: string; buildCommand: string; outputHash: string }[]
}

describe.skipIf(!hasNix)('the package', () => {
  let folder: string
  let recipe: Recipe
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'package-'))
    // Derivations are what they are made of, and their outputs files of the folder.
    recipe = (await evaluate(`
      let
        lib = import ./test/nix/nixpkgs/lib.nix;
        make = import ./nix/package.nix;
        mkDerivation = given: let made = (if lib.isFunction given then given made else given) // { outPath = "${folder}/\${made.name or "out"}"; }; in made;
        programs = lib.mapAttrs (name: _: { outPath = "/"; meta.mainProgram = name; }) (lib.filterAttrs (_: optional: !optional) (lib.functionArgs make));
        package = make (programs // { inherit lib; stdenvNoCC = { inherit mkDerivation; }; });
      in
      {
        phases = [ package.configurePhase package.buildPhase ];
        npmDeps = map (dep: { file = dep.outPath; inherit (dep) buildCommand outputHash; }) (lib.attrValues package.passthru.npmDeps);
      }`)) as Recipe
  })
  afterAll(() => rm(folder, { recursive: true }))

  const shell = async (script: string) => {
    const PATH = `${resolve('node_modules/.bin')}:${process.env.PATH}`
    const { exit, stderr } = await nix(['bash', '-euc', `cd ${folder}\n${script}`], { NIX_SSL_CERT_FILE: '', ...process.env, PATH, TMPDIR: folder })
    expect(exit, stderr).toBe(0)
  }
  const hashOf = async (file: string) =>
    `sha512-${createHash('sha512')
      .update(await readFile(file))
      .digest('base64')}`

  test('[nix.1] npm brings what the lock file names', async () => {
    // One with a scope and one without, as Nix gets them; the others at once, which takes a tenth of the time.
    for (const { file, buildCommand } of recipe.npmDeps.filter(({ file }) => /\/(inquirer-ansi|zod)-/.test(file)))
      await shell(`cd $(mktemp -d)\nout=${file}\n${buildCommand}`)
    const others = recipe.npmDeps.filter(({ file }) => !existsSync(file)).map(({ buildCommand }) => /npm pack .*? (\S+)$/m.exec(buildCommand)?.[1])
    expect(others).toHaveLength(recipe.npmDeps.length - 2)
    await shell(`npm pack --silent ${others.join(' ')}`)
    for (const { file, outputHash } of recipe.npmDeps) expect(await hashOf(file), file).toBe(outputHash)
  })

  test('is bundled by the program esbuild alone as it is by the npm package', async () => {
    for (const part of ['package.json', 'tsconfig.json', 'src', 'scripts/build.mjs']) await cp(part, join(folder, part), { recursive: true })
    const ours = recipe.phases.join('').replace(/\S*-esbuild\.cjs/, resolve('nix/esbuild.cjs'))
    await shell(`runHook() { :; }\n${ours}`)
    const files = await readdir(join(folder, 'dist'))
    expect(files.sort()).toEqual(await readdir(dirname(cliFile)))
    for (const name of files.filter((name) => /\.cjs$/.test(name)))
      expect(await readFile(join(folder, 'dist', name), 'utf8'), name).toBe(await readFile(join(dirname(cliFile), name), 'utf8'))
  })
})

test("every program that src/ starts is on the wrapper's PATH", async () => {
  const packages: Record<string, string[]> = {
    attr: ['getfattr'],
    bash: ['bash', 'sh'],
    'btrfs-progs': ['btrfs'],
    coreutils: ['cp', 'du', 'id', 'mv', 'rm', 'sync', 'touch'],
    findutils: ['find'],
    restic: ['restic'],
    sqlite: ['sqlite3'],
    systemd: ['journalctl', 'systemctl', 'systemd-analyze', 'systemd-run', 'timedatectl'],
    'util-linux': ['exch', 'flock', 'mount', 'nsenter', 'setpriv', 'unshare'],
    "the host's": ['sudo', 'pg_dump', 'pg_dumpall', 'pg_isready', 'pg_restore', 'psql', 'createdb', 'dropdb', 'runuser'],
  }
  const known = Object.values(packages).flat()
  const files = (await readdir('src', { recursive: true })).filter((file) => file.endsWith('.ts'))
  const sources = await Promise.all(files.map((file) => readFile(join('src', file), 'utf8')))
  const started = new Set(
    sources.flatMap((source) => [...source.matchAll(/(?<!\.)\b(?:run|lines)\(\s*\[\s*'([^']+)'/g)].map(([, program]) => program)),
  )
  expect(
    [...started].filter((program) => !known.includes(program ?? '')),
    'name the package that has it, here and in nix/package.nix',
  ).toEqual([])
  expect(started.size).toBeGreaterThan(3)
  const wrapper = /makeBinPath \(\s+\[\s+([^\]]*?)\s+\]/.exec(await readFile('nix/package.nix', 'utf8'))?.[1]?.split(/\s+/)
  expect(wrapper).toEqual(expect.arrayContaining(Object.keys(packages).filter((name) => name !== "the host's")))
})
