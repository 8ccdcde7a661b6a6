// PostgreSQL's way back, with a real server: names that would be something else where they weren't quoted, roles, tablespaces.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  createRoles,
  databaseIds,
  dropDatabases,
  gatherServerState,
  globalsOf,
  holdTables,
  loadDatabase,
  renameDatabases,
} from '../../src/host/postgres-load.ts'
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
    server = makeServer()
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
    expect(await loadDatabase(server.declared, load, options)).toEqual({ tables: 0, rows: 0 })
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
    expect(await loadDatabase(server.declared, fresh, options)).toEqual({ tables: 7, rows: 4 })
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
})
