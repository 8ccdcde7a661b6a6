// Databases in a restore in place: a part of the service's transaction, entirely old or entirely new, like its files.
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { start } from '../lib/cli.ts'
import { until } from '../lib/live.ts'
import { canPostgres, makeServer } from '../lib/postgres.ts'
import { type Shop, second, shop } from './shop.ts'

const inPlace = ['--in-place', '--yes']

// A server is copied and started for each test.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 })

describe.skipIf(!canPostgres)('databases in place', () => {
  let s: Shop
  let old: object
  let fresh: object
  const live = ['shop', second].sort()

  beforeAll(async () => {
    s = await shop()
    old = s.look()
    const { exit, stderr } = await s.restore(...inPlace)
    expect([exit, stderr]).toEqual([0, expect.stringContaining('the database shop is loaded: 2 tables, 501 rows')])
    fresh = s.look()
  })
  afterAll(() => s.cleanup())
  beforeEach(() => s.reset())

  test('[postgres.6] afterwards the databases are as they were in the snapshot, with properties and grants, and what came since is gone', () => {
    expect(fresh).toMatchObject({
      file: 'of the snapshot\n',
      [second]: 'of the snapshot',
      tables: 'attachment orders',
      orders: expect.stringMatching(/^500 /),
      sequence: '500 true',
      objects: expect.stringMatching(/^[1-9]/),
      extensions: 'pg_trgm\nplpgsql',
      grants: expect.stringContaining('reader=r/postgres'),
    })
    const { properties } = fresh as { properties: string }
    for (const part of [
      'shop|shop|UTF8',
      `${second}|postgres|LATIN1|C|t|-1`,
      '|t|42|',
      'reader=Tc/shop',
      'search_path=own, public',
      'shopwork_mem=8MB',
      `the shop's; "DATABASE shop"\n\\connect nowhere\n-- DATABASE shop`,
    ])
      expect(properties).toContain(part)
    expect(properties).not.toContain('=Tc/shop|=')
    expect(old).toMatchObject({ tables: 'items orders', orders: expect.stringMatching(/^501 /), objects: expect.stringMatching(/^0/) })
  })

  test('[postgres.7] the old databases are kept, named by status, closed to everybody, exchanged back by --rollback, and dropped by --discard-old', async () => {
    expect(s.look()).toEqual(old)
    expect((await s.restore(...inPlace)).exit).toBe(0)
    expect(s.look()).toEqual(fresh)
    const kept = s.record().oldDatabases.map((database) => database.kept)
    expect(kept).toEqual(['shop', second].map((name, i) => expect.stringMatching(`^atelier-old-.*-${i}-${name.replace('$', '[$]')}$`)))
    expect(s.databases()).toEqual([...kept, ...live].sort())
    expect((await s.cli(['status', '--local'])).stdout).toContain(`database ${kept[0]}`)
    expect(() => s.server.sql(kept[0] ?? '', 'SELECT 1')).toThrow(/not currently accepting connections/)
    expect((await s.restore('--rollback', '--yes')).exit).toBe(0)
    expect(s.look()).toEqual(old)
    expect((await s.restore('--rollback', '--yes')).exit).toBe(0)
    expect(s.look()).toEqual(fresh)
    const { exit, stdout } = await s.restore('--discard-old', '--yes')
    expect([exit, stdout]).toEqual([0, expect.stringContaining('deleted')])
    expect([s.databases(), s.record().old, s.record().oldDatabases]).toEqual([live, [], []])
    expect(s.look()).toEqual(fresh)
    expect(await s.restore('--rollback', '--yes')).toMatchObject({ exit: 2, stderr: expect.stringContaining('no old data is kept') })
  })

  test('[postgres.8] the plan names databases, sizes, room and versions, and changes nothing', async () => {
    s.server.sql('postgres', 'REVOKE staff FROM reader, shop; DROP ROLE staff')
    const { exit, stdout } = await s.restore('--in-place', '--dry-run')
    expect(exit).toBe(0)
    expect(stdout).toMatch(/replaces +the database shop +[\d.]+ MB → a dump of [\d.]+ .B/)
    expect(stdout).toMatch(/server +PostgreSQL \d+/)
    expect(stdout).toMatch(/creates +the role staff, with its password and memberships/)
    expect(stdout).toContain(`every connection to shop, ${second}`)
    const planned = (await s.restore('--in-place', '--dry-run', '--json')).json()
    expect(planned.facts.postgres).toMatchObject({
      databases: [{ name: 'shop', live: { bytes: expect.any(Number) } }, { name: second }],
      roles: ['staff'],
    })
    expect(JSON.stringify(planned)).not.toContain('SCRAM')
    expect([s.look(), s.databases(), s.journal()]).toEqual([old, live, null])
  })

  test('[postgres.9] roles that are missing are created, with passwords, settings and memberships; those that are there are left alone', async () => {
    const roles = (names: string) =>
      s.server.sql(
        'postgres',
        `SELECT rolname, rolpassword, rolcanlogin, rolsuper, shobj_description(oid, 'pg_authid'),
           (SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0),
           (SELECT string_agg(roleid::regrole::text, ' ') FROM pg_auth_members WHERE member = r.oid)
         FROM pg_authid r WHERE rolname IN (${names}) ORDER BY 1`,
      )
    const saved = roles("'reader', 'staff'")
    expect(saved).toMatch(/^reader\|SCRAM-.*\|t\|f\|it's; "reads"\|\{work_mem=9MB\}\|staff\nstaff\|/)
    s.server.sql('shop', 'DROP OWNED BY reader; DROP OWNED BY staff')
    s.server.sql('postgres', "DROP ROLE reader; DROP ROLE staff; ALTER ROLE shop PASSWORD 'of this host' CONNECTION LIMIT 3")
    const own = roles("'shop'")
    expect((await s.restore(...inPlace)).exit).toBe(0)
    expect(roles("'reader', 'staff'")).toBe(saved)
    expect(roles("'shop'")).toBe(own)
    expect(s.look()).toEqual(fresh)
  })

  test('[postgres.9] [dr.1] [dr.3] dr on a fresh server: roles, databases, and what was made empty in their place is kept', async () => {
    const other = makeServer()
    try {
      other.sql('postgres', 'CREATE ROLE shop LOGIN')
      other.sql('postgres', 'CREATE DATABASE shop OWNER shop')
      for (const folder of ['state', 'data']) rmSync(s.path(folder), { recursive: true })
      const declare = (paths: string[]) => s.manifest({ services: { shop: { paths, postgres: ['shop', second] } }, postgresql: other.declared })
      declare([s.path('data')])
      const { exit, stderr } = await s.cli(['dr', '--yes'])
      expect([exit, stderr]).toEqual([0, expect.stringContaining('the database shop is loaded')])
      expect(s.look(other)).toEqual(fresh)
      const password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'reader'"
      expect(other.sql('postgres', password)).toBe(s.server.sql('postgres', password))
      expect(s.record().oldDatabases).toMatchObject([
        { database: 'shop', kept: expect.stringMatching('^atelier-old-') },
        { database: second, kept: null },
      ])
      declare([])
      expect(await s.cli(['dr', '--yes'])).toMatchObject({ exit: 3, stdout: expect.stringContaining('it lives here') })
    } finally {
      other.remove()
    }
  })

  test('[postgres.7] prune drops old databases when their time is over', async () => {
    expect((await s.restore(...inPlace)).exit).toBe(0)
    expect((await s.cli(['run', 'shop'])).exit).toBe(0)
    // One without a checksum is one of before there were any.
    const { sum: _, ...record } = s.record()
    const prunedAfter = async (days: number) => {
      for (const kept of [...record.old, ...record.oldDatabases]) kept.since = new Date(Date.now() - days * 86_400_000).toISOString()
      writeFileSync(s.path('state/records/shop.json'), JSON.stringify(record))
      return s.cli(['prune'])
    }
    await prunedAfter(6.9)
    expect(s.databases()).toHaveLength(4)
    expect((await prunedAfter(7.1)).stderr).toContain('atelier-old-')
    expect([s.databases(), s.record().oldDatabases]).toEqual([live, []])
  })

  test('[postgres.10] the health check fails: the old databases are put back with the files, and nothing is left', async () => {
    s.declare({ healthCheck: 'exit 1' })
    const { exit, stderr } = await s.restore(...inPlace)
    expect([exit, stderr]).toEqual([1, expect.stringContaining('the old data is back in place')])
    expect([s.look(), s.databases(), s.journal(), s.record().oldDatabases]).toEqual([old, live, null, []])
  })

  const damaged: [what: string, said: RegExp, change: (folder: string) => void][] = [
    ['a dump that is cut off', /its dump is damaged/, (folder) => cut(join(folder, 'shop.dump'), 0.6)],
    ['a dump that lacks its last bytes', /its dump is damaged/, (folder) => cut(join(folder, 'shop.dump'), -3)],
    ['an empty dump', /the database shop/, (folder) => truncateSync(join(folder, 'shop.dump'))],
    [
      'a newer server',
      /saved from PostgreSQL 99.1, and this server is .*Upgrade the server/,
      (folder) => writeFileSync(join(folder, 'server-version'), '99.1\n'),
    ],
  ]
  test.each(damaged)('[postgres.10] %s: one line, exit 1, the old data is untouched, and nothing is left', async (_, said, change) => {
    await s.tampered(change)
    const { exit, stderr } = await s.restore(...inPlace)
    expect([exit, stderr]).toEqual([1, expect.stringMatching(said)])
    expect(stderr).toMatch(/not touched|nothing was touched/)
    expect([s.look(), s.databases(), s.journal()]).toEqual([old, live, null])
  })

  test('[postgres.20] a new database that cannot be dropped keeps no backup out, and is dropped by --discard-old', async () => {
    // The server goes away for good while it loads.
    const gone = `case "$*" in *--file=-*|*--list*|--version*) exec "$real" "$@" ;; esac
      kill -QUIT $(head -1 ${s.server.declared.socketDir}/data/postmaster.pid); sleep 1; exec "$real" "$@"`
    const { exit, stderr } = await s.cli(['restore', 'shop', ...inPlace], s.instead('pg_restore', gone))
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/takes room until prune drops it, or: atelier-backup restore shop --discard-old/)])
    expect(s.journal()).toBeNull()
    s.server.start()
    expect([s.look(), s.databases()]).toEqual([old, [second, expect.stringMatching(/^atelier-new-/), 'shop']])
    expect((await s.cli(['run', 'shop'])).exit).toBe(0)
    expect(await s.restore('--discard-old', '--yes')).toMatchObject({ exit: 0, stdout: expect.stringContaining('deleted atelier-new-') })
    expect([s.look(), s.databases()]).toEqual([old, live])
  })

  test('[postgres.20] [postgres.23] a subscription and a slot: told by plan and status, rolled back and dropped, and backups go on', async () => {
    s.server.sql('shop', "CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere dbname=x' PUBLICATION p WITH (connect = false)")
    s.server.sql('shop', "SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')")
    s.declare({ healthCheck: 'exit 1' })
    expect((await s.cli(['run', 'shop'])).exit).toBe(0)
    expect((await s.restore('--in-place', '--dry-run', '--json')).json().plan.notes.join()).toMatch(
      /slot cdc of shop stays.*subscription sub of shop/,
    )
    expect(await s.restore(...inPlace)).toMatchObject({ exit: 1, stderr: expect.stringContaining('the old data is back in place') })
    expect([s.databases(), s.journal()]).toEqual([live, null])
    s.declare()
    expect((await s.restore(...inPlace)).exit).toBe(0)
    expect((await s.cli(['status', '--local'])).stdout).toContain("SELECT pg_drop_replication_slot('cdc')")
    expect(await s.restore('--discard-old', '--yes')).toMatchObject({ exit: 0 })
    expect([s.databases(), s.server.sql('postgres', 'SELECT count(*) FROM pg_replication_slots')]).toEqual([live, '0'])
  })

  test('[postgres.10] no space while it loads: one line, exit 1, the old data is untouched, and nothing is left', async () => {
    const full = `case "$*" in *--file=-*|*--list*|--version*) exec "$real" "$@" ;; esac
      "$real" --section=pre-data "$@"; echo 'pg_restore: error: ERROR:  could not extend file "base/1/2": No space left on device' >&2; exit 1`
    const { exit, stderr } = await s.cli(['restore', 'shop', ...inPlace], s.instead('pg_restore', full))
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/no space is left for the server's data.*not touched/)])
    expect([s.look(), s.databases(), s.journal()]).toEqual([old, live, null])
  })

  test('[postgres.6] --path brings the files back alone, or one database alone', async () => {
    expect((await s.restore(...inPlace, '--path', s.path('data'))).exit).toBe(0)
    expect(s.look()).toEqual({ ...old, file: 'of the snapshot\n' })
    expect((await s.restore(...inPlace, '--path', join(s.dumps, `${second}.dump`))).exit).toBe(0)
    expect(s.look()).toMatchObject({ tables: 'items orders', [second]: 'of the snapshot' })
    expect(await s.restore(...inPlace, '--path', join(s.dumps, 'shpo.dump'))).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining("isn't in snapshot"),
    })
  })

  test('[postgres.10] the files of the server itself are not exchanged under it', async () => {
    s.declare({ paths: [join(s.server.declared.socketDir, 'data/base')] })
    expect([0, 3]).toContain((await s.cli(['run', 'shop'])).exit)
    expect(await s.restore(...inPlace)).toMatchObject({ exit: 1, stderr: expect.stringMatching(/holds files of the PostgreSQL server.*--path/) })
    expect([s.look(), s.databases()]).toEqual([old, live])
  })

  test('[postgres.6] a database that the snapshot lacks stays as it is, and is noted; one that is not declared is refused', async () => {
    await s.tampered((folder) => rmSync(join(folder, 'shop.dump')))
    const { stdout } = await s.restore('--in-place', '--dry-run')
    expect(stdout).toMatch(/this snapshot holds no dump of the database shop, which stays as it\s+is/)
    expect((await s.restore(...inPlace)).exit).toBe(0)
    expect(s.look()).toMatchObject({ file: 'of the snapshot\n', tables: 'items orders', [second]: 'of the snapshot' })
    s.declare({ postgres: ['shop'] })
    expect(await s.restore(...inPlace)).toMatchObject({
      exit: 1,
      stderr: expect.stringContaining(`a dump of the database ${second}, which the manifest doesn't declare`),
    })
  })

  test('[postgres.6] a service of databases alone; what is missing is made', async () => {
    s.declare({ paths: [] })
    expect((await s.cli(['run', 'shop'])).exit).toBe(0)
    s.server.sql('postgres', 'DROP DATABASE shop')
    expect((await s.restore('--in-place', '--dry-run')).stdout).toMatch(/restores +the database shop +a dump of/)
    expect((await s.restore(...inPlace)).exit).toBe(0)
    expect(s.look()).toEqual(old)
    expect((await s.restore('--rollback', '--yes')).exit).toBe(0)
    expect(s.databases()).toEqual([second, expect.stringMatching(/^atelier-old-/), expect.stringMatching(/^atelier-old-/)])
  })

  test('[postgres.11] who is connected is disconnected, nothing that was committed is lost, and nobody gets into what is kept', async () => {
    const { declared, path } = s.server
    const insert = "INSERT INTO own.orders (customer) VALUES ('by a connection') RETURNING 'committed';"
    const stop = join(declared.socketDir, 'stop')
    const loop = `export PATH='${path}'; while [ -d ${declared.socketDir} ] && [ ! -e ${stop} ]; do for i in {1..100}; do echo "${insert}"; done | psql -XqAt -h ${declared.socketDir} -d shop; done`
    const writing = start(['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', 'bash', '-c', loop])
    await until(() => Number(s.server.sql('shop', 'SELECT count(*) FROM own.orders')) > 600, 'it writes')
    // One that would stay for longer than a restore waits.
    const sleep = ['psql', '-Xq', '-h', declared.socketDir, '-d', 'shop', '-c', 'SELECT pg_sleep(600)']
    const staying = start(['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', ...sleep], { env: { PATH: path } })
    await until(() => s.server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%'") === '2', 'it is connected')
    const { exit } = await s.restore(...inPlace)
    expect((await staying.ended).stderr).toContain('terminating connection due to administrator command')
    await until(() => s.server.sql('shop', "SELECT count(*) FROM own.orders WHERE customer = 'by a connection'") !== '0', 'it writes on')
    writeFileSync(stop, '')
    const { stdout } = await writing.ended
    expect(exit).toBe(0)
    const [kept] = s.record().oldDatabases.map((database) => database.kept ?? '')
    s.server.sql('postgres', `ALTER DATABASE "${kept}" ALLOW_CONNECTIONS true`)
    const count = "SELECT count(*) FROM own.orders WHERE customer = 'by a connection'"
    const both = Number(s.server.sql(kept ?? '', count)) + Number(s.server.sql('shop', count))
    expect(both).toBeGreaterThanOrEqual(stdout.split('committed').length - 1)
  })
})

/** Cuts a file to a part of its length, or by so many bytes. */
function cut(file: string, how: number): void {
  const { size } = statSync(file)
  truncateSync(file, how < 0 ? size + how : Math.floor(size * how))
}
