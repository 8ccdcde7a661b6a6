// The package: the hash of its dependencies is today's, and its way of bundling gives what ours gives.
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { has } from '../lib/needs.ts'
import { nix } from './nix.ts'

describe.skipIf(!has('nix-hash'))('the package', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'package-'))
    for (const part of ['package.json', 'package-lock.json', 'tsconfig.json', 'src', 'scripts/build.mjs'])
      await cp(part, join(folder, part), { recursive: true })
    // As in nix/package.nix.
    const { exit, stderr } = await nix(['npm', 'ci', '--prefix', folder, '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], process.env)
    expect(exit, stderr).toBe(0)
    await rm(join(folder, 'node_modules/.package-lock.json'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('names the hash of the dependencies that package-lock.json gives (else write this one into nix/package.nix)', async () => {
    const { stdout } = await nix(['nix-hash', '--type', 'sha256', '--base32', join(folder, 'node_modules')])
    const [, outputHash] = /outputHash = "(.*)"/.exec(await readFile('nix/package.nix', 'utf8')) ?? []
    expect(outputHash).toBe(stdout.trim())
  })

  test('is bundled by the program esbuild alone as it is by the npm package', async () => {
    const modules = join(folder, 'node_modules')
    await mkdir(join(modules, 'esbuild'))
    await cp('nix/esbuild.cjs', join(modules, 'esbuild/index.js'))
    const byProgram = await bundled()
    await rm(join(modules, 'esbuild'), { recursive: true })
    for (const name of ['esbuild', '@esbuild']) await cp(join('node_modules', name), join(modules, name), { recursive: true })
    expect(Object.keys(byProgram).sort()).toEqual(['atelier-backup.cjs', `cli-${process.arch}.cache`, 'cli.cjs', 'cli.cjs.map'])
    expect(byProgram).toEqual(await bundled())
  })

  /** What scripts/build.mjs makes, by the files' names. */
  async function bundled(): Promise<Record<string, string>> {
    const { exit, stderr } = await nix(['node', join(folder, 'scripts/build.mjs')], { PATH: `${resolve('node_modules/.bin')}:${process.env.PATH}` })
    expect(exit, stderr).toBe(0)
    const files = (await readdir(join(folder, 'dist'), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
    // What V8 compiled differs from run to run.
    const content = ({ name, parentPath }: (typeof files)[0]) => (name.endsWith('.cache') ? '' : readFile(join(parentPath, name), 'utf8'))
    return Object.fromEntries(await Promise.all(files.map(async (file) => [file.name, await content(file)])))
  }
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
  const wrapper = /makeBinPath \[\s+([^\]]*?)\s+\]/.exec(await readFile('nix/package.nix', 'utf8'))?.[1]?.split(/\s+/)
  expect(wrapper).toEqual(expect.arrayContaining(Object.keys(packages).filter((name) => name !== "the host's")))
})
