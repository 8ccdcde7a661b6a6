// Restores in place on real filesystems: everything that files can be, links, mounts, full disks, power cuts.
import {
  copyFileSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, type TestContext, test } from 'vitest'
import { killedAt } from '../lib/killed.ts'
import { instead, output, resticBefore, sql } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { attributes, fingerprint, makeHostileTree } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const inPlace = ['--in-place', '--yes']
const sh = (script: string) => output(['bash', '-euc', script])

/** A world whose service `s` is saved as `make` leaves it; `exit`: how the backup ends. */
async function saved(test: TestContext, service: (w: World) => object, make: (w: World) => void, exit = 0): Promise<World> {
  const w = await world()
  test.onTestFinished(w.cleanup)
  w.manifest({ services: { s: service(w) } })
  make(w)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit, ...(exit === 0 ? { stderr: '' } : {}) })
  return w
}
const restore = (w: World, ...args: string[]) => w.cli(['restore', 's', ...(args.length > 0 ? args : inPlace)])
const leftovers = (w: World) => output(['find', w.root, '-name', '.atelier-backup-*']).split('\n').filter(Boolean)
const old = (w: World): string => JSON.parse(readFileSync(w.path('state/records/s.json'), 'utf8')).old[0].folder

/** Mounts in the world's folder, unmounted with the test. */
function mount(w: World, folder: string, ...args: string[]): string {
  mkdirSync(w.path(folder), { recursive: true })
  output(['mount', ...args, w.path(folder)])
  onTestFinished(() => void sh(`umount ${w.path(folder)} 2>/dev/null || true`))
  return w.path(folder)
}

describe.skipIf(!isRoot)('as root', () => {
  test.skipIf(!has('setfattr'))(
    '[restore.1] everything comes back as it was: content, modes, owners, times, links, attributes; what was made since is gone',
    async (t) => {
      const data = (w: World) => w.path('srv/data')
      // rw for its owner, rwx for the user 77, r for its group: user/sys_acl.h.
      const acl = '0x0200000001000600ffffffff020007004d00000004000400ffffffff10000700ffffffff20000000ffffffff'
      const w = await saved(
        t,
        (w) => ({ paths: [data(w)] }),
        (w) => {
          makeHostileTree(data(w))
          sh(
            `cd ${data(w)}; setfattr -n user.colour -v blue deep/two; setfattr -n user.colour -v red deep/er; truncate -s 50M sparse; setfattr -n trusted.mark -v root deep/er/and; setfattr -n system.posix_acl_access -v ${acl} deep/two; setfattr -n system.posix_acl_default -v ${acl} deep/er; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 deep/er/and`,
          )
        },
      )
      const look = () => [fingerprint(data(w)), attributes(`${data(w)}/deep`)]
      const before = look()
      sh(
        `cd ${data(w)}; echo new >since; echo changed >large; rm three; chown 7:7 runnable; mkdir -p deep/er/since; chmod 700 sticky; setfattr -x user.colour deep/er`,
      )
      const live = look()
      expect(await restore(w)).toMatchObject({ exit: 0 })
      expect(look()).toEqual(before)
      expect(JSON.stringify(before)).toMatch(/posix_acl_access.*posix_acl_default|posix_acl_default.*posix_acl_access/)
      expect(JSON.stringify(before)).toContain('security.capability')
      // Holes stay holes.
      expect(statSync(`${data(w)}/sparse`).blocks * 512).toBeLessThan(1_000_000)
      expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
      expect(look()).toEqual(live)
    },
  )

  test('[restore.1] a path reached by links comes back through them, and the links too', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('lib/x')], sqlite: [w.path('lib/x.db')] }),
      (w) => {
        w.write('lib/private/x/file', 'saved')
        sql(w.path('lib/private/real.db'), 'CREATE TABLE t (a); INSERT INTO t VALUES (1)')
        symlinkSync('private/x', w.path('lib/x'))
        symlinkSync('private/real.db', w.path('lib/x.db'))
      },
    )
    const isOurs = ({ path }: { path: string }) => path.includes('.atelier-backup-')
    // What a database's copy differs in is its header alone.
    const look = () => fingerprint(w.path('lib'), { times: false }).flatMap((entry) => (isOurs(entry) ? [] : { ...entry, sha256: null }))
    const before = look()
    w.write('lib/private/x/file', 'changed')
    sql(w.path('lib/x.db'), 'PRAGMA journal_mode=wal; INSERT INTO t VALUES (2)')
    sh(`sqlite3 ${w.path('lib/private/real.db')} '.dbconfig no_ckpt_on_close on' 'INSERT INTO t VALUES (3)'`)
    expect(existsSync(w.path('lib/private/real.db-wal'))).toBe(true)
    expect(await restore(w)).toMatchObject({ exit: 0 })
    expect(look()).toEqual(before)
    expect(readFileSync(w.path('lib/x/file'), 'utf8')).toBe('saved')
    // On a fresh host there are no links.
    rmSync(w.path('lib'), { recursive: true })
    expect(await restore(w)).toMatchObject({ exit: 0 })
    expect(lstatSync(w.path('lib/x')).isSymbolicLink()).toBe(true)
    expect(readFileSync(w.path('lib/x/file'), 'utf8')).toBe('saved')
    expect(sql(w.path('lib/x.db'), 'SELECT a FROM t')).toBe('1')
  })

  test('[restore.8] a link of the snapshot leads no restore outside of what is declared', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv/x')] }),
      (w) => {
        w.write('srv/x/file', 'saved')
        w.write('victim/file', 'not ours')
      },
    )
    // As a hostile client would save it: beside the service's own data, a link whose text is a lie, and somebody else's folder.
    symlinkSync('x', w.path('srv/y'))
    await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:s', w.path('srv/x'), w.path('srv/y'), w.path('victim')])
    expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringContaining("doesn't declare") })
  })

  test('[restore.5] a -wal is never carried over, whatever backups exclude', async (t) => {
    const db = (w: World) => w.path('srv/app.db')
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv')], sqlite: [db(w)], exclude: ['*-wal', '*-shm', 'cache'] }),
      (w) => {
        mkdirSync(w.path('srv'))
        sql(db(w), 'PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES (1)')
      },
    )
    sh(`sqlite3 ${db(w)} '.dbconfig no_ckpt_on_close on' 'INSERT INTO t VALUES (2)'`)
    w.write('srv/cache/warm', 'kept')
    w.write('srv/not-a-wal', 'carried')
    expect(await restore(w)).toMatchObject({ exit: 0 })
    expect(readdirSync(w.path('srv')).sort()).toEqual(['app.db', 'cache', 'not-a-wal'])
    expect(sql(db(w), 'SELECT a FROM t')).toBe('1')
    sh(`cp -a ${old(w)}${w.path('srv')} ${w.path('kept')}`)
    expect(sql(w.path('kept/app.db'), 'SELECT a FROM t')).toBe('1\n2')
  })

  test("[restore.8] a link that the service's own user made leads to nothing that is replaced", async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv/data')] }),
      (w) => {
        w.write('etc/passwords', 'saved')
        mkdirSync(w.path('srv'))
        symlinkSync(w.path('etc'), w.path('srv/data'))
        lchownSync(w.path('srv/data'), 33, 33)
      },
    )
    w.write('etc/passwords', 'live')
    for (const isLink of [true, false]) {
      if (!isLink) {
        rmSync(w.path('srv/data'))
        w.write('srv/data/file', 'live')
      }
      expect(await restore(w)).toMatchObject({
        exit: 1,
        stderr: expect.stringContaining(`holds ${w.path('etc')}, which the manifest doesn't declare`),
      })
    }
    expect(readFileSync(w.path('etc/passwords'), 'utf8')).toBe('live')
  })

  test('where a file stands in the place of a folder above the data, nothing is begun, and it is named', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv/app/data')] }),
      (w) => w.write('srv/app/data/file', 'saved'),
    )
    rmSync(w.path('srv/app'), { recursive: true })
    w.write('srv/app', 'a file')
    expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringContaining(`${w.path('srv/app')} is no folder`) })
    rmSync(w.path('srv/app'))
    symlinkSync('nowhere', w.path('srv/app'))
    expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringContaining(`${w.path('srv/app')} is no folder`) })
    expect([leftovers(w), existsSync(w.path('state/journals/s.json'))]).toEqual([[], false])
  })

  test('data around our own state is not replaced in place, and a part of it is', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('state')] }),
      (w) => w.write('state/of-the-service/file', 'saved'),
    )
    w.write('state/of-the-service/file', 'live')
    expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringContaining("this program's own state: it can't be replaced in place") })
    expect(await restore(w, ...inPlace, '--path', w.path('state/of-the-service'))).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('state/of-the-service/file'), 'utf8')).toBe('saved')
  })

  test('[restore.3] a database that a backup could not copy, or was told to leave out, is carried over with its rows', async (t) => {
    const [locked, left] = ['srv/locked.db', 'srv/left.out']
    const insert = (w: World, value: number) => {
      for (const name of [locked, left]) sql(w.path(name), `.dbconfig no_ckpt_on_close on\nINSERT INTO t VALUES (${value})`)
    }
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv')], sqlite: [w.path(locked)], exclude: ['*.out'] }),
      (w) => {
        mkdirSync(w.path('srv'))
        for (const name of [locked, left]) sql(w.path(name), 'PRAGMA journal_mode=wal; CREATE TABLE t (a)')
        insert(w, 1)
        // Another name: rows could stand in another -wal, so it isn't copied.
        linkSync(w.path(locked), w.path('other-name'))
      },
      3,
    )
    rmSync(w.path('other-name'))
    insert(w, 2)
    expect(await restore(w)).toMatchObject({ exit: 0 })
    for (const name of [locked, left]) expect(sql(w.path(name), 'SELECT a FROM t'), name).toBe('1\n2')
  })

  test('[restore.3] so is what stands in a folder that the snapshot lacks; below what is a file there it stays with the old data', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv')], exclude: ['cache'] }),
      (w) => w.write('srv/becomes', 'a file'),
    )
    rmSync(w.path('srv/becomes'))
    w.write('srv/becomes/cache/a', 'kept')
    w.write('srv/new/deep/cache/a', 'carried')
    w.write('srv/new/since', 'goes')
    sh(`chmod 0751 ${w.path('srv/new')} && chown 33:44 ${w.path('srv/new')}`)
    const { exit, stderr } = await restore(w)
    expect([exit, stderr]).toEqual([0, expect.stringContaining(`${w.path('srv/becomes/cache')}, which backups exclude, isn't carried over`)])
    expect(readFileSync(w.path('srv/new/deep/cache/a'), 'utf8')).toBe('carried')
    expect(existsSync(w.path('srv/new/since'))).toBe(false)
    const { mode, uid, gid } = statSync(w.path('srv/new'))
    expect([mode & 0o777, uid, gid]).toEqual([0o751, 33, 44])
    expect(readFileSync(w.path('srv/becomes'), 'utf8')).toBe('a file')
    expect(readFileSync(join(old(w), w.path('srv/becomes/cache/a')), 'utf8')).toBe('kept')
  })

  test('[restore.5] a database that is gone, and its -wal is not: the new one stands alone', async (t) => {
    const w = await saved(
      t,
      (w) => ({ sqlite: [w.path('srv/app.db')] }),
      (w) => {
        mkdirSync(w.path('srv'))
        sql(w.path('srv/app.db'), 'PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES (1)')
      },
    )
    sh(`sqlite3 ${w.path('srv/app.db')} '.dbconfig no_ckpt_on_close on' 'INSERT INTO t VALUES (2)'; rm ${w.path('srv/app.db')}`)
    const before = fingerprint(w.path('srv'), { times: false })
    expect(await restore(w)).toMatchObject({ exit: 0 })
    expect(readdirSync(w.path('srv')).filter((name) => !name.startsWith('.'))).toEqual(['app.db'])
    expect(sql(w.path('srv/app.db'), 'SELECT a FROM t')).toBe('1')
    expect(before.map(({ path }) => path)).toContain('./app.db-wal')
  })

  test('[restore.7] a corrupt database in the snapshot is seen before anything live changes', async (t) => {
    const w = await saved(
      t,
      (w) => ({ sqlite: [w.path('srv/app.db')] }),
      (w) => {
        mkdirSync(w.path('srv'))
        sql(w.path('srv/app.db'), 'CREATE TABLE t (a); INSERT INTO t VALUES (1)')
      },
    )
    const good = readFileSync(w.path('srv/app.db'))
    const bad = Buffer.from(good)
    bad.fill(0xff, 4096)
    writeFileSync(w.path('srv/app.db'), bad)
    await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:s', w.path('srv/app.db')])
    writeFileSync(w.path('srv/app.db'), good)
    const before = fingerprint(w.path('srv'))
    expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringMatching(/corrupt.*the live data was not touched/) })
    expect(fingerprint(w.path('srv')).slice(1)).toEqual(before.slice(1))
    expect(leftovers(w)).toEqual([])
  })

  /** A service on two disks and none: a path that is a mount point, one that leads to one, a plain one; and a mounted cache that is excluded. */
  const onDisks = (t: TestContext) =>
    saved(
      t,
      (w) => ({
        paths: ['data', 'more', 'plain'].map((name) => w.path('srv', name)),
        sqlite: [w.path('srv/data/app.db')],
        exclude: ['*.log', w.path('srv/more/cache')],
      }),
      (w) => {
        mount(w, 'srv/data', '-t', 'tmpfs', 'none')
        mount(w, 'srv/more/far/disk', '-t', 'tmpfs', 'none')
        mount(w, 'srv/more/cache', '-t', 'tmpfs', 'none')
        for (const path of ['data/kept/file', 'data/changed', 'more/far/beside', 'more/far/disk/kept/file', 'more/top', 'plain/file'])
          w.write(`srv/${path}`, 'saved')
        sh(`cd ${w.path('srv')}; chown 1234:1235 data; chmod 2750 data more/far/disk; ln data/changed data/twin; mkdir more/far/disk/empty`)
        sql(w.path('srv/data/app.db'), 'PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES (1)')
      },
    )
  const change = (w: World) => {
    for (const path of ['data/changed', 'data/since/file', 'more/far/since', 'more/far/disk/since', 'plain/file', 'more/cache/warm', 'data/a.log'])
      w.write(`srv/${path}`, 'live')
    sh(`cd ${w.path('srv')}; chown 77:78 data; chmod 700 more/far more/far/disk; rm -r data/kept data/twin more/far/disk/empty more/top`)
    sh(`sqlite3 ${w.path('srv/data/app.db')} '.dbconfig no_ckpt_on_close on' 'INSERT INTO t VALUES (2)'`)
  }
  /** All that is there, but for folders of ours, and the times of folders in which they stand. */
  const disks = (w: World) => {
    const stays = ['.', './data', './more', './more/far', './more/far/disk', './more/cache']
    const isOurs = (path: string) => path.includes('/.atelier-backup-') || path.endsWith('app.db-shm')
    const entries = fingerprint(w.path('srv')).filter(({ path }) => !isOurs(path))
    return entries.map((entry) => (stays.includes(entry.path) || entry.path === './data/app.db' ? { ...entry, mtime: '', sha256: null } : entry))
  }
  const rowsOf = (w: World) => {
    sh(`rm -rf ${w.path('looked-at')}; mkdir ${w.path('looked-at')}; cp -a ${w.path('srv/data')}/app.db* ${w.path('looked-at')}`)
    return sql(w.path('looked-at/app.db'), 'PRAGMA integrity_check; SELECT a FROM t')
  }

  test('[restore.11] what is mounted at a path or below it stays, all in it is exchanged; and back', async (t) => {
    const w = await onDisks(t)
    const mounted = () =>
      output(['findmnt', '--list', '--noheadings', '--output', 'TARGET'])
        .split('\n')
        .filter((point) => point.startsWith(w.root))
    const [before, mounts] = [disks(w), mounted()]
    change(w)
    const live = disks(w)
    expect(await restore(w)).toMatchObject({ exit: 0, stdout: expect.stringMatching(/srv\/more\/far\/disk is a mount\s+point/) })
    const carried = live.filter(({ path }) => path === './data/a.log' || path.startsWith('./more/cache/'))
    const byPath = (entries: typeof live) => entries.sort((one, other) => (one.path < other.path ? -1 : 1))
    expect(byPath(disks(w))).toEqual(byPath([...before, ...carried]))
    expect(rowsOf(w)).toBe('ok\n1')
    expect(readdirSync(w.path('srv/data')).filter((name) => name.startsWith('app.db'))).toEqual(['app.db'])
    // Written since by the service, and none of the old data.
    w.write('srv/data/newest', 'since')
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect([disks(w), rowsOf(w)]).toEqual([live, 'ok\n1\n2'])
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('srv/data/newest'), 'utf8')).toBe('since')
    expect(await restore(w, '--discard-old', '--yes')).toMatchObject({ exit: 0 })
    expect([leftovers(w), mounted()]).toEqual([[], mounts])
  })

  /** With ATELIER_SOAK every rename, link and unlink; otherwise some. */
  const instants = process.env.ATELIER_SOAK ? Array.from({ length: 60 }, (_, i) => i + 1) : [5, 9, 14, 20]
  test.skipIf(!has('strace')).for(instants)(
    '[restore.11] [restore.7] killed at rename %i of an exchange on several disks: all of it or none',
    async (n, t) => {
      const w = await onDisks(t)
      change(w)
      const live = disks(w)
      const direction = n % 2 ? '--resume' : '--rollback'
      const killed = await killedAt(w, { call: 'rename', n }, ['restore', 's', ...inPlace])
      const open = existsSync(w.path('state/journals/s.json'))
      const ended = await restore(w, direction, '--yes')
      expect(ended.exit).toBe(open || (!killed && direction === '--rollback') ? 0 : 2)
      const isNew = open ? direction === '--resume' : !killed && direction === '--resume'
      expect(JSON.stringify(disks(w)) === JSON.stringify(live)).toBe(!isNew)
      expect(rowsOf(w)).toBe(isNew ? 'ok\n1' : 'ok\n1\n2')
      expect(existsSync(w.path('state/journals/s.json'))).toBe(false)
      if (killed && !isNew) expect(leftovers(w)).toEqual([])
    },
  )

  test.skipIf(!has('strace'))(
    '[restore.11] [restore.7] a disk that is not mounted when a crash is to be ended: told, and nothing lands in its place',
    async (t) => {
      const w = await onDisks(t)
      change(w)
      const disk = w.path('srv/more/far/disk')
      const isBegun = () =>
        existsSync(w.path('state/journals/s.json')) && readFileSync(w.path('state/journals/s.json'), 'utf8').includes('"swapping"')
      for (let n = 11; !isBegun(); n++) expect(await killedAt(w, { call: 'rename', n }, ['restore', 's', ...inPlace])).toBe(true)
      const aside = mount(w, 'aside', '--bind', disk)
      sh(`umount ${disk}`)
      const bare = readdirSync(disk)
      for (const direction of ['--resume', '--rollback'])
        expect(await restore(w, direction)).toMatchObject({ exit: 1, stderr: expect.stringContaining("isn't at") })
      expect(readdirSync(disk)).toEqual(bare)
      sh(`mount --bind ${aside} ${disk}`)
      expect(await restore(w, '--resume')).toMatchObject({ exit: 0 })
      expect([existsSync(`${disk}/since`), readFileSync(`${disk}/kept/file`, 'utf8'), rowsOf(w)]).toEqual([false, 'saved', 'ok\n1'])
    },
  )

  test('[restore.11] mounted read-only, or only while it stages: refused, and nothing is touched', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv/data'), w.path('srv/file')] }),
      (w) => {
        w.write('srv/data/disk/.keep', '')
        w.write('srv/file', 'saved')
      },
    )
    const refused = async (words: RegExp) => expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringMatching(words) })
    const readOnly = mount(w, 'srv/data/disk', '-t', 'tmpfs', '-o', 'ro', 'none')
    await refused(/mounted read-only; nothing was touched/)
    sh(`umount ${readOnly}`)
    // Only in between: seen before the swap.
    const { env } = resticBefore(w, `if [ "$command" = restore ]; then mount -t tmpfs none ${w.path('srv/data/disk')}; fi`)
    expect(await w.cli(['restore', 's', ...inPlace], { env })).toMatchObject({ exit: 1, stderr: expect.stringMatching(/mount point.*not touched/) })
    sh(`umount ${w.path('srv/data/disk')}`)
    expect([leftovers(w), readFileSync(w.path('srv/file'), 'utf8')]).toEqual([[], 'saved'])
    expect(await restore(w)).toMatchObject({ exit: 0 })
  })

  test('[restore.11] two mounts of one filesystem are two places: what crosses a mount can not be renamed', async (t) => {
    const w = await world()
    t.onTestFinished(w.cleanup)
    for (const name of ['a', 'b']) {
      w.write(`persist/${name}/data/file`, 'saved')
      mount(w, `srv/${name}`, '--bind', w.path('persist', name))
    }
    w.manifest({ services: { s: { paths: [w.path('srv/a/data'), w.path('srv/b/data')] } } })
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    for (const name of ['a', 'b']) w.write(`srv/${name}/data/file`, 'changed')
    expect(await restore(w)).toMatchObject({ exit: 0 })
    for (const name of ['a', 'b']) expect(readFileSync(w.path(`srv/${name}/data/file`), 'utf8')).toBe('saved')
    expect(leftovers(w).length).toBeGreaterThanOrEqual(2)
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    for (const name of ['a', 'b']) expect(readFileSync(w.path(`srv/${name}/data/file`), 'utf8')).toBe('changed')
  })

  test('[restore.2] in a folder of somebody else nothing is staged: its owner could put another in its place', async (t) => {
    const w = await saved(
      t,
      (w) => ({ paths: [w.path('srv/home/inner/data')] }),
      (w) => w.write('srv/home/inner/data/file', 'saved'),
    )
    sh(`chown 1234 ${w.path('srv/home')}; echo changed >${w.path('srv/home/inner/data/file')}`)
    expect(await restore(w)).toMatchObject({ exit: 0 })
    expect(old(w).startsWith(`${w.path('srv')}/.atelier-backup-s-`)).toBe(true)
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('srv/home/inner/data/file'), 'utf8')).toBe('changed\n')
  })

  test('[restore.12] [restore.7] a full disk: refused before anything changes; filled while it stages, the old data stays', async (t) => {
    const w = await world()
    t.onTestFinished(w.cleanup)
    const disk = mount(w, 'disk', '-t', 'tmpfs', '-o', 'size=160M', 'none')
    w.manifest({ services: { s: { paths: [w.path('disk/data')] } } })
    w.write('disk/data/large', Buffer.alloc(60_000_000, 'saved'))
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    w.write('disk/data/large', Buffer.alloc(50_000_000, 'live'))
    const before = fingerprint(disk)
    const state = fingerprint(w.path('state'))
    expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringMatching(/bytes free.*nothing was touched/) })
    expect([fingerprint(disk), fingerprint(w.path('state'))]).toEqual([before, state])
    // With more room at first, and none while restic writes.
    sh(`mount -o remount,size=300M ${disk}`)
    const { env } = resticBefore(w, `if [ "$command" = restore ]; then head -c 200M /dev/zero >${disk}/full; fi`)
    expect(await w.cli(['restore', 's', ...inPlace], { env })).toMatchObject({ exit: 1, stderr: expect.stringContaining('not touched') })
    rmSync(w.path('disk/full'))
    const untimed = (entries: typeof before) => entries.map((entry) => (entry.path === '.' ? { ...entry, mtime: '' } : entry))
    expect(untimed(fingerprint(disk))).toEqual(untimed(before))
    expect(await restore(w)).toMatchObject({ exit: 0 })
    expect(statSync(w.path('disk/data/large')).size).toBe(60_000_000)
  })

  describe.skipIf(!has('mkfs.ext4'))('on a disk image', () => {
    const onImage = async (t: TestContext): Promise<World> => {
      const w = await world()
      t.onTestFinished(w.cleanup)
      sh(`truncate -s 200M ${w.path('image')}; mkfs.ext4 -q ${w.path('image')}`)
      mount(w, 'disk', '-o', 'loop', w.path('image'))
      w.manifest({ services: { s: { paths: [w.path('disk/data'), w.path('disk/more')] } } })
      for (const path of ['data', 'more']) for (let n = 0; n < 150; n++) w.write(`disk/${path}/${n}`, `saved ${n}`.repeat(100))
      expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
      for (const path of ['data', 'more']) w.write(`disk/${path}/since`, 'live')
      return w
    }

    test('[restore.43] a folder and a file that are mounted elsewhere too are new there as well, and old again after a rollback', async (t) => {
      const w = await saved(
        t,
        (w) => ({ paths: [w.path('persist')] }),
        (w) => {
          for (const path of ['notes/text', 'conf/app.ini', 'plain']) w.write(`persist/${path}`, `saved ${path}`)
        },
      )
      const folder = mount(w, 'var/notes', '--bind', w.path('persist/notes'))
      const file = w.write('var/app.ini', '')
      sh(`mount --bind ${w.path('persist/conf/app.ini')} ${file}`)
      onTestFinished(() => void sh(`umount ${file} 2>/dev/null || true`))
      writeFileSync(`${folder}/text`, 'live')
      writeFileSync(`${folder}/since`, 'live')
      writeFileSync(file, 'live')
      const shown = () => [readFileSync(`${folder}/text`, 'utf8'), existsSync(`${folder}/since`), readFileSync(file, 'utf8')]
      expect(await restore(w)).toMatchObject({ exit: 0 })
      expect(shown()).toEqual(['saved notes/text', false, 'saved conf/app.ini'])
      expect(readFileSync(w.path('persist/notes/text'), 'utf8')).toBe('saved notes/text')
      expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
      expect(shown()).toEqual(['live', true, 'live'])
      expect(await restore(w, '--discard-old', '--yes')).toMatchObject({ exit: 0 })
      expect(shown()).toEqual(['live', true, 'live'])
    })

    test('[restore.44] a rollback that is taken back can be asked for again, also where a mount was empty', async (t) => {
      const w = await saved(
        t,
        (w) => ({ paths: [w.path('srv')], healthCheck: `test ! -e ${w.path('ill')}` }),
        (w) => void w.write('srv/disk/file', 'saved'),
      )
      rmSync(w.path('srv/disk/file'))
      const disk = mount(w, 'srv/disk', '-t', 'tmpfs', 'none')
      w.write('srv/plain', 'live')
      expect(await restore(w)).toMatchObject({ exit: 0 })
      expect(readFileSync(`${disk}/file`, 'utf8')).toBe('saved')
      w.write('ill', '')
      expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 1, stdout: expect.stringContaining('rolled-back') })
      rmSync(w.path('ill'))
      expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
      expect([readdirSync(disk).filter((name) => !name.startsWith('.')), readFileSync(w.path('srv/plain'), 'utf8')]).toEqual([[], 'live'])
    })

    test('[restore.4] a power cut right after a restore loses nothing of it', async (t) => {
      const w = await onImage(t)
      sh(`sync --file-system ${w.path('disk')}`)
      expect(await restore(w)).toMatchObject({ exit: 0 })
      // What the disk holds at this moment; the rest is in memory only.
      copyFileSync(w.path('image'), w.path('image-of-the-cut'))
      const cut = mount(w, 'cut', '-o', 'loop', w.path('image-of-the-cut'))
      const content = (folder: string) => fingerprint(folder).map(({ path, sha256, size }) => ({ path, sha256, size }))
      for (const path of ['data', 'more']) {
        expect(content(`${cut}/${path}`)).toEqual(content(w.path('disk', path)))
        expect(content(`${cut}/${path}`).length).toBe(151)
      }
    })

    test('[restore.46] what is staged is brought to disk while more of it is written, and not for each little', async (t) => {
      const w = await onImage(t)
      const synced = w.path('synced')
      const told = (bytes: number) => `echo '{"message_type":"status","total_bytes":1000000000,"bytes_restored":${bytes}}'`
      const waits = `for n in $(seq 100); do test -s ${synced} && break; sleep 0.1; done`
      const script = `if [ $command = restore ]; then ${told(200_000_000)}; sleep 0.5; test -e ${synced} && exit 1; ${told(300_000_000)}; ${waits}; test -s ${synced} || exit 1; fi`
      const { env } = resticBefore(w, script)
      const PATH = instead(w, env.PATH, 'sync', `echo "$@" >>${synced}; exec "$real" "$@"`)
      expect(await w.cli(['restore', 's', ...inPlace], { env: { PATH } })).toMatchObject({ exit: 0 })
      // Once meanwhile, and once when all is there.
      expect(readFileSync(synced, 'utf8').trim().split('\n')).toHaveLength(2)
    })

    test.skipIf(!has('strace')).for(['--resume', '--rollback'])(
      '[restore.7] %s after a reboot that gave the disk another number',
      async (direction, t) => {
        const w = await onImage(t)
        const before = statSync(w.path('disk')).dev
        const isOld = (path: string) => existsSync(w.path('disk', path, 'since'))
        // The moment between two paths: one is new, the other isn't.
        for (let n = 1; isOld('data') === isOld('more'); n++) {
          expect(await killedAt(w, { call: 'rename', n }, ['restore', 's', ...inPlace])).toBe(true)
          if (isOld('data') && isOld('more')) await restore(w, '--rollback', '--yes')
        }
        // While the first is taken the next is another.
        sh(`next=$(losetup --find --show ${w.path('image')}); umount ${w.path('disk')}; mount "$next" ${w.path('disk')}; losetup --detach "$next"`)
        expect(statSync(w.path('disk')).dev).not.toBe(before)
        expect(await restore(w, direction)).toMatchObject({ exit: 0 })
        for (const path of ['data', 'more']) expect(existsSync(w.path('disk', path, 'since'))).toBe(direction === '--rollback')
        for (const path of ['data', 'more']) expect(readFileSync(w.path('disk', path, '149'), 'utf8')).toContain('saved 149')
        expect(existsSync(w.path('state/journals/s.json'))).toBe(false)
      },
    )
  })
})
