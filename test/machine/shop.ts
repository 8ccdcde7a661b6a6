// A host with Debian's own PostgreSQL 17 in an ordinary postgresql.service, and a service of files and a database on it.
import type { TestHost } from '../lib/host.ts'
import { makeNixosHost } from './nixos.ts'
import { pidsOf } from './notes.ts'

/** The host's configuration; `more` are further attributes of the module. */
export function shop(more = ''): string {
  return `[ {
    networking.hostName = "hearth";
    services.postgresql = { enable = true; package = "${programs}"; };
    atelier.backup = {
      enable = true;
      schedule = { onCalendar = "yearly"; randomizedDelaySec = "0"; };
      services.shop = { paths = [ "/var/lib/shop" ]; postgres = [ "shop" ]; shrinkThreshold = null; };
    };
    systemd.services.shop = {
      wantedBy = [ "multi-user.target" ];
      after = [ "postgresql.service" ];
      serviceConfig = {
        User = "shop"; StateDirectory = "shop"; LogsDirectory = "shop"; ExecStart = "/usr/bin/bash /opt/shop";
        Restart = "on-failure"; RestartSec = "100ms";
      };
    };
  } { ${more} } ]`
}

/** The server's own programs, and not Debian's that choose among several. */
const programs = '/usr/lib/postgresql/17'

// Notes which data it was started on; then it stays connected and commits: goods move from one order to another, and a number into two tables.
const program = `
set -o pipefail
cd /var/lib/shop
echo "$(<version) $(psql -XqAt -c 'SELECT version FROM about')" >>/var/log/shop/started
transaction='BEGIN;
  INSERT INTO a DEFAULT VALUES; INSERT INTO b SELECT lastval();
  UPDATE orders SET stock = stock + 1 WHERE id = (SELECT min(id) FROM orders); UPDATE orders SET stock = stock - 1 WHERE id = (SELECT max(id) FROM orders);
  COMMIT; SELECT max(n) FROM a;'
while sleep 0.02; do echo "$transaction"; done | psql -XqAt -v ON_ERROR_STOP=1 >/var/log/shop/committed`

const schema = `
CREATE ROLE shop LOGIN PASSWORD 'of-the-shop';
CREATE ROLE staff;
CREATE ROLE reader LOGIN PASSWORD 'hunter2-of-reader';
GRANT staff TO reader WITH ADMIN OPTION, INHERIT FALSE;
ALTER ROLE reader SET work_mem = '9MB';
CREATE DATABASE shop OWNER shop TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8';
\\connect shop
REVOKE CONNECT ON DATABASE shop FROM public;
GRANT CONNECT ON DATABASE shop TO reader;
ALTER DATABASE shop SET search_path TO own, public;
CREATE EXTENSION citext;
CREATE EXTENSION pgcrypto;
CREATE SCHEMA own AUTHORIZATION shop;
SET ROLE shop;
CREATE TABLE own.about (version text);
INSERT INTO own.about VALUES ('saved');
CREATE TABLE own.orders (id serial PRIMARY KEY, customer citext NOT NULL, stock int DEFAULT 0);
INSERT INTO own.orders (customer) SELECT 'Customer ' || n FROM generate_series(1, 500) n;
SELECT nextval('own.orders_id_seq');
CREATE INDEX ON own.orders (customer);
CREATE TABLE own.a (n serial PRIMARY KEY);
CREATE TABLE own.b (n int PRIMARY KEY);
CREATE TABLE own.secret (word text);
INSERT INTO own.secret VALUES (crypt('open sesame', gen_salt('bf', 4)));
CREATE TABLE own.attachment (body oid);
INSERT INTO own.attachment SELECT lo_from_bytea(0, string_agg(decode(md5(n::text), 'hex'), '')) FROM generate_series(1, 5000) n;
GRANT SELECT ON own.orders TO reader;
`

/** What happened since the backup, in each way in which data can differ. */
export const changes = `
UPDATE own.about SET version = 'live';
SELECT lo_unlink(body) FROM own.attachment;
DROP TABLE own.attachment;
ALTER TABLE own.orders ADD COLUMN since text DEFAULT 'the backup';
CREATE TABLE own.items (of int REFERENCES own.orders);
INSERT INTO own.items VALUES (1);
SELECT setval('own.orders_id_seq', 7000);
REVOKE ALL ON own.orders FROM reader;
GRANT UPDATE ON own.orders TO reader;
ALTER DATABASE shop SET search_path TO own;
ALTER DATABASE shop OWNER TO postgres;
GRANT CONNECT ON DATABASE shop TO shop;
DROP EXTENSION pgcrypto;
`

/** Statements that print what a restore brings back, but for what the service goes on writing. */
const looks = `
SELECT 'version', version FROM own.about;
SELECT 'orders', count(*), md5(string_agg(customer, ',' ORDER BY id)) FROM own.orders;
SELECT 'tables', string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'own'::regnamespace;
SELECT 'owners', string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class WHERE relnamespace = 'own'::regnamespace;
SELECT 'sequence', last_value, is_called FROM own.orders_id_seq;
SELECT 'objects', count(*), md5(string_agg(data, NULL ORDER BY loid, pageno)) FROM pg_largeobject;
SELECT 'extensions', string_agg(extname, ' ' ORDER BY extname) FROM pg_extension;
SELECT 'case', customer FROM own.orders WHERE customer = 'CUSTOMER 7';
SELECT 'grants', relacl FROM pg_class WHERE relname = 'orders';
SELECT 'database', datdba::regrole, datlocprovider, datlocale, datallowconn, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a),
  (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0) FROM pg_database d WHERE datname = 'shop';
`

/** A booted host whose service is at work. A person's CLI can be stopped at an instant: `stopAt`. */
export async function makeShopHost(): Promise<TestHost> {
  const host = await makeNixosHost(shop(), { image: 'postgresql' })
  host.write('/opt/shop', program)
  host.write('/opt/schema.sql', schema)
  host.write('/etc/sysusers.d/shop.conf', 'u shop -\n')
  // NixOS has a server's programs on everybody's PATH.
  host.write('/etc/tmpfiles.d/sw.conf', 'L /run/current-system/sw - - - - /opt/sw\n')
  for (const [name, script] of Object.entries(instants)) {
    const [folder, real] = name === 'mv' ? ['/opt', '/usr/bin'] : ['/opt/sw/bin', `${programs}/bin`]
    host.write(
      `${folder}/${name}`,
      `#!/usr/bin/bash\nreal=${real}/${name}\nstop() { [[ ! -e /run/instants/$1 ]] || { touch /run/instants/reached; sleep 1000; }; }\n${script}\n`,
      0o755,
    )
  }
  await host.boot()
  await host.sh(`
    ln -s ${programs}/bin/{pg_dump,pg_dumpall} /opt/sw/bin
    ln -sf /opt/mv /nix/store/coreutils/bin/mv
    runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -f /opt/schema.sql >/dev/null
    echo saved >/var/lib/shop/version
    systemctl restart shop`)
  await atWork(host)
  return host
}

/** Programs of a person's CLI that stop where a test says so: half-way through loading; when connections have ended; when databases are new; before files are. */
type Instant = 'loading' | 'closed' | 'renamed' | 'files'
const instants = {
  pg_restore: `[[ $* != *--dbname=* || ! -e /run/instants/loading ]] || { "$real" --section=pre-data "$@"; stop loading; }; exec "$real" "$@"`,
  psql: `script=$(cat)
[[ $script != *RENAME* || ! -e /run/instants/closed ]] || { "$real" "$@" <<<"\${script%%BEGIN;*}"; stop closed; }
"$real" "$@" <<<"$script" || exit
[[ $script != *RENAME* ]] || stop renamed`,
  mv: `[[ $* != *--exchange* ]] || stop files; exec "$real" "$@"`,
}

/** Begins a restore in place, and waits until it stands still at an instant. `ended`: of the CLI, which ends only with the host or by a kill. */
export async function stopAt(host: TestHost, instant: Instant): Promise<{ ended: Promise<unknown> }> {
  await host.sh(`rm -rf /run/instants; mkdir -m 1777 /run/instants; touch /run/instants/${instant}`)
  const ended = host.cli(['restore', 'shop', '--in-place', '--yes'])
  await host.until('test -e /run/instants/reached')
  await host.sh(`rm /run/instants/${instant}`)
  return { ended }
}

/** Kills a CLI that stands still, with all that it started. */
export async function kill(host: TestHost, { ended }: { ended: Promise<unknown> }): Promise<void> {
  await host.sh(`kill -KILL ${pidsOf('nodejs')}`)
  await ended
}

/** Statements on the host's server as its superuser; gives what they print, unaligned. */
export async function sql(host: TestHost, statements: string, database = 'shop', port = 5432): Promise<string> {
  const psql = `PGOPTIONS='-c transaction_timeout=0' runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -p ${port} -d ${database}`
  return host.sh(`${psql} <<'EOF'
${statements}
EOF`)
}

/** Files, rows, objects, properties: all that a restore brings back. */
export async function look(host: TestHost): Promise<string> {
  return `${host.read('/var/lib/shop/version')}${await lookInto(host)}`
}
export function lookInto(host: TestHost, port?: number): Promise<string> {
  return sql(host, looks, 'shop', port)
}

/** Until the service commits. */
export async function atWork(host: TestHost): Promise<void> {
  const before = await host.sh('systemctl is-active shop >&2; tail -n 1 /var/log/shop/committed')
  await host.until(`now=$(tail -n 1 /var/log/shop/committed); test "$now" && test "$now" != '${before}'`)
}

/** The newest number that the service knows to be committed. */
export async function committed(host: TestHost): Promise<number> {
  return Number((await host.run(['tail', '-n', '1', '/var/log/shop/committed'])).stdout)
}

/** The server's databases but its own. */
export async function databases(host: TestHost): Promise<string[]> {
  const own = "'postgres', 'template0', 'template1'"
  return (await sql(host, `SELECT datname FROM pg_database WHERE datname NOT IN (${own}) ORDER BY 1`, 'postgres')).split('\n').filter(Boolean)
}
