// The house's own rules, read from the import graph (esbuild's, so types don't count) and from the source.
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { expect, test } from 'vitest'
import { loadedBy } from './lib/loaded.ts'

/** Bottom first: what stands on a floor reaches its own and those below. */
const floors = [
  ['core.ts', 'bytes.ts', 'fs.ts', 'errors.ts', 'execute.ts', 'text.ts', 'defaults.ts', 'timeouts.ts', 'read-at-most.ts', 'manifest'],
  ['restic', 'host', 'state', 'snapshots', 'ui'],
  ['site.ts'],
  ['repository'],
  ['backup', 'restore', 'status'],
  ['retention', 'checks'],
  ['recovery'],
  ['views'],
  ['commands'],
  ['cli.ts'],
  ['start.ts'],
]

/** What a room never knows, although the floors would allow it. What judges starts no process. */
const never: Record<string, string[]> = {
  host: ['restic', 'ui'],
  restic: ['state', 'snapshots', 'ui'],
  state: ['ui'],
  snapshots: ['host', 'ui'],
  ui: ['restic', 'host', 'state', 'snapshots'],
  'site.ts': ['ui'],
  backup: ['ui'],
  restore: ['ui'],
  repository: ['ui'],
  retention: ['ui'],
  checks: ['ui'],
  recovery: ['ui'],
  status: ['ui'],
  'status/judge.ts': ['host', 'restic', 'state'],
}

/** Files that hand node:fs no names but those of our own files, of /proc, and of repositories. */
const ownNames = /^(cli|start|checks\/doctor|host\/(files|systemd)|restic\/(backup|secrets)|commands\/complete|ui\/terminal|state\/.*)\.ts$/

const heavy = /^(zod|zx|@inquirer)\b/

interface Arrow {
  from: string
  to: string
  lazy: boolean
}
const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
const arrows = await importGraph()

test('every file stands in a room', () => {
  expect(files.filter((file) => floorOf(file) < 0)).toEqual([])
})

test('no arrow runs up', () => {
  expect(inside().filter(({ from, to }) => floorOf(to) > floorOf(from))).toEqual([])
})

test('no room knows what it must not', () => {
  expect(inside().filter(({ from, to }) => [...(never[roomOf(from)] ?? []), ...(never[from] ?? [])].includes(roomOf(to)))).toEqual([])
})

test('[secret.5] Node’s cache of compiled code stays off', () => {
  expect(files.filter((file) => /compile_?cache/i.test(readFileSync(join('src', file), 'utf8')))).toEqual([])
})

test('[cli.7] the command line is read before anything heavy is loaded', async () => {
  expect([...reached('cli.ts')].filter((name) => heavy.test(name))).toEqual([])
  for (const flag of ['--help', '--version']) {
    const loaded = await loadedBy([flag])
    expect(loaded).toContain('src/cli.ts')
    expect(loaded.filter((name) => heavy.test(name))).toEqual([])
  }
})

test.each([
  ['restic is called', /\[\s*['"`]restic['"`]/, /^restic\//],
  ['the process is ended', /\bprocess\.exit\b/, /^cli\.ts$/],
  ['something is printed without ui', /\bconsole\.\w+\(/, /^(ui\/|cli\.ts$)/],
  // Node turns bytes of a name that aren't UTF-8 into others: src/bytes.ts. Synchronous calls are for files whose names are ours.
  ['[bytes.1] node:fs/promises is called', /from 'node:fs\/promises'/, /^fs\.ts$/],
  ['[bytes.1] node:fs is called', /Sync\b.* from 'node:fs'/, ownNames],
])('%s in one place alone', (_, pattern, allowed) => {
  expect(files.filter((file) => !allowed.test(file) && pattern.test(source(file)))).toEqual([])
})

test('every file opens with a line that says what it is for', () => {
  expect(files.filter((file) => !/^(#!.*\n)?\/[/*] ?\S/.test(source(file)))).toEqual([])
})

// npm drops a package for another platform from the lock where the registry at hand lacks it; `npm ci` then fails everywhere.
test('package-lock.json is whole, and names no registry', () => {
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { optionalDependencies?: object; resolved?: string }>
  }
  const named = Object.values(lock.packages).flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies))
  const there = Object.keys(lock.packages).map((path) => path.replace(/^.*node_modules\//, ''))
  expect(named.filter((name) => !there.includes(name))).toEqual([])
  expect(Object.values(lock.packages).filter(({ resolved }) => resolved)).toEqual([])
})

function source(file: string): string {
  return readFileSync(`src/${file}`, 'utf8')
}

function roomOf(file: string): string {
  return file.split('/')[0] ?? file
}

function floorOf(file: string): number {
  return floors.findIndex((rooms) => rooms.includes(roomOf(file)))
}

function inside(): Arrow[] {
  return arrows.filter(({ to }) => files.includes(to))
}

/** All that a file loads at once: our files and names of packages. */
function reached(start: string, seen = new Set<string>()): Set<string> {
  for (const { to } of arrows.filter(({ from, to, lazy }) => from === start && !lazy && !seen.has(to))) reached(to, seen.add(to))
  return seen
}

async function importGraph(): Promise<Arrow[]> {
  const asWritten: Plugin = {
    name: 'files stay apart',
    setup: ({ onResolve }) =>
      onResolve({ filter: /^\./ }, ({ path, resolveDir, kind }) =>
        kind === 'entry-point' ? null : { path: resolve(resolveDir, path), external: true },
      ),
  }
  const { metafile } = await build({
    entryPoints: files.map((file) => join('src', file)),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outdir: 'out',
    write: false,
    metafile: true,
    plugins: [asWritten],
  })
  return Object.entries(metafile.inputs).flatMap(([file, { imports }]) =>
    imports.map(({ path, kind }) => ({
      from: relative('src', file),
      to: path.startsWith('/') ? relative('src', path) : path,
      lazy: kind === 'dynamic-import',
    })),
  )
}
