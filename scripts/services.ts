// Three services worth caring for, made below a folder: what the demo and the README's captures back up.
import { spawn } from 'node:child_process'
import { createHash, randomBytes, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { run } from '../src/host/shell.ts'
import { type Entry, fingerprint, makeHostileTree } from '../test/lib/tree.ts'

export const services = ['notes', 'photos', 'wiki'] as const
export type Service = (typeof services)[number]

/** A folder with three services, a repository and all that the CLI needs. */
export interface Home {
  path(...parts: string[]): string
  /** The CLI to play with. */
  cli: string
  database: string
}

const noteCount = 20_000
const photoCount = 500
const pageCount = 5_000

/** Where the data of each service is; the wiki's stands behind a symbolic link, as a DynamicUser's does. */
const roots: Record<Service, string[]> = { notes: ['notes'], photos: ['photos'], wiki: ['wiki', 'private/wiki'] }

/** Furnishes a folder, which may be new, without data. `restic`: the program. */
export function makeHome(root: string, restic: string): Home {
  const path = (...parts: string[]) => join(root, ...parts)
  mkdirSync(root, { recursive: true })
  for (const folder of ['secrets', 'bin', 'tmp', 'look']) mkdirSync(path(folder), { mode: 0o700 })
  symlinkSync(resolve(restic), path('bin/restic'))
  symlinkSync(process.execPath, path('bin/node'))
  symlinkSync(resolve('dist/atelier-backup.cjs'), path('bin/atelier-backup'))
  writeFileSync(path('secrets/password'), `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 })
  const manifest = {
    version: 2,
    host: 'demo',
    repositories: { main: { repository: path('repository'), passwordFile: path('secrets/password'), environmentFile: null, initialize: true } },
    // Nothing here is run by systemd.
    services: {
      notes: { paths: [path('notes')], sqlite: [path('notes/notes.db')], units: [] },
      photos: { paths: [path('photos')], exclude: ['photos/thumbnails'], units: [] },
      wiki: { paths: [path('wiki')], units: [] },
    },
  }
  writeFileSync(path('manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  writeFileSync(path('atelier-backup'), wrapper, { mode: 0o755 })
  return { path, cli: path('atelier-backup'), database: path('notes/notes.db') }
}

const wrapper = `#!/bin/sh
# atelier-backup with this folder's manifest, state and restic, to play with.
home=$(dirname "$(readlink -f "$0")")
export ATELIER_BACKUP_MANIFEST="$home/manifest.json" STATE_DIRECTORY="$home/state" RESTIC_CACHE_DIR="$home/cache" TMPDIR="$home/tmp"
PATH=$home/bin:$PATH
exec atelier-backup "$@"
`

export async function makeData(home: Home): Promise<void> {
  await makeEmptyData(home)
  const bodies = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ${noteCount}) SELECT hex(randomblob(64)) FROM n`
  await sqlite(home.database, `BEGIN; INSERT INTO notes (body) ${bodies}; ${twin} COMMIT;`)
  mkdirSync(home.path('notes/attachments'), { mode: 0o750 })
  for (let i = 0; i < 20; i++) writeFileSync(home.path(`notes/attachments/${i}.pdf`), randomBytes(20_000))
  for (const file of ['notes', 'notes/notes.db', 'notes/attachments']) chownSync(home.path(file), 991, 991)
  chmodSync(home.database, 0o640)
  makePhotos(home)
  makeThumbnails(home)
  makeWiki(home)
}

/** What three services have just after their installation. */
export async function makeEmptyData(home: Home): Promise<void> {
  for (const folder of ['notes', 'photos', 'private/wiki']) mkdirSync(home.path(folder), { recursive: true, mode: 0o750 })
  chmodSync(home.path('private'), 0o700)
  symlinkSync('private/wiki', home.path('wiki'))
  await sqlite(
    home.database,
    'PRAGMA journal_mode = WAL; CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE twins (id INTEGER PRIMARY KEY, body TEXT);',
  )
}

/** The data and this install's memory of it, as after the loss of the machine. What is in the repository stays, and the secrets. */
export function loseAll({ path }: Home): void {
  const kept = ['repository', 'secrets', 'manifest.json', 'atelier-backup', 'bin', 'look']
  for (const name of readdirSync(path())) if (!kept.includes(name)) rmSync(path(name), { recursive: true })
  mkdirSync(path('tmp'), { mode: 0o700 })
}

function makePhotos({ path }: Home): void {
  for (let i = 0; i < photoCount; i++) {
    const album = path(`photos/${2010 + (i % 16)}`)
    mkdirSync(album, { recursive: true })
    writeFileSync(`${album}/IMG ${i}.jpg`, randomFillSync(Buffer.allocUnsafe(300_000 + (i % 5) * 50_000)))
  }
}

export function makeThumbnails({ path }: Home): void {
  mkdirSync(path('photos/thumbnails'), { recursive: true })
  for (let i = 0; i < photoCount; i++) writeFileSync(path(`photos/thumbnails/${i}.webp`), randomBytes(1000))
}

/** Small files of several owners and odd modes, in folders of odd modes, with links of all kinds; and names that nobody would expect. */
function makeWiki({ path }: Home): void {
  const wiki = path('private/wiki')
  const titles = ['Home', "What's new", 'A "quoted" page', 'Grüße', '日本語', 'two\nlines', '$(id)', ' blank ']
  for (const folder of ['pages', 'drafts', 'uploads', 'shared']) mkdirSync(join(wiki, folder))
  for (let i = 0; i < pageCount; i++) {
    const folder = join(wiki, i % 10 === 0 ? 'drafts' : 'pages', String(i % 50))
    mkdirSync(folder, { recursive: true })
    const page = join(folder, `${titles[i % titles.length]} ${i}.md`)
    writeFileSync(page, `# Page ${i}\n\n${randomBytes(50 + (i % 400)).toString('base64')}\n`)
    chmodSync(page, [0o644, 0o640, 0o400, 0o600][i % 4] ?? 0o644)
    chownSync(page, [0, 1000, 1001, 991][i % 4] ?? 0, [0, 100, 33][i % 3] ?? 0)
    if (i % 100 === 0) linkSync(page, join(wiki, `shared/same as ${i}.md`))
    if (i % 100 === 1) symlinkSync(`../pages/${i % 50}/${titles[i % titles.length]} ${i}.md`, join(wiki, `shared/link to ${i}`))
    if (i % 100 === 2) symlinkSync(`/nowhere/${i}`, join(wiki, `shared/dangling ${i}`))
  }
  makeHostileTree(join(wiki, 'odd'))
  chmodSync(join(wiki, 'uploads'), 0o1777)
  chmodSync(join(wiki, 'shared'), 0o2755)
  chownSync(join(wiki, 'shared'), 1000, 33)
}

/** A day's work in each service: changed, new, moved and deleted. Gives a page that was deleted. */
export async function change(home: Home): Promise<string> {
  const { path } = home
  const edits = ['notes', 'twins'].map(
    (table) => `UPDATE ${table} SET body = 'edited' WHERE id % 100 = 7; DELETE FROM ${table} WHERE id BETWEEN 1000 AND 1099;`,
  )
  await sqlite(home.database, `BEGIN IMMEDIATE; ${edits.join(' ')} COMMIT;`)
  for (let i = 0; i < 10; i++) {
    rmSync(path(`photos/${2010 + i}/IMG ${i}.jpg`))
    renameSync(path(`photos/${2010 + i}/IMG ${16 + i}.jpg`), path(`photos/moved ${i}.jpg`))
    writeFileSync(path(`photos/new ${i}.jpg`), randomBytes(300_000))
  }
  const pages = filesBelow(path('private/wiki/pages'))
  for (const [i, page] of pages.entries()) {
    if (i % 100 === 0) writeFileSync(page, `# Edited ${i}\n`)
    if (i % 100 === 1) chownSync(page, 1002, 1002)
    if (i % 100 === 2) unlinkSync(page)
  }
  return pages[2] ?? ''
}

/** What a bad day does to each service. */
export const damage: Record<Service, (home: Home) => Promise<void> | void> = {
  notes: async ({ database }) => void (await sqlite(database, 'DROP TABLE notes;')),
  photos: ({ path }) => {
    for (const [i, photo] of filesBelow(path('photos')).entries()) if (!photo.includes('/thumbnails/') && i % 3 > 0) unlinkSync(photo)
  },
  wiki: ({ path }) => {
    for (const [i, page] of filesBelow(path('private/wiki/pages')).entries()) {
      if (i % 3 === 0) truncateSync(page)
      if (i % 3 === 1) chmodSync(page, 0o777)
    }
    rmSync(path('private/wiki/shared'), { recursive: true })
  },
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

/** The application: it commits about 50 transactions a second, and reads back what it committed. */
export interface Writer {
  /** The highest id that is committed for certain. */
  committed: number
  /** Milliseconds of the longest time without a commit since this was last set to 0. */
  longestPause: number
  /** It has ended: by `stop`, or because its database isn't what it was. */
  ended: Promise<unknown>
  stop(): Promise<void>
}

export async function startWriter(database: string): Promise<Writer> {
  // It ends with our end of the pipe, however we end.
  const child = spawn('sqlite3', ['-batch', '-bail', '-init', '/dev/null', database], { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.on('error', () => {}).write('.timeout 20000\nPRAGMA synchronous = NORMAL;\n')
  const writer: Writer = {
    committed: 0,
    longestPause: 0,
    ended: once(child, 'close'),
    async stop() {
      clearInterval(timer)
      child.stdin.end()
      await writer.ended
    },
  }
  let last = performance.now()
  createInterface({ input: child.stdout }).on('line', (id) => {
    writer.committed = Number(id)
    writer.longestPause = Math.max(writer.longestPause, performance.now() - last)
    last = performance.now()
  })
  const timer = setInterval(
    () => child.stdin.write(`BEGIN IMMEDIATE; INSERT INTO notes (body) VALUES (hex(randomblob(64))); ${twin} COMMIT; SELECT max(id) FROM notes;\n`),
    20,
  )
  child.on('close', () => clearInterval(timer))
  while (writer.committed === 0 && child.exitCode === null) await Promise.race([once(child.stdout, 'data'), writer.ended])
  return writer
}

/** What ends each transaction: a copy of the database in which the two tables differ was torn. */
const twin = 'INSERT INTO twins SELECT * FROM notes WHERE id > (SELECT coalesce(max(id), 0) FROM twins);'

/** The entries that must come back of each service. Call it while the application runs, and expect no sidecars of its database. */
export function treesOf(home: Home): Record<Service, Entry[]> {
  const tree = (service: Service) => treeOf(home, service).filter(({ path }) => !/\/notes\.db-(wal|shm)$/.test(path))
  return { notes: tree('notes'), photos: tree('photos'), wiki: tree('wiki') }
}

/** A service's entries, below another root if given, but for what backups exclude. */
export function treeOf({ path }: Home, service: Service, root = ''): Entry[] {
  return roots[service].flatMap((name) =>
    entriesOf(root + path(name))
      .map((entry) => ({ ...entry, path: entry.path.replace('.', name) }))
      .filter((entry) => !entry.path.startsWith('photos/thumbnails'))
      .map((entry) => ({ ...entry, ...unfixed[entry.path] })),
  )
}

/** None if nothing is there. */
export function entriesOf(path: string): Entry[] {
  return lstatSync(path, { throwIfNoEntry: false }) ? fingerprint(path) : []
}

/** What need not be the same: a database's copy has a time and pages of its own; a link that leads where it should is left as it is. */
const unfixed: Record<string, Partial<Entry>> = { 'notes/notes.db': { mtime: '', size: null, sha256: null }, wiki: { mtime: '' } }

export interface Rows {
  integrity: string
  /** Notes that one of the tables has and the other hasn't. */
  torn: number
  count: number
  sha256: string
}

/** The notes up to an id. `live`: the application runs; read so without it, the database would get new sidecars. */
export async function rowsOf(database: string, upTo: number, { live = false } = {}): Promise<Rows> {
  const uri = `${pathToFileURL(database).href}?mode=ro${live ? '' : '&immutable=1'}`
  const [integrity = '', torn = '', ...rows] = await sqlite(
    uri,
    `PRAGMA integrity_check;
     SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM twins) - 2 * (SELECT count(*) FROM notes JOIN twins USING (id, body));
     SELECT id, body FROM notes WHERE id <= ${upTo} ORDER BY id;`,
  )
  return { integrity, torn: Number(torn), count: rows.length, sha256: createHash('sha256').update(rows.join('\n')).digest('hex') }
}

async function sqlite(database: string, sql: string): Promise<string[]> {
  const { exit, stdout, stderr } = await run(['sqlite3', '-batch', '-bail', '-init', '/dev/null', database], { input: `.timeout 20000\n${sql}\n` })
  if (exit !== 0) throw new Error(`sqlite3 ${database}: ${stderr.trim()}`)
  return stdout.split('\n').slice(0, -1)
}

/** How two trees differ, in words; none if they are the same. */
export function differences(expected: Entry[], actual: Entry[]): string[] {
  const there = new Map(actual.map((entry) => [entry.path, entry]))
  const known = new Set(expected.map(({ path }) => path))
  return [
    ...expected.flatMap((entry) => {
      const found = there.get(entry.path)
      if (!found) return [`${entry.path} is missing`]
      const fields = Object.keys(entry) as (keyof Entry)[]
      return fields
        .filter((field) => entry[field] !== found[field])
        .map((field) => `${entry.path}: ${field} ${found[field]} instead of ${entry[field]}`)
    }),
    ...actual.filter(({ path }) => !known.has(path)).map(({ path }) => `${path} is new`),
  ]
}
