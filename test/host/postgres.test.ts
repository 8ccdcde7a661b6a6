// PostgreSQL's way back, with a real server: names that would be something else where they weren't quoted, roles, tablespaces.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createRoles, databaseIds, dropDatabases, gatherServerState, globalsOf, loadDatabase, renameDatabases } from '../../src/host/postgres-load.ts'
import { output } from '../lib/live.ts'
import { canPostgres, makeServer, type Server } from '../lib/postgres.ts'

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

  test('[postgres.10] a role that is no superuser is refused in words', async () => {
    state('CREATE ROLE nobody LOGIN')
    const looked = gatherServerState({ ...server.declared, user: 'nobody' }, ['quick'], options)
    await expect(looked).rejects.toThrow('the role nobody must be a superuser')
  })
})
