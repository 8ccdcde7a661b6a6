// SQLite databases of awkward shapes through what a user does with them: a backup, a look, a restore in place, its rollback. Compared by their rows.
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { output } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { world } from '../lib/world.ts'
import { groups, timeout, unlike } from './sample.ts'
import { sqlite } from './sqlite.ts'

vi.setConfig({ testTimeout: timeout })

describe.skipIf(!isRoot)('databases', () => {
  test.each(groups(sqlite, 6))('[sqlite.1] [sqlite.17] [restore.5] come back with all that was committed, and back again: %s', async (_, shapes) => {
    const w = await world()
    onTestFinished(() => w.cleanup())
    const made = shapes.map(({ name = 'app.db', sql = '', make = '', ...shape }, i) => {
      const folder = w.path('srv', String(i))
      mkdirSync(folder, { recursive: true })
      const file = output([
        'bash',
        '-euc',
        `cd ${folder}; db=${name}\n${tools}\n{\n[[ -z $1 ]] || sqlite3 -batch ./"$db" "$1"\n${make}\n} >/dev/null\nprintf "[%s]" "$db"`,
        'bash',
        sql,
      ])
      return { ...shape, folder, name: file.slice(1, -1), path: `${folder}/${file.slice(1, -1)}` }
    })
    w.manifest({ services: { s: { sqlite: made.map(({ path }) => path), shrinkThreshold: null } } })
    const scratch = w.path('scratch')
    const look = (root = '') => made.map(({ title, path }) => ({ title, rows: rowsOf(scratch, root + path) }))
    const bytes = (root = '') =>
      made.flatMap(({ opaque, path, title }) =>
        opaque
          ? [
              {
                title,
                bytes: readFileSync(root + path).subarray(100),
              },
            ]
          : [],
      )

    const [saved, all] = [look(), bytes()]
    const run = await w.cli(['run', 's'])
    expect
      .soft([
        run.exit,
        unlike(
          run.stderr,
          shapes.flatMap(({ told }) => told ?? []),
        ),
      ])
      .toEqual([shapes.some(({ partial }) => partial) ? 3 : 0, []])
    expect.soft(look()).toEqual(saved)
    const target = w.path('look')
    expect.soft(await w.cli(['restore', 's', '--target', target])).toMatchObject({ exit: 0 })
    expect.soft([look(target), bytes(target)]).toEqual([saved, all])

    for (const { folder, name } of made) output(['bash', '-euc', `cd "$1"; db=$2; ${wreck}`, 'bash', folder, name])
    const wrecked = look()
    const ways = shapes.some(({ partial }) => partial) ? ['--allow-corrupt'] : []
    const restored = await w.cli(['restore', 's', '--in-place', '--yes', ...ways])
    expect.soft(restored.exit, restored.stderr).toBe(0)
    expect.soft([look(), bytes()]).toEqual([saved, all])
    expect.soft(await w.cli(['restore', 's', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
    expect.soft(look()).toEqual(wrecked)
  })
})

/** All rows and all of the schema, asked of a copy: to look at a database can change it. */
function rowsOf(scratch: string, path: string): string {
  const [folder, name] = [dirname(path), basename(path)]
  const beside = readdirSync(folder).filter((file) => file.startsWith(name))
  const script = `to=$0 from=$1 db=$2; shift 2; rm -rf "$to"; mkdir "$to"; cd "$from"; cp --target-directory="$to" -- "$@"; cd "$to"
    sqlite3 -batch -init /dev/null ./"$db" "PRAGMA encoding" "PRAGMA page_size" "PRAGMA application_id" "PRAGMA user_version" "PRAGMA auto_vacuum" .dump 2>&1 || true`
  const lines = output(['bash', '-euc', script, scratch, folder, name, ...beside]).split('\n')
  return lines.map((line) => (line.length < 200 ? line : `${line.slice(0, 40)}… ${createHash('sha256').update(line).digest('hex')}`)).join('\n')
}

/** A sqlite3 that is killed after its statements leaves what they have written so far. */
const tools = `
killed() { printf '%s;\\n.shell kill -KILL $PPID\\n' ".dbconfig no_ckpt_on_close on
$1" | sqlite3 -batch ./"$db" >/dev/null 2>&1 || true; }`

/** Another database is in its place, with rows in a -wal. */
const wreck = `rm -f -- ./"$db"*; sqlite3 -batch ./"$db" '.dbconfig no_ckpt_on_close on' 'PRAGMA journal_mode=wal' 'CREATE TABLE since(a)' 'INSERT INTO since VALUES(1)' >/dev/null`
