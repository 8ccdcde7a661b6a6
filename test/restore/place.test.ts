// Restores in place, to their end: what is there afterwards, what is kept, and what is refused.
import { appendFileSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { output, resticBefore, sql } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { keys } from '../lib/terminal.ts'
import { fingerprint } from '../lib/tree.ts'
import { world } from '../lib/world.ts'
import { type Notes, notes } from './notes.ts'

const inPlace = ['--in-place', '--yes']

describe.skipIf(!isRoot)('a service in two versions', () => {
  let w: Notes
  let old: ReturnType<typeof looks>
  const looks = () => ({ paths: w.look(), around: w.look(true), rows: w.rows() })
  beforeAll(async () => {
    w = await notes()
    old = looks()
  })
  afterAll(() => w.cleanup())

  test('[restore.5] the old -wal goes with the old database, whose rows all come back', async () => {
    w.reset()
    expect(old.rows).toBe('ok\nof the snapshot\ncommitted, in the -wal alone')
    expect(await w.restore(...inPlace)).toMatchObject({ exit: 0 })
    expect(w.rows()).toBe('ok\nof the snapshot')
    expect(readdirSync(dirname(w.paths.database))).toEqual(['notes.db'])
    expect(await w.restore('--rollback')).toMatchObject({ exit: 0 })
    expect(looks()).toEqual(old)
  })

  test('[restore.6] the old data is kept whole, empty folders too, and told by status', async () => {
    w.reset()
    const before = fingerprint(w.paths.data)
    await w.restore(...inPlace)
    const [kept] = w.record().old
    expect(kept?.paths.sort()).toEqual([w.paths.config, w.paths.data, w.paths.database].sort())
    expect(kept?.absent).toEqual([{ path: w.paths.lost, parent: w.path('live') }])
    expect(fingerprint(join(kept?.folder ?? '', w.paths.data))).toEqual(before)
    expect((await w.cli(['status'])).stdout).toContain(dirname(kept?.folder ?? '').slice(-20))
  })

  test('[restore.6] what is kept is no part of a backup, even of a folder around it', async () => {
    w.reset()
    await w.restore(...inPlace)
    expect(w.leftovers().length).toBe(1)
    const manifest = readFileSync(w.path('manifest.json'), 'utf8')
    w.manifest({ services: { around: { paths: [w.path('live')] } } })
    expect(await w.cli(['run', 'around'])).toMatchObject({ exit: 0 })
    const { stdout } = await w.restic(['ls', '--tag', 'service:around', 'latest'])
    expect(stdout).toContain(w.paths.config)
    expect(stdout).not.toContain('.atelier-backup-')
    w.write('manifest.json', manifest)
  })

  test('a finished restore is taken back and brought again, as often as one likes; old data goes when told to', async () => {
    w.reset()
    await w.restore(...inPlace)
    const fresh = looks()
    for (const expected of [old, fresh, old, fresh]) {
      expect(await w.restore('--rollback')).toMatchObject({ exit: 0 })
      expect(looks()).toEqual(expected)
      expect(w.leftovers().length).toBe(1)
    }
    expect((await w.restore('--discard-old')).exit).toBe(2)
    expect(w.leftovers().length).toBe(1)
    expect(await w.restore('--discard-old', '--yes')).toMatchObject({ exit: 0 })
    expect([w.leftovers(), w.record().old]).toEqual([[], []])
    expect(await w.restore('--rollback')).toMatchObject({ exit: 2 })
    expect(looks()).toEqual(fresh)
  })

  test('[restore.42] of several restores the one that is meant is taken back, also where its old data has moved along with a later one', async () => {
    w.reset()
    const part = join(w.paths.data, 'deep')
    appendFileSync(join(part, 'two'), 'changed')
    // Without our folders, and names that a file has in them.
    const seen = () => ({
      paths: w.look().flatMap((entry) => (entry.path.includes('/.atelier-backup-') ? [] : { ...entry, sameAs: null })),
      rows: w.rows(),
    })
    const isChanged = () => readFileSync(join(part, 'two'), 'utf8').includes('changed')
    expect(await w.restore(...inPlace, '--path', part)).toMatchObject({ exit: 0 })
    const between = seen()
    const [first] = w.record().old
    // Beside what it replaced, and so within what the next one replaces.
    expect(first?.folder.startsWith(`${w.paths.data}/`)).toBe(true)
    expect(await w.restore(...inPlace)).toMatchObject({ exit: 0 })
    const fresh = seen()
    const second = w.record().old.at(-1)
    const places = () => w.record().old.map(({ folder }) => folder)
    expect(places().length).toBe(2)
    expect(places().filter((folder) => !existsSync(folder))).toEqual([])
    expect((await w.cli(['status', '--local', '--json'])).json().services[0].old.map(({ folder }: { folder: string }) => folder)).toEqual(places())
    // The older one, whose old data stands in that of the newer.
    expect(await w.restore('--rollback', '--at', '2001-01-01')).toMatchObject({ exit: 2, stderr: expect.stringContaining(first?.since ?? '?') })
    const { exit, stdout } = await w.restore('--rollback', '--at', first?.since ?? '')
    expect([exit, stdout]).toEqual([0, expect.stringContaining(part)])
    expect(stdout).toMatch(/notes.*put back/)
    expect(stdout).not.toContain('newest')
    expect(isChanged()).toBe(true)
    expect(w.rows()).toBe(fresh.rows)
    // What it has replaced stands there now: not even an expiry of what is older takes it along.
    const third = w.record().old.find(({ run }) => run !== second?.run)
    expect(third?.folder.startsWith(`${second?.folder}/`)).toBe(true)
    const { sum: _, ...record } = JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8'))
    for (const kept of record.old) if (kept.run === second?.run) kept.since = new Date(Date.now() - 8 * 86_400_000).toISOString()
    record.runs.push({ ...record.runs[0], kind: 'backup', outcome: 'ok', started: new Date().toISOString() })
    w.write('state/records/notes.json', JSON.stringify(record))
    expect(await w.cli(['prune'])).toMatchObject({ exit: 0 })
    expect(places().filter((folder) => !existsSync(folder))).toEqual([])
    expect(places().length).toBe(2)
    // Back again, and then the one before that, which brings its place along.
    const newest = await w.restore('--rollback')
    expect(newest).toMatchObject({ exit: 0, stdout: expect.stringMatching(/Undoes the newest restore(.|\n)*--at TIME/) })
    expect([isChanged(), seen()]).toEqual([false, fresh])
    expect(await w.restore('--rollback', '--at', record.old.find(({ run }: { run: string }) => run === second?.run).since)).toMatchObject({ exit: 0 })
    expect(seen()).toEqual(between)
    expect(places().filter((folder) => !existsSync(folder))).toEqual([])
    expect(await w.restore('--rollback', '--at', w.record().old.find(({ paths }) => paths.includes(part))?.since ?? '')).toMatchObject({ exit: 0 })
    expect(isChanged()).toBe(true)
    expect(await w.restore('--discard-old', '--yes')).toMatchObject({ exit: 0 })
    expect([w.leftovers(), w.record().old]).toEqual([[], []])
  })

  test.skipIf(!has('strace'))(
    '[restore.42] killed at the end of a restore that moved older old data along, that is named where it stands, whichever way it goes on',
    { timeout: 180_000 },
    async () => {
      const part = ['--path', join(w.paths.data, 'deep')]
      const begun = async () => {
        w.reset()
        expect(await w.restore(...inPlace, ...part)).toMatchObject({ exit: 0 })
      }
      await begun()
      const last = (await w.changesOf(...inPlace)).changes.filter(({ call }) => call === 'rename').length
      // Before the record is written, before the journal goes, and before what runs is noted.
      const ways = ['--rollback', '--resume']
      const all = [0, 1, 2].flatMap((back) => ways.map((way) => [last - back, way] as const))
      for (const [n, direction] of process.env.ATELIER_SOAK ? all : [all[0], all[2], all[3]].flatMap((way) => (way ? [way] : []))) {
        await begun()
        expect(await w.killedAt({ call: 'rename', n }, ...inPlace)).toBe(true)
        const isOpen = w.journal() !== null
        if (isOpen) expect(await w.restore(direction)).toMatchObject({ exit: 0 })
        const places = w.record().old.map(({ folder }) => folder)
        expect([places.length, places.filter((folder) => !existsSync(folder))], `${n} ${direction}`).toEqual([
          isOpen && direction === '--rollback' ? 1 : 2,
          [],
        ])
      }
    },
  )

  test('[restore.42] at a terminal the restore is chosen from a list', async () => {
    w.reset()
    appendFileSync(join(w.paths.data, 'deep/two'), 'changed')
    await w.restore(...inPlace, '--path', join(w.paths.data, 'deep'))
    await w.restore(...inPlace, '--path', w.paths.config)
    const terminal = w.terminal(['restore', 'notes', '--rollback'], { cols: 200 })
    await terminal.waitFor('Undo which restore')
    terminal.type(`${keys.down}${keys.enter}`)
    await terminal.waitFor('Type notes')
    terminal.type(`notes${keys.enter}`)
    expect(await terminal.exit).toBe(0)
    expect(readFileSync(join(w.paths.data, 'deep/two'), 'utf8')).toContain('changed')
    expect(readFileSync(w.paths.config, 'utf8')).toBe('new = true\n')
    expect(await w.cli(['restore', 'notes', '--rollback'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('--at TIME') })
  })

  test('old data is deleted once it is old enough, and a complete backup is newer', async () => {
    w.reset()
    await w.restore(...inPlace)
    const { sum: _, ...record } = JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8'))
    const age = (days: number) => {
      for (const kept of record.old) kept.since = new Date(Date.now() - days * 86_400_000).toISOString()
      w.write('state/records/notes.json', JSON.stringify({ ...record, runs: record.runs.filter((run: { kind: string }) => run.kind === 'restore') }))
    }
    age(8)
    await w.cli(['prune'])
    expect(w.leftovers().length).toBe(1)
    age(6)
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
    await w.cli(['prune'])
    expect(w.leftovers().length).toBe(1)
    age(8)
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
    expect((await w.cli(['prune'])).stderr).toContain('no longer needed and is deleted')
    expect(w.leftovers()).toEqual([])
  })

  test('[restore.2] all is staged beside what it replaces, root-owned and 0700, before anything live changes', async () => {
    w.reset()
    // When restic restores, and when it has: both before the first rename.
    const seen = w.path('seen')
    const { env } = resticBefore(
      w,
      `if [ "$command" = restore ]; then
         "$real" "$@" || exit
         stage=$(find ${w.path('live')} -name '.atelier-backup-*')
         stat -c '%u %a %d' "$stage" "$stage/new" >${seen}
         (cd ${w.path('live')} && cat data/large etc/notes.conf db/notes.db db/notes.db-wal | sha256sum; ls -A data | wc -l) >>${seen}
         cat "$stage/new${w.paths.config}" >>${seen}
         exit
       fi`,
    )
    const device = statSync(w.paths.data).dev
    const hashed = output([
      'sh',
      '-c',
      'cat data/large etc/notes.conf db/notes.db db/notes.db-wal | sha256sum; ls -A data | wc -l'
        .replaceAll(/(data|etc|db)\//g, `${w.path('live')}/$1/`)
        .replace('-A data', `-A ${w.paths.data}`),
    ])
    expect(await w.cli(['restore', 'notes', ...inPlace], { env })).toMatchObject({ exit: 0 })
    expect(readFileSync(seen, 'utf8').trim().split('\n')).toEqual([`0 700 ${device}`, `0 700 ${device}`, ...hashed.split('\n'), 'new = true'])
  })

  test('[restore.3] what backups exclude is carried over and stands in the plan', async () => {
    w.reset()
    const planned = (await w.restore('--in-place', '--dry-run', '--json')).json()
    const excluded = [join(w.paths.data, 'a.log'), join(w.paths.data, 'cache')]
    expect(planned.facts.excluded.map(({ path }: { path: string }) => path).sort()).toEqual(excluded)
    expect((await w.restore('--in-place', '--dry-run')).stdout).toContain(join(w.paths.data, 'cache'))
    expect(await w.restore(...inPlace)).toMatchObject({ exit: 0 })
    expect(readFileSync(join(w.paths.data, 'cache/warm'), 'utf8')).toBe('made since, and excluded from backups')
    expect(existsSync(join(w.paths.data, 'a.log'))).toBe(true)
    expect(existsSync(join(w.paths.data, 'since'))).toBe(false)
  })

  test('[restore.9] --dry-run shows the plan and changes nothing', async () => {
    w.reset()
    const all = () => [w.path('live'), w.path('state')].flatMap((folder) => fingerprint(folder))
    const before = all()
    const { exit, stdout } = await w.restore('--in-place', '--dry-run')
    expect(exit).toBe(0)
    for (const part of [w.paths.data, w.paths.database, w.snapshot.slice(0, 8), 'restore notes --rollback']) expect(stdout).toContain(part)
    const { plan } = (await w.restore('--in-place', '--dry-run', '--json')).json()
    expect(plan.steps.map((step: { do: string }) => step.do)).toEqual(['stage', 'verify', 'flush', 'carry', 'flush', 'swap'])
    expect(all()).toEqual(before)
  })

  test('[restore.10] without a terminal --yes is needed; at one, the name is typed', async () => {
    w.reset()
    expect(await w.restore('--in-place')).toMatchObject({ exit: 2, stderr: expect.stringContaining('--yes') })
    const wrong = w.terminal(['restore', 'notes', '--in-place', '--snapshot', 'latest'], { cols: 200 })
    await wrong.waitFor('Type notes')
    wrong.type(`note${keys.enter}`)
    expect(await wrong.exit).not.toBe(0)
    expect(looks()).toEqual(old)
    const right = w.terminal(['restore', 'notes', '--in-place', '--snapshot', 'latest'], { cols: 200 })
    await right.waitFor('Type notes')
    right.type(`notes${keys.enter}`)
    expect(await right.exit).toBe(0)
    expect(w.rows()).toBe('ok\nof the snapshot')
  })

  test('[restore.8] --path replaces that alone, and nothing beside it', async () => {
    w.reset()
    const part = join(w.paths.data, 'deep')
    appendFileSync(join(part, 'two'), 'changed')
    const before = w.look(true).filter(({ path }) => !path.startsWith('./data/deep') && path !== './data/three')
    expect(await w.restore(...inPlace, '--path', part)).toMatchObject({ exit: 0 })
    expect(w.look(true).filter(({ path }) => !path.startsWith('./data/deep') && path !== './data/three')).toEqual(before)
    expect(statSync(join(part, 'two')).size).toBe(5000)
    expect(w.record().old[0]?.paths).toEqual([part])
    expect(await w.restore('--rollback')).toMatchObject({ exit: 0 })
    expect(readFileSync(join(part, 'two'), 'utf8')).toContain('changed')
  })

  test('[restore.8] what the manifest does not declare is refused', async () => {
    w.reset()
    await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', 'service:notes', w.path('live/etc'), '/etc/hostname'])
    const refused = await w.restore(...inPlace)
    expect(refused).toMatchObject({ exit: 1, stderr: expect.stringContaining("doesn't declare") })
    expect(await w.restore(...inPlace, '--path', '/etc/hostname')).toMatchObject({ exit: 1 })
    expect(looks()).toEqual(old)
    // A part of it that is declared can be chosen.
    expect(await w.restore(...inPlace, '--path', w.paths.config)).toMatchObject({ exit: 0 })
  })

  test('[restore.8] device nodes and setuid files that were not there are refused', async () => {
    w.reset()
    for (const make of ['mknod FILE b 7 0', 'echo >FILE && chmod 4755 FILE', 'echo >FILE && chmod 2755 FILE']) {
      rmSync(w.paths.config)
      output(['sh', '-c', make.replaceAll('FILE', w.paths.config)])
      // Partial, since the live version lacks a path.
      expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 3 })
      const made = w.path('made')
      output(['cp', '-a', w.path('secrets'), made])
      w.reset()
      rmSync(w.path('secrets'), { recursive: true })
      renameSync(made, w.path('secrets'))
      expect(await w.restore(...inPlace)).toMatchObject({ exit: 1, stderr: expect.stringMatching(/device node|setuid/) })
      expect(looks()).toEqual(old)
    }
    // One that is there already is nothing new.
    w.reset()
    output(['chmod', '4755', w.paths.config])
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 3 })
    expect(await w.restore(...inPlace)).toMatchObject({ exit: 0 })
  })

  test('[restore.7] a health check that fails brings the old data back, and exits 1', async () => {
    w.reset()
    const manifest = readFileSync(w.path('manifest.json'), 'utf8')
    const declared = JSON.parse(manifest)
    declared.services.notes.healthCheck = `grep -q 'old = true' ${w.paths.config} && echo "it is $ATELIER_SERVICE" >&2`
    w.write('manifest.json', JSON.stringify(declared))
    const { exit, stdout } = await w.restore(...inPlace, '--json')
    expect(exit).toBe(1)
    expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
      outcome: 'rolled-back',
      services: [{ name: 'notes', outcome: 'rolled-back', code: 'hook-failed', message: expect.stringContaining('the old data is back in place') }],
    })
    expect(looks()).toEqual(old)
    expect([w.journal(), w.leftovers()]).toEqual([null, []])
    // And one that succeeds doesn't.
    declared.services.notes.healthCheck = `grep -q 'new = true' ${w.paths.config}`
    w.write('manifest.json', JSON.stringify(declared))
    expect(await w.restore(...inPlace)).toMatchObject({ exit: 0 })
    w.write('manifest.json', manifest)
  })

  test('[restore.7] restic failing half-way leaves the old data, and nothing of its own', async () => {
    w.reset()
    const half = resticBefore(w, 'if [ "$command" = restore ]; then "$real" "$@" >/dev/null; exit 1; fi')
    expect(await w.cli(['restore', 'notes', ...inPlace], half)).toMatchObject({ exit: 1 })
    const nothing = resticBefore(w, 'if [ "$command" = restore ]; then exit 0; fi')
    expect(await w.cli(['restore', 'notes', ...inPlace], nothing)).toMatchObject({ exit: 2, stderr: expect.stringContaining('not touched') })
    expect(looks()).toEqual(old)
    expect([w.journal(), w.leftovers()]).toEqual([null, []])
  })

  test('[restore.7] interrupted while it stages, it leaves the old data: exit 130, and no lock', async () => {
    w.reset()
    const { env } = resticBefore(w, `if [ "$command" = restore ]; then touch ${w.path('begun')}; while :; do sleep 0.05; done; fi`)
    const { child, ended } = w.startCli(['restore', 'notes', ...inPlace], { env })
    while (!existsSync(w.path('begun'))) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ exit: 130 })
    expect(looks()).toEqual(old)
    expect([w.journal(), w.leftovers()]).toEqual([null, []])
    expect(await w.restore(...inPlace)).toMatchObject({ exit: 0 })
  })

  test('[restore.13] killed while it stages, it hinders no next restore, and leaves nothing', async () => {
    w.reset()
    const { env } = resticBefore(w, `if [ "$command" = restore ]; then "$real" "$@"; touch ${w.path('staged')}; while :; do sleep 0.05; done; fi`)
    const { child, ended } = w.startCli(['restore', 'notes', ...inPlace], { env })
    while (!existsSync(w.path('staged'))) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill('SIGKILL')
    await ended
    expect([w.journal()?.phase, w.leftovers().length]).toEqual(['staging', 1])
    expect(looks()).toEqual(old)
    const [left] = w.leftovers()
    expect(await w.restore(...inPlace, '--path', w.paths.config)).toMatchObject({ exit: 0 })
    expect(readFileSync(w.paths.config, 'utf8')).toBe('new = true\n')
    expect(w.rows()).toBe(old.rows)
    expect([w.journal(), w.leftovers().includes(left ?? '')]).toEqual([null, false])
  })

  test('what appears between a crash and its end is kept aside', async () => {
    let instant = 1
    for (const direction of ['--resume', '--rollback']) {
      w.reset()
      // The first rename beneath `live` has happened: data is away.
      for (let n = instant; existsSync(w.paths.data); n++) {
        w.reset()
        expect(await w.killedAt({ call: 'rename', n }, ...inPlace)).toBe(true)
        instant = n
      }
      w.write('live/data/appeared', 'written by somebody in between')
      expect(await w.restore(direction)).toMatchObject({ exit: 0 })
      expect(existsSync(join(w.paths.data, 'appeared'))).toBe(false)
      if (direction === '--rollback') expect(looks()).toEqual(old)
      const [kept] = w.record().old
      expect(readFileSync(join(kept?.folder ?? '', `${w.paths.data}.appeared`, 'appeared'), 'utf8')).toBe('written by somebody in between')
      expect(await w.restore('--discard-old', '--yes')).toMatchObject({ exit: 0 })
      expect(w.leftovers()).toEqual([])
    }
  })

  test('[restore.5] whoever opens the database between a crash and its end destroys no committed row', async () => {
    const insert = () => sql(w.paths.database, "CREATE TABLE IF NOT EXISTS notes (text); INSERT INTO notes VALUES ('in between')")
    const inode = () => (existsSync(w.paths.database) ? statSync(w.paths.database).ino : null)
    const seen = new Set<string>()
    for (const change of [1, 2].map((n) => ({ call: 'link', n })).concat([1, 2].map((n) => ({ call: 'unlink', n })))) {
      w.reset()
      const before = inode()
      expect(await w.killedAt(change, ...inPlace)).toBe(true)
      const isThere = inode() === before
      seen.add(isThere ? 'with its sidecars' : 'away')
      insert()
      expect(await w.restore('--rollback')).toMatchObject({ exit: 0 })
      expect(w.rows()).toBe(isThere ? `${old.rows}\nin between` : old.rows)
    }
    expect(seen.size).toBe(2)
  })

  test.for([1, 2])(
    '[restore.5] nor does a finishing after a taking back that was killed at its rename %i: no old -wal beside the new database',
    async (n) => {
      w.reset()
      expect(await w.killedAt({ call: 'unlink', n: 1 }, ...inPlace)).toBe(true)
      expect(await w.killedAt({ call: 'rename', n }, '--rollback')).toBe(true)
      expect(await w.restore('--resume')).toMatchObject({ exit: 0 })
      expect(readdirSync(dirname(w.paths.database))).toEqual(['notes.db'])
      expect(w.rows()).toBe('ok\nof the snapshot')
    },
  )

  test('[restore.3] an excluded folder that is called like a sidecar is carried over, too', async (t) => {
    const own = await world(t)
    own.write('srv/cam', 'x')
    own.write('srv/cam-mjpeg/pictures', 'a year of them')
    own.manifest({ services: { s: { paths: [own.path('srv')], exclude: ['*-mjpeg'] } } })
    expect(await own.cli(['run', 's'])).toMatchObject({ exit: 0 })
    expect(await own.cli(['restore', 's', ...inPlace])).toMatchObject({ exit: 0, stdout: expect.stringContaining('cam-mjpeg') })
    expect(readFileSync(own.path('srv/cam-mjpeg/pictures'), 'utf8')).toBe('a year of them')
  })

  test('[dump.3] of a snapshot with dumps that it can’t bring back nothing is restored in place, but what is chosen', async () => {
    w.reset()
    const dump = w.write('staging/notes/atelier-dumps/mariadb/shop.sql', 'CREATE TABLE t (n int);')
    const saved = [w.paths.config, dirname(dirname(dump))]
    expect(await w.restic(['backup', '--host', 'testhost', '--tag', 'service:notes', ...saved])).toMatchObject({ exit: 0 })
    for (const chosen of [[], ['--path', dump], ['--path', dirname(dump)]]) {
      const { exit, stderr } = await w.restore(...inPlace, ...chosen)
      expect([exit, stderr]).toEqual([1, expect.stringContaining("holds mariadb/shop.sql, a dump of databases that --in-place can't restore")])
    }
    expect(looks()).toEqual(old)
    expect(await w.restore(...inPlace, '--path', w.paths.config)).toMatchObject({ exit: 0 })
    expect(await w.restore('--target', w.path('look'), '--path', dump)).toMatchObject({ exit: 0 })
    expect(readFileSync(join(w.path('look'), dump), 'utf8')).toContain('CREATE TABLE')
  })

  test('nobody reading any more does not end it half-way', async () => {
    w.reset()
    const { env } = resticBefore(w, 'if [ "$command" = restore ]; then sleep 0.3; fi')
    const { child, ended } = w.startCli(['restore', 'notes', ...inPlace, '--json'], { env })
    child.stdout.once('data', () => {
      child.stdout.destroy()
      child.stderr.destroy()
    })
    const exit = new Promise((resolve) => child.once('exit', resolve))
    await ended.catch(() => {})
    expect(await exit).toBe(0)
    expect([w.journal(), w.rows()]).toEqual([null, 'ok\nof the snapshot'])
  })
})
