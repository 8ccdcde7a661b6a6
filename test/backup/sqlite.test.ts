// Databases are saved while they are written to, and nobody but restic sees the copies.
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { start } from '../lib/cli.ts'
import { mountedAnywhere, output, resticBefore, slowly, sql, until, waitingRestic, withMounts, writer } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
})
afterAll(() => w.cleanup())

async function snapshots(name: string): Promise<{ id: string; tags: string[] }[]> {
  return JSON.parse((await w.restic(['snapshots', '--json', '--tag', `service:${name}`])).stdout)
}
/** Restores a service's newest snapshot; gives the folder that stands for `/`. */
async function restored(name: string): Promise<string> {
  const folder = w.path('restored', name)
  rmSync(folder, { recursive: true, force: true })
  const { exit } = await w.restic(['restore', (await snapshots(name)).at(-1)?.id ?? '', '--target', folder])
  expect(exit).toBe(0)
  return folder
}
function runOf(name: string) {
  return JSON.parse(readFileSync(w.path('state/records', `${name}.json`), 'utf8')).runs.at(-1)
}
const pairs = (database: string) => sql(database, 'SELECT count(*), max(n) FROM a; SELECT count(*), max(n) FROM b;').split('\n')

describe.skipIf(!isRoot)('a live database', () => {
  test.each(['wal', 'delete'])(
    '[sqlite.1] in mode %s, ten times over, every row committed before is in the snapshot, no pair is torn, and it is whole',
    async (mode) => {
      const name = `live-${mode}`
      const database = w.write(`${name}/app.db`, '')
      const { committed, end } = await writer(database, { mode })
      w.manifest({ services: { [name]: { paths: [w.path(name)], sqlite: [database] } } })
      const before: number[] = []
      for (let i = 0; i < 10; i++) {
        before.push(committed())
        expect(await w.cli(['run', name])).toMatchObject({ exit: 0 })
        expect(committed() - (before[i] ?? 0), 'it was written to meanwhile').toBeGreaterThan(20)
      }
      await end()
      const all = await snapshots(name)
      expect(all).toHaveLength(10)
      for (const [i, { id }] of all.entries()) {
        const copy = w.path(`copy-${name}.db`)
        expect(await w.restic(['dump', '--target', copy, id, database])).toMatchObject({ exit: 0 })
        const [a = '', b] = pairs(copy)
        expect(b).toBe(a)
        const [rows, newest] = a.split('|').map(Number)
        expect(rows).toBe(newest)
        expect(newest).toBeGreaterThanOrEqual(before[i] ?? Number.NaN)
        expect(sql(copy, 'PRAGMA integrity_check')).toBe('ok')
        rmSync(copy)
      }
    },
    60_000,
  )

  test.skipIf(!has('strace')).each([
    ['wal', 'they never wait for it'],
    ['delete', 'they wait for it, and no longer'],
  ])('[sqlite.9] a copy that takes long, and others that commit in mode %s: %s', async (mode) => {
    const name = `slow-${mode}`
    const database = w.write(`${name}/app.db`, '')
    sql(database, 'CREATE TABLE ballast(x); INSERT INTO ballast SELECT randomblob(100000) FROM generate_series(1, 40);')
    const { between, end } = await writer(database, { mode })
    w.manifest({ services: { [name]: { sqlite: [database] } } })
    const { path, times } = slowly(w, process.env.PATH ?? '', 'sqlite3', 'pwrite64', 2)
    expect(await w.cli(['run', name, '--json'], { env: { PATH: path } })).toMatchObject({ exit: 0 })
    // Of the copy alone: on a busy machine sqlite3 takes as long to start.
    const { begun, done } = times()
    const took = done - begun
    const { commits, worst } = between(begun, mode === 'wal' ? done : Date.now())
    await end()
    // What waits for the copy waits for most of it; and then only for its own next try.
    if (mode === 'wal') expect([worst < took / 2, commits > 20]).toEqual([true, true])
    else expect([worst > took / 2, worst < took * 1.5]).toEqual([true, true])
  })

  // A gigabyte with ATELIER_SOAK.
  const megabytes = process.env.ATELIER_SOAK ? 1000 : 50
  test(`[sqlite.2] the copy of a database of ${megabytes} MB to which others commit 300 times a second comes to its end`, async () => {
    const database = w.write('fast/app.db', '')
    sql(database, `CREATE TABLE ballast(x); INSERT INTO ballast SELECT randomblob(100000) FROM generate_series(1, ${megabytes * 10});`)
    const { committed, end } = await writer(database)
    w.manifest({ services: { fast: { sqlite: [database] } } })
    const [before, begun] = [committed(), performance.now()]
    const { child, ended } = w.startCli(['run', 'fast'])
    const giveUp = setTimeout(() => child.kill('SIGTERM'), Math.max(60_000, 300_000 * (megabytes / 1000)))
    const { exit } = await ended
    clearTimeout(giveUp)
    const perSecond = (committed() - before) / ((performance.now() - begun) / 1000)
    await end()
    expect(exit).toBe(0)
    expect(perSecond).toBeGreaterThan(200)
  }, 600_000)

  test('[sqlite.3] its -wal, -shm, -journal, -wal2 and -mj* aren’t in the snapshot; everything else is, however alike its name', async () => {
    const folder = w.path('alike/we [ird] *?$(id) \\ "x"')
    mkdirSync(folder, { recursive: true })
    const database = `${folder}/a'p*p.db`
    const { end } = await writer(database)
    const poison = ['-journal', '-wal2', '-mj00012C9A1'].map((suffix) => database + suffix)
    const kept = ['-wal.txt', '-walrus', '.db-wal', '-journal.old', '-shm2', '-wal3', '-m', '.bak'].map((suffix) => database + suffix)
    // What the name would match, were it taken for a pattern.
    const similar = [`${folder}/a'pXp.db-wal`, `${folder}/sub/a'p*p.db-wal`, `${folder.replace('[ird]', 'i')}/a'p*p.db-wal`]
    mkdirSync(`${folder}/sub`)
    mkdirSync(folder.replace('[ird]', 'i'))
    for (const file of [...kept, ...similar]) writeFileSync(file, 'x')
    w.manifest({ services: { alike: { paths: [w.path('alike')], sqlite: [database] } } })
    const restic = waitingRestic(w)
    const { ended } = w.startCli(['run', 'alike'], restic)
    await restic.waits()
    for (const file of poison) writeFileSync(file, 'x')
    restic.go()
    expect(await ended).toMatchObject({ exit: 0 })
    rmSync(w.path('bin'), { recursive: true })
    for (const file of poison) rmSync(file)
    expect(readdirSync(folder).filter((name) => /-(wal|shm)$/.test(name)).length, 'sidecars were there').toBeGreaterThanOrEqual(2)
    await end()
    const root = await restored('alike')
    expect([`${database}-wal`, `${database}-shm`, ...poison].filter((file) => existsSync(root + file))).toEqual([])
    expect([database, ...kept, ...similar].filter((file) => !existsSync(root + file))).toEqual([])
  })

  test.skipIf(!has('setfattr'))('[sqlite.4] the copy has the original’s owner, mode and attributes, and a time of its own', async () => {
    const database = w.write('kept/app.db', '')
    sql(database, 'PRAGMA journal_mode=wal; CREATE TABLE t(x);')
    chmodSync(database, 0o640)
    chownSync(database, 1234, 4321)
    output(['setfattr', '--name=user.colour', '--value=blue', database])
    output(['touch', '--date=2001-01-01', database])
    w.manifest({ services: { kept: { sqlite: [database] } } })
    expect(await w.cli(['run', 'kept'])).toMatchObject({ exit: 0 })
    const copy = `${await restored('kept')}${database}`
    const { mode, uid, gid, mtimeMs } = statSync(copy)
    expect([(mode & 0o7777).toString(8), uid, gid]).toEqual(['640', 1234, 4321])
    expect(output(['getfattr', '--name=user.colour', '--only-values', copy])).toBe('blue')
    expect(Date.now() - mtimeMs).toBeLessThan(3600_000)
    // Same size, same time: and yet the newer row must come.
    sql(database, 'INSERT INTO t VALUES(42);')
    output(['touch', '--date=2001-01-01', database])
    expect(await w.cli(['run', 'kept'])).toMatchObject({ exit: 0 })
    expect(sql(`${await restored('kept')}${database}`, 'SELECT x FROM t')).toBe('42')
  })

  test.each([
    ['by rename', (database: string) => renameSync(`${database}.other`, database)],
    [
      'by removal',
      (database: string) => {
        rmSync(database)
        output(['cp', `${database}.other`, database])
      },
    ],
  ])('[sqlite.5] a database replaced during the run (%s) fails it, and the snapshot doesn’t count', async (how, replace) => {
    const name = how.startsWith('by rename') ? 'renamed' : 'removed'
    const database = w.write(`${name}/app.db`, '')
    sql(database, 'CREATE TABLE t(x); INSERT INTO t VALUES(1);')
    output(['cp', database, `${database}.other`])
    w.manifest({ services: { [name]: { paths: [w.path(name)], sqlite: [database] } } })
    const restic = waitingRestic(w)
    const { ended } = w.startCli(['run', name], restic)
    await restic.waits()
    replace(database)
    restic.go()
    const run = await ended
    rmSync(w.path('bin'), { recursive: true })
    expect(run.exit).toBe(1)
    expect(run.stderr).toContain('was replaced by another file')
    expect(runOf(name)).toMatchObject({ outcome: 'failed', code: 'sqlite-replaced', snapshotId: null })
    const [{ id, tags } = { id: '', tags: [''] }] = await snapshots(name)
    expect(tags).toContain('failed')
    expect(run.stderr).toContain(id.slice(0, 8))
    expect(JSON.parse(readFileSync(w.path('state/records', `${name}.json`), 'utf8')).lastSnapshot).toBeNull()
  })

  test('[sqlite.16] a link that the owner puts in a copied database’s place has the copy mounted over no other file, and the run fails', async () => {
    const [first, second, victim] = [w.path('swapped/a.db'), w.path('swapped/b.db'), w.write('swapped-victim', 'of root')]
    mkdirSync(w.path('swapped'))
    for (const database of [first, second]) sql(database, 'CREATE TABLE t(x);')
    output(['chown', '--recursive', '4242', w.path('swapped')])
    w.manifest({ services: { swapped: { paths: [w.path('swapped')], sqlite: [first, second] } } })
    const restic = waitingRestic(w)
    const swap = `mv ${first} ${first}.bak && ln -s ${victim} ${first}`
    w.write('bin/sqlite3', `#!/bin/sh\ncase "$*" in *swapped/b.db*mode=rw) ${swap} ;; esac\nexec ${output(['which', 'sqlite3'])} "$@"\n`)
    chmodSync(w.path('bin/sqlite3'), 0o755)
    const { ended } = w.startCli(['run', 'swapped'], restic)
    const pid = await restic.waits()
    const [isLink, seen] = [lstatSync(first).isSymbolicLink(), readFileSync(`/proc/${pid}/root${victim}`, 'utf8')]
    restic.go()
    const { exit, stderr } = await ended
    rmSync(w.path('bin'), { recursive: true })
    expect([isLink, seen, exit, stderr]).toEqual([true, 'of root', 1, expect.stringContaining(`${first} was replaced by another file`)])
    expect((await snapshots('swapped')).map(({ tags }) => tags.includes('failed'))).toEqual([true])
  })

  test('[sqlite.15] a database that is away just while restic reads its folder fails the run', async () => {
    const database = w.path('away/app.db')
    mkdirSync(w.path('away'))
    sql(database, 'CREATE TABLE t(x);')
    output(['chown', '--recursive', '4242', w.path('away')])
    w.manifest({ services: { away: { paths: [w.path('away')], sqlite: [database] } } })
    const gate = (name: string) => `touch ${w.path('bin', name)}; while [ ! -e ${w.path('bin', name)}-go ]; do sleep 0.1; done`
    const { env } = resticBefore(w, `if [ "$command" = backup ]; then ${gate('before')}; "$real" "$@"; status=$?; ${gate('after')}; exit $status; fi`)
    const { ended } = w.startCli(['run', 'away'], { env })
    await until(() => existsSync(w.path('bin/before')), 'restic is started')
    renameSync(database, `${database}.bak`)
    symlinkSync('/etc/hosts', database)
    w.write('bin/before-go', '')
    await until(() => existsSync(w.path('bin/after')), 'restic has ended')
    rmSync(database)
    renameSync(`${database}.bak`, database)
    w.write('bin/after-go', '')
    const { exit, stderr } = await ended
    rmSync(w.path('bin'), { recursive: true })
    expect([exit, stderr]).toEqual([1, expect.stringContaining(`${database} was replaced by another file`)])
    expect((await snapshots('away')).map(({ tags }) => tags.includes('failed'))).toEqual([true])
  })

  test.each([
    ['the database', 33, 33],
    ['the folder around it', 0, 33],
    ['neither, in a sticky folder', 0, 0],
  ])('[sqlite.11] a journal that names another file, written by the owner of %s, has nothing deleted', async (who, owner, around) => {
    const name = `journal-${owner}-${around}`
    const database = w.path(name, 'app.db')
    const victim = w.write('victim/shadow', 'kept')
    chmodSync(w.path('victim'), 0o700)
    mkdirSync(w.path(name))
    sql(database, 'CREATE TABLE t (a); INSERT INTO t VALUES (1)')
    // A hot journal without pages, and the record of its super-journal. Source: sqlite.org/fileformat2.html, pager.c.
    const magic = Buffer.from('d9d505f920a163d7', 'hex')
    const pageSize = 4096
    const header = Buffer.alloc(512)
    magic.copy(header)
    for (const [i, value] of [0, 1, statSync(database).size / pageSize, 512, pageSize].entries()) header.writeUInt32BE(value, 8 + 4 * i)
    const path = Buffer.from(victim)
    const numbers = Buffer.alloc(12)
    for (const [i, value] of [2 ** 30 / pageSize + 1, path.length, path.reduce((sum, byte) => sum + byte, 0)].entries())
      numbers.writeUInt32BE(value, 4 * i)
    writeFileSync(`${database}-journal`, Buffer.concat([header, numbers.subarray(0, 4), path, numbers.subarray(4), magic]))
    for (const file of [database, `${database}-journal`]) chownSync(file, owner, owner)
    chownSync(w.path(name), around, around)
    if (around === 0) {
      chmodSync(w.path(name), 0o1777)
      chownSync(`${database}-journal`, 33, 33)
    }
    w.manifest({ services: { [name]: { paths: [w.path(name)], sqlite: [database] } } })
    const { exit, stderr } = await w.cli(['run', name])
    expect(readFileSync(victim, 'utf8'), who).toBe('kept')
    // Saved in part, and the database named.
    expect([exit, stderr]).toEqual([3, expect.stringContaining(database)])
  })

  test('[sqlite.6] a database with several names is refused with the reason; the rest is saved', async () => {
    const database = w.write('linked/app.db', '')
    sql(database, 'CREATE TABLE t(x);')
    linkSync(database, w.path('other-name.db'))
    w.write('linked/rest', 'x')
    w.manifest({ services: { linked: { paths: [w.path('linked')], sqlite: [database] } } })
    const run = await w.cli(['run', 'linked'])
    expect(run.exit).toBe(3)
    expect(run.stderr).toContain('2 names (hard links)')
    const root = await restored('linked')
    expect(readFileSync(`${root}${w.path('linked/rest')}`, 'utf8')).toBe('x')
    expect(existsSync(root + database)).toBe(false)
  })

  test('[sqlite.6] a database that another mount namespace has open as a single file is refused; one in a bind-mounted folder isn’t', async () => {
    const [single, folder] = [w.write('ns/single.db', ''), w.write('ns-folder/data/folder.db', '')]
    for (const database of [single, folder]) sql(database, 'CREATE TABLE t(x);')
    w.write('container/app.db', '')
    w.write('container/data/.keep', '')
    w.manifest({ services: { single: { sqlite: [single] }, folder: { sqlite: [folder] } } })
    const { child: container } = start([
      'unshare',
      '--mount',
      '--propagation',
      'private',
      'bash',
      '-c',
      `cd ${w.path('container')}; mount --bind ${single} app.db; mount --bind ${w.path('ns-folder/data')} data; exec 3<>app.db 4<>data/folder.db; echo ready; exec sleep 60`,
    ])
    try {
      await new Promise((resolve) => container.stdout.once('data', resolve))
      const refused = await w.cli(['run', 'single'])
      expect(refused.exit).toBe(1)
      expect(refused.stderr).toMatch(new RegExp(`process ${container.pid} has it open as \\S*app.db`))
      expect(await snapshots('single')).toEqual([])
      expect(await w.cli(['run', 'folder'])).toMatchObject({ exit: 0 })
    } finally {
      container.kill('SIGKILL')
    }
  })

  test('[sqlite.7] restic alone sees the copy; afterwards no copy and no mount is left', async () => {
    const database = w.write('private/app.db', '')
    const { committed, end } = await writer(database)
    w.manifest({ services: { private: { paths: [w.path('private')], sqlite: [database] } } })
    const inode = statSync(database).ino
    const restic = waitingRestic(w)
    const { ended } = w.startCli(['run', 'private'], restic)
    const pid = await restic.waits()
    expect(statSync(`/proc/${pid}/root${database}`).ino, 'restic sees the copy').not.toBe(inode)
    expect(statSync(database).ino).toBe(inode)
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(w.root)
    expect(statSync(w.path('state/staging/private')).mode & 0o777).toBe(0o700)
    const before = committed()
    await until(() => committed() > before + 10, 'the application commits meanwhile')
    restic.go()
    expect(await ended).toMatchObject({ exit: 0 })
    await end()
    expect(mountedAnywhere(w.root)).toEqual([])
    expect(existsSync(w.path('state/staging/private'))).toBe(false)
    rmSync(w.path('bin'), { recursive: true })
  })

  test('[sqlite.7] nothing is left after a failure either', async () => {
    const database = w.write('failing/app.db', '')
    sql(database, 'CREATE TABLE t(x);')
    w.manifest({ services: { failing: { sqlite: [database] } } })
    const { env } = resticBefore(w, '[ "$command" = backup ] && exit 1')
    expect(await w.cli(['run', 'failing'], { env })).toMatchObject({ exit: 1 })
    expect(mountedAnywhere(w.root)).toEqual([])
    expect(readdirSync(w.path('state/staging'))).toEqual([])
  })

  test('[sqlite.13] a pipe in the place of a database, or of its journal, is named', async () => {
    const other = await world()
    try {
      const database = other.write('data/app.db', '')
      sql(database, 'CREATE TABLE t(x);')
      output(['mkfifo', `${database}-journal`, other.path('data/pipe.db')])
      other.manifest({ services: { piped: { paths: [other.path('data')], sqlite: [database, other.path('data/pipe.db')] } } })
      const { exit, stderr } = await other.cli(['run', 'piped'])
      expect(exit).toBe(3)
      for (const path of [`${database}-journal`, other.path('data/pipe.db')]) expect(stderr).toContain(`${path} is no file`)
    } finally {
      other.cleanup()
    }
  })

  test('[sqlite.8] where mount namespaces aren’t allowed the service fails with a line that says so, and no snapshot is made', async () => {
    const other = await world()
    try {
      const database = other.write('data/app.db', '')
      sql(database, 'CREATE TABLE t(x);')
      other.write('data/rest', 'x')
      other.manifest({ services: { confined: { paths: [other.path('data')], sqlite: [database] } } })
      // As in a container: root, without the right to mount.
      const { env } = resticBefore(other, '')
      const confine = w.write('bin/unshare', '#!/bin/sh\nexec setpriv --bounding-set -sys_admin --inh-caps -all /usr/bin/unshare "$@"\n')
      chmodSync(confine, 0o755)
      const run = await other.cli(['run', 'confined'], { env: { PATH: `${w.path('bin')}:${env.PATH}` } })
      expect(run.exit).toBe(1)
      expect(run.stderr).toMatch(/^confined: .*mount namespace.*run this as root/)
      expect(JSON.parse((await other.restic(['snapshots', '--json'])).stdout)).toEqual([])
    } finally {
      other.cleanup()
      rmSync(w.path('bin'), { recursive: true })
    }
  })

  test('a database is found through links, and one that a declared folder only links to is saved too', async () => {
    const database = w.write('far/real.db', '')
    sql(database, 'PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(7);')
    mkdirSync(w.path('near'))
    symlinkSync('../far', w.path('near/folder'))
    symlinkSync('real.db', w.path('far/app.db'))
    w.manifest({ services: { through: { paths: [w.path('near')], sqlite: [w.path('near/folder/app.db')] } } })
    expect(await w.cli(['run', 'through'])).toMatchObject({ exit: 0 })
    const root = await restored('through')
    expect(sql(`${root}${database}`, 'SELECT x FROM t')).toBe('7')
    expect(readdirSync(`${root}${w.path('far')}`).sort()).toEqual(['app.db', 'real.db'])
  })

  test('[snapshot.4] a database that is missing makes the run partial and is named; alone it fails it', async () => {
    w.write('missing/rest', 'x')
    const [beside, alone] = [w.path('missing/app.db'), w.path('missing-alone/app.db')]
    w.manifest({ services: { missing: { paths: [w.path('missing')], sqlite: [beside] }, 'missing-alone': { sqlite: [alone] } } })
    const run = await w.cli(['run', 'missing'])
    expect(run).toMatchObject({ exit: 3, stderr: expect.stringContaining(`${beside} doesn't exist`) })
    expect(runOf('missing')).toMatchObject({ outcome: 'partial', code: 'missing-path' })
    expect(existsSync(`${await restored('missing')}${w.path('missing/rest')}`)).toBe(true)
    expect(await w.cli(['run', 'missing-alone'])).toMatchObject({ exit: 1, stderr: expect.stringContaining(`${alone} doesn't exist`) })
    expect(await snapshots('missing-alone')).toEqual([])
  })

  test.each([
    ['from the beginning', '', 'no-space', 'set stagingDir to another folder'],
    ['any more as it is made', 'fallocate --length 12M STATE/fill', 'disk-full', 'no space is left for the copy'],
  ])('[room.3] no room for the copy %s fails the run, and says so; nothing is left, and the next run is fine', async (_, preBackup, code, said) => {
    const name = code
    const database = w.write(`${name}/app.db`, '')
    sql(database, 'CREATE TABLE t(x); INSERT INTO t SELECT randomblob(100000) FROM generate_series(1, 60);')
    w.manifest({ services: { [name]: { sqlite: [database], ...(preBackup ? { preBackup: preBackup.replace('STATE', w.path('small')) } : {}) } } })
    mkdirSync(w.path('small'), { recursive: true })
    const size = preBackup ? '16m' : '2m'
    const { stdout, stderr } = await withMounts(
      w,
      `mount -t tmpfs -o size=${size},mode=0700 none ${w.path('small')}; $cli run ${name}; echo "exit $?"; find ${w.path('small/staging')} -type f; cat ${w.path('small/records', `${name}.json`)}`,
      { STATE_DIRECTORY: w.path('small') },
    )
    expect(stderr).toContain(said)
    expect(stdout).toContain('exit 1')
    expect(stdout).not.toContain('.db\n')
    expect(stdout).toContain(`"code":"${code}"`)
    expect(await snapshots(name)).toEqual([])
    w.manifest({ services: { [name]: { sqlite: [database] } } })
    expect(await w.cli(['run', name])).toMatchObject({ exit: 0 })
  })

  test('state that is full to the last byte ends a run in words, not in a crash', async () => {
    w.write('full/data', 'x')
    w.manifest({ services: { full: { paths: [w.path('full')] } } })
    mkdirSync(w.path('tiny'))
    const script = `mount -t tmpfs -o size=64k,mode=0700 none ${w.path('tiny')}; $cli run full; dd if=/dev/zero of=${w.path('tiny/fill')} bs=1k 2>/dev/null; $cli run full; echo "exit $?"; rm ${w.path('tiny/fill')}; $cli run full; echo "exit $?"`
    const { stdout, stderr } = await withMounts(w, script, { STATE_DIRECTORY: w.path('tiny') })
    expect(stderr).toMatch(/no space left/)
    expect(stderr).not.toMatch(/^\s+at /m)
    expect(stdout.match(/^exit .*$/gm)).toEqual(['exit 1', 'exit 0'])
  })
})
