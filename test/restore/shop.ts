// A service of files and databases in two versions: what its newest snapshot holds ("new" after a restore), and what is live ("old").
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Ended } from '../lib/cli.ts'
import { output } from '../lib/live.ts'
import { makeServer, type Server } from '../lib/postgres.ts'
import { type World, world } from '../lib/world.ts'

/** A name that must be quoted. */
export const second = 'Audit-log$1'

export interface Shop extends World {
  server: Server
  snapshot: string
  /** All as it was after the live version was made. */
  reset(): void
  declare(fields?: object): void
  restore(...args: string[]): Promise<Ended>
  /** What is live: rows, objects, properties of the databases, the file; on another server, if given. */
  look(server?: Server): object
  /** The server's databases but its own. */
  databases(): string[]
  journal(): { phase: string } | null
  record(): {
    sum?: string
    old: { folder: string; since: string }[]
    oldDatabases: { run: string; database: string; kept: string | null; since: string }[]
    runs: object[]
  }
  /** Where the dumps stand in snapshots. */
  dumps: string
  /** A newer snapshot, with the dumps changed by `change`. */
  tampered(change: (folder: string) => void): Promise<void>
  /** A PATH on which `program` is what is given; `$real` names the server's own. */
  instead(program: string, script: string): { env: { PATH: string } }
}

/** `disk`: the size of the filesystem on which the server has its data; it can't be `reset` then. */
export async function shop(disk?: string): Promise<Shop> {
  const w = await world()
  const server = makeServer({ settings: 'wal_level=logical', ...(disk === undefined ? {} : { disk }) })
  const { sql } = server
  w.env.PATH = server.path
  w.write('data/file', 'of the snapshot\n')
  sql('postgres', "CREATE ROLE shop LOGIN PASSWORD 'of-the-snapshot'; CREATE ROLE reader LOGIN PASSWORD 'hunter2'; CREATE ROLE staff")
  sql('postgres', `GRANT staff TO reader; GRANT staff TO shop; ALTER ROLE reader SET work_mem = '9MB'; COMMENT ON ROLE reader IS 'it''s; "reads"'`)
  sql('postgres', 'CREATE DATABASE shop OWNER shop CONNECTION LIMIT 42')
  sql('postgres', `CREATE DATABASE "${second}" TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'`)
  sql(
    'shop',
    `CREATE EXTENSION pg_trgm;
     CREATE SCHEMA own AUTHORIZATION shop;
     CREATE TABLE own.orders (id serial PRIMARY KEY, customer text);
     INSERT INTO own.orders (customer) SELECT 'customer ' || n FROM generate_series(1, 500) n;
     CREATE INDEX ON own.orders USING gin (customer public.gin_trgm_ops);
     CREATE TABLE own.attachment (body oid);
     INSERT INTO own.attachment SELECT lo_from_bytea(0, string_agg(decode(md5(n::text), 'hex'), '')) FROM generate_series(1, 5000) n;
     GRANT SELECT ON own.orders TO reader;
     ALTER DATABASE shop SET search_path TO own, public;
     ALTER DATABASE shop SET default_transaction_read_only = 'off';
     ALTER ROLE shop IN DATABASE shop SET work_mem = '8MB';
     REVOKE CONNECT ON DATABASE shop FROM public;
     GRANT CONNECT, TEMPORARY ON DATABASE shop TO reader;
     COMMENT ON DATABASE shop IS 'the shop''s; "DATABASE shop"
\\connect nowhere
-- DATABASE shop';`,
  )
  sql(second, "CREATE TABLE lines (text text); INSERT INTO lines VALUES ('of the snapshot')")
  const declare = (fields: object = {}) => {
    const declared = { paths: [w.path('data')], postgres: ['shop', second], shrinkThreshold: null, ...fields }
    w.manifest({ services: { shop: declared }, postgresql: server.declared })
  }
  declare()
  const saved = await w.cli(['run', 'shop'])
  if (saved.exit !== 0) throw new Error(saved.stderr)
  const newest = async () => (await w.restic(['snapshots', '--json'])).json().at(-1)
  const { id: snapshot, tags } = await newest()
  sql(
    'shop',
    `SELECT lo_unlink(body) FROM own.attachment;
     DROP TABLE own.attachment;
     INSERT INTO own.orders (customer) VALUES ('made since');
     CREATE TABLE own.items (of int REFERENCES own.orders);
     INSERT INTO own.items VALUES (501);
     ALTER DATABASE shop SET search_path TO public;
     REVOKE ALL ON DATABASE shop FROM reader;
     COMMENT ON DATABASE shop IS 'changed since';`,
  )
  sql(second, "UPDATE lines SET text = 'made since'")
  w.write('data/file', 'made since\n')
  const data = join(server.declared.socketDir, 'data')
  const copy = (from: string, to: string) => {
    rmSync(to, { recursive: true, force: true })
    output(['cp', '-a', from, to])
  }
  const folders = ['data', 'state', 'secrets']
  server.stop()
  copy(data, `${data}-saved`)
  server.start()
  for (const folder of folders) copy(w.path(folder), w.path(`saved-${folder}`))
  // A copy of a state folder that is bound to its machine would count as another install's.
  rmSync(w.path('saved-state/machine.json'), { force: true })
  const dumps = w.path('state/staging/shop/atelier-dumps')
  const databases = () =>
    sql('postgres', "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY 1").split('\n')
  return {
    ...w,
    server,
    snapshot,
    declare,
    dumps,
    databases,
    reset() {
      server.stop()
      copy(`${data}-saved`, data)
      server.start()
      for (const folder of folders) copy(w.path(`saved-${folder}`), w.path(folder))
      rmSync(w.path('instead'), { recursive: true, force: true })
      declare()
    },
    restore: (...args) => w.cli(['restore', 'shop', ...args]),
    look: ({ sql } = server) => ({
      file: readFileSync(w.path('data/file'), 'utf8'),
      [second]: sql(second, 'SELECT text FROM lines'),
      tables: sql(
        'shop',
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'own'::regnamespace",
      ),
      orders: sql('shop', "SELECT count(*) || ' ' || md5(string_agg(customer, ',' ORDER BY id)) FROM own.orders"),
      sequence: sql('shop', "SELECT last_value || ' ' || is_called FROM own.orders_id_seq"),
      objects: sql('shop', 'SELECT count(*), md5(string_agg(data, NULL ORDER BY loid, pageno)) FROM pg_largeobject'),
      extensions: sql('shop', 'SELECT extname FROM pg_extension ORDER BY 1'),
      grants: sql('shop', "SELECT relacl FROM pg_class WHERE relname = 'orders'"),
      properties: sql(
        'postgres',
        `SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datallowconn, datconnlimit,
           (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) a), shobj_description(d.oid, 'pg_database'),
           (SELECT string_agg(setrole::regrole || array_to_string(setconfig, ';'), '|' ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)
         FROM pg_database d WHERE datname IN ('shop', '${second}') ORDER BY 1`,
      ),
    }),
    journal: () => (existsSync(w.path('state/journals/shop.json')) ? JSON.parse(readFileSync(w.path('state/journals/shop.json'), 'utf8')) : null),
    record: () => JSON.parse(readFileSync(w.path('state/records/shop.json'), 'utf8')),
    async tampered(change) {
      await w.restic(['restore', snapshot, '--target', '/', '--include', dumps])
      change(dumps)
      const now = readFileSync(w.path('data/file'))
      writeFileSync(w.path('data/file'), 'of the snapshot\n')
      await w.restic(['backup', '--quiet', '--host', 'testhost', '--tag', tags.join(), w.path('data'), dumps])
      writeFileSync(w.path('data/file'), now)
      rmSync(dumps, { recursive: true })
    },
    instead(program, script) {
      const real = output(['bash', '-c', `PATH=${server.path}; command -v ${program}`])
      chmodSync(w.write(`instead/${program}`, `#!/bin/bash\nreal=${real}\n${script}\n`), 0o755)
      for (const open of [w.root, w.path('instead')]) chmodSync(open, 0o755)
      return { env: { PATH: `${w.path('instead')}:${server.path}` } }
    },
    cleanup() {
      server.remove()
      w.cleanup()
    },
  }
}
