// PostgreSQL's way back, with a real server: names that would be something else where they weren't quoted, roles, tablespaces.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { dumpPostgres, extensionsIn, lackingFor } from '../../src/host/postgres.ts'
import {
  createRoles,
  databaseIds,
  dropDatabases,
  gatherServerState,
  globalsOf,
  holdTables,
  loadDatabase,
  renameDatabases,
  slotsOf,
} from '../../src/host/postgres-load.ts'
import { whileServerHasSpace } from '../../src/restore/databases.ts'
import { output } from '../lib/live.ts'
import { canPostgres, makeServer, type Server } from '../lib/postgres.ts'

vi.setConfig({ testTimeout: 120_000 })

const options = { signal: new AbortController().signal, inheritFds: [] }
const hostile = `it's "$HOME" \\d; -- %I dbname=x`
const quoted = `"${hostile.replaceAll('"', '""')}"`

describe.skipIf(!canPostgres)('PostgreSQL, the way back', () => {
  let server: Server
  let root: string
  beforeAll(() => {
    server = makeServer({ settings: 'max_prepared_transactions=2' })
    root = server.declared.socketDir
    vi.stubEnv('PATH', server.path)
  })
  afterAll(() => {
    vi.unstubAllEnvs()
    server.remove()
  })
  const state = (sql: string) => server.sql('postgres', sql)
  function dumped(name: string): string {
    const dump = join(root, 'dump')
    server.run('pg_dump', ['--format=custom', `--file=${dump}`, `--dbname=dbname='${name.replaceAll(/[\\']/g, '\\$&')}'`])
    return dump
  }

  test('[postgres.6] a database and roles of hostile names are loaded, exchanged and dropped, and nothing else', async () => {
    state(`CREATE ROLE ${quoted} LOGIN PASSWORD 'hunter2'`)
    state(`CREATE DATABASE ${quoted} OWNER ${quoted}`)
    state(`GRANT CONNECT ON DATABASE ${quoted} TO ${quoted}`)
    state(`COMMENT ON DATABASE ${quoted} IS 'of \\connect ${hostile.replaceAll("'", "''")}\n\\! touch ${root}/ran'`)
    const described = (name: string) =>
      state(`SELECT oid, pg_get_userbyid(datdba), datallowconn, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $$${name}$$`)
    const before = described(hostile)
    const fresh = `new ${hostile}`
    const load = { database: hostile, fresh, dump: dumped(hostile), tablespaces: true }
    expect(await loadDatabase(server.declared, load, options)).toEqual({ tables: 0, rows: 0, unready: [] })
    const loaded = described(fresh)
    expect(loaded.replace(/^\d+/, '')).toBe(before.replace(/^\d+/, ''))
    const kept = `old ${hostile}`
    const renames = [
      { from: hostile, to: kept },
      { from: fresh, to: hostile },
    ]
    await renameDatabases(server.declared, renames, [hostile], options)
    expect([described(hostile), described(kept)]).toEqual([loaded, before.replace('|t|', '|f|')])
    await dropDatabases(server.declared, [kept, 'not there'], options)
    expect([...(await databaseIds(server.declared, [hostile, kept, fresh], options)).keys()]).toEqual([hostile])
    expect(output(['find', root, '-name', 'ran'])).toBe('')
  })

  test('[postgres.9] what globals make is read, and made, whatever it is called', async () => {
    const globals = server.run('pg_dumpall', ['--globals-only'])
    expect(globalsOf(globals)).toEqual({ roles: [hostile, 'postgres'], tablespaces: [] })
    const file = join(root, 'globals.sql')
    writeFileSync(file, globals)
    const hash = state(`SELECT rolpassword FROM pg_authid WHERE rolname = $$${hostile}$$`)
    state(`ALTER DATABASE ${quoted} OWNER TO postgres`)
    server.run('psql', ['-Xq', '-d', `dbname='${hostile.replaceAll(/[\\']/g, '\\$&')}'`, '-c', `DROP OWNED BY ${quoted}`])
    state(`DROP ROLE ${quoted}`)
    await createRoles(server.declared, file, options)
    expect(state(`SELECT rolpassword FROM pg_authid WHERE rolname = $$${hostile}$$`)).toBe(hash)
    expect(output(['cat', join(root, 'log')])).not.toContain(hash)
  })

  test('[postgres.6] what stood in a tablespace that is missing comes to stand in the default one', async () => {
    mkdirSync(join(root, 'fast'))
    output(['chown', 'postgres:', join(root, 'fast')])
    state(`CREATE TABLESPACE fast LOCATION '${join(root, 'fast')}'`)
    state('CREATE DATABASE quick TABLESPACE fast')
    server.sql('quick', 'CREATE TABLE there (n int) TABLESPACE fast; INSERT INTO there VALUES (1)')
    expect(globalsOf(server.run('pg_dumpall', ['--globals-only'])).tablespaces).toEqual(['fast'])
    const dump = dumped('quick')
    state('DROP DATABASE quick')
    state('DROP TABLESPACE fast')
    expect((await gatherServerState(server.declared, ['quick', hostile], options)).tablespaces).not.toContain('fast')
    expect(await loadDatabase(server.declared, { database: 'quick', fresh: 'quick', dump, tablespaces: false }, options)).toEqual({
      tables: 1,
      rows: 1,
      unready: [],
    })
  })

  /** Two owners in one database. What runs of Mallory's code says so in the server's log, and tries everything that it can as it runs. */
  test('[postgres.14] no code in a dump runs in a session of a superuser, nor in one that can act for another owner', async () => {
    state('CREATE ROLE mallory LOGIN; CREATE ROLE bob LOGIN')
    state('CREATE DATABASE app OWNER mallory')
    server.sql(
      'app',
      `CREATE EXTENSION pg_trgm; CREATE TABLE of_root (n int, t text); INSERT INTO of_root VALUES (1, 'x');
       CREATE SCHEMA shared; GRANT ALL ON SCHEMA shared TO mallory, bob;
       SET ROLE mallory;
       CREATE FUNCTION public.attack(n int, said text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE tried text; BEGIN
         IF current_database() = 'app' THEN RETURN n; END IF;
         RAISE LOG 'attack: % ran in a session of %', said, session_user;
         FOREACH tried IN ARRAY ARRAY['RESET SESSION AUTHORIZATION', 'RESET ROLE', 'SET ROLE postgres', 'ALTER ROLE mallory SUPERUSER', 'GRANT root TO mallory',
           'GRANT bob TO mallory', 'SET ROLE bob', 'ALTER ROLE bob CONNECTION LIMIT 7', 'ALTER ROLE root SUPERUSER', 'ALTER ROLE root CONNECTION LIMIT 8',
           'CREATE EXTENSION plpython3u', 'COPY (SELECT 1) TO PROGRAM ''touch ${root}/ran'''] LOOP
           BEGIN EXECUTE tried; EXCEPTION WHEN OTHERS THEN NULL; END;
         END LOOP; RETURN n; END $$;
       CREATE FUNCTION public.fixed(n int, said text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ DECLARE got int; BEGIN
         EXECUTE pg_catalog.format('SELECT public.attack(%s, %L)', coalesce(n, 0), said) INTO got; RETURN n; END $$;
       CREATE DOMAIN public.checked AS int CHECK (public.fixed(VALUE, 'a domain') IS NOT DISTINCT FROM VALUE);
       CREATE TABLE public.t (n int CHECK (public.fixed(n, 'a check') = n), g int GENERATED ALWAYS AS (public.fixed(n, 'a generated column')) STORED, d public.checked);
       INSERT INTO public.t (n, d) VALUES (1, 1);
       CREATE INDEX ON public.t ((n + public.fixed(1, 'an index')));
       CREATE TABLE public.parted (n int, d public.checked) PARTITION BY RANGE ((n + public.fixed(1, 'a partition key')));
       CREATE TABLE public.part PARTITION OF public.parted FOR VALUES FROM (1) TO (9);
       INSERT INTO public.parted VALUES (1, 1);
       CREATE TABLE public.listed (d public.checked) PARTITION BY LIST (d);
       CREATE TABLE public.one PARTITION OF public.listed FOR VALUES IN (1);
       CREATE VIEW public.seen AS SELECT public.fixed(1, 'a view');
       CREATE MATERIALIZED VIEW public.kept AS SELECT public.fixed(n, 'a materialized view') FROM public.t;
       CREATE FUNCTION public.plus(public.checked, int) RETURNS public.checked LANGUAGE sql AS 'SELECT $1';
       CREATE AGGREGATE public.total (int) (sfunc = public.plus, stype = public.checked, initcond = '1');
       CREATE FUNCTION public.trap() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.attack(1, 'an event trigger'); END $$;
       CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.attack(1, 'format'); RETURN pg_catalog.format($1, $2, $3); END $$;
       CREATE TABLE shared.hers (n int PRIMARY KEY); GRANT REFERENCES ON shared.hers TO bob; RESET ROLE; SET ROLE bob;
       CREATE TABLE shared.his (n int REFERENCES shared.hers); RESET ROLE;
       CREATE TABLE public.of_root_too (d public.checked); INSERT INTO of_root_too VALUES (1);
       CREATE EVENT TRIGGER trap ON ddl_command_start EXECUTE FUNCTION public.trap();
       ALTER DATABASE app SET search_path = public, pg_catalog;`,
    )
    const owners = (database: string) =>
      server.sql(
        database,
        `SELECT relname, relowner::regrole, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM aclexplode(coalesce(relacl, acldefault('r', relowner))) a)
           FROM pg_class WHERE relkind IN ('r', 'm', 'p', 'v') AND oid > 16384 ORDER BY 1`,
      )
    const log = () => output(['cat', join(root, 'log')])
    const dump = dumped('app')
    const before = log().length
    const fresh = { database: 'app', fresh: 'app2', dump, tablespaces: true }
    expect(await loadDatabase(server.declared, fresh, options)).toEqual({ tables: 7, rows: 4, unready: [] })
    const ran = [
      ...log()
        .slice(before)
        .matchAll(/attack: (.*?) ran in a session of (\S+)/g),
    ]
    expect([...new Set(ran.map(([, said]) => said))]).toEqual(
      expect.arrayContaining(['a check', 'a generated column', 'a domain', 'an index', 'a partition key', 'a materialized view']),
    )
    expect(ran.filter(([, , session]) => session !== 'root')).toEqual([])
    expect(state("SELECT rolname, rolsuper, rolconnlimit FROM pg_roles WHERE rolname IN ('mallory', 'bob', 'root') ORDER BY 1")).toBe(
      'bob|f|-1\nmallory|f|-1',
    )
    expect(state("SELECT count(*) FROM pg_auth_members WHERE 'mallory'::regrole IN (member, roleid)")).toBe('0')
    expect(output(['find', root, '-name', 'ran'])).toBe('')
    expect(owners('app2')).toBe(owners('app'))
  })

  test('[postgres.15] a look finds no function of somebody else', async () => {
    state('CREATE ROLE eve LOGIN')
    state('CREATE DATABASE looked OWNER eve')
    state('GRANT CREATE ON SCHEMA public TO PUBLIC')
    const trap = `CREATE FUNCTION public.NAME LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE eve SUPERUSER; RETURN RESULT; END $$;`
    const made = (name: string, result: string) => trap.replace('NAME', name).replace('RESULT', result)
    const traps = `SET ROLE eve;
      ${made('count() RETURNS bigint', '0')} ${made('set_config(text, text, boolean) RETURNS text', '$2')}
      ${made('json_build_object(text, text, text, bigint) RETURNS json', "'{}'")} ${made('equal(name, text) RETURNS boolean', 'true')}
      CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.equal);
      CREATE VIEW public.pg_settings AS SELECT 'transaction_timeout'::text AS name;`
    for (const database of ['postgres', 'looked']) {
      server.sql(database, traps)
      state(`ALTER DATABASE ${database} SET search_path = public, pg_catalog`)
    }
    try {
      await gatherServerState(server.declared, ['looked'], options)
      expect(await holdTables(server.declared, ['looked'], options)).toBe(false)
      await dropDatabases(server.declared, ['looked'], options)
      expect(state("SELECT rolsuper FROM pg_roles WHERE pg_catalog.nameeq(rolname, 'eve')")).toBe('f')
    } finally {
      state('ALTER DATABASE postgres RESET search_path')
    }
  })

  test('[postgres.10] a role that is no superuser is refused in words', async () => {
    state('CREATE ROLE nobody LOGIN')
    const looked = gatherServerState({ ...server.declared, user: 'nobody' }, ['quick'], options)
    await expect(looked).rejects.toThrow('the role nobody must be a superuser')
  })

  /** All that pg_dump knows of a database, but for what is new in each dump. */
  const whole = (database: string) => server.run('pg_dump', ['--create', database]).replaceAll(/^(--|\\(un)?restrict ).*$/gm, '')

  test('[postgres.17] functions that name others without a schema: indexes, checks, generated columns and views of them come back', async () => {
    state('CREATE ROLE immich LOGIN')
    state('CREATE DATABASE photos OWNER immich')
    state('ALTER DATABASE photos SET search_path TO app, "$user", public')
    server.sql(
      'photos',
      `CREATE SCHEMA app AUTHORIZATION immich; CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO immich;
       CREATE EXTENSION cube SCHEMA public; CREATE EXTENSION earthdistance SCHEMA public; CREATE EXTENSION unaccent SCHEMA extensions;
       CREATE TABLE public.of_root (lat float8, long float8); INSERT INTO public.of_root VALUES (52.5, 13.4); CREATE INDEX ON public.of_root USING gist (ll_to_earth(lat, long));
       SET ROLE immich;
       CREATE TABLE app.places (id int PRIMARY KEY, lat float8, long float8); INSERT INTO app.places VALUES (1, 52.5, 13.4);
       CREATE INDEX ON app.places USING gist (public.ll_to_earth(lat, long));
       SET search_path = app, extensions, public;
       CREATE FUNCTION app.plain(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT lower(unaccent($1)) $$;
       CREATE FUNCTION app.bare(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN plain($1); END $$;
       CREATE FUNCTION app.inlined(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) $$;
       CREATE FUNCTION app.fixed(text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = app, extensions AS $$ BEGIN RETURN plain($1); END $$;
       CREATE TABLE app.names (n text CHECK (bare(n) <> ''), g text GENERATED ALWAYS AS (bare(n)) STORED); INSERT INTO app.names VALUES ('Ärger');
       CREATE INDEX ON app.names (plain(n)); CREATE INDEX ON app.names (inlined(n)); CREATE INDEX ON app.names (fixed(n));
       ALTER TABLE app.names ADD CONSTRAINT apart EXCLUDE (bare(n) WITH =);
       CREATE MATERIALIZED VIEW app.seen AS SELECT bare(n) FROM app.names;`,
    )
    const before = whole('photos')
    const dump = dumped('photos')
    expect(await loadDatabase(server.declared, { database: 'photos', fresh: 'photos2', dump, tablespaces: true }, options)).toEqual({
      tables: 3,
      rows: 3,
      unready: [],
    })
    expect(server.sql('photos2', 'SET search_path = app, extensions; SELECT g FROM app.names; SELECT * FROM app.seen')).toBe('arger\narger')
    await renameDatabases(
      server.declared,
      [
        { from: 'photos', to: 'photos1' },
        { from: 'photos2', to: 'photos' },
      ],
      ['photos'],
      options,
    )
    expect(whole('photos')).toBe(before)
  })

  test("[postgres.17] no function of somebody else is found for an index of a superuser's: it fails", async () => {
    state('CREATE ROLE trudy LOGIN')
    state('CREATE DATABASE luring OWNER trudy')
    server.sql(
      'luring',
      `CREATE SCHEMA own; CREATE SCHEMA safe; CREATE TABLE own.t (n int); INSERT INTO own.t VALUES (1);
       CREATE FUNCTION safe.helper(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
       CREATE FUNCTION own.f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN helper($1); END';
       SET search_path = safe; CREATE INDEX ON own.t (own.f(n)); RESET search_path;
       SET ROLE trudy; CREATE FUNCTION public.helper(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN ALTER ROLE trudy SUPERUSER; RETURN $1; END';`,
    )
    const load = { database: 'luring', fresh: 'luring2', dump: dumped('luring'), tablespaces: true }
    await expect(loadDatabase(server.declared, load, options)).rejects.toThrow(/function helper\(integer\) does not exist/)
    expect(state("SELECT rolsuper FROM pg_roles WHERE rolname = 'trudy'")).toBe('f')
  })

  test('[postgres.18] what is said of a database in another encoding comes back to the letter, and so do names of roles', async () => {
    state('CREATE ROLE "größe" LOGIN')
    // The database that is asked about the others.
    const shared = (encoding: string) =>
      ['DROP DATABASE postgres WITH (FORCE)', `CREATE DATABASE postgres TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`].map((sql) =>
        server.sql('template1', sql),
      )
    for (const [name, encoding, text] of [
      ['latin', 'LATIN1', 'schön'],
      ['ascii', 'SQL_ASCII', 'schön'],
      ['euro', 'LATIN9', '€uro'],
    ] as const) {
      if (name === 'euro') shared('LATIN1')
      state(`CREATE DATABASE ${name} OWNER "größe" TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`)
      const told = (sql: string) => server.run('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', `dbname=${name} client_encoding=UTF8`, '-c', sql]).trim()
      told(`CREATE SCHEMA "${text}"; CREATE TABLE "${text}".t (x text); INSERT INTO "${text}".t VALUES ('${text}')`)
      told(`ALTER DATABASE ${name} SET search_path TO "${text}", public; COMMENT ON DATABASE ${name} IS '${text}'`)
      const look = () =>
        told("SELECT x, shobj_description(d.oid, 'pg_database'), pg_get_userbyid(datdba) FROM t, pg_database d WHERE datname = current_database()")
      const before = look()
      expect(before).toContain(text)
      const dump = dumped(name)
      state(`DROP DATABASE ${name}`)
      expect(await loadDatabase(server.declared, { database: name, fresh: name, dump, tablespaces: true }, options)).toMatchObject({
        rows: 1,
        unready: [],
      })
      expect(look()).toBe(before)
    }
    const folder = join(root, 'dumps')
    mkdirSync(folder)
    await dumpPostgres(server.declared, ['euro'], folder, options)
    const { roles } = await gatherServerState(server.declared, ['euro'], options)
    expect(globalsOf(readFileSync(join(folder, 'globals.sql'), 'utf8')).roles).toContain('größe')
    expect(roles).toContain('größe')
    shared('UTF8')
    for (const name of ['ascii', 'euro', 'latin']) state(`DROP DATABASE ${name}`)
    state('DROP ROLE "größe"')
    await createRoles(server.declared, join(folder, 'globals.sql'), options)
    expect(state("SELECT count(*) FROM pg_roles WHERE rolname = 'größe'")).toBe('1')
  })

  test('[postgres.19] a foreign server that is down: statistics and rows of views are missing, which is told, and everything else is there', async () => {
    state('CREATE DATABASE far')
    server.sql(
      'far',
      `CREATE EXTENSION postgres_fdw; CREATE SERVER gone FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere');
       CREATE USER MAPPING FOR postgres SERVER gone;
       CREATE TABLE parted (n int) PARTITION BY LIST (n); CREATE TABLE near PARTITION OF parted FOR VALUES IN (1); INSERT INTO near VALUES (1);
       CREATE MATERIALIZED VIEW seen AS SELECT * FROM near; CREATE MATERIALIZED VIEW fetched AS SELECT n FROM parted;
       CREATE FOREIGN TABLE away PARTITION OF parted FOR VALUES IN (2) SERVER gone;`,
    )
    const dump = dumped('far')
    const { unready, ...loaded } = await loadDatabase(server.declared, { database: 'far', fresh: 'far2', dump, tablespaces: true }, options)
    expect([loaded, unready]).toEqual([
      { tables: 1, rows: 1 },
      [
        expect.stringMatching(/^a materialized view is empty.*could not connect to server "gone"/),
        expect.stringMatching(/^a table has no statistics.*"gone"/),
      ],
    ])
    expect(server.sql('far2', 'SELECT n FROM near; SELECT n FROM seen')).toBe('1\n1')
  })

  test('[postgres.25] a materialized view on a table whose row security its owner is under has its rows again', async () => {
    state('CREATE ROLE keeper LOGIN')
    state('CREATE DATABASE guarded OWNER keeper')
    server.sql(
      'guarded',
      `SET ROLE keeper; CREATE SCHEMA own; CREATE TABLE own.t (n int); INSERT INTO own.t VALUES (1), (2);
       ALTER TABLE own.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON own.t USING (n > 1);
       CREATE MATERIALIZED VIEW own.seen AS SELECT n FROM own.t;`,
    )
    const load = { database: 'guarded', fresh: 'guarded2', dump: dumped('guarded'), tablespaces: true }
    expect(await loadDatabase(server.declared, load, options)).toEqual({ tables: 1, rows: 2, unready: [] })
    expect(server.sql('guarded2', 'SELECT n FROM own.seen')).toBe('2')
  })

  test('[postgres.20] a database with a subscription is dropped, whatever its event triggers say, and one that cannot be dropped keeps no other', async () => {
    for (const name of ['told', 'other', 'busy']) state(`CREATE DATABASE ${name}`)
    server.sql('told', "CREATE SUBSCRIPTION s CONNECTION 'host=/nowhere dbname=x' PUBLICATION p WITH (connect = false, enabled = false)")
    server.sql(
      'told',
      `CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
       CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no(); ALTER EVENT TRIGGER no ENABLE ALWAYS`,
    )
    state('ALTER DATABASE told ALLOW_CONNECTIONS false')
    await dropDatabases(server.declared, ['told'], options)
    server.sql('busy', "BEGIN; PREPARE TRANSACTION 'held'")
    await expect(dropDatabases(server.declared, ['busy', 'other'], options)).rejects.toThrow('busy')
    expect([...(await databaseIds(server.declared, ['told', 'other', 'busy'], options)).keys()]).toEqual(['busy'])
  })

  test('[postgres.22] extensions that a restore in place could not make are named by the backup', () => {
    const list =
      '3; 3079 16500 EXTENSION - pg_cron \n4; 3079 16501 EXTENSION - hstore \n5; 0 0 COMMENT - EXTENSION hstore \n6; 3079 16502 EXTENSION - gone '
    expect(extensionsIn(list)).toEqual(['pg_cron', 'hstore', 'gone'])
    expect(lackingFor('app', list, { extensions: ['pg_cron', 'hstore'], bound: { pg_cron: 'app' } })).toEqual([
      expect.stringMatching(/the extension pg_cron, which can only be made in a database called app/),
      expect.stringMatching(/the extension gone, which isn't installed/),
    ])
  })
})

describe.skipIf(!canPostgres)('PostgreSQL, with a log of changes on a small disk', () => {
  test('[postgres.13] the log stays short where its disk is small, and a load that fills that disk all the same is ended while the server has room', async () => {
    const small = makeServer({ log: '176m', settings: 'wal_level=logical' })
    const root = small.declared.socketDir
    vi.stubEnv('PATH', small.path)
    try {
      small.sql('postgres', 'CREATE DATABASE app')
      small.sql('app', 'CREATE TABLE t AS SELECT md5(n::text) || repeat(md5(n::text), 20) FROM generate_series(1, 1) n')
      for (let i = 0; i < 5; i++)
        small.sql('app', 'INSERT INTO t SELECT md5(n::text) || repeat(md5(n::text), 20) FROM generate_series(1, 60000) n; CHECKPOINT')
      const dump = join(root, 'dump')
      small.run('pg_dump', ['--format=custom', `--file=${dump}`, 'app'])
      const started = small.sql('postgres', 'SELECT pg_postmaster_start_time()')
      const load = (fresh: string) =>
        whileServerHasSpace('app', join(root, 'data'), small.declared, options, async (signal) => {
          await loadDatabase(small.declared, { database: 'app', fresh, dump, tablespaces: true }, { ...options, signal })
        })
      const written = () => Number(small.sql('postgres', "SELECT pg_current_wal_lsn() - '0/0'"))
      const before = written()
      await load('whole')
      expect(written() - before).toBeGreaterThan(176 << 20)
      expect(small.sql('whole', 'SELECT count(*) FROM t')).toBe('300001')
      // Nothing of the log can be used again.
      small.sql('app', "SELECT pg_create_logical_replication_slot('held', 'pgoutput')")
      expect(await slotsOf(small.declared, ['app', 'whole'], options)).toEqual([{ name: 'held', database: 'app' }])
      await expect(load('part')).rejects.toThrow(`app: no space is left for the server's data: less than 48 MiB are free at ${root}/data/pg_wal`)
      expect(small.sql('postgres', 'SELECT pg_postmaster_start_time()')).toBe(started)
    } finally {
      vi.unstubAllEnvs()
      small.remove()
    }
  })
})
