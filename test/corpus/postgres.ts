// Awkward PostgreSQL databases of the real world.

export interface PostgresShape {
  title: string
  /** Default: the shape's number. */
  name?: string
  /** Of CREATE DATABASE. */
  options?: string
  /** Made by the superuser. */
  extensions?: string[]
  /** What the superuser does first. */
  first?: string
  /** What the database's owner does, a role that is no superuser: `app`. */
  sql: string
  /** What a restore in place says. */
  told?: RegExp
}

/** Of the server: what databases refer to. */
export const roles = `
CREATE ROLE app LOGIN; CREATE ROLE reader; CREATE ROLE "O'wner ""x"" ü" LOGIN; CREATE ROLE staff; GRANT staff TO app WITH ADMIN OPTION;
SET allow_in_place_tablespaces = on; CREATE TABLESPACE beside LOCATION ''; GRANT CREATE ON TABLESPACE beside TO app;`

const deep = `
CREATE FUNCTION inner_one(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
CREATE FUNCTION outer_one(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_one(t); END';`

export const postgres: PostgresShape[] = [
  // Encodings and collations.
  {
    title: 'LATIN1',
    options: "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    sql: `CREATE SCHEMA "schön"; CREATE TABLE "schön"."größe"("é" text DEFAULT 'ÿ'); INSERT INTO "schön"."größe" VALUES ('äöü'), (chr(255)); COMMENT ON TABLE "schön"."größe" IS 'café';`,
  },
  {
    title: 'EUC_JP',
    options: "TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C'",
    sql: `CREATE TABLE "表"("列" text CHECK ("列" <> '禁'), e text); INSERT INTO "表" VALUES ('日本語'), ('ソ表\\'); CREATE TYPE "色" AS ENUM ('赤', '青'); CREATE INDEX ON "表" (("列" || '語'));`,
  },
  {
    title: 'SQL_ASCII, bytes of no encoding',
    options: "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'",
    sql: `\\encoding SQL_ASCII\nCREATE TABLE t(x text); INSERT INTO t VALUES (E'\\xe4\\xff'), (E'\\xc3\\xa4');`,
  },
  {
    title: 'ICU',
    options: "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' LOCALE 'C.UTF-8'",
    sql: `CREATE TABLE t(x text PRIMARY KEY); INSERT INTO t VALUES ('ä'), ('z'), ('ae'); CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE c(x text COLLATE ci UNIQUE, y text COLLATE "C"); INSERT INTO c VALUES ('A', 'b'); CREATE TABLE r(x text COLLATE ci) PARTITION BY RANGE (x COLLATE "C"); CREATE TABLE r1 PARTITION OF r FOR VALUES FROM ('a') TO ('z');`,
  },
  {
    title: 'the collation C',
    options: "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
    sql: `CREATE TABLE t(x text PRIMARY KEY); INSERT INTO t VALUES ('ä'), ('Z'), ('a');`,
  },

  // Names.
  {
    title: 'names that must be quoted',
    name: 'My-App_$1',
    options: `OWNER "O'wner ""x"" ü"`,
    first: `ALTER DATABASE "My-App_$1" SET search_path TO "Ünï.-x", public; GRANT CONNECT ON DATABASE "My-App_$1" TO app;`,
    sql: `CREATE SCHEMA "Ünï.-x"; CREATE TABLE "Ünï.-x"."T ""t""\n-- x"("select" int PRIMARY KEY, "a b" text, "'" text); INSERT INTO "Ünï.-x"."T ""t""\n-- x" VALUES (1, 'x', '$$'); CREATE INDEX "i;i" ON "Ünï.-x"."T ""t""\n-- x" ("a b"); CREATE FUNCTION "Ünï.-x"."f()"("in" int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE SCHEMA "\\connect nowhere"; CREATE TABLE "\\connect nowhere"."DATABASE x"(a int);`,
  },
  { title: 'a name of 63 bytes', name: `a${'_'.repeat(61)}b`, sql: 'CREATE TABLE t(a int); INSERT INTO t VALUES (1);' },

  // Functions that need others.
  {
    title: 'indexes on functions without a schema',
    sql: `${deep} CREATE TABLE t(x text); INSERT INTO t VALUES ('A'), ('b'); CREATE INDEX ON t (outer_one(x)); CREATE UNIQUE INDEX ON t (inner_one(x)) WHERE outer_one(x) <> 'z'; CREATE STATISTICS s ON outer_one(x), x FROM t;`,
  },
  {
    title: 'checks, columns, defaults, keys of partitions on functions without a schema',
    sql: `${deep} CREATE TABLE t(x text CHECK (outer_one(x) <> 'no'), y text GENERATED ALWAYS AS (outer_one(x)) STORED, z text DEFAULT outer_one('D')); INSERT INTO t(x) VALUES ('A'); CREATE DOMAIN d AS text CHECK (outer_one(VALUE) = VALUE); CREATE TABLE dd(d d); INSERT INTO dd VALUES ('x'); CREATE TABLE p(x text) PARTITION BY LIST (outer_one(x)); CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a'); INSERT INTO p VALUES ('A');`,
  },
  {
    title: 'a function in a schema that is only on the path of the database',
    first: 'ALTER DATABASE DB SET search_path TO lib, public',
    sql: `CREATE SCHEMA lib; SET search_path TO lib, public; CREATE FUNCTION lib.one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END'; CREATE FUNCTION public.two(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN one($1); END'; CREATE TABLE public.t(a int CHECK (public.two(a) > 0)); INSERT INTO public.t VALUES (7); CREATE INDEX ON public.t (public.two(a)); CREATE MATERIALIZED VIEW public.m AS SELECT public.two(a) FROM public.t;`,
  },
  {
    title: 'unaccent in an index',
    extensions: ['unaccent', 'pg_trgm'],
    sql: `CREATE FUNCTION f_unaccent(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$SELECT unaccent('unaccent', $1)$$; CREATE TABLE t(x text); INSERT INTO t VALUES ('Café'); CREATE INDEX ON t USING gin (f_unaccent(x) gin_trgm_ops); CREATE TEXT SEARCH CONFIGURATION own (COPY = simple); ALTER TEXT SEARCH CONFIGURATION own ALTER MAPPING FOR word WITH unaccent, simple; CREATE INDEX ON t USING gin (to_tsvector('own', x));`,
  },
  {
    title: 'earthdistance in an index',
    extensions: ['cube', 'earthdistance'],
    sql: `CREATE TABLE places(id int PRIMARY KEY, latitude float8, longitude float8); INSERT INTO places VALUES (1, 52.5, 13.4); CREATE INDEX ON places USING gist (ll_to_earth(latitude, longitude)); CREATE TABLE e(x earth); INSERT INTO e VALUES (ll_to_earth(1, 2));`,
  },
  {
    title: 'functions and operators with names of pg_catalog',
    sql: `CREATE FUNCTION lower(text, int DEFAULT 0) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'; CREATE FUNCTION now(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION eq(text, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; CREATE OPERATOR = (LEFTARG = text, RIGHTARG = int, FUNCTION = eq); CREATE TABLE public.pg_class(a text); CREATE TABLE public.pg_database(datname text); INSERT INTO public.pg_class VALUES ('x'); CREATE VIEW v AS SELECT 'a'::text = 1 AS x; CREATE TYPE public.text AS (a int);`,
  },

  // Extensions.
  {
    title: 'citext, hstore, ltree, intarray, btree_gist, pgcrypto, uuid-ossp, in a schema of their own',
    first:
      'CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO app; CREATE EXTENSION citext SCHEMA extensions; CREATE EXTENSION hstore SCHEMA extensions; CREATE EXTENSION ltree SCHEMA extensions; CREATE EXTENSION "uuid-ossp" SCHEMA extensions; CREATE EXTENSION pgcrypto SCHEMA extensions;',
    extensions: ['intarray', 'btree_gist'],
    sql: `CREATE TABLE t(id uuid PRIMARY KEY DEFAULT extensions.uuid_generate_v4(), c extensions.citext UNIQUE, h extensions.hstore, l extensions.ltree, a int[], during tsrange, room int, EXCLUDE USING gist (room WITH =, during WITH &&)); INSERT INTO t VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'X', 'a=>1', 'Top.Science', '{1,2}', '[2020-01-01,2020-02-01)', 1); CREATE INDEX ON t USING gist (l); CREATE INDEX ON t USING gin (h); CREATE INDEX ON t USING gin (a gin__int_ops);`,
  },
  {
    title: 'a foreign server that is down',
    extensions: ['postgres_fdw'],
    first: `GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO app;`,
    sql: `CREATE SERVER down FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', dbname 'x'); CREATE USER MAPPING FOR app SERVER down OPTIONS (user 'u', password 'p'); CREATE FOREIGN TABLE far(a int) SERVER down; CREATE TABLE t(a int) PARTITION BY LIST (a); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE FOREIGN TABLE t2 PARTITION OF t FOR VALUES IN (2) SERVER down; INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT * FROM far; CREATE MATERIALIZED VIEW m AS SELECT * FROM far WITH NO DATA;`,
    told: /statistics/,
  },
  {
    title: 'extensions with changed rights, and views that need what is not loaded',
    extensions: ['pg_stat_statements', 'dblink', 'file_fdw', 'tablefunc', 'pageinspect'],
    first: `REVOKE ALL ON FUNCTION dblink_connect(text) FROM public; GRANT SELECT ON pg_stat_statements TO app; COMMENT ON EXTENSION dblink IS 'ours'; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE passwd(line text) SERVER files OPTIONS (filename '/nonexistent'); CREATE VIEW top AS SELECT * FROM pg_stat_statements;`,
    sql: 'CREATE TABLE t(a int);',
  },

  // Tables.
  {
    title: 'partitions of each kind',
    sql: `CREATE TABLE r(id bigint GENERATED ALWAYS AS IDENTITY, at date, k int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (MINVALUE) TO ('2020-01-01') PARTITION BY HASH (id); CREATE TABLE r1a PARTITION OF r1 FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE r1b PARTITION OF r1 FOR VALUES WITH (MODULUS 2, REMAINDER 1); CREATE TABLE r2 PARTITION OF r DEFAULT; CREATE INDEX ON r (k); INSERT INTO r(at, k) SELECT date '2019-12-01' + n, n FROM generate_series(1, 60) n; CREATE TABLE l(a text, b int) PARTITION BY LIST (a); CREATE TABLE l1(b int, gone int, a text); ALTER TABLE l1 DROP COLUMN gone; ALTER TABLE l ATTACH PARTITION l1 FOR VALUES IN ('x', NULL); INSERT INTO l VALUES (NULL, 1); CREATE TABLE ref(id bigint, at date, FOREIGN KEY (id, at) REFERENCES r); INSERT INTO ref VALUES (1, '2019-12-02'); CREATE TABLE none(a int) PARTITION BY RANGE (a, abs(a));`,
  },
  {
    title: 'inheritance',
    sql: `CREATE TABLE a(id serial PRIMARY KEY, x text CONSTRAINT c CHECK (x <> '') NO INHERIT, y int NOT NULL DEFAULT 1); CREATE TABLE b(z int) INHERITS (a); CREATE TABLE c(x text, w int CHECK (w > 0)); CREATE TABLE d() INHERITS (b, c); ALTER TABLE d ALTER y SET DEFAULT 5; INSERT INTO a(x) VALUES ('a'); INSERT INTO d(x, z, w) VALUES ('', 1, 2);`,
  },
  {
    title: 'domains, enums, composites, ranges',
    sql: `CREATE DOMAIN pos AS int DEFAULT 3 CHECK (VALUE > 0) NOT NULL; CREATE DOMAIN more AS pos CONSTRAINT big CHECK (VALUE < 100); CREATE TYPE e AS ENUM ('one', 'three', ''''); ALTER TYPE e ADD VALUE 'two' BEFORE 'three'; CREATE TYPE comp AS (a more, b e[]); CREATE FUNCTION diff(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2'; CREATE TYPE fr AS RANGE (subtype = float8, subtype_diff = diff, multirange_type_name = fmr); CREATE TABLE t(p pos, c comp, r fr, m fmr, a more[]); INSERT INTO t VALUES (1, ROW(5, '{one,two}'), '[1.5,2)', '{[1,2),[5,6)}', '{1,2}'); CREATE INDEX ON t USING gist (r);`,
  },
  {
    title: 'values at their limits',
    sql: `CREATE TABLE t(id int, a text, b bytea, c float8, d numeric, e timestamptz, f interval, g jsonb, h xml, i money, j bit varying, k inet, l tsvector, m int[], n pg_lsn, o json, p date, q "char", r name); INSERT INTO t VALUES (1, '\\N', '\\x00ff0a', 'NaN', 'Infinity', 'infinity', '-1 year 2 mons -3 days', '{"a": "\\u00e4"}', '<a/>', '-1.50', B'101', '::1/64', '''a b'':1A', '[0:1]={1,NULL}', '0/FF', '{"a":1, "a":2}', '4713-01-01 BC', 'x', 'n'), (2, '\\.', '', '-0', 'NaN', '0001-01-01 BC', '178000000 years', 'null', '', 0, B'', '10.0.0.1', '', '{}', '0/0', ' 1 ', 'infinity', '', ''), (3, E'tab\\there\\nnew\\r\\\\', NULL, 4.9e-324, 1e-130, NULL, NULL, '1e400', NULL, NULL, NULL, NULL, NULL, '{{1},{2}}', NULL, NULL, NULL, NULL, NULL); INSERT INTO t(id, a, c) VALUES (4, '', 0.1 + 0.2::float8);`,
  },
  {
    title: 'tables without columns, with dropped ones, with many',
    sql: `CREATE TABLE none(); INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES; CREATE TABLE gone(a int, b int, c text DEFAULT 'x'); INSERT INTO gone VALUES (1, 2); ALTER TABLE gone DROP COLUMN a; ALTER TABLE gone ADD d int NOT NULL DEFAULT 9; SELECT 'CREATE TABLE wide(' || string_agg('c' || n || ' int', ',') || ')' FROM generate_series(1, 1200) n \\gexec\nINSERT INTO wide(c1, c1200) VALUES (1, 2); SELECT format('CREATE TABLE many_%s(a int PRIMARY KEY)', n) FROM generate_series(1, 150) n \\gexec`,
  },
  {
    title: 'storage: tablespaces, unlogged, compression, clustering, replica identity',
    sql: `CREATE TABLE t(a int PRIMARY KEY USING INDEX TABLESPACE beside, b text COMPRESSION pglz, c int) WITH (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off) TABLESPACE beside; INSERT INTO t SELECT n, repeat('x', 5000) FROM generate_series(1, 9) n; CLUSTER t USING t_pkey; ALTER TABLE t REPLICA IDENTITY FULL, ALTER b SET STATISTICS 500, ALTER b SET STORAGE EXTERNAL; CREATE UNLOGGED TABLE u(a serial); INSERT INTO u DEFAULT VALUES; CREATE MATERIALIZED VIEW m TABLESPACE beside AS SELECT 1; CREATE INDEX ON t USING brin (a) WITH (pages_per_range = 4); CREATE INDEX ON t USING hash (b); CREATE INDEX ON t (a DESC NULLS LAST) INCLUDE (c) WHERE a > 3;`,
  },
  {
    title: 'identity, sequences at their ends',
    sql: `CREATE TABLE t(id bigint GENERATED BY DEFAULT AS IDENTITY (START 100 INCREMENT -5 MINVALUE -1000 MAXVALUE 100), g int GENERATED ALWAYS AS (id * 2) STORED, s smallserial); INSERT INTO t DEFAULT VALUES; INSERT INTO t(id) VALUES (7); CREATE SEQUENCE c AS smallint MAXVALUE 3 CYCLE CACHE 5 OWNED BY t.s; SELECT nextval('c'), nextval('c'), nextval('c'); CREATE SEQUENCE never; SELECT setval('never', 9223372036854775807); CREATE SEQUENCE unused; SELECT setval('unused', 5, false); CREATE UNLOGGED SEQUENCE lost;`,
  },
  {
    title: 'circular keys, constraints that are not valid, or put off',
    sql: `CREATE TABLE a(id int PRIMARY KEY, b int, parent int REFERENCES a); CREATE TABLE b(id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED); ALTER TABLE a ADD CONSTRAINT ab FOREIGN KEY (b) REFERENCES b; INSERT INTO a VALUES (1, NULL, 1); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1; CREATE TABLE bad(x int); INSERT INTO bad VALUES (-1), (77); ALTER TABLE bad ADD CHECK (x > 0) NOT VALID, ADD FOREIGN KEY (x) REFERENCES a NOT VALID; CREATE TABLE u(x int UNIQUE NULLS NOT DISTINCT DEFERRABLE, y int[], EXCLUDE USING hash (x WITH =)); INSERT INTO u VALUES (NULL, NULL);`,
  },

  // Code.
  {
    title: 'functions of each kind',
    sql: `CREATE TABLE t(a int PRIMARY KEY, b text); CREATE FUNCTION atomic(x int) RETURNS SETOF t LANGUAGE sql BEGIN ATOMIC SELECT * FROM t WHERE a > x; END; CREATE PROCEDURE p(INOUT x int DEFAULT 3) LANGUAGE plpgsql AS $$BEGIN x := x + 1; COMMIT; END$$; CREATE FUNCTION v(VARIADIC anyarray) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION def() RETURNS TABLE(x int, y text) LANGUAGE sql SECURITY DEFINER SET search_path = '' SET work_mem = '1MB' COST 7 ROWS 9 AS $f$ SELECT 1, $$it's \\ $$ $f$; CREATE FUNCTION missing() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT x FROM nowhere); END'; CREATE FUNCTION later(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN earlier($1); END'; CREATE FUNCTION earlier(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN later($1); END'; CREATE FUNCTION loopy() RETURNS SETOF t LANGUAGE sql AS 'SELECT * FROM t'; ALTER TABLE t ADD CHECK (a < 100);`,
  },
  {
    title: 'views: recursive, with options, grouped by a key',
    sql: `CREATE TABLE t(a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x'); CREATE VIEW g AS SELECT a, b, count(*) FROM t GROUP BY a; CREATE RECURSIVE VIEW r(n) AS VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5; CREATE VIEW s WITH (security_barrier, security_invoker) AS SELECT * FROM t WHERE a > 0 WITH CASCADED CHECK OPTION; CREATE VIEW w AS SELECT *, row_number() OVER w FROM t WINDOW w AS (ORDER BY b DESC); CREATE VIEW x AS SELECT t.* FROM t, LATERAL (SELECT t.a) q(z) WHERE z = ANY (ARRAY[1, 2]); CREATE VIEW one AS SELECT 1 AS c; CREATE VIEW two AS SELECT * FROM one; CREATE OR REPLACE VIEW one AS SELECT 2 AS c; COMMENT ON COLUMN g.b IS 'b';`,
  },
  {
    title: 'materialized views on one another, empty, on functions',
    sql: `${deep} CREATE TABLE t(x text); INSERT INTO t VALUES ('A'); CREATE MATERIALIZED VIEW z AS SELECT outer_one(x) AS x FROM t; CREATE MATERIALIZED VIEW a AS SELECT x || '!' AS x FROM z WITH DATA; CREATE UNIQUE INDEX ON a (x); CREATE MATERIALIZED VIEW empty AS SELECT * FROM a WITH NO DATA; CREATE MATERIALIZED VIEW stale AS SELECT count(*) FROM t; CREATE VIEW over AS SELECT * FROM a;`,
  },
  {
    title: 'triggers and rules',
    sql: `CREATE TABLE t(a int, b text); CREATE TABLE log(a text); CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (TG_OP); RETURN NEW; END'; CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no rows here'; END$$; INSERT INTO t VALUES (1, 'x'); CREATE TRIGGER a AFTER INSERT OR UPDATE OF b ON t FOR EACH ROW WHEN (NEW.a > 0) EXECUTE FUNCTION tf('x', '''y'); CREATE TRIGGER b BEFORE INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION raise(); CREATE CONSTRAINT TRIGGER c AFTER DELETE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tf(); ALTER TABLE t DISABLE TRIGGER a; ALTER TABLE t ENABLE ALWAYS TRIGGER b; CREATE TRIGGER d AFTER UPDATE ON t REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION tf(); ALTER TABLE t ENABLE REPLICA TRIGGER d; CREATE RULE r AS ON DELETE TO t WHERE OLD.a > 5 DO INSTEAD (INSERT INTO log VALUES ('kept'); UPDATE log SET a = 'x'); CREATE RULE rn AS ON UPDATE TO log DO ALSO NOTIFY gone; CREATE VIEW v AS SELECT * FROM t; CREATE RULE vi AS ON INSERT TO v DO INSTEAD INSERT INTO t VALUES (NEW.*); CREATE TRIGGER vt INSTEAD OF UPDATE ON v FOR EACH ROW EXECUTE FUNCTION tf();`,
  },
  {
    title: 'event triggers',
    first: `CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no tables are dropped here'; END$$; CREATE EVENT TRIGGER no ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA') EXECUTE FUNCTION no(); CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'ddl'; END$$; CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION noted(); ALTER EVENT TRIGGER noted ENABLE ALWAYS; CREATE EVENT TRIGGER off ON ddl_command_start EXECUTE FUNCTION no(); ALTER EVENT TRIGGER off DISABLE; GRANT CREATE ON SCHEMA public TO app;`,
    sql: 'CREATE TABLE t(a int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW m AS SELECT * FROM t;',
  },
  {
    title: 'casts, operators, classes, aggregates, text search',
    first: `CREATE TYPE two AS (a int, b int); CREATE FUNCTION cmp(two, two) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a - ($2).a'; CREATE FUNCTION lt(two, two) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a < ($2).a'; CREATE FUNCTION same(two, two) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a = ($2).a'; CREATE OPERATOR <<< (LEFTARG = two, RIGHTARG = two, FUNCTION = lt); CREATE OPERATOR === (LEFTARG = two, RIGHTARG = two, FUNCTION = same, COMMUTATOR = ===, NEGATOR = !===, HASHES); CREATE OPERATOR CLASS two_ops FOR TYPE two USING btree AS OPERATOR 1 <<<, OPERATOR 3 ===, FUNCTION 1 cmp(two, two); CREATE OPERATOR FAMILY fam USING hash; CREATE CAST (two AS text) WITH INOUT AS ASSIGNMENT; CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8; CREATE AGGREGATE ordered(VARIADIC "any" ORDER BY VARIADIC "any") (SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL); CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;`,
    sql: `CREATE TABLE t(x two); INSERT INTO t VALUES (ROW(1, 2)); CREATE INDEX ON t (x two_ops); CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '5', COMBINEFUNC = int4pl, PARALLEL = SAFE); CREATE FUNCTION tail(int[], int) RETURNS int[] LANGUAGE sql AS 'SELECT $1 || $2'; CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple, STOPWORDS = english, ACCEPT = false); CREATE TEXT SEARCH CONFIGURATION c (COPY = german); ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR asciiword WITH d, german_stem; CREATE TABLE s(v tsvector GENERATED ALWAYS AS (to_tsvector('c', 'die Häuser')) STORED); INSERT INTO s DEFAULT VALUES;`,
  },

  // Objects, rights, settings.
  {
    title: 'large objects',
    sql: `SELECT lo_from_bytea(4242, '\\xdeadbeef'), lo_from_bytea(1, ''), lo_from_bytea(0, string_agg(decode(md5(n::text), 'hex'), '')) FROM generate_series(1, 200000) n; GRANT SELECT ON LARGE OBJECT 4242 TO reader; COMMENT ON LARGE OBJECT 4242 IS 'it''s'; SELECT lo_create(77); SELECT lo_put(77, 5000000, 'far'); CREATE TABLE t(o oid); INSERT INTO t VALUES (4242);`,
  },
  {
    title: 'row security',
    sql: `CREATE TABLE t(owner name, x int); INSERT INTO t VALUES ('nobody', 1), ('app', 2); ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t AS PERMISSIVE FOR SELECT TO reader, public USING (owner = current_user); CREATE POLICY q ON t AS RESTRICTIVE FOR INSERT TO app WITH CHECK (x > 0); CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t; CREATE TABLE k(x int PRIMARY KEY); INSERT INTO k VALUES (1), (2); ALTER TABLE k ENABLE ROW LEVEL SECURITY; ALTER TABLE k FORCE ROW LEVEL SECURITY; CREATE TABLE f(x int); INSERT INTO f VALUES (1); ALTER TABLE f ADD FOREIGN KEY (x) REFERENCES k NOT VALID;`,
  },
  {
    title: 'rights: of columns, with options, by default, to what is built in',
    first: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_waldir() TO app; REVOKE ALL ON SCHEMA public FROM public; GRANT CREATE, USAGE ON SCHEMA public TO app, staff; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader; REVOKE USAGE ON LANGUAGE plpgsql FROM public; GRANT USAGE ON LANGUAGE plpgsql TO app;`,
    sql: `CREATE TABLE t(a int, b int); GRANT SELECT (a), UPDATE (b) ON t TO reader WITH GRANT OPTION; GRANT TRIGGER ON t TO public; REVOKE INSERT ON t FROM app; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION f() FROM public; CREATE TYPE ty AS ENUM ('a'); REVOKE USAGE ON TYPE ty FROM public; GRANT ty_reader TO reader;`.replace(
      ' GRANT ty_reader TO reader;',
      ` ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM public; ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO staff WITH GRANT OPTION; CREATE SCHEMA private; ALTER SCHEMA private OWNER TO staff; ALTER TABLE t OWNER TO staff;`,
    ),
  },
  {
    title: 'settings that change what is read',
    first: `ALTER DATABASE DB SET "DateStyle" TO 'SQL, DMY'; ALTER DATABASE DB SET "IntervalStyle" TO 'sql_standard'; ALTER DATABASE DB SET bytea_output TO 'escape'; ALTER DATABASE DB SET extra_float_digits TO -15; ALTER DATABASE DB SET "TimeZone" TO 'Asia/Kathmandu'; ALTER DATABASE DB SET standard_conforming_strings TO off; ALTER DATABASE DB SET quote_all_identifiers TO on; ALTER DATABASE DB SET transform_null_equals TO on; ALTER DATABASE DB SET xmloption TO 'document'; ALTER DATABASE DB SET client_encoding TO 'LATIN1'; ALTER DATABASE DB SET array_nulls TO off; ALTER DATABASE DB SET backslash_quote TO on;`,
    sql: `SET standard_conforming_strings TO on; SET array_nulls TO on; CREATE TABLE t(a date, b interval, c bytea, d float8, e timestamptz, f text, g int[], h xml); INSERT INTO t VALUES ('2020-02-01', '1-2', '\\x00ff5c', 0.1 + 0.2::float8, '2020-01-01 00:00Z', 'a\\b''é', '{1,NULL}', 'no <b>document</b>');`,
  },
  {
    title: 'settings that end, limit or redirect sessions',
    first: `ALTER DATABASE DB SET default_transaction_read_only TO on; ALTER DATABASE DB SET statement_timeout TO '200ms'; ALTER DATABASE DB SET lock_timeout TO '1ms'; ALTER DATABASE DB SET idle_in_transaction_session_timeout TO '50ms'; ALTER DATABASE DB SET default_transaction_isolation TO 'serializable'; ALTER DATABASE DB SET search_path TO nowhere; ALTER DATABASE DB SET row_security TO off; ALTER DATABASE DB SET default_tablespace TO beside; ALTER DATABASE DB SET check_function_bodies TO on; ALTER DATABASE DB SET client_min_messages TO debug1; ALTER ROLE app IN DATABASE DB SET search_path TO 'a, b', public; ALTER ROLE app IN DATABASE DB SET role TO staff; ALTER ROLE ALL IN DATABASE DB SET jit TO off; ALTER DATABASE DB SET session_replication_role TO replica; ALTER DATABASE DB SET my.own TO 'it''s "x"\ny'; ALTER DATABASE DB CONNECTION LIMIT 0; ALTER DATABASE DB IS_TEMPLATE true; COMMENT ON DATABASE DB IS E'a;b''c\n\\\\connect nowhere\n-- d "f"';`,
    sql: `SET default_transaction_read_only TO off; SET statement_timeout TO 0; SET search_path TO public; CREATE TABLE t(a int); INSERT INTO t SELECT generate_series(1, 5000); CREATE INDEX ON t (a);`,
  },
  {
    title: 'publications',
    first: `CREATE TABLE pt(a int PRIMARY KEY, b text, c int); ALTER TABLE pt OWNER TO app; CREATE PUBLICATION whole FOR ALL TABLES; CREATE PUBLICATION part FOR TABLE pt (a, b) WHERE (a > 5) WITH (publish = 'insert', publish_via_partition_root = true); CREATE PUBLICATION sch FOR TABLES IN SCHEMA public; CREATE PUBLICATION none;`,
    sql: 'INSERT INTO pt VALUES (1, $$x$$, 2);',
  },
  {
    title: 'comments on everything',
    sql: `CREATE TABLE t(a int PRIMARY KEY, b text DEFAULT 'x'); COMMENT ON TABLE t IS E'line\nline'; COMMENT ON COLUMN t.a IS 'it''s; \\ "x" $$'; COMMENT ON CONSTRAINT t_pkey ON t IS '-- no'; CREATE INDEX i ON t (b); COMMENT ON INDEX i IS '/* */'; CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMENT ON FUNCTION f(int) IS '🗄'; CREATE TYPE c AS (x int); COMMENT ON COLUMN c.x IS 'x'; CREATE SCHEMA s; COMMENT ON SCHEMA s IS ' '; CREATE SEQUENCE q; COMMENT ON SEQUENCE q IS '\\.'; CREATE STATISTICS st ON a, b FROM t; COMMENT ON STATISTICS st IS 'st';`,
    first: `COMMENT ON DATABASE DB IS 'of a database'; COMMENT ON SCHEMA public IS NULL;`,
  },
  {
    title: 'without the schema public',
    first: 'DROP SCHEMA public; GRANT CREATE ON DATABASE DB TO app',
    sql: 'CREATE SCHEMA lone; CREATE TABLE lone.t(a int); INSERT INTO lone.t VALUES (1);',
  },
  { title: 'nothing in it', sql: '' },
]
