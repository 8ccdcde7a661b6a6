// What stands in a snapshot, and what a run leaves behind: plain restic must be able to restore it.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { output, resticBefore, sql } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { fingerprint, makeHostileTree } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
})
afterAll(() => w.cleanup())

interface Saved {
  id: string
  hostname: string
  tags: string[]
  paths: string[]
}
/** The newest snapshot of a service, as restic tells it. */
async function saved(name: string): Promise<Saved> {
  const { stdout } = await w.restic(['snapshots', '--json', '--tag', `service:${name}`])
  return JSON.parse(stdout).at(-1)
}
const count = async (name: string) => JSON.parse((await w.restic(['snapshots', '--json', '--tag', `service:${name}`])).stdout).length
/** Paths in a service's newest snapshot. */
async function listed(name: string): Promise<string[]> {
  return (await w.restic(['ls', (await saved(name)).id])).stdout.split('\n')
}
function record(name: string) {
  return JSON.parse(readFileSync(w.path('state/records', `${name}.json`), 'utf8'))
}

test('[snapshot.1] plain restic restores a hostile tree to its original path', async () => {
  makeHostileTree(w.path('tree/data'))
  const before = fingerprint(w.path('tree/data'))
  w.manifest({ services: { tree: { paths: [w.path('tree/data')] } } })
  expect(await w.cli(['run', 'tree'])).toMatchObject({ exit: 0 })
  rmSync(w.path('tree'), { recursive: true })
  const { id } = await saved('tree')
  expect((await w.restic(['restore', id, '--target', '/'])).exit).toBe(0)
  expect(fingerprint(w.path('tree/data'))).toEqual(before)
})

test('[snapshot.2] links on the way are saved with what they lead to, as with /var/lib/x → private/x', async () => {
  const file = w.write('links/private/x/deep/file', 'precious')
  w.write('links/elsewhere/other', 'also')
  symlinkSync('private/x', w.path('links/x'))
  symlinkSync('x', w.path('links/twice'))
  symlinkSync(w.path('links/elsewhere'), w.path('links/private/x/away'))
  const declared = [w.path('links/twice/deep'), w.path('links/private/x'), w.path('links/private/x/away/other')]
  w.manifest({ services: { links: { paths: declared } } })
  expect(await w.cli(['run', 'links'])).toMatchObject({ exit: 0 })
  const before = fingerprint(w.path('links'))
  rmSync(w.path('links'), { recursive: true })
  await w.restic(['restore', (await saved('links')).id, '--target', '/'])
  expect(readFileSync(w.path('links/twice/deep/file'), 'utf8')).toBe(readFileSync(file, 'utf8'))
  expect(fingerprint(w.path('links')).map(({ path, target }) => [path, target])).toEqual(before.map(({ path, target }) => [path, target]))
})

test.skipIf(!isRoot)('[snapshot.11] a link in a folder of another user is saved as a link and named, and not followed', async () => {
  const secret = w.write('others/secret', 'of root')
  mkdirSync(w.path('others/home'))
  symlinkSync('/dev/zero', w.path('others/home/endless'))
  symlinkSync('..', w.path('others/home/up'))
  output(['chown', '--no-dereference', '4242', w.path('others/home'), w.path('others/home/endless'), w.path('others/home/up')])
  const declared = [w.path('others/home/endless'), w.path('others/home/up/secret')]
  w.manifest({ services: { others: { paths: declared, sqlite: [w.path('others/home/up/secret')] } } })
  const { exit, stderr } = await w.cli(['run', 'others'])
  expect([exit, stderr]).toEqual([3, expect.stringContaining(`${w.path('others/home/up')} is a link in a folder that isn't root's alone`)])
  expect((await saved('others')).tags).toContain('partial')
  const all = await listed('others')
  expect(all).toEqual(expect.arrayContaining([w.path('others/home/endless'), w.path('others/home/up')]))
  expect(all).not.toContain(secret)
})

test.skipIf(!isRoot)('[snapshot.12] a folder that becomes a link while restic starts isn’t followed, and the run says so', async () => {
  w.write('turned/home/data/file', 'x')
  const secret = w.write('turned/root/file', 'of root')
  output(['chown', '--recursive', '4242', w.path('turned/home')])
  w.manifest({ services: { turned: { paths: [w.path('turned/home/data/file')] } } })
  const turn = `mv ${w.path('turned/home/data')} ${w.path('turned/home/old')}; ln -s ${w.path('turned/root')} ${w.path('turned/home/data')}`
  const { env } = resticBefore(w, `[ "$command" = backup ] && { ${turn}; }`)
  const { exit, stderr } = await w.cli(['run', 'turned'], { env })
  expect([exit, stderr]).not.toEqual([0, ''])
  const dumped = await w.restic(['dump', 'latest', w.path('turned/home/data/file'), '--tag', 'service:turned'])
  expect(dumped.stdout).not.toContain(readFileSync(secret, 'utf8'))
})

test.skipIf(!isRoot)(
  '[snapshot.13] where mount namespaces aren’t allowed, a backup of another user’s data says that links aren’t kept out',
  async () => {
    const [theirs, own] = [w.write('open/home/file', 'x'), w.write('open/own/file', 'x')]
    output(['chown', '--recursive', '4242', w.path('open/home')])
    w.manifest({ services: { theirs: { paths: [theirs] }, own: { paths: [own] } } })
    // As in a container: root, without the right to mount.
    chmodSync(w.write('confined/unshare', '#!/bin/sh\nexec setpriv --bounding-set -sys_admin --inh-caps -all /usr/bin/unshare "$@"\n'), 0o755)
    const env = { PATH: `${w.path('confined')}:${process.env.PATH}` }
    const { exit, stderr } = await w.cli(['run', 'theirs'], { env })
    expect([exit, stderr]).toEqual([0, expect.stringContaining(`${w.path('open/home')} isn't root's alone`)])
    expect(record('theirs').runs.at(-1)).toMatchObject({ outcome: 'ok', warnings: [{ code: 'unsafe-path' }] })
    expect((await w.cli(['run', 'own'], { env })).stderr).not.toContain("root's alone")
  },
)

test('[snapshot.3] a snapshot carries the host, the service, the install and the declared tags', async () => {
  w.manifest({ host: 'cellar', services: { tags: { paths: [w.write('tags/file', '')], tags: ['important', 'a/b=c'] } } })
  expect(await w.cli(['run', 'tags'])).toMatchObject({ exit: 0 })
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  const { hostname, tags } = await saved('tags')
  expect(hostname).toBe('cellar')
  expect(tags.sort()).toEqual(['a/b=c', 'important', `install:${install}`, 'service:tags'])
})

test('[snapshot.4] a missing path makes the run partial and is named; with none left it fails, and there is no snapshot', async () => {
  const [there, gone] = [w.write('missing/there', 'x'), w.path('missing/gone')]
  symlinkSync('nowhere', w.path('missing/dangling'))
  symlinkSync('nowhere', w.path('missing/hanging'))
  w.manifest({
    services: {
      missing: { paths: [there, gone, w.path('missing/dangling')] },
      none: { paths: [w.path('missing/other'), w.path('missing/hanging')] },
    },
  })
  const partial = await w.cli(['run', 'missing'])
  expect(partial.exit).toBe(3)
  expect(partial.stderr).toContain(gone)
  expect((await saved('missing')).tags).toContain('partial')
  expect(await listed('missing')).toContain(there)
  const none = await w.cli(['run', 'none'])
  expect(none.exit).toBe(1)
  expect(none.stderr).toContain(w.path('missing/other'))
  expect(await count('none')).toBe(0)
  expect(record('none').runs.at(-1)).toMatchObject({ outcome: 'failed', code: 'nothing-to-save', snapshotId: null })
})

test.skipIf(!isRoot)('[snapshot.5] a file that can’t be read makes the run partial and is named; the rest is saved', async () => {
  const secret = w.write('unreadable/closed\nby others', 'x')
  chmodSync(secret, 0)
  const open = w.write('unreadable/open', 'x')
  w.manifest({ services: { unreadable: { paths: [w.path('unreadable')] } } })
  // Root reads everything: restic alone is without that right.
  const { env } = resticBefore(w, 'exec setpriv --bounding-set -dac_override,-dac_read_search --inh-caps -all "$real" "$@"')
  const run = await w.cli(['run', 'unreadable', '--json'], { env })
  expect(run.exit).toBe(3)
  expect(run.stderr + run.stdout).toContain('by others')
  expect(record('unreadable').runs.at(-1)).toMatchObject({ outcome: 'partial', code: 'unreadable' })
  const { id, tags } = await saved('unreadable')
  expect(tags).toContain('partial')
  expect(record('unreadable').lastSnapshot.id).toBe(id)
  expect(await listed('unreadable')).toContain(open)
  chmodSync(secret, 0o600)
  expect((await w.cli(['run', 'unreadable'])).exit).toBe(0)
  expect((await saved('unreadable')).tags).not.toContain('partial')
})

test('[snapshot.5] a file that vanishes during the run makes it partial', async () => {
  for (const name of ['a', 'b', 'c']) w.write(`vanishing/${name}`, name)
  w.manifest({ services: { vanishing: { paths: [w.path('vanishing/a'), w.path('vanishing/b')] } } })
  const { env } = resticBefore(w, `[ "$command" = backup ] && rm -f ${w.path('vanishing/b')}`)
  const run = await w.cli(['run', 'vanishing'], { env })
  expect(run.exit).toBe(3)
  expect(run.stderr).toContain(w.path('vanishing/b'))
})

test('[snapshot.6] nothing is left out that exclude doesn’t name', async () => {
  const names = ['app.log', '.git/HEAD', 'cache/x', 'x.tmp', 'CACHEDIR.TAG', 'a-wal', 'node_modules/x', '[x]', '*', 'state/journals/y', '.nobackup']
  for (const name of names) w.write(`whole/${name}`, 'Signature: 8a477f597d28d172789f06886806bc55')
  w.manifest({ services: { whole: { paths: [w.path('whole')], exclude: [w.path('whole/cache'), '\\[x\\]'] } } })
  expect((await w.cli(['run', 'whole'])).exit).toBe(0)
  const all = await listed('whole')
  const missing = names.filter((name) => !all.includes(w.path('whole', name)))
  expect(missing).toEqual(['cache/x', '[x]'])
})

test('[snapshot.10] a megabyte of patterns is carried out, and stands in the snapshot', async () => {
  const odd = ['$HOME', '#no comment', ' blank at both ends ', "it's", '[$]{X}', '!none*']
  for (const name of ['kept', 'out-999', ...odd.slice(0, 4)]) w.write(`patterns/${name}`, 'x')
  const exclude = [...Array.from({ length: 900 }, (_, i) => `${w.path('patterns')}/out-${i + 100}${i === 899 ? '' : 'x'.repeat(1100)}`), ...odd]
  w.manifest({ services: { patterns: { paths: [w.path('patterns')], sqlite: isRoot ? [w.path('database.db')] : [], exclude } } })
  if (isRoot) sql(w.write('database.db', ''), 'CREATE TABLE t(x)')
  expect(await w.cli(['run', 'patterns'])).toMatchObject({ exit: 0, stderr: '' })
  expect((await listed('patterns')).filter((path) => path.startsWith(`${w.path('patterns')}/`))).toEqual([w.path('patterns/kept')])
  // By these a restore in place knows what it must carry over.
  const { stdout } = await w.restic(['snapshots', '--json', '--tag', 'service:patterns'])
  expect(JSON.parse(stdout).at(-1).excludes).toEqual(expect.arrayContaining(exclude))
})

test('[snapshot.6] an exclude that leaves out a declared path fails the run and says so', async () => {
  w.manifest({ services: { hidden: { paths: [w.write('hidden/data', ''), w.write('hidden/cache', '')], exclude: ['cache'] } } })
  const run = await w.cli(['run', 'hidden'])
  expect(run.exit).toBe(1)
  expect(run.stderr).toMatch(/exclude leaves out .*hidden\/cache/)
  expect(await count('hidden')).toBe(0)
})

test.skipIf(!isRoot)(
  '[snapshot.6] so does what is declared and has the name of a database’s sidecar; a pattern that is none is named by its field',
  async () => {
    const database = w.path('named/x.db')
    mkdirSync(w.path('named'))
    sql(database, 'CREATE TABLE t(x)')
    for (const path of ['named/x.db-wal2', 'named/x.db-mjdir/file']) {
      w.manifest({ services: { named: { paths: [w.path('named'), w.write(path, '')], sqlite: [database] } } })
      expect(await w.cli(['run', 'named'])).toMatchObject({
        exit: 1,
        stderr: expect.stringContaining(`${w.path(path)} is declared, but has the name of a file that SQLite keeps`),
      })
    }
    w.manifest({ services: { named: { paths: [w.path('named')], exclude: ['fine', '[a'] } } })
    expect(await w.cli(['run', 'named'])).toMatchObject({
      exit: 1,
      stderr: expect.stringContaining('named: exclude[1], "[a", is not a valid pattern'),
    })
    expect(await count('named')).toBe(0)
  },
)

test('[snapshot.6] our own folders don’t grow into a backup of what is around them, the rest of the state does', async () => {
  w.manifest({ services: { around: { paths: [w.path('state')] } } })
  expect((await w.cli(['run', 'around'])).exit).toBe(0)
  const all = await listed('around')
  expect(all).toContain(w.path('state/install-id'))
  expect(all.filter((path) => path.startsWith(w.path('state/running')))).toEqual([])
})

test('[snapshot.8] a backup changes nothing of the live data', async () => {
  makeHostileTree(w.path('live'), 2)
  sql(w.path('live/left.db'), 'PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1);')
  // As after a crash: the newest rows stand in the -wal alone, and nobody has the database open.
  output(['sqlite3', w.path('live/left.db')], '.dbconfig no_ckpt_on_close on\nINSERT INTO t VALUES(2);')
  expect(readdirSync(w.path('live'))).toContain('left.db-wal')
  const shm = ({ path }: { path: string }) => !path.endsWith('-shm')
  const before = fingerprint(w.path('live')).filter(shm)
  w.manifest({ services: { live: { paths: [w.path('live')], sqlite: isRoot ? [w.path('live/left.db')] : [] } } })
  expect(await w.cli(['run', 'live'])).toMatchObject({ exit: 0 })
  expect(fingerprint(w.path('live')).filter(shm)).toEqual(before)
  const restored = w.path('live-restored')
  mkdirSync(restored)
  await w.restic(['restore', `${(await saved('live')).id}:${w.path('live')}`, '--target', restored])
  if (isRoot) expect(sql(`${restored}/left.db`, 'SELECT max(x) FROM t')).toBe('2')
  expect(existsSync(w.path('state/staging/live'))).toBe(false)
})
