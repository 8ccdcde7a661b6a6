// The demo's story: each step does something with the real CLI, proves what it says, and tells how long it took.
import { rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Event } from '../src/core.ts'
import { plainEnvironment, run } from '../src/host/shell.ts'
import type { Snapshot } from '../src/restic/types.ts'
import type { Status } from '../src/status/query.ts'
import { formatBytes, formatCount } from '../src/ui/format.ts'
import { sign, styled } from '../src/ui/terminal.ts'
import type { Entry } from '../test/lib/tree.ts'
import * as data from './services.ts'

const { services } = data
rmSync('.demo', { recursive: true, force: true })
const home = data.makeHome(resolve('.demo'), process.argv[2] ?? 'restic')
const interruption = new AbortController()
const { signal } = interruption
let writer = null as data.Writer | null
let begun = performance.now()
let hasFailed = false

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => interruption.abort())
try {
  const start = performance.now()
  await story()
  process.stdout.write(`\nAll of it in ${Math.round((performance.now() - start) / 1000)} s. It is left for you to play with:\n`)
  for (const args of ['', ' status', ' list notes']) process.stdout.write(`  .demo/atelier-backup${args}\n`)
} catch (error) {
  process.exitCode = signal.aborted ? 130 : 1
  if (signal.aborted) process.stderr.write('\ninterrupted\n')
  else if (!hasFailed) throw error
} finally {
  await writer?.stop()
}

async function story(): Promise<void> {
  await step('Three services', async () => {
    await data.makeData(home)
    return '20,000 notes, 200 MB photos, 5,000 pages'
  })
  let app = await startApp()
  await step('doctor', async () => {
    const checks = (await cli(['doctor'])).trimEnd().split('\n')
    return `${checks.length} checks, all good`
  })
  let first = {} as Saved
  await step('backup --all', async () => {
    first = await save(app)
    return `${first.meanwhile} transactions meanwhile, pauses ≤ ${Math.ceil(app.longestPause)} ms`
  })
  await step('restore notes', async () => {
    const target = home.path('look/notes')
    await cli(['restore', 'notes', '--target', target])
    same('notes', first, target)
    return `to look at: ${await sameRows(first, target)}`
  })
  await step('status', () => stateOfAll('ok', 0))

  let gone = ''
  await step('A day goes by', async () => {
    gone = await data.change(home)
    return 'changed, moved, new, deleted in each'
  })
  let good = {} as Saved
  await step('backup --all', async () => {
    const before = await bytesOf('repository')
    good = await save(app)
    return `only ${formatBytes((await bytesOf('repository')) - before)} more in the repository`
  })
  await step('list wiki', async () => {
    const found = (await json<Snapshot[]>(['list', 'wiki'])).map(({ id }) => id)
    prove(found.join() === [good.ids.wiki, first.ids.wiki].join(), `expected ${good.ids.wiki},${first.ids.wiki}; found ${found}`)
    return '2 snapshots, newest first'
  })
  await step('list wiki --path', async () => {
    const nodes = await json<{ path: string }[]>(['list', 'wiki', '--snapshot', first.ids.wiki, '--path', gone])
    prove(nodes.length === 1 && nodes[0]?.path === gone, `found ${JSON.stringify(nodes)}`)
    await cli(['list', 'wiki', '--path', gone], 2)
    return 'a deleted page: in the first, not the last'
  })
  await step('restore wiki --path', async () => {
    const target = home.path('look/page')
    const before = data.treeOf(home, 'wiki')
    await cli(['restore', 'wiki', '--snapshot', first.ids.wiki, '--path', gone, '--target', target])
    const [page] = data.entriesOf(target + gone)
    const expected = first.trees.wiki.find(({ path }) => home.path(path) === gone)
    prove(page !== undefined && expected !== undefined && page.sha256 === expected.sha256 && page.mode === expected.mode, 'the page differs')
    report(data.differences(before, data.treeOf(home, 'wiki')), 'the live wiki')
    return 'that page to look at; live data untouched'
  })

  await step('restore photos --in-place', async () => {
    await data.damage.photos(home)
    data.makeThumbnails(home)
    const thumbnails = data.entriesOf(home.path('photos/thumbnails'))
    await cli(['restore', 'photos', '--in-place', '--yes'])
    same('photos', good)
    report(data.differences(thumbnails, data.entriesOf(home.path('photos/thumbnails'))), 'the thumbnails, which backups exclude,')
    return 'two thirds were gone; thumbnails kept'
  })
  await data.damage.wiki(home)
  const damaged = data.treeOf(home, 'wiki')
  await step('restore wiki --in-place', async () => {
    await cli(['restore', 'wiki', '--in-place', '--yes'])
    same('wiki', good)
    return 'content, owners, modes, links, odd names'
  })
  await step('restore wiki --rollback', async () => {
    await cli(['restore', 'wiki', '--rollback', '--yes'])
    report(data.differences(damaged, data.treeOf(home, 'wiki')), 'the wiki, rolled back,')
    await cli(['restore', 'wiki', '--rollback', '--yes'])
    same('wiki', good)
    return 'back to the damage, and forward again'
  })
  await step('restore notes --in-place', async () => {
    await data.damage.notes(home)
    await app.ended
    await cli(['restore', 'notes', '--in-place', '--yes'])
    same('notes', good)
    const rows = await sameRows(good)
    // It reads back what it writes.
    app = await startApp()
    return `DROP TABLE undone: ${rows}`
  })

  await step('The machine is lost', async () => {
    await app.stop()
    data.loseAll(home)
    await stateOfAll('unadopted', 4)
    await data.makeEmptyData(home)
    return 'a new, empty install: status says unadopted'
  })
  await step('backup --all', async () => {
    await backupAll()
    for (const service of services) prove((await newestOf(service)).tags.includes('unadopted'), `${service}: its empty backup counts`)
    const { services: states } = await json<Status>(['status'], 4)
    for (const { name, latest } of states) prove(latest?.id === good.ids[name as data.Service], `${name}: ${latest?.id} counts as the newest`)
    return 'of empty data: never taken for the newest'
  })
  await step('dr', async () => {
    await cli(['dr', '--yes'])
    for (const service of services) same(service, good)
    return `everything as it was: ${await sameRows(good)}`
  })
  app = await startApp()
  await step('backup --all', async () => {
    await backupAll()
    for (const service of services) prove(!(await newestOf(service)).tags.includes('unadopted'), `${service}: its backup doesn't count`)
    return `counts again; ${await stateOfAll('ok', 0)}`
  })
  await step('restic restore', async () => {
    const target = home.path('look/plain')
    const secrets = { RESTIC_REPOSITORY: home.path('repository'), RESTIC_PASSWORD_FILE: home.path('secrets/password') }
    const argv = [home.path('bin/restic'), 'restore', good.ids.wiki, '--target', target]
    await ended(argv, 0, { ...secrets, RESTIC_CACHE_DIR: home.path('cache'), TMPDIR: home.path('tmp') })
    same('wiki', good, target)
    return 'restic alone brings back the same wiki'
  })
  await step('doctor', async () => {
    await cli(['doctor'])
    return 'no lock, no unfinished work is left'
  })
}

/** One line: what was done, what it proved, how long it took since the line before. */
async function step(title: string, work: () => Promise<string>): Promise<void> {
  const isLive = process.stdout.isTTY === true
  if (isLive) process.stdout.write(`${sign('waiting')}         ${title}`)
  const line = (kind: 'good' | 'bad', text: string) => {
    const seconds = ((performance.now() - begun) / 1000).toFixed(1)
    begun = performance.now()
    process.stdout.write(`${isLive ? '\r\x1b[K' : ''}${sign(kind)} ${seconds.padStart(5)} s  ${styled('bold', title.padEnd(25))}  ${text}\n`)
  }
  try {
    line('good', await work())
  } catch (error) {
    if (signal.aborted) throw error
    hasFailed = true
    line('bad', (error instanceof Error ? error.message : String(error)).replaceAll('\n', `\n${' '.repeat(11)}`))
    throw error
  }
}

async function startApp(): Promise<data.Writer> {
  const started = await data.startWriter(home.database)
  writer = started
  return started
}

async function cli(args: string[], exit = 0): Promise<string> {
  return ended([home.cli, ...args], exit)
}

async function json<T>(args: string[], exit = 0): Promise<T> {
  return JSON.parse(await cli([...args, '--json'], exit)) as T
}

async function ended(argv: string[], exit: number, env: Record<string, string> = {}): Promise<string> {
  const { stdout, stderr, ...end } = await run(argv, { signal, env: { ...plainEnvironment(), ...env } })
  prove(end.exit === exit, `${argv.join(' ')}\nended with ${end.exit} instead of ${exit}\n${stderr}${stdout}`.trim())
  return stdout
}

async function backupAll(): Promise<Record<data.Service, string>> {
  const lines = (await cli(['backup', '--all', '--json'])).trimEnd().split('\n')
  const { services: results } = JSON.parse(lines.at(-1) ?? '') as Event & { type: 'report' }
  for (const { name, outcome, message } of results) prove(outcome === 'ok', `${name}: ${outcome}: ${message}`)
  return Object.fromEntries(results.map(({ name, snapshotId }) => [name, snapshotId])) as Record<data.Service, string>
}

/** A backup, and what must come back of it: all that was there, and all notes that were committed, when it began. */
interface Saved {
  ids: Record<data.Service, string>
  trees: Record<data.Service, Entry[]>
  upTo: number
  rows: data.Rows
  /** Transactions that were committed while it ran. */
  meanwhile: number
}

async function save(app: data.Writer): Promise<Saved> {
  const trees = data.treesOf(home)
  // What the application said while we looked is read first.
  await setTimeout(100)
  app.longestPause = 0
  const upTo = app.committed
  const ids = await backupAll()
  const meanwhile = app.committed - upTo
  return { ids, trees, upTo, rows: await data.rowsOf(home.database, upTo, { live: true }), meanwhile }
}

async function newestOf(service: data.Service): Promise<Snapshot> {
  const [newest] = await json<Snapshot[]>(['list', service])
  if (!newest) throw new Error(`${service} has no snapshots`)
  return newest
}

async function stateOfAll(expected: string, exit: number): Promise<string> {
  const { services: states } = await json<Status>(['status'], exit)
  for (const { name, state, message } of states) prove(state === expected, `${name} is ${state} instead of ${expected}: ${message}`)
  return `${states.map(({ name }) => name).join(', ')}: ${expected}`
}

function same(service: data.Service, expected: Saved, root = ''): void {
  report(data.differences(expected.trees[service], data.treeOf(home, service, root)), service)
}

async function sameRows({ upTo, rows }: Saved, root = ''): Promise<string> {
  const found = await data.rowsOf(root + home.database, upTo)
  prove(JSON.stringify(found) === JSON.stringify(rows), `the notes up to ${upTo} are ${JSON.stringify(found)}\ninstead of ${JSON.stringify(rows)}`)
  return `all ${formatCount(rows.count)} notes`
}

function report(differences: string[], what: string): void {
  prove(differences.length === 0, [`${what} differs in ${differences.length} places:`, ...differences.slice(0, 8)].join('\n'))
}

function prove(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}

async function bytesOf(name: string): Promise<number> {
  return Number.parseInt(await ended(['du', '--summarize', '--bytes', home.path(name)], 0), 10)
}
