// PostgreSQL: what stands in a snapshot comes back on a new server with plain restic and PostgreSQL's own programs.
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { cliFile, start } from '../lib/cli.ts'
import { committer, living, output, instead as replaced, resticBefore, slowly, timesOf, until } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { canPostgres, makeServer, type Server } from '../lib/postgres.ts'
import { type World, world } from '../lib/world.ts'

const tables = `
  SELECT count(*) || ' ' || md5(string_agg((id, customer, placed)::text, ',' ORDER BY id)) FROM orders;
  SELECT count(*) || ' ' || coalesce(sum(amount), 0) FROM ledger;
  SELECT last_value || ' ' || is_called FROM orders_id_seq;
  SELECT md5(lo_get(body)) FROM attachment;
  SELECT extname FROM pg_extension WHERE extname = 'pg_trgm';
  SELECT grantee || ' ' || privilege_type FROM information_schema.table_privileges WHERE table_name = 'orders' AND grantee = 'reader';`

/** A million with ATELIER_SOAK. */
const orders = process.env.ATELIER_SOAK ? 1_000_000 : 300_000

describe.skipIf(!canPostgres)('PostgreSQL', () => {
  let w: World
  let server: Server
  beforeAll(async () => {
    server = makeServer()
    server.sql('postgres', "CREATE ROLE reader LOGIN PASSWORD 'hunter2-of-reader'; CREATE ROLE shop LOGIN; CREATE ROLE staff; GRANT staff TO reader")
    server.sql('postgres', 'CREATE DATABASE shop OWNER shop')
    server.sql(
      'shop',
      `CREATE EXTENSION pg_trgm;
       CREATE TABLE orders (id serial PRIMARY KEY, customer text NOT NULL, placed timestamptz DEFAULT now(), stock int DEFAULT 0);
       INSERT INTO orders (customer) SELECT 'customer ' || n FROM generate_series(1, ${orders}) n;
       CREATE INDEX ON orders USING gin (customer gin_trgm_ops);
       CREATE TABLE ledger (id bigserial, amount int);
       CREATE TABLE attachment (id int, body oid);
       INSERT INTO attachment SELECT 1, lo_from_bytea(0, string_agg(decode(md5(n::text), 'hex'), '')) FROM generate_series(1, 50000) n;
       GRANT SELECT ON orders TO reader;
       SELECT nextval('orders_id_seq');`,
    )
  }, 300_000)
  afterAll(() => server.remove())
  beforeAll(async () => {
    w = await world()
    w.write('data/readme', 'beside the database\n')
  })
  afterAll(() => w.cleanup())

  function declare(fields: object = {}, postgresql: object = {}, more: object = {}) {
    const shop = { paths: [w.path('data')], postgres: ['shop'], ...fields }
    w.manifest({ services: { shop }, postgresql: { ...server.declared, ...postgresql }, ...more })
  }
  const run = (path = server.path) => w.cli(['run', 'shop'], { env: { PATH: path } })
  const snapshots = () => readdirSync(join(w.repository.repository, 'snapshots'))
  const staged = () => existsSync(w.path('state/staging/shop'))
  /** The files of a snapshot, restored by restic alone. */
  async function restored(id: string): Promise<string> {
    const target = w.path(`restored-${id.slice(0, 8)}`)
    await w.restic(['restore', id, '--target', target])
    return target
  }
  const newest = async () => (await w.restic(['snapshots', '--json'])).json().at(-1)
  const dumpsIn = (target: string) => join(target, w.path('state/staging/shop/atelier-dumps'))

  test('[postgres.1] [postgres.2] a database that changes all the time comes back whole on a new server, with its roles and grants, by plain restic', async () => {
    declare()
    server.sql('postgres', 'CREATE DATABASE other')
    // Each transaction moves an amount, and goods from one order to another: a consistent state sums to nought.
    const writing = start(['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', 'bash', '-c', mover(server)])
    await until(() => Number(server.sql('shop', 'SELECT count(*) FROM ledger')) > 20, 'the ledger grows')
    const counts = () =>
      [server.sql('shop', 'SELECT count(*) FROM ledger'), server.sql('shop', 'SELECT count(*) FROM orders WHERE stock <> 0')].map(Number)
    const [before = 0, movedBefore = 0] = counts()
    expect(await run()).toMatchObject({ exit: 0, stderr: '' })
    const [during = 0, movedDuring = 0] = counts()
    writing.child.kill()
    expect(during).toBeGreaterThan(before)
    const { id, paths } = await newest()
    expect(paths).toEqual([w.path('data'), w.path('state/staging/shop/atelier-dumps')])
    const expected = server.sql('shop', tables.replace(/.*ledger;/, ''))
    const target = await restored(id)
    expect(readFileSync(join(target, w.path('data/readme')), 'utf8')).toBe('beside the database\n')

    const fresh = makeServer()
    try {
      fresh.run('psql', ['-X', '-q', '-d', 'postgres'], readFileSync(join(dumpsIn(target), 'globals.sql')))
      fresh.run('pg_restore', ['--exit-on-error', '--create', '--dbname=postgres'], readFileSync(join(dumpsIn(target), 'shop.dump')))
      expect(fresh.sql('shop', tables.replace(/.*ledger;/, ''))).toBe(expected)
      const [rows = 0, sum] = fresh.sql('shop', 'SELECT count(*), sum(amount) FROM ledger').split('|').map(Number)
      expect([rows >= before, rows <= during, sum]).toEqual([true, true, 0])
      const [moved = 0, stock] = fresh.sql('shop', 'SELECT count(*) FILTER (WHERE stock <> 0), sum(stock) FROM orders').split('|').map(Number)
      expect([moved >= movedBefore, moved <= movedDuring, stock]).toEqual([true, true, 0])
      expect(fresh.sql('postgres', "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'")).toBe('shop')
      expect(fresh.sql('postgres', "SELECT pg_has_role('reader', 'staff', 'member')")).toBe('t')
      const password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'reader'"
      expect(fresh.sql('postgres', password)).toBe(server.sql('postgres', password))
      expect(readFileSync(join(dumpsIn(target), 'server-version'), 'utf8').trim()).toBe(server.sql('postgres', 'SHOW server_version'))
    } finally {
      fresh.remove()
    }
  }, 300_000)

  test.skipIf(!has('strace'))(
    '[dump.1] [dump.2] ten times over, a dump holds all that was committed before it and no torn pair; nobody waits for it',
    async () => {
      for (const name of ['till', 'restored']) server.sql('postgres', `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
      server.sql('postgres', 'CREATE DATABASE till')
      server.sql(
        'till',
        'CREATE TABLE a(n int PRIMARY KEY); CREATE TABLE b(n int PRIMARY KEY); CREATE TABLE ballast AS SELECT md5(n::text) FROM generate_series(1, 20000) n',
      )
      declare({ postgres: ['till'], shrinkThreshold: null })
      const psql = ['psql', '-X', '-q', '-A', '-t', '-h', server.declared.socketDir, '-d', 'till']
      const writing = await committer(
        ['env', `PATH=${server.path}`, 'setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', ...psql],
        'BEGIN',
      )
      // So that what happens meanwhile shows.
      const { path: slow } = slowly(w, server.path, 'pg_dump', 'recvfrom', 5)
      const saved: { id: string; before: number; during: number }[] = []
      for (let i = 0; i < 10; i++) {
        const before = writing.committed()
        const ended = await w.cli(['run', 'shop', '--json'], { env: { PATH: i === 0 ? slow : server.path } })
        expect(ended.exit).toBe(0)
        const { begun, done } = timesOf(ended.events(), 'dump')
        const { commits, worst } = writing.between(begun, done)
        if (i === 0)
          expect([commits > 20, worst < (done - begun) / 2], `the worst of ${commits} commits took ${worst} of ${done - begun} ms`).toEqual([
            true,
            true,
          ])
        saved.push({ id: (await newest()).id, before, during: writing.committed() })
      }
      await writing.end()
      for (const { id, before, during } of saved) {
        const dump = w.path('till.dump')
        await w.restic(['dump', '--target', dump, id, w.path('state/staging/shop/atelier-dumps/till.dump')])
        server.sql('postgres', 'CREATE DATABASE restored')
        server.run('pg_restore', ['--exit-on-error', '--dbname=restored'], readFileSync(dump))
        const [a = '', b] = server.sql('restored', 'SELECT count(*), max(n) FROM a; SELECT count(*), max(n) FROM b').split('\n')
        expect(b).toBe(a)
        const [rows = 0, last = 0] = a.split('|').map(Number)
        expect([rows, last >= before, last <= during]).toEqual([last, true, true])
        server.sql('postgres', 'DROP DATABASE restored')
        rmSync(dump)
      }
      server.sql('postgres', 'DROP DATABASE till')
    },
    120_000,
  )

  test('[postgres.2] dumps are files of root alone, gone from the host afterwards; only declared databases are dumped', async () => {
    declare()
    const seen = w.path('seen')
    const { env } = resticBefore(w, `[[ "$*" != *atelier-dumps* ]] || ls -ln ${w.path('state/staging/shop/atelier-dumps')} >${seen}`)
    expect(await run(`${env.PATH}:${server.path}`)).toMatchObject({ exit: 0 })
    const listed = readFileSync(seen, 'utf8').trim().split('\n').slice(1)
    expect(listed.map((line) => line.replace(/(?<= 0 0) .* /, ' '))).toEqual(
      ['globals.sql', 'server-version', 'shop.dump'].map((name) => `-rw------- 1 0 0 ${name}`),
    )
    expect(staged()).toBe(false)
  })

  test('[postgres.21] doctor names programs that are newer than the server, and what a restore in place would lack', async () => {
    const databases = async (path: string) => {
      const { checks } = (await w.cli(['doctor', '--json'], { env: { PATH: path } })).json() as {
        checks: { name: string; ok: boolean; message: string }[]
      }
      return checks.filter(({ name }) => name === 'databases')
    }
    declare()
    expect(await databases(server.path)).toMatchObject([
      { ok: true, message: expect.stringMatching(/^1 database of PostgreSQL .*all that a restore/) },
    ])
    const newer = instead('pg_dump', '[ "$1" = --version ] && exec echo "pg_dump (PostgreSQL) 99.1"; exec "$real" "$@"')
    expect(await databases(newer)).toMatchObject([{ ok: false, message: expect.stringContaining('is of version 99.1') }])
    server.sql('postgres', 'CREATE ROLE nobody LOGIN')
    declare({ postgres: ['shop', 'shpo'] }, { user: 'nobody' })
    const lacking = await databases(server.path)
    server.sql('postgres', 'DROP ROLE nobody')
    expect(lacking.map(({ message }) => message)).toEqual([
      expect.stringMatching(/nobody is no superuser/),
      expect.stringMatching(/no database shpo/),
    ])
  })

  const wrong: [what: string, said: RegExp, declare: () => void, path?: () => string][] = [
    ['an unknown database', /there is no such database .*"shpo"/, () => declare({ postgres: ['shop', 'shpo'] })],
    ['another socket', /does not answer: does it run, and is its socket in \/nowhere\?/, () => declare({}, { socketDir: '/nowhere' })],
    ['another port', /does not answer/, () => declare({}, { port: 5433 })],
    ['an unknown user', /names no user of this host/, () => declare({}, { user: 'postgress' })],
    ['a user without a role', /role "nobody" does not exist/, () => declare({}, { user: 'nobody' })],
    ["no PostgreSQL's programs", /programs aren't on PATH/, () => declare(), () => without('psql')],
    [
      'programs that are newer than the server',
      /pg_dump on PATH is of version 99.1, and the server of .*: put the programs of PostgreSQL \d+ on PATH/,
      () => declare(),
      () => instead('pg_dump', '[ "$1" = --version ] && exec echo "pg_dump (PostgreSQL) 99.1"; exec "$real" "$@"'),
    ],
    ['an empty dump', /exited 0, but its dump is empty/, () => declare(), () => instead('pg_dump', `${versioned} exit 0`)],
    ['a dump that breaks off', /the database shop: exit code 7/, () => declare(), () => instead('pg_dump', `${versioned} echo PGDMP; exit 7`)],
    ['dumped roles that break off', /the roles: exit code 7/, () => declare(), () => instead('pg_dumpall', 'echo --; exit 7')],
  ]
  test.each(wrong)('[postgres.3] %s: one line, no snapshot, nothing left', async (_, said, arrange, path = () => server.path) => {
    arrange()
    const before = snapshots()
    const { exit, stdout, stderr } = await run(path())
    expect(exit).toBe(1)
    const line = (stderr + stdout).split('\n').filter((text) => text.includes('no snapshot was made'))
    expect(line).toEqual([expect.stringMatching(said)])
    expect(snapshots()).toEqual(before)
    expect(staged()).toBe(false)
    expect(JSON.parse(readFileSync(w.path('state/records/shop.json'), 'utf8')).runs.at(-1)).toMatchObject({ outcome: 'failed', snapshotId: null })
  })

  test('[postgres.3] a server that is down: one line, no snapshot, nothing left', async () => {
    declare()
    const before = snapshots()
    server.stop()
    try {
      expect(await run()).toMatchObject({ exit: 1, stderr: expect.stringContaining('does not answer') })
    } finally {
      server.start()
    }
    expect(snapshots()).toEqual(before)
    expect(staged()).toBe(false)
  })

  test('[postgres.3] a server that recovers is waited for, and Ctrl-C ends the wait', async () => {
    declare()
    const before = snapshots()
    const asked = join(server.declared.socketDir, 'asked')
    // It speaks another language than English.
    const refused = `echo 'psql: error: connection to server on socket "/run/s" failed: FATAL:  das Datenbanksystem startet' >&2; exit 2`
    const rejecting = instead('pg_isready', `echo >>${asked}; [ -e ${asked}.up ] && exec "$real" "$@"; exit 1`).split(':')[0]
    const { child, ended } = w.startCli(['run', 'shop'], { env: { PATH: `${rejecting}:${instead('psql', refused)}` } })
    await until(() => existsSync(asked) && readFileSync(asked, 'utf8').length > 1, 'it has asked twice')
    child.kill('SIGINT')
    expect((await ended).exit).toBe(130)
    expect([snapshots(), staged()]).toEqual([before, false])
    rmSync(asked)
    const once = instead('psql', `[[ -e ${asked} ]] && touch ${asked}.up && exec "$real" "$@"; ${refused}`)
    expect(await run(`${rejecting}:${once}`)).toMatchObject({ exit: 0 })
    expect(snapshots().length).toBeGreaterThan(before.length)
  })

  test('[postgres.3] no space for the dump: one line, no snapshot, nothing left', async () => {
    const small = w.path('small')
    declare({}, {}, { stagingDir: small })
    const before = snapshots()
    // In a namespace of its own: the small disk is gone with it.
    const script = 'mkdir -p "$1" && mount -t tmpfs -o size=2m,mode=755 tmpfs "$1" && shift && "$@"; exit=$?; find "$0" -type f; exit $exit'
    const inside = ['unshare', '--mount', 'bash', '-c', script, small, small, process.execPath, cliFile, 'run', 'shop']
    const { exit, stdout, stderr } = await start(inside, { env: { ...w.env, PATH: server.path } }).ended
    expect(exit).toBe(1)
    expect(stderr).toContain('no space is left for the dump; stagingDir names another place')
    expect(stdout).not.toContain(small)
    expect(snapshots()).toEqual(before)
  })

  test('[postgres.16] a dump on the disk that the server writes to is given up while there is room for the server, and doctor names both places', async (t) => {
    chmodSync(w.root, 0o755)
    const disk = w.path('disk')
    output(['mkdir', '-p', disk])
    output(['mount', '-t', 'tmpfs', '-o', 'size=600m,mode=755', 'none', disk])
    t.onTestFinished(() => void output(['umount', disk]))
    vi.stubEnv('TMPDIR', disk)
    const shared = makeServer()
    vi.unstubAllEnvs()
    t.onTestFinished(() => shared.remove())
    shared.sql('postgres', 'CREATE DATABASE wide')
    // 600 MB that the server compresses to 7.
    shared.sql('wide', "CREATE TABLE t AS SELECT repeat('x', 1000000) FROM generate_series(1, 600)")
    declare({ postgres: ['wide'] }, shared.declared, { stagingDir: disk })
    const before = snapshots()
    const started = shared.sql('postgres', 'SELECT pg_postmaster_start_time()')
    const checks: { name: string; ok: boolean; message: string }[] = (await w.cli(['doctor', '--json'], { env: { PATH: server.path } })).json().checks
    const check = checks.find(({ name }) => name === 'dumps')
    expect(check).toMatchObject({
      ok: true,
      message: expect.stringContaining(`${disk}/atelier-backup, on the disk that PostgreSQL writes to (${disk}/`),
    })
    const free: number[] = []
    const timer = setInterval(() => {
      const { bavail, bsize } = statfsSync(disk)
      free.push(bavail * bsize)
    }, 5)
    const { exit, stderr } = await run()
    clearInterval(timer)
    expect([exit, stderr]).toEqual([1, expect.stringContaining('no space is left for the dump; stagingDir names another place')])
    // The dump had begun.
    expect(Math.max(...free) - Math.min(...free)).toBeGreaterThan(20 << 20)
    expect(Math.min(...free)).toBeGreaterThan(200 << 20)
    expect(snapshots()).toEqual(before)
    expect(shared.sql('postgres', 'SELECT pg_postmaster_start_time()')).toBe(started)
  }, 180_000)

  test('[postgres.4] killed in the middle of a dump: pg_dump ends too, and --cleanup leaves nothing', async () => {
    declare()
    const path = instead('pg_dump', `${versioned} echo PGDMP; exec sleep 300`)
    const { child } = w.startCli(['run', 'shop'], { env: { PATH: path } })
    const dumping = () => living({ ...w, root: path.split(':')[0] ?? '' }).filter(({ argv }) => argv[0] === 'sleep')
    await until(() => dumping().length > 0, 'it dumps')
    const [{ pid } = { pid: 0 }] = dumping()
    expect(statSync(`/proc/${pid}`).uid).not.toBe(0)
    child.kill('SIGKILL')
    await until(() => dumping().length === 0, 'pg_dump has ended')
    expect(staged()).toBe(true)
    expect(await w.cli(['run', '--cleanup', 'shop'])).toMatchObject({ exit: 0 })
    expect(staged()).toBe(false)
  })

  test('[postgres.5] role passwords stand nowhere but in the snapshot', async () => {
    declare()
    const spied = w.write('spied', '')
    chmodSync(spied, 0o666)
    const spy = `cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>${spied} 2>/dev/null`
    const path = instead('pg_dump', `${spy}; exec "$real" "$@"`)
    const { stdout, stderr } = await w.cli(['backup', 'shop', '--json'], { env: { PATH: path } })
    const hash = server.sql('postgres', "SELECT rolpassword FROM pg_authid WHERE rolname = 'reader'")
    const seen = readFileSync(spied, 'latin1')
    expect([hash.slice(0, 5), seen.includes('pg_dump')]).toEqual(['SCRAM', true])
    expect([stdout, stderr, seen].join()).not.toContain(hash)
    expect(await start(['grep', '-rlF', '--', hash, w.path('state')]).ended).toMatchObject({ exit: 1, stdout: '' })
  })

  test('[postgres.6] a restore for a look shows the dumps, and so does list', async () => {
    declare()
    await run()
    const { id } = await newest()
    const target = w.path('look')
    expect(await w.cli(['restore', 'shop', '--snapshot', id, '--target', target])).toMatchObject({ exit: 0 })
    expect(readdirSync(dumpsIn(target)).sort()).toEqual(['globals.sql', 'server-version', 'shop.dump'])
    expect((await w.cli(['list', 'shop', '--snapshot', id, '--json'])).stdout).toContain('shop.dump')
    rmSync(target, { recursive: true })
  })

  const versioned = '[ "$1" = --version ] && exec "$real" "$@";'
  const instead = (program: string, script: string) => replaced(w, server.path, program, script)
  function without(program: string): string {
    return (process.env.PATH ?? '')
      .split(':')
      .filter((folder) => !existsSync(join(folder, program)))
      .concat(tools(w))
      .join(':')
  }
})

/** What a run needs beside PostgreSQL's programs, where they stand in one folder with them. */
function tools(w: World): string {
  const folder = w.path('tools')
  output(['mkdir', '-p', folder])
  for (const tool of ['bash', 'cat', 'cp', 'env', 'flock', 'id', 'mkdir', 'mount', 'node', 'restic', 'rm', 'setpriv', 'sh', 'unshare'])
    output(['bash', '-c', `ln -sf "$(command -v ${tool})" ${folder}/`])
  return folder
}

function mover({ declared, path }: Server): string {
  const move = [
    'BEGIN; INSERT INTO ledger (amount) VALUES (5); INSERT INTO ledger (amount) VALUES (-5);',
    `UPDATE orders SET stock = stock + 1 WHERE id = $((n + i)); UPDATE orders SET stock = stock - 1 WHERE id = ${orders} - $((n + i)); COMMIT;`,
  ]
  return `export PATH='${path}'; while [ -d ${declared.socketDir} ]; do for i in {1..200}; do echo "${move.join(' ')}"; done | psql -X -q -h ${declared.socketDir} -d shop; n=$((n + 200)); done`
}
