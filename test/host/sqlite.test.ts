// Copies of databases: what hinders one, and what one leaves alone.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkDatabase, copyDatabase, holdDatabase, otherName, sidecarsOf } from '../../src/host/sqlite.ts'
import { start } from '../lib/cli.ts'
import { output, sql } from '../lib/live.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let database: string
beforeEach(async () => {
  w = await world()
  mkdirSync(w.path('copies'))
  database = w.write("data/it's a #1 %20?.db", '')
  sql(database, 'CREATE TABLE t(x); INSERT INTO t VALUES(7);')
})
afterEach(() => w.cleanup())

const copy = (from = database, signal = new AbortController().signal) =>
  copyHeld(from, { signal, inheritFds: [], busySeconds: 1, stall: { seconds: 60, onGrowth() {} } })

async function copyHeld(from: string, options: Parameters<typeof copyDatabase>[3]) {
  const held = await holdDatabase(from)
  try {
    return await copyDatabase(held, from, w.path('copies/0.db'), options)
  } finally {
    await held.close()
  }
}

/** A process that has begun something in the database and doesn't go on. */
async function holding(statements: string) {
  const { child, ended } = start(['bash', '-c', `(echo "$2"; echo 'SELECT 1;'; exec sleep 60) | sqlite3 "$1"`, 'bash', database, statements])
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return async () => {
    output(['pkill', '--parent', String(child.pid)])
    await ended
  }
}

test('a name full of what URLs and statements give a meaning to', async () => {
  expect(await copy()).toMatchObject({ state: 'ok' })
  expect(sql(w.path('copies/0.db'), 'SELECT x FROM t')).toBe('7')
})

test('a database that somebody has locked for himself is named after the time that it is waited for', async () => {
  const release = await holding('BEGIN EXCLUSIVE;')
  await expect(copy()).rejects.toMatchObject({ code: 'sqlite-locked', message: expect.stringContaining('stayed locked for 1 s') })
  await release()
  expect(await copy()).toMatchObject({ state: 'ok' })
})

test('a transaction that is open and not committed isn’t in the copy, and hinders none', async () => {
  sql(database, 'PRAGMA journal_mode=wal;')
  const release = await holding('BEGIN IMMEDIATE; INSERT INTO t VALUES(8);')
  await copy()
  expect(sql(w.path('copies/0.db'), 'SELECT count(*) FROM t')).toBe('1')
  await release()
})

test('a database that is gone isn’t made anew', async () => {
  await expect(copy(w.path('data/none.db'))).rejects.toMatchObject({ code: 'sqlite-failed' })
  expect(existsSync(w.path('data/none.db'))).toBe(false)
})

test('[snapshot.8] a -wal that a crash left stays as it is, and its rows are in the copy; of none, none is left', async () => {
  sql(database, 'PRAGMA journal_mode=wal; INSERT INTO t VALUES(8);')
  await copy()
  expect(readdirSync(w.path('data'))).toHaveLength(1)
  output(['sqlite3', database], '.dbconfig no_ckpt_on_close on\nINSERT INTO t VALUES(9);')
  const before = [database, `${database}-wal`].map((file) => readFileSync(file, 'latin1'))
  writeFileSync(w.path('copies/0.db'), '')
  await copy()
  expect([database, `${database}-wal`].map((file) => readFileSync(file, 'latin1'))).toEqual(before)
  expect(sql(w.path('copies/0.db'), 'SELECT max(x) FROM t')).toBe('9')
})

test('an interrupted copy says so', async () => {
  const release = await holding('BEGIN EXCLUSIVE;')
  const interruption = new AbortController()
  const copying = copyHeld(database, { signal: interruption.signal, inheritFds: [], stall: { seconds: 60, onGrowth() {} } })
  setTimeout(() => interruption.abort(), 300)
  await expect(copying).rejects.toMatchObject({ code: 'interrupted' })
  await release()
})

describe('the check of a copy', () => {
  test('tells whole from corrupt, and what it can’t judge from both', async () => {
    expect(await checkDatabase(database)).toEqual({ state: 'ok', message: 'ok' })
    const odd = w.path('odd.db')
    sql(odd, 'CREATE TABLE t(x TEXT); CREATE INDEX i ON t(x); INSERT INTO t VALUES(1), (2);')
    // As of an application that defines collations of its own.
    sql(odd, "PRAGMA writable_schema=on; UPDATE sqlite_schema SET sql='CREATE TABLE t(x TEXT COLLATE own)' WHERE name='t';")
    expect((await checkDatabase(odd)).state).toBe('unknown')
    expect((await checkDatabase(w.write('text.db', 'no database at all '.repeat(100)))).state).toBe('corrupt')
    sql(w.path('big.db'), 'CREATE TABLE t(x PRIMARY KEY); INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 500);')
    const bytes = readFileSync(w.path('big.db'))
    bytes.fill(0, 20_000, 60_000)
    expect((await checkDatabase(w.write('damaged.db', bytes))).state).toBe('corrupt')
    expect(readdirSync(w.root).filter((name) => /-(wal|shm|journal)$/.test(name))).toEqual([])
  })
})

test('sidecars are those of this database alone', async () => {
  const all = ['-wal', '-shm', '-journal', '-wal2', '-mj0123456A9', '-walrus', '.txt'].map((suffix) => database + suffix)
  for (const file of [...all, w.path('data/other.db-wal')]) writeFileSync(file, '')
  expect((await sidecarsOf(database)).sort()).toEqual(all.slice(0, 5).sort())
  expect(await sidecarsOf(w.path('none/x.db'))).toEqual([])
})

test('[sqlite.6] open under its own name a database is fine, under another it isn’t', async () => {
  const release = await holding('BEGIN; SELECT * FROM t;')
  expect(await otherName(database)).toBeNull()
  await release()
  output(['ln', database, w.path('other.db')])
  expect(await otherName(database)).toBe('it has 2 names (hard links)')
})
