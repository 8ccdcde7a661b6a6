// Databases that are corrupt, that can't be copied, and those that sqlite3 can't judge: all are saved, and brought back.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { instead, output, sql, withMounts } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
})
afterAll(() => w.cleanup())

/** Restores a service's newest snapshot; gives the folder that stands for `/`. */
async function restored(name: string): Promise<string> {
  const folder = w.path('restored', name)
  const { exit } = await w.restic(['restore', 'latest', '--tag', `service:${name}`, '--target', folder])
  expect(exit).toBe(0)
  return folder
}
function runOf(name: string) {
  return JSON.parse(readFileSync(w.path('state/records', `${name}.json`), 'utf8')).runs.at(-1)
}

describe.skipIf(!isRoot)('a database that sqlite3 doesn’t call whole', () => {
  const damage = (file: string, from: number) => {
    sql(file, 'CREATE TABLE t(x); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1, 100);')
    const bytes = readFileSync(file)
    bytes.fill(0x5a, from, 40_000)
    writeFileSync(file, bytes)
  }
  test.each([
    ['no database', (file: string) => writeFileSync(file, 'plain text '.repeat(1000)), 'sqlite-not-a-database', 'is no SQLite database'],
    ['corrupt', (file: string) => damage(file, 8192), 'sqlite-corrupt', 'snapshots may hold an older one: atelier-backup list corrupt'],
    ['damaged from its first page on', (file: string) => damage(file, 0), 'sqlite-not-a-database', 'the file itself is saved'],
  ])('[sqlite.18] a database that is %s is saved as it is, with what lies beside it, and the run is partial', async (what, make, code, message) => {
    const name = what.replaceAll(' ', '-')
    const [beside, alone] = [w.path(name, 'app.db'), w.path(`${name}-alone`, 'app.db')]
    for (const folder of [name, `${name}-alone`]) mkdirSync(w.path(folder))
    w.manifest({ services: { [name]: { paths: [w.path(name)], sqlite: [beside] }, [`${name}-alone`]: { sqlite: [alone] } } })
    for (const [service, database] of [
      [name, beside],
      [`${name}-alone`, alone],
    ] as const) {
      make(database)
      const isCopied = code === 'sqlite-corrupt'
      if (!isCopied) writeFileSync(`${database}-wal`, 'its latest rows')
      const run = await w.cli(['run', service])
      expect(run.exit).toBe(3)
      for (const said of [database, message]) expect(run.stderr).toContain(said)
      expect(runOf(service)).toMatchObject({ outcome: 'partial', code })
      const root = await restored(service)
      // A copy has a header of its own.
      const from = isCopied ? 100 : 0
      expect(
        readFileSync(root + database)
          .subarray(from)
          .equals(readFileSync(database).subarray(from)),
      ).toBe(true)
      expect(existsSync(`${root}${database}-wal`)).toBe(!isCopied)
    }
  })

  test('[sqlite.17] what is whole and can’t be checked is saved, and told', async () => {
    const rewritten = (name: string, make: string, from: string, to: string) => {
      const file = w.write(`unchecked/${name}.db`, '')
      sql(file, `${make} PRAGMA writable_schema=on; UPDATE sqlite_schema SET sql = replace(sql, '${from}', '${to}');`)
      return file
    }
    const table = 'CREATE TABLE t(x text); INSERT INTO t VALUES(NULL);'
    const told = [
      rewritten('constraint', table, 'x text', 'x text NOT NULL'),
      rewritten('collation', 'CREATE TABLE t(x text PRIMARY KEY);', 'x text', 'x text COLLATE own'),
      rewritten('function', 'CREATE TABLE t(x, y AS (lower(x)) NOT NULL); INSERT INTO t VALUES(1);', 'lower', 'own'),
      rewritten('newer', table, '(x text)', '(x text) FUTURE'),
    ]
    const tokenizer = rewritten('tokenizer', "CREATE VIRTUAL TABLE t USING fts5(x); INSERT INTO t VALUES('a');", 'fts5(x)', 'fts5(x, tokenize=own)')
    w.manifest({ services: { unchecked: { sqlite: [...told, tokenizer] } } })
    expect(await w.cli(['run', 'unchecked'])).toMatchObject({ exit: 0 })
    const { outcome, warnings } = runOf('unchecked') as { outcome: string; warnings: { code: string; message: string }[] }
    expect(outcome).toBe('ok')
    for (const file of told) expect(warnings).toContainEqual({ code: 'sqlite-unchecked', message: expect.stringContaining(`${file} is saved`) })
    const root = await restored('unchecked')
    for (const file of [...told, tokenizer]) expect(readFileSync(root + file).subarray(100)).toEqual(readFileSync(file).subarray(100))
  })

  test('[sqlite.19] a database on a read-only mount is saved, root’s own too; one whose -wal can’t be read there as the files that they are', async () => {
    const folder = w.path('frozen')
    const [closed, left] = [w.write('frozen/closed.db', ''), w.write('frozen/left.db', '')]
    for (const database of [closed, left]) sql(database, 'PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(7);')
    output(['sqlite3', left], '.dbconfig no_ckpt_on_close on\nINSERT INTO t VALUES(8);')
    rmSync(`${left}-shm`, { force: true })
    w.manifest({ services: { closed: { sqlite: [closed] }, left: { sqlite: [left] } } })
    const { stdout } = await withMounts(
      w,
      `mount --bind ${folder} ${folder}; mount -o remount,bind,ro ${folder}; for name in closed left; do $cli run $name; echo "exit $?"; done`,
    )
    expect(stdout.match(/^exit .*$/gm)).toEqual(['exit 0', 'exit 3'])
    expect(sql((await restored('closed')) + closed, 'SELECT x FROM t')).toBe('7')
    expect(sql((await restored('left')) + left, 'SELECT max(x) FROM t')).toBe('8')
  })

  test('[sqlite.20] a database that the check of a restore calls corrupt is restored by consent, and told', async () => {
    const database = w.write('strict/app.db', '')
    sql(database, 'CREATE TABLE t(x); INSERT INTO t VALUES(7);')
    w.manifest({ services: { strict: { sqlite: [database], units: [] } } })
    expect(await w.cli(['run', 'strict'])).toMatchObject({ exit: 0 })
    // As a newer sqlite3, which looks into full-text indexes, too.
    const checks = (answer: string) => ({
      env: {
        PATH: `${instead(w, process.env.PATH ?? '', 'sqlite3', `if input=$(cat); [[ $input == *quick_check* ]]; then echo '${answer}'; exit; fi; exec "$real" "$@" <<<"$input"`)}`,
      },
    })
    const restore = (answer: string, ...more: string[]) => w.cli(['restore', 'strict', '--in-place', '--yes', ...more], checks(answer))
    sql(database, 'DELETE FROM t')
    const refused = await restore('Page 2: never used')
    expect(refused).toMatchObject({
      exit: 1,
      stderr: expect.stringMatching(/app\.db of this snapshot is corrupt \(Page 2.*--allow-corrupt.*not touched/),
    })
    expect(sql(database, 'SELECT count(*) FROM t')).toBe('0')
    const allowed = await restore('Page 2: never used', '--allow-corrupt')
    expect(allowed).toMatchObject({ exit: 0, stderr: expect.stringContaining(`${database} is corrupt, and restored as allowed`) })
    expect(sql(database, 'SELECT x FROM t')).toBe('7')
    sql(database, 'DELETE FROM t')
    const lagging = await restore('malformed inverted index for FTS4 table main.f')
    expect(lagging).toMatchObject({ exit: 0, stderr: expect.stringContaining("sqlite3 can't tell whether it is whole") })
    expect(sql(database, 'SELECT x FROM t')).toBe('7')
  })
})
