// PostgreSQL databases of awkward shapes through what a user does with them: a backup, a look, a restore in place, its rollback. Compared by all that
// pg_dump finds.
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { output } from '../lib/live.ts'
import { canPostgres, makeServer, type Server } from '../lib/postgres.ts'
import { world } from '../lib/world.ts'
import { type PostgresShape, postgres, roles } from './postgres.ts'
import { groups, timeout } from './sample.ts'

vi.setConfig({ testTimeout: timeout, hookTimeout: 300_000 })

describe.skipIf(!canPostgres)('databases of a server', () => {
  let server: Server
  beforeAll(() => {
    server = makeServer({ settings: 'wal_level=logical' })
    psql('postgres', roles)
  })
  afterAll(() => server?.remove())

  /** A script: each of its statements is a transaction. */
  const psql = (database: string, script: string) =>
    server.run('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', database], Buffer.from(`\\encoding UTF8\n${script}\n`))
  const quoted = (name: string) => `"${name}"`
  /** All but lines that are pg_dump's own. A database's settings have an order, which means nothing. */
  const dumpOf = (name: string) => {
    const dump = server.run('pg_dump', ['--create', '--no-sync', '--encoding=SQL_ASCII', '-d', name])
    const lines = dump.split('\n').filter((line) => !/^(--.*|\\(un)?restrict .*|)$/.test(line))
    const isSetting = (line: string) => /^ALTER (DATABASE|ROLE) .* SET /.test(line)
    return [...lines.filter(isSetting).sort(), ...lines.filter((line) => !isSetting(line))].join('\n')
  }
  const make = ({ options = '', extensions = [], first = '', sql }: PostgresShape, name: string) => {
    const own = /\bOWNER\b/.test(options) ? '' : 'OWNER app'
    psql('postgres', `CREATE DATABASE ${quoted(name)} ${own} ${options}`)
    const owner = server.sql('postgres', `SELECT quote_ident(pg_get_userbyid(datdba)) FROM pg_database WHERE datname = '${name}'`)
    const made = extensions.map((extension) => `CREATE EXTENSION "${extension}";`).join('\n')
    psql(name, `${made}\n${first.replaceAll(/\bDB\b/g, quoted(name))};\nSET ROLE ${owner};\nSET search_path TO public;\n${sql}`)
  }

  test.each(groups(postgres, 3))('[postgres.6] [postgres.7] come back with all that is in them, and back again: %s', async (_, shapes) => {
    const w = await world()
    w.env.PATH = server.path
    const made = shapes.map((shape, i) => ({ shape, name: shape.name ?? `shape_${i}` }))
    onTestFinished(() => {
      const all = server.sql('postgres', "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')")
      for (const name of all.split('\n').filter(Boolean))
        psql('postgres', `ALTER DATABASE ${quoted(name)} IS_TEMPLATE false;\nDROP DATABASE ${quoted(name)} WITH (FORCE)`)
      w.cleanup()
    })
    for (const { shape, name } of made) make(shape, name)
    w.manifest({ services: { s: { postgres: made.map(({ name }) => name), shrinkThreshold: null } }, postgresql: server.declared })
    const look = () => made.map(({ shape, name }) => ({ title: shape.title, dump: dumpOf(name) }))

    const saved = look()
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0, stderr: '' })
    expect(look()).toEqual(saved)
    const target = w.path('look')
    expect(await w.cli(['restore', 's', '--target', target])).toMatchObject({ exit: 0 })
    for (const { name } of made)
      expect(output(['bash', '-c', 'PATH=$0; find "$1" -name "$2.dump" -exec pg_restore --list {} +', server.path, target, name])).toContain(
        'dbname:',
      )

    for (const [i, { name }] of made.entries()) {
      const anew = `ALTER DATABASE ${quoted(name)} IS_TEMPLATE false;\nDROP DATABASE ${quoted(name)};\nCREATE DATABASE ${quoted(name)};`
      if (i % 2 === 1) psql('postgres', anew)
      psql(
        name,
        "SET default_transaction_read_only TO off;\nSET statement_timeout TO 0;\nCREATE SCHEMA since;\nCREATE TABLE since.t AS SELECT 'since' AS x",
      )
    }
    const wrecked = look()
    const restored = await w.cli(['restore', 's', '--in-place', '--yes'])
    expect(restored.exit, restored.stderr).toBe(0)
    for (const { told } of shapes) if (told) expect(restored.stderr).toMatch(told)
    expect(look()).toEqual(saved)
    expect(await w.cli(['restore', 's', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
    expect(look()).toEqual(wrecked)
  })
})
