// Restores in place where renames can't do it: files with a mount of their own, whose content is replaced, and mounts that the snapshot doesn't know.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { killedAt } from '../lib/killed.ts'
import { instead, output, sql } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { keys } from '../lib/terminal.ts'
import { attributes, fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const inPlace = ['--in-place', '--yes', '--empty-mounts']
const directions = ['--resume', '--rollback'] as const
const sh = (script: string) => output(['bash', '-euc', script])
const journal = (w: World) => w.path('state/journals/s.json')
const kept = (w: World) => readdirSync(w.path('state/kept'))
const leftovers = (w: World) =>
  output(['find', w.path('srv'), '-name', '.atelier-backup-*'])
    .split('\n')
    .filter(Boolean)
const restore = (w: World, ...args: string[]) => w.cli(['restore', 's', ...(args.length > 0 ? args : inPlace)])

/**
 * A service whose snapshot is of a time before anything was mounted: `srv/file`, `srv/data/conf/app.ini` and the database `srv/db/app.db` are
 * files that are mounted over others now, and `srv/data/disk` is a disk of which the snapshot knows nothing.
 */
async function mounted(t: TestContext): Promise<World> {
  const w = await world()
  t.onTestFinished(() => {
    // What a test has mounted over again, or on the bare file, goes too.
    sh(`while read -r point; do umount -l "$point"; done < <(findmnt --list --noheadings --output TARGET | grep '^${w.root}/' | tac) || true`)
    w.cleanup()
  })
  w.manifest({ services: { s: { paths: [w.path('srv/data'), w.path('srv/file')], sqlite: [w.path('srv/db/app.db')] } } })
  for (const path of ['data/plain', 'data/conf/app.ini', 'data/conf/beside', 'file']) w.write(`srv/${path}`, `saved ${path}\n`)
  mkdirSync(w.path('srv/db'))
  sql(w.path('srv/db/app.db'), 'PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES (1)')
  sh(`cd ${w.path('srv')}; chmod 600 file; chown 12:34 file; touch -d '2001-02-03 04:05:06.123456789' file`)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  sh(`mkdir ${w.path('other')}; cp -a ${w.path('srv/db/app.db')} ${w.path('other/app.db')}`)
  w.write('other/app.ini', 'live app.ini\n')
  w.write('other/file', 'live '.repeat(50_000))
  sh(`cd ${w.path('other')}; chmod 4755 file; chown 56:78 file; ${has('setfattr') ? 'setfattr -n user.colour -v red file' : 'true'}`)
  for (const [from, to] of [
    ['app.ini', 'data/conf/app.ini'],
    ['file', 'file'],
    ['app.db', 'db/app.db'],
  ])
    sh(`mount --bind ${w.path('other', from ?? '')} ${w.path('srv', to ?? '')}`)
  mkdirSync(w.path('srv/data/disk'))
  sh(`mount -t tmpfs none ${w.path('srv/data/disk')}`)
  for (const path of ['data/plain', 'data/conf/since', 'data/disk/precious']) w.write(`srv/${path}`, `live ${path}`)
  sql(w.path('srv/db/app.db'), '.dbconfig no_ckpt_on_close on\nINSERT INTO t VALUES (2)')
  return w
}

/** All that is there, but for folders of ours and the times of folders in which they stand. */
function look(w: World) {
  const stays = ['.', './data', './data/conf', './data/disk', './db']
  const entries = fingerprint(w.path('srv')).filter(({ path }) => !path.includes('/.atelier-backup-') && !path.endsWith('-shm'))
  const rows = sh(
    `cd ${w.path('srv/db')}; rm -rf ${w.path('seen')}; mkdir ${w.path('seen')}; cp app.db* ${w.path('seen')}; sqlite3 ${w.path('seen/app.db')} 'PRAGMA integrity_check; SELECT a FROM t' || echo damaged`,
  )
  return {
    entries: entries.map((entry) =>
      stays.includes(entry.path) ? { ...entry, mtime: '' } : entry.path.startsWith('./db/') ? { ...entry, mtime: '', sha256: '' } : entry,
    ),
    attributes: has('getfattr') ? attributes(w.path('srv/data')) : [],
    rows,
  }
}

const isNew = (w: World) => {
  expect(readFileSync(w.path('srv/file'), 'utf8')).toBe('saved file\n')
  expect(readFileSync(w.path('srv/data/conf/app.ini'), 'utf8')).toBe('saved data/conf/app.ini\n')
  expect(readFileSync(w.path('srv/data/plain'), 'utf8')).toBe('saved data/plain\n')
  const { mode, uid, gid, mtimeMs } = statSync(w.path('srv/file'))
  expect([mode & 0o7777, uid, gid, Math.floor(mtimeMs)]).toEqual([0o600, 12, 34, Date.parse('2001-02-03T04:05:06.123') - tz()])
  const there = (folder: string) => readdirSync(w.path('srv', folder)).filter((name) => !name.startsWith('.atelier-backup-'))
  expect([there('data/disk'), there('data/conf'), there('db')]).toEqual([[], ['app.ini', 'beside'], ['app.db']])
  expect(look(w).rows).toBe('ok\n1')
}
const tz = () => -new Date('2001-02-03T04:05:06.123').getTimezoneOffset() * 60_000

const mounts = (w: World) =>
  output(['findmnt', '--list', '--noheadings', '--output', 'TARGET'])
    .split('\n')
    .filter((point) => point.startsWith(w.root))

test.skipIf(!isRoot)('[restore.40] a file that is mounted over another gets its content, and back; what is mounted stays', async (t) => {
  const w = await mounted(t)
  const [old, points] = [look(w), mounts(w)]
  expect(old.rows).toBe('ok\n1\n2')
  const inode = statSync(w.path('srv/file')).ino
  const { stdout } = await restore(w, ...inPlace, '--dry-run')
  expect(stdout).toMatch(/rewrites {2}\S+srv\/file/)
  expect(stdout).toMatch(/empties {3}\S+srv\/data\/disk/)
  expect(stdout).toContain('mount of its own')
  expect(look(w)).toEqual(old)
  for (let round = 0; round < 2; round++) {
    expect(await restore(w, ...(round === 0 ? inPlace : ['--rollback', '--yes']))).toMatchObject({ exit: 0 })
    isNew(w)
    expect([statSync(w.path('srv/file')).ino, statSync(w.path('other/file')).ino, mounts(w)]).toEqual([inode, inode, points])
    const status = (await w.cli(['status', '--json', '--local'])).json()
    expect(
      status.services[0].old.map(({ folder }: { folder: string }) => folder).filter((folder: string) => folder.includes('/state/kept/')).length,
    ).toBe(1)
    expect(statSync(w.path('state/kept', kept(w)[0] ?? '')).mode & 0o7777).toBe(0o700)
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect(look(w)).toEqual(old)
  }
  expect(await restore(w, '--discard-old', '--yes')).toMatchObject({ exit: 0 })
  expect([kept(w), leftovers(w), look(w)]).toEqual([[], [], old])
  // Alone, too.
  expect(await restore(w, '--in-place', '--yes', '--path', w.path('srv/file'))).toMatchObject({ exit: 0 })
  expect([readFileSync(w.path('srv/file'), 'utf8'), leftovers(w), look(w).rows]).toEqual(['saved file\n', [], old.rows])
  expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
  expect(look(w)).toEqual(old)
  expect(await restore(w, ...inPlace, '--path', w.path('srv/data/disk'))).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining("isn't in snapshot"),
  })
})

/** Kills the command at the nth copy that it makes, half-way: the file has a part of its content then. */
const dyingCp = (n: number, log: string) =>
  `echo x >>${log}; if [ $(wc -l <${log}) = ${n} ]; then head -c $(($(stat -L -c %s "\${@: -2:1}") / 2)) "\${@: -2:1}" >"\${@: -1}"; kill -9 $PPID; exit 9; fi; exec "$real" "$@"`

/** Ends what a crash left, in one direction, and says how it must look now. */
async function settled(w: World, direction: (typeof directions)[number], old: ReturnType<typeof look>): Promise<void> {
  const open = existsSync(journal(w))
  const { exit, stderr } = await restore(w, direction, ...(direction === '--rollback' ? ['--yes'] : []))
  expect([exit, stderr]).toEqual([open ? 0 : 2, open ? '' : expect.stringContaining('no restore is unfinished')])
  if (open && direction === '--resume') isNew(w)
  else expect(look(w)).toEqual(old)
  expect([existsSync(journal(w)), direction === '--rollback' ? [kept(w), leftovers(w)] : []]).toEqual([
    false,
    direction === '--rollback' ? [[], []] : [],
  ])
}

/** Of the database with its -wal and -shm, and two other files: 1 to 5 are copied aside, then 6 to 8 overwritten. */
const copies = process.env.ATELIER_SOAK ? [1, 2, 3, 4, 5, 6, 7, 8] : [4, 6, 7, 8]
test.skipIf(!isRoot).for(copies.flatMap((n) => directions.map((direction) => [n, direction] as const)))(
  '[restore.40] killed half-way through copy %i, and again in the other direction, then %s: all is new or all is old',
  async ([n, direction], t) => {
    const w = await mounted(t)
    const old = look(w)
    const dying = (at: number) => ({ env: { PATH: instead(w, process.env.PATH ?? '', 'cp', dyingCp(at, w.path(`copies-${at}`))) } })
    expect((await w.cli(['restore', 's', ...inPlace], dying(n))).exit).toBe(137)
    expect(JSON.parse(readFileSync(journal(w), 'utf8')).phase).toBe(n <= 5 ? 'staging' : 'swapping')
    if (n <= 5) expect(look(w)).toEqual(old)
    else {
      expect(look(w)).not.toEqual(old)
      const other = direction === '--resume' ? '--rollback' : '--resume'
      expect((await w.cli(['restore', 's', other, ...(other === '--rollback' ? ['--yes'] : [])], dying(n - 5))).exit).toBe(137)
    }
    await settled(w, direction, old)
  },
)

/** With ATELIER_SOAK all of them; otherwise some. */
const instants = ['rename', 'unlink', 'fsync', 'fchmod'].flatMap((call) => Array.from({ length: 40 }, (_, i) => ({ call, n: i + 1 })))
const chosen = process.env.ATELIER_SOAK ? instants : instants.filter((_, i) => i % 23 === Number(process.env.ATELIER_SEED ?? 1) % 23)
test.skipIf(!isRoot || !has('strace')).for(chosen)(
  '[restore.40] killed right before $call $n, a restore with overwritten files is finished, taken back, or ended at boot',
  async (change, t) => {
    const ways = [...directions, 'boot'] as const
    for (const direction of process.env.ATELIER_SOAK ? ways : [ways[change.n % 3] ?? 'boot']) {
      const w = await mounted(t)
      const old = look(w)
      if (!(await killedAt(w, change, ['restore', 's', ...inPlace]))) return
      if (!existsSync(journal(w))) continue
      const { phase } = JSON.parse(readFileSync(journal(w), 'utf8'))
      if (direction !== 'boot') {
        await settled(w, direction, old)
        continue
      }
      // It needs no repository.
      renameSync(w.path('secrets'), w.path('gone'))
      expect(await w.cli(['boot'])).toMatchObject({ exit: 0 })
      if (phase === 'staging') expect(look(w)).toEqual(old)
      else isNew(w)
      expect(existsSync(journal(w))).toBe(false)
    }
  },
)

test.skipIf(!isRoot || !has('strace'))(
  '[restore.40] killed once all is new: what was written since stays when it is finished, and it can be taken back, and brought again',
  async (t) => {
    const w = await mounted(t)
    const old = look(w)
    const phase = () => existsSync(journal(w)) && JSON.parse(readFileSync(journal(w), 'utf8')).phase
    const swapped = async () => {
      for (let n = 6; phase() !== 'swapped'; n++) {
        expect(await killedAt(w, { call: 'unlink', n }, ['restore', 's', ...inPlace])).toBe(true)
        if (phase() !== 'swapped') await restore(w, '--rollback', '--yes')
      }
    }
    await swapped()
    // A staged copy is gone already: nothing but the live file has its new content.
    const dying = (n: number) => ({ env: { PATH: instead(w, process.env.PATH ?? '', 'cp', dyingCp(n, w.path(`copies-${n}`))) } })
    for (const n of [2, 5]) {
      expect((await w.cli(['restore', 's', '--rollback', '--yes'], dying(n))).exit).toBe(137)
      if (n === 2) isNew(w)
    }
    expect(phase()).toBe('swapping')
    await settled(w, '--resume', old)
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect(look(w)).toEqual(old)
    await swapped()
    writeFileSync(w.path('srv/file'), 'written since')
    expect(await restore(w, '--resume')).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('srv/file'), 'utf8')).toBe('written since')
    expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect(look(w)).toEqual(old)
  },
)

test.skipIf(!isRoot)('[restore.40] a disk that is full half-way: the old content comes back, at once or once there is room', async (t) => {
  const w = await world()
  t.onTestFinished(() => {
    sh(`umount ${w.path('srv/file')} ${w.path('disk')}`)
    w.cleanup()
  })
  w.manifest({ services: { s: { paths: [w.path('srv')] } } })
  w.write('srv/file', Buffer.alloc(30_000_000, 'saved'))
  w.write('srv/other', 'saved')
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  mkdirSync(w.path('disk'))
  sh(`mount -t tmpfs -o size=150M none ${w.path('disk')}`)
  w.write('disk/file', Buffer.alloc(20_000_000, 'live'))
  w.write('srv/other', 'live')
  sh(`mount --bind ${w.path('disk/file')} ${w.path('srv/file')}`)
  const state = () => [fingerprint(w.path('srv')).filter(({ path }) => path.startsWith('./file') || path.startsWith('./other')), kept(w)]
  const before = state()
  sh(`head -c 80M /dev/zero >${w.path('disk/full')}`)
  expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringMatching(/srv\/file has \d+ bytes free.*nothing was touched/) })
  rmSync(w.path('disk/full'))
  // Full only when it is overwritten, which the third copy does; and then even what was free before is taken.
  const filling = (more: string) => ({
    env: {
      PATH: instead(
        w,
        process.env.PATH ?? '',
        'cp',
        `echo x >>${w.path('copies')}; if [ $(wc -l <${w.path('copies')}) = 2 ]; then head -c 200M /dev/zero >${w.path('disk/full')} 2>/dev/null; "$real" "$@"; exit=$?; ${more}; exit $exit; fi; exec "$real" "$@"`,
      ),
    },
  })
  expect(await w.cli(['restore', 's', ...inPlace], filling('true'))).toMatchObject({
    exit: 1,
    stderr: expect.stringMatching(/No space left.*the old data is back in place/),
  })
  expect([...state(), existsSync(journal(w))]).toEqual([...before, false])
  rmSync(w.path('disk/full'))
  rmSync(w.path('copies'))
  const taken = `: >"\${@: -1}"; cat /dev/zero >>${w.path('disk/full')} 2>/dev/null`
  expect(await w.cli(['restore', 's', ...inPlace], filling(taken))).toMatchObject({ exit: 1, stderr: expect.stringContaining('--rollback') })
  expect(existsSync(journal(w))).toBe(true)
  expect((await w.cli(['status', '--local'])).stdout).toContain('unfinished-restore')
  expect(await restore(w, '--rollback')).toMatchObject({ exit: 1 })
  rmSync(w.path('disk/full'))
  expect(await restore(w, '--rollback')).toMatchObject({ exit: 0 })
  expect([...state(), existsSync(journal(w))]).toEqual([...before, false])
  expect(await restore(w)).toMatchObject({ exit: 0 })
  expect(readFileSync(w.path('srv/file')).equals(Buffer.alloc(30_000_000, 'saved'))).toBe(true)
})

test.skipIf(!isRoot)(
  '[restore.40] [restore.18] a mount that is gone when a crash is to be ended: told, and nothing lands in its place, or where a link in it leads',
  async (t) => {
    const w = await mounted(t)
    const old = look(w)
    const dying = { env: { PATH: instead(w, process.env.PATH ?? '', 'cp', dyingCp(7, w.path('copies'))) } }
    expect((await w.cli(['restore', 's', ...inPlace], dying)).exit).toBe(137)
    const victim = w.write('victim', 'not ours')
    sh(`umount ${w.path('srv/file')}`)
    const bare = readFileSync(w.path('srv/file'), 'utf8')
    const refused = async (words: RegExp) => {
      for (const way of [...directions.map((direction) => ['restore', 's', direction, '--yes']), ['boot']])
        expect(await w.cli(way), way.join(' ')).toMatchObject({ exit: 1, stderr: expect.stringMatching(words) })
    }
    await refused(/srv\/file isn't the file that was mounted there/)
    expect(readFileSync(w.path('srv/file'), 'utf8')).toBe(bare)
    renameSync(w.path('srv/file'), w.path('srv/aside'))
    symlinkSync(victim, w.path('srv/file'))
    await refused(/srv\/file isn't the file that was mounted there/)
    expect(readFileSync(victim, 'utf8')).toBe('not ours')
    renameSync(w.path('srv/aside'), w.path('srv/file'))
    sh(`mount --bind ${w.path('other/file')} ${w.path('srv/file')}`)
    await settled(w, '--rollback', old)
  },
)

test.skipIf(!isRoot)('[restore.41] what is mounted and unknown to the snapshot is emptied by consent alone', async (t) => {
  const w = await mounted(t)
  const old = look(w)
  expect(await restore(w, '--in-place', '--yes')).toMatchObject({
    exit: 2,
    stderr: expect.stringMatching(/give --empty-mounts \(\S+srv\/data\/disk: mounted/),
  })
  expect([look(w), existsSync(journal(w))]).toEqual([old, false])
  const asked = async (answer: string) => {
    const terminal = w.terminal(['restore', 's', '--in-place', '--yes'], { cols: 200 })
    await terminal.waitFor('Type empty')
    terminal.type(`${answer}${keys.enter}`)
    return terminal.exit
  }
  expect(await asked('yes')).toBe(130)
  expect(look(w)).toEqual(old)
  expect(await asked('empty')).toBe(0)
  isNew(w)
  expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
  // Where nothing is in it, there is nothing to ask.
  rmSync(w.path('srv/data/disk/precious'))
  expect(await restore(w, '--in-place', '--yes')).toMatchObject({ exit: 0 })
  isNew(w)
})

test.skipIf(!isRoot)('[restore.41] a recovery leaves such a service alone without that consent, and overwrites mounted files', async (t) => {
  const w = await mounted(t)
  const old = look(w)
  const dr = (...more: string[]) => w.cli(['dr', '--yes', '--overwrite', ...more])
  expect(await dr()).toMatchObject({ exit: 3, stdout: expect.stringContaining('--empty-mounts') })
  expect(look(w)).toEqual(old)
  expect(await dr('--empty-mounts', '--dry-run')).toMatchObject({ exit: 0, stdout: expect.stringContaining('mount of its own') })
  expect(await dr('--empty-mounts')).toMatchObject({ exit: 0 })
  isNew(w)
  expect(await restore(w, '--rollback', '--yes')).toMatchObject({ exit: 0 })
  expect(look(w)).toEqual(old)
})

test.skipIf(!isRoot)('[restore.41] what is mounted can become no other kind, and none that is read-only is written: refused', async (t) => {
  const w = await world(t)
  w.manifest({ services: { s: { paths: [w.path('srv')] } } })
  w.write('srv/a', 'a file')
  w.write('srv/b/file', 'in a folder')
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  const refused = async (make: string, words: RegExp) => {
    rmSync(w.path('srv'), { recursive: true })
    mkdirSync(w.path('srv'))
    writeFileSync(w.path('other'), 'precious')
    sh(`cd ${w.path('srv')}; ${make}`)
    const before = fingerprint(w.path('srv'))
    try {
      expect(await restore(w)).toMatchObject({ exit: 1, stderr: expect.stringMatching(words) })
      expect([fingerprint(w.path('srv')), existsSync(journal(w)), readFileSync(w.path('other'), 'utf8')]).toEqual([before, false, 'precious'])
    } finally {
      sh(`umount ${w.path('srv')}/*`)
    }
  }
  await refused('mkdir a; mount -t tmpfs none a; touch a/precious', /srv\/a, which is a folder here, and a file in snapshot/)
  await refused('touch b; mount --bind ../other b', /srv\/b, which is a file here, and a folder in snapshot/)
  await refused('touch c; mount --bind ../other c', /the file \S+srv\/c is mounted there, and snapshot \w+ holds none/)
  await refused(
    'touch a; mount --bind ../other a; mount -o remount,bind,ro a',
    /srv\/a can't be written: it is mounted read-only; nothing was touched/,
  )
})

test.skipIf(!isRoot)(
  '[restore.45] what no rename moves after all (a folder of an overlay’s lower layer) is told in words, and stays as it was',
  async (t) => {
    const w = await world()
    t.onTestFinished(() => {
      sh(`umount -l ${w.path('srv')}`)
      w.cleanup()
    })
    w.manifest({ services: { s: { paths: [w.path('srv/data')] } } })
    w.write('lower/data/file', 'saved')
    for (const folder of ['upper', 'work', 'srv']) mkdirSync(w.path(folder))
    sh(`mount -t overlay overlay -o lowerdir=${w.path('lower')},upperdir=${w.path('upper')},workdir=${w.path('work')} ${w.path('srv')}`)
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    w.write('srv/data/file', 'live')
    const before = fingerprint(w.path('srv/data'))
    expect(await restore(w)).toMatchObject({
      exit: 1,
      stderr: expect.stringMatching(/^s: .*on two filesystems.*; the old data is back in place$/m),
    })
    expect(fingerprint(w.path('srv/data'))).toEqual(before)
    expect([leftovers(w), existsSync(journal(w))]).toEqual([[], false])
  },
)
