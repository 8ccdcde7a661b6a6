// Awkward SQLite databases of the real world.

export interface SqliteShape {
  title: string
  /** Its name, as bash writes it; default: app.db. */
  name?: string
  /** SQL that makes it. */
  sql?: string
  /** bash that makes it, or goes on after `sql`; `$db` is its name. `killed SQL`: a sqlite3 that dies after these statements. */
  make?: string
  /** sqlite3 can't look into all of it: compared by bytes, too. */
  opaque?: true
  /** What a backup says; with `partial` it ends so. */
  told?: RegExp
  partial?: true
}

const rows = 'CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) SELECT randomblob(700) FROM generate_series(1, 60);'
/** Statements that have written to the database itself, and don't end. */
const torn = "PRAGMA cache_size=2; BEGIN; UPDATE t SET b = randomblob(800); INSERT INTO t(b) VALUES('never');"
/** The schema is rewritten, as only the application understands it. */
const rewritten = (from: string, to: string) =>
  `PRAGMA writable_schema=on; UPDATE sqlite_schema SET sql = replace(sql, '${from}', '${to}'); PRAGMA writable_schema=off;`
const foreign = (sql: string) =>
  `PRAGMA writable_schema=on; INSERT INTO sqlite_schema VALUES('table', 'v', 'v', 0, '${sql}'); PRAGMA writable_schema=off;`

export const sqlite: SqliteShape[] = [
  // What a killed application leaves.
  ...['delete', 'truncate', 'persist'].map((mode) => ({
    title: `killed in a transaction, journal_mode=${mode}`,
    sql: `PRAGMA journal_mode=${mode}; ${rows}`,
    make: `killed "PRAGMA journal_mode=${mode}; ${torn}"; test -s "$db"-journal`,
  })),
  {
    title: 'killed with rows in its -wal, committed and not',
    sql: `PRAGMA journal_mode=wal; ${rows}`,
    make: `killed "INSERT INTO t(b) VALUES('in the wal'); ${torn}"; test -s "$db"-wal`,
  },
  { title: 'all of it in its -wal', make: `killed "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; ${rows}"; test -s "$db"-wal` },
  { title: 'a -wal without rows, a journal without a transaction', sql: `PRAGMA journal_mode=wal; ${rows}`, make: '>"$db"-wal' },
  {
    title: 'a -wal that belongs to another database',
    sql: rows,
    make: 'sqlite3 other.db ".dbconfig no_ckpt_on_close on" "PRAGMA journal_mode=wal" "CREATE TABLE o(a)"; mv other.db-wal kept-wal',
  },
  { title: 'killed, journal_mode=memory and off', sql: `PRAGMA journal_mode=memory; ${rows} PRAGMA journal_mode=off; INSERT INTO t(b) VALUES(1);` },
  {
    title: 'locking_mode=exclusive, secure_delete',
    sql: `PRAGMA locking_mode=exclusive; PRAGMA journal_mode=wal; PRAGMA secure_delete=on; ${rows} DELETE FROM t WHERE a % 2;`,
  },

  // How it is stored.
  { title: 'pages of 64 KiB', sql: `PRAGMA page_size=65536; ${rows}` },
  { title: 'pages of 512 bytes, in WAL mode', sql: `PRAGMA page_size=512; PRAGMA journal_mode=wal; ${rows}` },
  ...['UTF-16le', 'UTF-16be'].map((encoding) => ({
    title: encoding,
    sql: `PRAGMA encoding='${encoding}'; CREATE TABLE "größe 🗄"(x TEXT COLLATE NOCASE PRIMARY KEY, 'y y'); INSERT INTO "größe 🗄" VALUES('日本語🗄', 'ä'), ('ı', char(0x10ffff)), (char(0), '');`,
  })),
  { title: 'auto_vacuum=full', sql: `PRAGMA auto_vacuum=full; ${rows} DELETE FROM t WHERE a > 20;` },
  {
    title: 'auto_vacuum=incremental, many free pages',
    sql: `PRAGMA auto_vacuum=incremental; ${rows} INSERT INTO t(b) SELECT zeroblob(9000) FROM t; DELETE FROM t WHERE a > 30;`,
  },
  { title: 'application_id, user_version', sql: `PRAGMA application_id=-17; PRAGMA user_version=-2147483648; ${rows}` },
  {
    title: 'reserved bytes at the end of each page',
    make: 'sqlite3 "$db" ".filectrl reserve_bytes 32" "CREATE TABLE t(a); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1, 9);"',
  },
  { title: 'an empty file', make: '>"$db"' },
  { title: 'a database without tables', sql: 'CREATE TABLE t(a); DROP TABLE t; VACUUM;' },
  {
    title: 'mode 0400, of another user, in a folder of his',
    sql: `PRAGMA journal_mode=wal; ${rows}`,
    make: 'chmod 0400 "$db"; chown 1234:1235 "$db" .',
  },
  { title: 'of nobody here, in a folder that all may write to', sql: rows, make: 'chown 4294967294:4294967294 "$db"; chmod 1777 .' },

  // Tables.
  {
    title: 'WITHOUT ROWID, STRICT, generated columns',
    sql: "CREATE TABLE w(a TEXT, b BLOB, PRIMARY KEY(b, a)) WITHOUT ROWID; INSERT INTO w VALUES('x', x'00'), ('x', x''); CREATE TABLE s(a INTEGER PRIMARY KEY, b ANY, c TEXT AS (a || b) STORED, d INT AS (length(c)) VIRTUAL) STRICT; INSERT INTO s(b) VALUES(1), ('1'), (1.5), (NULL), (x'31'); CREATE INDEX sd ON s(d DESC, abs(a)) WHERE c NOT NULL;",
  },
  {
    title: 'values at their limits',
    sql: "CREATE TABLE t(a); INSERT INTO t VALUES(9223372036854775807), (-9223372036854775808), (9e999), (-9e999), (-0.0), (4.9e-324), (0.1 + 0.2), (CAST(x'ff00c3' AS TEXT)), ('a' || char(0) || 'b'), (''), (zeroblob(300000)), (NULL);",
  },
  {
    title: 'FTS5 of each kind, FTS4, R*Tree',
    sql: `CREATE TABLE d(id INTEGER PRIMARY KEY, x); INSERT INTO d(x) VALUES('eins zwei'), ('drei Äpfel'); CREATE VIRTUAL TABLE f USING fts5(x, prefix='2 3', tokenize='porter unicode61'); CREATE VIRTUAL TABLE less USING fts5(x, content=''); CREATE VIRTUAL TABLE beside USING fts5(x, content='d', content_rowid='id'); CREATE VIRTUAL TABLE tri USING fts5(x, tokenize='trigram'); CREATE VIRTUAL TABLE four USING fts4(x, content='d'); CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO f SELECT x FROM d; INSERT INTO less(rowid, x) SELECT id, x FROM d; INSERT INTO beside(beside) VALUES('rebuild'); INSERT INTO tri SELECT x FROM d; INSERT INTO four(four) VALUES('rebuild'); INSERT INTO r VALUES(1, -1.5, 2);`,
  },
  {
    title: 'an index of full text that lags behind its table',
    sql: "CREATE TABLE d(id INTEGER PRIMARY KEY, x); CREATE VIRTUAL TABLE f USING fts5(x, content='d', content_rowid='id'); INSERT INTO d(x) VALUES('later');",
    told: /can't tell|unchecked|is saved/,
  },
  {
    title: 'views and triggers of tables that are gone, keys that nobody has',
    sql: 'CREATE TABLE t(a REFERENCES u(b) DEFERRABLE INITIALLY DEFERRED); CREATE TABLE u(b PRIMARY KEY REFERENCES t(a)); INSERT INTO t VALUES(1); CREATE TABLE gone(a); CREATE VIEW v AS SELECT * FROM gone; CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO gone VALUES(1); END; PRAGMA legacy_alter_table=on; DROP TABLE gone; ANALYZE;',
  },
  {
    title: 'names that must be quoted',
    sql: `CREATE TABLE "a ""b"""("c'd", [e f], "select"); INSERT INTO "a ""b""" VALUES(1, 2, 3); CREATE INDEX "-- x" ON "a ""b"""("c'd"); CREATE TABLE "sqlite"(x); CREATE TABLE "x${'\\n'}"(y); INSERT INTO "x${'\\n'}" VALUES(';');`,
  },
  {
    title: 'a thousand tables',
    make: 'for ((i = 0; i < 1000; i++)); do echo "CREATE TABLE t$i(a); INSERT INTO t$i VALUES($i);"; done | { echo "BEGIN;"; cat; echo "COMMIT;"; } | sqlite3 "$db"',
  },

  // What sqlite3 doesn't know.
  {
    title: 'a tokenizer of the application',
    sql: `CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('a b'); ${rewritten('fts5(x)', 'fts5(x, tokenize=own)')}`,
    opaque: true,
  },
  {
    title: 'a function of the application, in an index, a check, a column',
    sql: `CREATE TABLE t(a CHECK(lower(a) = a), b AS (upper(a)) STORED); INSERT INTO t(a) VALUES('x'); CREATE INDEX i ON t(trim(a)); ${rewritten('lower', 'own')} ${rewritten('upper', 'mine')} ${rewritten('trim', 'his')}`,
    opaque: true,
    told: /is saved/,
  },
  {
    title: 'a collation of the application',
    sql: `CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES('x'), ('y'); ${rewritten('NOCASE', 'ICU_DE')}`,
    opaque: true,
    told: /is saved/,
  },
  { title: 'virtual tables of the application', sql: `${rows} ${foreign('CREATE VIRTUAL TABLE v USING vec0(embedding float[768])')}`, opaque: true },
  { title: 'a schema that is newer than this sqlite3', sql: `${rows} ${rewritten('b)', 'b) FUTURE')}`, opaque: true, told: /is saved/ },
  { title: 'an encrypted one', make: 'head -c 20480 /dev/urandom >"$db"', opaque: true, partial: true, told: /is no SQLite database/ },

  // Names.
  {
    title: 'reached by a link, in a folder with a name in Latin-1',
    name: 'link/app.db',
    make: `mkdir $'caf\\xe9'; ln -s $'caf\\xe9' link; sqlite3 "$db" "PRAGMA journal_mode=wal; ${rows}"`,
  },
  ...[
    "'a?b#c%41&d=e.db'",
    `"it's \\"quoted\\".db"`,
    "'x;y|z $HOME.db'",
    "' .db '",
    "'-init.db'",
    "'file:x?mode=ro.db'",
    "'*[a].db'",
    "$'\\t\\e[31m.db'",
    'größe',
    "'\\x41.db'",
    ':memory:',
    'app.db-wal.db',
    'app.sqlite-journal',
  ].map((name) => ({
    title: `the name ${name}`,
    name,
    sql: `PRAGMA journal_mode=wal; ${rows}`,
    make: `killed "INSERT INTO t(b) VALUES('in the wal')"`,
  })),
]
