// Databases behind a real postgresql.service, PostgreSQL 17: saved by the closed unit, restored under a service that is connected, ended at boot.
import { rmSync, utimesSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { rebuild } from './nixos.ts'
import { restic, type Saved, snapshots } from './notes.ts'
import { atWork, changes, committed, databases, kill, look, lookInto, makeShopHost, shop, sql, stopAt } from './shop.ts'

const unit = 'restic-backups-shop.service'
const inPlace = ['restore', 'shop', '--in-place', '--yes']
/** A million with ATELIER_SOAK. */
const orders = process.env.ATELIER_SOAK ? 1_000_000 : 300_000

describe.skipIf(!canHost)('a host with PostgreSQL 17', () => {
  let host: TestHost
  let saved: string
  let live: string
  beforeAll(async () => {
    host = await makeShopHost()
    // Not by its unit, which is what is tested.
    expect(await host.cli(['run', 'shop'])).toMatchObject({ exit: 0 })
    saved = await look(host)
    await sql(host, changes)
    await host.sh('echo live >/var/lib/shop/version; systemctl restart shop')
    await atWork(host)
    live = await look(host)
  }, imageTimeout)
  afterAll(() => host?.remove())

  /** What the service noted of its data each time it started, since then. */
  const startedOn = async () => [...new Set((await host.sh('cat /var/log/shop/started')).split('\n'))]
  const forgetStarts = () => host.sh('rm -f /var/log/shop/started')
  /** The same where the host is off. */
  const forgetStartsOutside = async () => rmSync(host.path('/var/log/shop/started'), { force: true })
  const journal = async () => (await host.run(['cat', '/var/lib/atelier-backup/journals/shop.json'])).stdout
  const status = async () => (await host.cli(['status', '--json'])).json().services[0]
  const kept = expect.stringMatching(/^atelier-old-.*-0-shop$/)
  async function newest(): Promise<Saved> {
    const [latest] = (await snapshots(host)).slice(-1)
    if (!latest) throw new Error('no snapshot')
    return latest
  }
  /** Back to what is live, as each test finds it. */
  async function takeBack(): Promise<void> {
    await forgetStarts()
    expect(await host.cli(['restore', 'shop', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
    await atWork(host)
    expect([await look(host), await startedOn()]).toEqual([live, ['live live']])
    expect(await host.cli(['restore', 'shop', '--discard-old', '--yes'])).toMatchObject({ exit: 0 })
    expect(await databases(host)).toEqual(['shop'])
  }

  test('[unit.17] a restore in place under a service that is connected: all of its data, with owners, grants, sequences and large objects; and back', async () => {
    const before = await committed(host)
    const known = `SELECT count(*) FROM own.a WHERE n <= ${before}`
    const rows = await sql(host, known)
    await forgetStarts()
    // A time limit of the host's ends nothing of ours, although another restore makes its roles first.
    await sql(host, "ALTER ROLE postgres SET transaction_timeout = '1s'", 'postgres')
    const waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    const other = sql(
      host,
      `BEGIN;
       SELECT pg_advisory_xact_lock(6841123);
       DO $$ BEGIN FOR i IN 1..600 LOOP EXIT WHEN EXISTS (${waits}); PERFORM pg_sleep(0.05); END LOOP; PERFORM pg_sleep(2); END $$;
       COMMIT`,
      'postgres',
    )
    const { exit, stdout, stderr } = await host.cli(inPlace)
    await other
    await sql(host, 'ALTER ROLE postgres RESET transaction_timeout', 'postgres')
    expect([exit, stderr]).toEqual([0, expect.stringContaining('the database shop is loaded')])
    expect(stdout).toMatch(/stops +shop.service +running now/)
    await atWork(host)
    expect([await look(host), await startedOn(), await databases(host)]).toEqual([saved, ['saved saved'], [kept, 'shop']])
    await takeBack()
    expect(await committed(host)).toBeGreaterThan(before)
    expect(await sql(host, `${known}; SELECT count(*) FROM own.a FULL JOIN own.b USING (n) WHERE a.n IS NULL OR b.n IS NULL`)).toBe(`${rows}\n0`)
  })

  test.for([
    ['loading', 'staging', 'a power cut', 'live'],
    ['renamed', 'exchanging', 'a kill, and a reboot', 'saved'],
    ['files', 'swapping', 'a power cut', 'saved'],
  ] as const)('[unit.18] at the instant "%s" (%s) %s: the service starts on %s data alone', async ([instant, phase, end, data]) => {
    const stopped = await stopAt(host, instant)
    expect(JSON.parse(await journal())).toMatchObject({ phase })
    if (end === 'a power cut') await host.powerCut()
    else await kill(host, stopped)
    await stopped.ended
    await forgetStartsOutside()
    if (end === 'a power cut') await host.boot()
    else await host.reboot()
    await atWork(host)
    expect([await startedOn(), await look(host)]).toEqual([[`${data} ${data}`], data === 'saved' ? saved : live])
    expect([await journal(), await databases(host)]).toEqual(['', data === 'saved' ? [kept, 'shop'] : ['shop']])
    expect(await host.sh('find /var/lib -path "*/.atelier-backup-shop-*/new" -o -name "*.dump"')).toBe('')
    expect(await status()).toMatchObject({ state: 'ok' })
    if (data === 'saved') await takeBack()
  })

  test('[unit.18] a server that is long in coming up after a power cut: the boot waits for it, and so does a backup that was missed', async () => {
    await rebuild(host, shop('atelier.backup.services.shop.schedule.onCalendar = "daily";'))
    const before = await snapshots(host)
    const stopped = await stopAt(host, 'closed')
    await host.powerCut()
    await stopped.ended
    const days = Date.now() / 1000 - 2 * 86_400
    utimesSync(host.path('/var/lib/systemd/timers/stamp-restic-backups-shop.timer'), days, days)
    // Debian's unit gives up waiting for a recovery, and counts as started; this one lasts until it has turned somebody away.
    const log = '/var/log/postgresql/postgresql-17-main.log'
    host.write(log, '')
    host.write(
      '/opt/recovers',
      `test -e /tmp/asked || { touch /tmp/asked; timeout 30 bash -c 'until grep -q "starting up" ${log}; do sleep 0.1; done'; }; false`,
    )
    host.write('/etc/postgresql/17/main/conf.d/slow.conf', "hot_standby = off\nrestore_command = 'bash /opt/recovers'\n")
    host.write('/etc/postgresql/17/main/pg_ctl.conf', "pg_ctl_options = '-t 1'\n")
    host.write('/var/lib/postgresql/17/main/recovery.signal', '', 0o666)
    host.write('/etc/systemd/system/postgresql@17-main.service.d/slow.conf', '[Service]\nExecStartPre=/bin/sleep 1\n')
    await forgetStartsOutside()
    await host.boot()
    await host.until(`test "$(ls /srv/repository/snapshots | wc -l)" -gt ${before.length}`)
    await host.until(`! systemctl --quiet is-active ${unit}`)
    expect(host.read(log)).toContain('the database system is starting up')
    expect([await startedOn(), await look(host)]).toEqual([['saved saved'], saved])
    expect((await host.run(['journalctl', '--boot', '--output', 'cat', '-u', unit])).stdout).not.toContain('Failed')
    expect(await status()).toMatchObject({ state: 'ok' })
    await host.sh(
      'rm /etc/postgresql/17/main/conf.d/slow.conf /etc/postgresql/17/main/pg_ctl.conf; rm -r /etc/systemd/system/postgresql@17-main.service.d',
    )
    await rebuild(host, shop())
    await restic(host, `forget ${(await newest()).id}`)
    await takeBack()
  })

  test('[unit.19] a server that does not start: the service starts on nothing, the restore stays open, and status says what to type', async () => {
    const stopped = await stopAt(host, 'closed')
    await host.powerCut()
    await stopped.ended
    host.write('/etc/postgresql/17/main/conf.d/broken.conf', 'nonsense = on\n')
    await forgetStartsOutside()
    await host.boot()
    expect((await host.run(['systemctl', 'start', 'shop'])).stderr).toContain('masked')
    expect(await host.sh('cat /var/log/shop/started || true')).toBe('')
    expect(JSON.parse(await journal())).toMatchObject({ phase: 'exchanging' })
    expect(await status()).toMatchObject({
      state: 'unfinished-restore',
      message: expect.stringContaining('--rollback takes it back): atelier-backup restore shop --resume'),
    })
    expect(await host.sh('journalctl --boot --output cat -u atelier-backup-recover-shop')).toMatch(
      /^shop: PostgreSQL, the server: it does not answer.*; its units stay stopped: .* --resume, or undo it with --rollback$/m,
    )
    for (const direction of ['--resume', '--rollback'])
      expect(await host.cli(['restore', 'shop', direction, '--yes'])).toMatchObject({
        exit: 1,
        stderr: expect.stringContaining('it does not answer: does it run'),
      })
    expect((await host.run(['systemctl', 'start', 'shop'])).stderr).toContain('masked')
    await host.sh('rm /etc/postgresql/17/main/conf.d/broken.conf; systemctl restart postgresql')
    expect(await host.cli(['restore', 'shop', '--resume'])).toMatchObject({ exit: 0 })
    await atWork(host)
    expect([await startedOn(), await look(host), await journal()]).toEqual([['saved saved'], saved, ''])
    await takeBack()
  })

  test('[unit.13] [postgres.9] on a host that was made anew `dr` brings roles, database, files and the unit back', async () => {
    const roles = (names: string) =>
      sql(
        host,
        `SELECT rolname, rolpassword, (SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0),
           (SELECT string_agg(roleid::regrole || ' ' || admin_option || ' ' || inherit_option, ' ') FROM pg_auth_members WHERE member = r.oid)
         FROM pg_authid r WHERE rolname IN (${names}) ORDER BY 1`,
        'postgres',
      )
    const before = await roles("'shop', 'reader', 'staff'")
    expect(before).toMatch(/reader\|SCRAM-.*\|\{work_mem=9MB\}\|staff true false\nshop\|SCRAM-/)
    await host.sh('systemctl stop shop; rm -rf /var/lib/shop /var/lib/atelier-backup /var/cache/atelier-backup')
    await sql(host, 'DROP DATABASE shop; ', 'postgres')
    await sql(host, 'DROP ROLE shop; DROP ROLE reader; DROP ROLE staff', 'postgres')
    // As it stands there: it is started again and again, and finds nothing.
    await host.sh('systemctl start shop')
    await forgetStarts()
    const { exit, stdout } = await host.cli(['dr', '--yes'])
    expect([exit, stdout]).toEqual([0, expect.stringContaining('Recovered 1 of 1 services')])
    await atWork(host)
    expect([await look(host), await roles("'shop', 'reader', 'staff'"), (await startedOn()).at(-1)]).toEqual([saved, before, 'saved saved'])
    await host.sh(`systemctl start ${unit}`)
    expect(await status()).toMatchObject({ state: 'ok' })
  })

  test('[elsewhere.1] a manifest of the shell version: its snapshots hold no dumps, and restores say so; what is saved now does', async () => {
    const manifest = host.read('/etc/atelier/backup-manifest.json')
    const declared = { dataDir: '/var/lib/shop', data: { sqlite: null, postgres: 'shop', files: ['/var/lib/shop'], exclude: [] } }
    host.write('/etc/atelier/backup-manifest.json', JSON.stringify({ version: 1, host: 'hearth', services: { shop: declared } }))
    // It dumped to /tmp, which it didn't save.
    await restic(host, 'backup --quiet --host hearth --tag service:shop --tag type:postgres /var/lib/shop')
    const old = await newest()
    const before = await look(host)
    await host.sh('echo since >/var/lib/shop/version')
    const { exit, stdout } = await host.cli([...inPlace, '--snapshot', old.id])
    expect([exit, stdout.replaceAll(/\s+/g, ' ')]).toEqual([
      0,
      expect.stringContaining('this snapshot holds no dump of the database shop, which stays as it is'),
    ])
    await atWork(host)
    expect([await look(host), await databases(host)]).toEqual([before, ['shop']])
    expect(await host.cli(['adopt', 'shop', '--yes'])).toMatchObject({ exit: 0 })
    await host.sh(`systemctl start ${unit}`)
    expect((await host.cli(['restore', 'shop', '--in-place', '--dry-run'])).stdout).toMatch(/replaces +the database shop .*→ a dump of/)
    host.write('/etc/atelier/backup-manifest.json', manifest)
  })

  test('[unit.16] in its closed unit a database is dumped while a client commits: by plain restic and pg_restore all of it comes back, none torn', async () => {
    await sql(host, `INSERT INTO own.orders (customer) SELECT 'Customer ' || n FROM generate_series(501, ${orders}) n`)
    const before = await committed(host)
    await host.sh(`systemctl start ${unit}`)
    const during = await committed(host)
    expect(during).toBeGreaterThan(before)
    expect(await status()).toMatchObject({ state: 'ok' })
    const { id } = await newest()
    const dumps = '/var/lib/atelier-backup/staging/shop/atelier-dumps'
    expect(await restic(host, `ls -l ${id} ${dumps} | grep shop.dump`)).toMatch(/^-rw------- +0 +0 /)
    expect(await restic(host, `dump ${id} ${dumps}/server-version`)).toMatch(/^17\./)
    expect(await host.sh(`find /var/lib/atelier-backup/staging -type f`)).toBe('')
    await restic(host, `restore --quiet ${id} --target /elsewhere`)
    const psql = 'runuser -u postgres -- psql -Xq -p 5433'
    await host.sh(`
      pg_createcluster 17 elsewhere --port 5433 --start -- --no-sync >/dev/null
      sed '/^CREATE ROLE postgres;/d' /elsewhere${dumps}/globals.sql | ${psql} -v ON_ERROR_STOP=1 >/dev/null
      runuser -u postgres -- pg_restore --exit-on-error --create --port 5433 --dbname postgres </elsewhere${dumps}/shop.dump`)
    // That rows were moved since changes nothing of what is looked at.
    expect(await lookInto(host, 5433)).toBe(await lookInto(host))
    const known = `SELECT count(*) FROM own.a WHERE n <= ${before}`
    expect(await sql(host, known, 'shop', 5433)).toBe(await sql(host, known))
    const counts = 'SELECT count(*), max(n) FROM a; SELECT count(*), max(n) FROM b; SELECT sum(stock), max(stock) > 0 FROM orders'
    const [a = '', b, stock] = (await sql(host, counts, 'shop', 5433)).split('\n')
    const [, last = 0] = a.split('|').map(Number)
    expect([b, stock, last >= before, last <= during]).toEqual([a, '0|t', true, true])
    expect(await host.sh('cat /elsewhere/var/lib/shop/version')).toBe(host.read('/var/lib/shop/version').trim())
  })
})
