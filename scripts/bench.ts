// Speed as ratios: ours beside what it stands on (restic alone, an empty program), in turns, so that load hits both alike; medians.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writer } from '../test/lib/live.ts'
import { makeServer } from '../test/lib/postgres.ts'
import { holdingStill } from './bench-downtime.ts'
import { fakeRestic, Host, type Spent } from './bench-hosts.ts'
import { type Panel, plot } from './bench-plot.ts'

const quick = process.argv[2] === '--quick'
const rounds = quick ? 1 : 7
/** For commands that only read: they take half a second at most, and their goals differ by a few hundredths. */
const briefRounds = quick ? 1 : 21
const million = quick ? 20_000 : 1_000_000
const megabytes = quick ? 10 : 100

type Work = () => Promise<Spent | number>
interface Beside {
  beside: string
  theirs: Work
  /** Theirs is a loop of so many of the same, of which one is measured before ours and one behind. */
  times?: number
  /** What it must not exceed: a ratio, or seconds more. None: told, not promised. */
  limit?: { ratio: number } | { secondsMore: number }
}
interface Row extends Beside {
  what: string
  ours: Work
  /** The same of ours beside something else. */
  also?: Beside
  /** Before each of ours, not measured. */
  before?: () => Promise<unknown>
}
interface Measured {
  ours: number
  theirs: number
  also: number
}

const hosts: { remove(): unknown }[] = []
function host(...given: ConstructorParameters<typeof Host>): Host {
  const made = new Host(...given)
  hosts.push(made)
  return made
}
const lines: string[] = []
function tell(line: string): void {
  lines.push(line)
  process.stdout.write(`${line}\n`)
}

try {
  const begun = performance.now()
  tell('| | beside | ours | theirs | ratio | goal |')
  tell('| --- | --- | ---: | ---: | ---: | --- |')
  for (const group of [looking, working, large, databases, stopping, declaring])
    for (const row of await group()) {
      const { ours, theirs, also } = await measured(row, group === looking ? briefRounds : rounds)
      tell(lineOf(row.what, row, ours, theirs))
      if (row.also) tell(lineOf('', row.also, ours, also))
    }
  tell('')
  tell(await writing())
  tell('')
  tell('| memory of our process | most | goal |')
  tell('| --- | ---: | --- |')
  await memory()
  writeGrowth(await growth())
  const minutes = (performance.now() - begun) / 60_000
  const head = `Medians of ${rounds} rounds (${briefRounds} of what only looks), ours and theirs in turns, on ${cpus().length} cores, in one run of ${minutes.toFixed(0)} minutes.`
  process.stdout.write(`${head}\n`)
  if (!quick) intoPage([head, '', ...lines, '', '![How cost grows with services, snapshots and files](growth.svg)'])
} finally {
  for (const each of hosts) await each.remove()
}

/** What only looks. */
async function looking(): Promise<Row[]> {
  const [twenty, hundred, long] = [host(20), host(100), host(20)]
  await twenty.forgeHistory(10)
  await hundred.forgeHistory(10)
  await long.forgeHistory(quick ? 10 : 250)
  const bare = (at: Host) => () => at.restic('snapshots', '--json', '--no-lock')
  const call = '`restic snapshots --json --no-lock`'
  return [
    { what: '`--help`', beside: 'an empty program', ours: () => twenty.ours('--help'), theirs: () => twenty.empty(), limit: { ratio: 2 } },
    {
      ...{ what: 'completion of a service', beside: 'an empty program', limit: { ratio: 2 } },
      ...{ ours: () => twenty.ours('complete', '--', 'backup', 'serv'), theirs: () => twenty.empty() },
    },
    {
      ...{ what: '`status --local`, 20 services', beside: 'an empty program', limit: { ratio: 3 } },
      ...{ ours: () => twenty.ours('status', '--local'), theirs: () => twenty.empty() },
    },
    {
      ...{
        what: '`status`, 20 services × 10 snapshots',
        beside: call,
        ours: () => twenty.ours('status'),
        theirs: bare(twenty),
        limit: { secondsMore: 0.2 },
      },
      also: {
        ...{ beside: "the shell version's way: a call for each", times: 20 },
        theirs: () => twenty.restic('snapshots', '--json', '--latest', '1', '--tag', 'service:service0'),
      },
    },
    {
      what: '`status`, 100 services × 10 snapshots',
      beside: call,
      ours: () => hundred.ours('status'),
      theirs: bare(hundred),
      limit: { secondsMore: 0.2 },
    },
    { what: '`status`, 5,000 snapshots', beside: call, ours: () => long.ours('status'), theirs: bare(long), limit: { secondsMore: 0.2 } },
    { what: '`list SERVICE`', beside: call, ours: () => twenty.ours('list', 'service0'), theirs: bare(twenty), limit: { secondsMore: 0.2 } },
  ]
}

/** Twenty small services, saved and brought back. */
async function working(): Promise<Row[]> {
  const small = host(quick ? 4 : 20)
  const count = small.names.length
  small.writeData()
  await small.restic('init')
  await small.ours('backup', '--all')
  const one = small.data('service0')
  const bareBackup = () => small.restic('backup', '--json', '--host', 'bare', '--tag', 'bare', '--', one)
  let n = 0
  const target = () => small.at(`target-${n++}`)
  const bareRestore = () => small.restic('restore', '--json', '--tag', 'service:service0', '--target', target(), 'latest')
  const lookAndRestore = async () => (await small.restic('snapshots', '--json', '--tag', 'service:service0')).seconds + (await bareRestore()).seconds
  /** The host is gone: its data, and all that was remembered. */
  const lose = async () => {
    rmSync(small.at('data'), { recursive: true, force: true })
    mkdirSync(small.at('data'))
    small.state = `state-${n++}`
  }
  return [
    {
      ...{ what: '`backup` of one small service', beside: '`restic backup`', limit: { secondsMore: 0.35 } },
      ...{ ours: () => small.ours('backup', 'service0'), theirs: bareBackup },
    },
    {
      ...{ what: `\`backup --all\` of ${count}`, beside: 'a loop of `restic backup`', times: count, limit: { ratio: 0.6 } },
      ...{ ours: () => small.ours('backup', '--all'), theirs: bareBackup },
    },
    {
      ...{ what: '`restore` of one, to look at', beside: '`restic snapshots`, then `restic restore`', limit: { secondsMore: 0.35 } },
      ...{ ours: () => small.ours('restore', 'service0', '--snapshot', 'latest', '--target', target(), '--json'), theirs: lookAndRestore },
    },
    {
      ...{ what: `\`dr\` of ${count}`, beside: 'a loop of `restic restore`', times: count, limit: { ratio: 0.6 }, before: lose },
      ...{ ours: () => small.ours('dr', '--yes', '--json'), theirs: bareRestore },
      also: { beside: "the shell version's way: two calls for each", times: count, theirs: lookAndRestore },
    },
  ]
}

/**
 * One service of 1 GiB in 20,000 files, each time on a file system that was just made: where much was written or deleted a moment ago, ext4 takes
 * twice as long to write.
 */
async function large(): Promise<Row[]> {
  const big = host(1)
  const [files, bytes] = quick ? [200, 10_000] : [20_000, 53_687]
  for (let i = 0; i < files; i++) {
    const folder = join(big.data('service0'), String(i % 200))
    if (i < 200) mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `file${i}`), randomBytes(bytes))
  }
  await big.restic('init')
  await big.ours('backup', 'service0')
  const [data, before, disk, target] = [big.at('data'), big.at('before'), big.at('disk'), big.at('data/target')]
  renameSync(data, before)
  mkdirSync(data)
  const unmount = () => big.command(['umount', data]).catch(() => {})
  hosts.unshift({ remove: unmount })
  await big.command(['fallocate', '--length', quick ? '1G' : '5G', disk])
  const fresh = async () => {
    await unmount()
    await big.command(['mkfs.ext4', '-q', '-F', '-E', 'nodiscard,lazy_itable_init=0,lazy_journal_init=0', disk])
    await big.command(['mount', '-o', 'loop', disk, data])
    await big.command(['cp', '-a', '-T', before, data])
    await big.command(['sync'])
  }
  return [
    {
      ...{ what: '`restore --in-place`, 1 GiB in 20,000 files', beside: '`restic restore` and `sync -f`', limit: { ratio: 1.2 } },
      before: fresh,
      ours: () => big.ours('restore', 'service0', '--snapshot', 'latest', '--in-place', '--yes', '--json'),
      theirs: async () => {
        await fresh()
        const restored = await big.restic('restore', '--json', '--target', target, 'latest')
        return restored.seconds + (await big.command(['sync', '-f', target])).seconds
      },
    },
  ]
}

/** What it costs beside the database's own program and restic that a database is saved while it is used. */
async function databases(): Promise<Row[]> {
  const file = 'database.db'
  const copied = host(1, (name, at) => ({ sqlite: [join(at.data(name), file)] }))
  await fill(copied, file)
  const server = makeServer()
  hosts.push(server)
  const dumped = host(1, () => ({ paths: [], postgres: ['shop'] }), { postgresql: server.declared })
  server.sql('postgres', 'CREATE DATABASE shop')
  // Random bytes, which restic can't make smaller.
  const row = `SELECT string_agg(sha512((n * 16384 + i)::text::bytea), ''::bytea) FROM generate_series(1, 16384) i`
  server.sql('shop', `CREATE TABLE t AS SELECT n, (${row}) b FROM generate_series(1, ${megabytes}) n`)
  for (const at of [copied, dumped]) {
    await at.restic('init')
    await at.ours('backup', 'service0')
  }
  /** Made beside, saved, and taken away. */
  const bare = async (at: Host, make: (to: string) => Promise<Spent>) => {
    const to = at.at('copy')
    const made = await make(to)
    const saved = await at.restic('backup', '--json', '--host', 'bare', '--tag', 'bare', '--', to)
    rmSync(to)
    return made.seconds + saved.seconds
  }
  const login = [`--host=${server.declared.socketDir}`, '--username=postgres', '--no-password']
  const asPostgres = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', '--']
  const dump = ['pg_dump', '--format=custom', '--compress=0', ...login, '--dbname=shop']
  return [
    {
      ...{ what: `\`backup\` of a database of ${megabytes} MB (\`sqlite\`)`, beside: '`.backup` and `restic backup`', limit: { secondsMore: 0.3 } },
      ours: () => copied.ours('backup', 'service0'),
      theirs: () => bare(copied, (to) => copied.command(['sqlite3', join(copied.data('service0'), file), `.backup ${to}`])),
    },
    {
      ...{ what: `\`backup\` of a database of ${megabytes} MB (\`postgres\`)`, beside: '`pg_dump` and `restic backup`', limit: { secondsMore: 0.3 } },
      ours: () => dumped.ours('backup', 'service0'),
      theirs: () => bare(dumped, (to) => dumped.command(['bash', '-c', 'to=$1; shift; "$@" >"$to"', 'bash', to, ...asPostgres, ...dump])),
    },
  ]
}

/** Makes a SQLite database of random bytes. */
async function fill(at: Host, file: string): Promise<void> {
  at.writeData()
  const rows = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${megabytes}) INSERT INTO t SELECT randomblob(1000000) FROM n;`
  await at.command(['sqlite3', join(at.data('service0'), file), `CREATE TABLE t (b BLOB); ${rows}`])
}

/** For how long a service is down that must be stopped for its backup. */
async function stopping(): Promise<Row[]> {
  const { held, remove } = await holdingStill(megabytes)
  hosts.push({ remove })
  return held.map(({ way, ours, stopped }) => {
    let last = Number.NaN
    return {
      ...{
        what: `downtime by \`stopForBackup\`, ${megabytes} MB of new data: ${way}`,
        beside: "the shell version's way: stopped while restic saves",
      },
      ours: async () => {
        const { down, whole } = await ours()
        last = whole
        return down
      },
      theirs: stopped,
      also: { beside: 'that whole backup', theirs: async () => last },
    }
  })
}

/** What a writer notices of a backup: told, not promised. */
async function writing(): Promise<string> {
  const file = 'database.db'
  const at = host(1, (name, at) => ({ sqlite: [join(at.data(name), file)] }))
  await fill(at, file)
  await at.restic('init')
  await at.ours('backup', 'service0')
  const busy = await writer(join(at.data('service0'), file))
  const worst = async (work: () => Promise<unknown>) => {
    const begun = Date.now()
    await work()
    return busy.between(begun, Date.now())
  }
  const during: number[] = []
  const alone: number[] = []
  let commits = 0
  for (let i = 0; i < rounds; i++) {
    const seen = await worst(() => at.ours('backup', 'service0'))
    commits += seen.commits
    during.push(seen.worst)
    alone.push((await worst(() => sleep(1500))).worst)
  }
  await busy.end()
  return `Downtime of a SQLite database (\`sqlite\`, WAL): none. Of ${megabytes} MB saved ${rounds} times its writer committed ${commits} times meanwhile; between two commits lay ${Math.max(...during)} ms at most, with no backup ${Math.max(...alone)} ms.`
}

/** What a rebuild of the host costs more for its services. */
async function declaring(): Promise<Row[]> {
  const at = host(1)
  const evaluated = (count: number) => () =>
    at.command([
      ...['nix-instantiate', '--store', 'dummy://', '--eval', '--strict', '--json', '--expr'],
      `let lib = import ./test/nix/nixpkgs/lib.nix; r = import ./test/nix/nixos.nix { inherit lib; modules = [ { atelier.backup = { enable = true; services = lib.listToAttrs (map (i: { name = "s\${toString i}"; value.paths = [ "/var/lib/s\${toString i}" ]; }) (lib.range 1 ${count})); }; } ]; }; in r.manifest`,
    ])
  return [{ what: 'Nix evaluation of 200 services', beside: 'of none', ours: evaluated(200), theirs: evaluated(0), limit: { ratio: 2 } }]
}

async function memory(): Promise<void> {
  const made = host(1)
  const env = fakeRestic(made, million)
  const cases: [what: string, args: string[]][] = [
    ['`list` of 1,000,000 files', ['list', 'service0', '--snapshot', 'latest']],
    ['`list --json` of 1,000,000 files', ['list', 'service0', '--snapshot', 'latest', '--json']],
    ['the plan of a restore in place of 1,000,000 files', ['restore', 'service0', '--snapshot', 'latest', '--in-place', '--dry-run']],
    ['`restore` of 1,000,000 files, to look at', ['restore', 'service0', '--snapshot', 'latest', '--target', made.at('target'), '--json']],
  ]
  for (const [what, args] of cases) {
    const { memory: most } = await made.command([process.execPath, 'dist/atelier-backup.cjs', ...args], env)
    tell(`| ${what} | ${most.toFixed(0)} MiB | ≤ 150 MiB ${sign(most <= 150)} |`)
  }
}

/** How seconds grow with services, snapshots and files. */
async function growth(): Promise<Panel[]> {
  const status = async (services: number, each: number) => {
    const made = host(services)
    await made.forgeHistory(each)
    const row = { what: '', beside: '', ours: () => made.ours('status'), theirs: () => made.restic('snapshots', '--json', '--no-lock') }
    const result = await measured(row, 1)
    made.remove()
    return result
  }
  const panel = async (title: string, counts: number[], measure: (count: number) => Promise<Measured>, bare: string): Promise<Panel> => {
    const found: [number, Measured][] = []
    for (const count of counts) found.push([count, await measure(count)])
    const line = (name: string, of: 'ours' | 'theirs') => ({ name, points: found.map(([count, result]): [number, number] => [count, result[of]]) })
    return { title, unit: 's', lines: [line('ours', 'ours'), line(bare, 'theirs')] }
  }
  const listed = async (files: number): Promise<Measured> => {
    const made = host(1)
    const env = fakeRestic(made, files)
    const list = [process.execPath, 'dist/atelier-backup.cjs', 'list', 'service0', '--snapshot', 'latest', '--json']
    const printed = [made.at('fake/restic'), 'ls']
    return measured({ what: '', beside: '', ours: () => made.command(list, env), theirs: () => made.command(printed, env) }, 1)
  }
  const upTo = (last: number) => (count: number) => count <= last
  return [
    await panel(
      'status: services × 10 snapshots',
      [1, 5, 20, 50, 100, 200].filter(upTo(quick ? 5 : 200)),
      (count) => status(count, 10),
      'restic alone',
    ),
    await panel(
      'status: snapshots of 10 services',
      [10, 100, 1000, 10_000, 60_000].filter(upTo(quick ? 100 : 60_000)),
      (count) => status(10, count / 10),
      'restic alone',
    ),
    await panel('list: files of a snapshot', [1000, 10_000, 100_000, 1_000_000].filter(upTo(million)), listed, 'printed alone'),
  ]
}

/** Medians of seconds. One round first, to warm the caches, unless it costs minutes. */
async function measured(row: Row, of = rounds): Promise<Measured> {
  const found: Record<keyof Measured, number[]> = { ours: [], theirs: [], also: [] }
  const isLong = quick || row.before !== undefined || row.times !== undefined
  for (let i = isLong ? 1 : 0; i <= of; i++) {
    const others = [row, ...(row.also ? [row.also] : [])].map((beside) => ({ beside, seconds: [] as number[] }))
    const measureOthers = async (some: typeof others) => {
      for (const { beside, seconds } of some) seconds.push(secondsOf(await beside.theirs()))
    }
    await measureOthers(others.filter(({ beside }) => beside.times !== undefined))
    await row.before?.()
    const ours = secondsOf(await row.ours())
    await measureOthers(others)
    if (i === 0) continue
    found.ours.push(ours)
    for (const [n, { beside, seconds }] of others.entries())
      found[n === 0 ? 'theirs' : 'also'].push(((beside.times ?? 1) * seconds.reduce((sum, each) => sum + each, 0)) / seconds.length)
  }
  return { ours: median(found.ours), theirs: median(found.theirs), also: median(found.also) }
}

function secondsOf(spent: Spent | number): number {
  return typeof spent === 'number' ? spent : spent.seconds
}

function median(times: number[]): number {
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN
}

function lineOf(what: string, { beside, limit, times = 1 }: Beside, ours: number, theirs: number): string {
  const ratio = ours / theirs
  const goal = !limit
    ? '–'
    : 'ratio' in limit
      ? `≤ ${limit.ratio} × ${sign(ratio <= limit.ratio)}`
      : `≤ ${limit.secondsMore} s more ${sign(ours - theirs <= limit.secondsMore)}`
  const loop = times > 1 ? ` (${times} × one)` : ''
  return `| ${what} | ${beside}${loop} | ${ours.toFixed(2)} s | ${theirs.toFixed(2)} s | ${ratio.toFixed(2)} × | ${goal} |`
}

function sign(good: boolean): string {
  return good ? '✓' : '✗'
}

function writeGrowth(panels: Panel[]): void {
  const picture = plot(panels)
  if (!quick) writeFileSync('scripts/docs/growth.svg', picture)
  else process.stdout.write(`${JSON.stringify(panels)}\n`)
}

function intoPage(text: string[]): void {
  const page = 'scripts/docs/speed.md'
  const before = readFileSync(page, 'utf8')
  const after = before.replace(/(<!-- bench -->\n)[\s\S]*?(<!-- \/bench -->)/, (_, begin, end) => `${begin}${text.join('\n')}\n${end}`)
  writeFileSync(page, after)
}
