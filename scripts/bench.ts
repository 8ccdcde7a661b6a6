// Speed as ratios: ours beside what it stands on (restic alone, an empty Node program), in turns, medians of several runs.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../src/host/shell.ts'

const runs = Number(process.argv[2])
const folder = mkdtempSync(join(tmpdir(), 'atelier-bench-'))
const at = (...parts: string[]) => join(folder, ...parts)
const names = Array.from({ length: 20 }, (_, i) => `service${i}`)
const snapshotsEach = 10
const { PATH = '', HOME = '/root' } = process.env
const env = {
  ...{ PATH, HOME, LANG: 'C.UTF-8', RESTIC_REPOSITORY: at('repository'), RESTIC_PASSWORD_FILE: at('password'), RESTIC_CACHE_DIR: at('cache') },
  ...{ ATELIER_BACKUP_MANIFEST: at('manifest.json'), STATE_DIRECTORY: at('state') },
}

async function command(argv: string[]): Promise<void> {
  const { exit, stdout, stderr } = await run(argv, { env, cwd: process.cwd() })
  if (exit !== 0) throw new Error(`${argv.join(' ')} → ${exit}\n${stdout}${stderr}`)
}
const cli = (...args: string[]) => command([process.execPath, 'dist/atelier-backup.mjs', ...args])
const bareBackup = (name: string) => command(['restic', 'backup', '--json', '--host', 'bare', '--tag', `bare:${name}`, '--', at('data', name)])

interface Row {
  what: string
  beside: string
  ours(): Promise<void>
  theirs(): Promise<void>
  /** What it must not exceed: a ratio, or seconds more. */
  limit: { ratio: number } | { secondsMore: number }
}

const services = (count: number) =>
  `nix-instantiate --store dummy:// --eval --strict --json --expr 'let lib = import ./test/nix/nixpkgs/lib.nix; r = import ./test/nix/nixos.nix { inherit lib; modules = [ { atelier.backup = { enable = true; services = lib.listToAttrs (map (i: { name = "s\${toString i}"; value.paths = [ "/var/lib/s\${toString i}" ]; }) (lib.range 1 ${count})); }; } ]; }; in r.manifest'`

const empty = () => command([process.execPath, at('empty.mjs')])
const bareSnapshots = () => command(['restic', 'snapshots', '--json', '--no-lock'])
const rows: Row[] = [
  { what: '`--help`', beside: 'an empty Node program', ours: () => cli('--help'), theirs: empty, limit: { ratio: 1.3 } },
  {
    what: '`status --local`, 20 services',
    beside: 'an empty Node program',
    ours: () => cli('status', '--local'),
    theirs: empty,
    limit: { ratio: 2 },
  },
  {
    what: '`status`, 20 services × 10 snapshots',
    beside: '`restic snapshots --json --no-lock`',
    ours: () => cli('status'),
    theirs: bareSnapshots,
    limit: { ratio: 1.15 },
  },
  {
    what: '`list SERVICE`',
    beside: '`restic snapshots --json --no-lock`',
    ours: () => cli('list', 'service0'),
    theirs: bareSnapshots,
    limit: { ratio: 1.15 },
  },
  {
    what: '`backup` of one small service',
    beside: 'bare `restic backup`',
    ours: () => cli('backup', 'service0'),
    theirs: () => bareBackup('service0'),
    limit: { secondsMore: 0.3 },
  },
  {
    what: '`backup --all` of 20 small services',
    beside: 'a loop of bare `restic backup`',
    ours: () => cli('backup', '--all'),
    theirs: async () => {
      for (const name of names) await bareBackup(name)
    },
    limit: { ratio: 0.6 },
  },
  {
    what: '`dr` of 20 small services',
    beside: 'a loop of bare `restic snapshots` and `restic restore`',
    ours: () => cli('dr', '--yes', '--overwrite'),
    theirs: async () => {
      for (const name of names) {
        await command(['restic', 'snapshots', '--json', '--tag', `service:${name}`])
        await command(['restic', 'restore', 'latest', '--tag', `service:${name}`, '--target', at('bare')])
      }
      rmSync(at('bare'), { recursive: true })
    },
    limit: { ratio: 0.45 },
  },
  {
    what: 'Nix evaluation of 200 services',
    beside: 'of none',
    ours: () => command(['bash', '-c', services(200)]),
    theirs: () => command(['bash', '-c', services(0)]),
    limit: { ratio: 2 },
  },
]

try {
  await prepare()
  const lines: string[] = []
  for (const row of rows) {
    const [ours, theirs] = await measured(row)
    const ratio = ours / theirs
    const good = 'ratio' in row.limit ? ratio <= row.limit.ratio : ours - theirs <= row.limit.secondsMore
    const goal = 'ratio' in row.limit ? `≤ ${row.limit.ratio} ×` : `≤ ${row.limit.secondsMore} s more`
    lines.push(
      `| ${row.what} | ${row.beside} | ${ours.toFixed(2)} s | ${theirs.toFixed(2)} s | ${ratio.toFixed(2)} × | ${goal} ${good ? '✓' : '✗'} |`,
    )
    process.stdout.write(`${lines.at(-1)}\n`)
  }
  intoReadme([
    `Medians of ${runs} runs, in turns, on ${cpus().length} cores.`,
    '',
    '| | beside | ours | theirs | ratio | goal |',
    '| --- | --- | ---: | ---: | ---: | --- |',
    ...lines,
  ])
} finally {
  rmSync(folder, { recursive: true, force: true })
}

/** Twenty services of a few files, ten snapshots each, a repository with a real key. */
async function prepare(): Promise<void> {
  writeFileSync(at('empty.mjs'), '')
  writeFileSync(at('password'), 'bench\n', { mode: 0o600 })
  for (const name of names) {
    mkdirSync(at('data', name), { recursive: true })
    for (let i = 0; i < 10; i++) writeFileSync(at('data', name, `file${i}`), `${name} ${i}\n`.repeat(100))
  }
  const manifest = {
    version: 2,
    host: 'bench',
    repositories: { main: { repository: at('repository'), passwordFile: at('password'), environmentFile: null, initialize: true } },
    services: Object.fromEntries(names.map((name) => [name, { paths: [at('data', name)], units: [] }])),
  }
  writeFileSync(at('manifest.json'), JSON.stringify(manifest))
  await cli('backup', '--all')
  for (let i = 1; i < snapshotsEach; i++)
    await Promise.all(names.map((name) => command(['restic', 'backup', '--host', 'bench', '--tag', `service:${name}`, '--', at('data', name)])))
}

/** Seconds of ours and of theirs; one run of each first, to warm the caches. */
async function measured({ ours, theirs }: Row): Promise<[number, number]> {
  const times: [number[], number[]] = [[], []]
  for (let i = 0; i <= runs; i++) {
    for (const [side, work] of [ours, theirs].entries()) {
      const begin = performance.now()
      await work()
      if (i > 0) times[side]?.push((performance.now() - begin) / 1000)
    }
  }
  return [median(times[0]), median(times[1])]
}

function median(times: number[]): number {
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN
}

function intoReadme(lines: string[]): void {
  const text = readFileSync('README.md', 'utf8')
  writeFileSync(
    'README.md',
    text.replace(/(<!-- bench -->\n)[\s\S]*?(<!-- \/bench -->)/, (_, begin, end) => `${begin}${lines.join('\n')}\n${end}`),
  )
}
