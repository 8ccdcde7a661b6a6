// A copy that hangs: the owner of a database can stop the process that copies it.
import { chmodSync } from 'node:fs'
import { expect, test } from 'vitest'
import { output, resticBefore, sql } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { world } from '../lib/world.ts'

test.skipIf(!has('sqlite3'))('[sqlite.14] a copy of a database that was stopped is ended, and the run says so', async (t) => {
  const w = await world(t)
  const database = w.write('data/app.db', '')
  sql(database, 'CREATE TABLE t(x);')
  w.manifest({ services: { s: { paths: [w.path('data')], sqlite: [database], stallTimeoutSec: 2 } } })
  const sqlite3 = output(['sh', '-c', 'command -v sqlite3']).trim()
  chmodSync(w.write('bin/sqlite3', `#!/bin/sh\nkill -STOP $$\nexec ${sqlite3} "$@"\n`), 0o755)
  const { env } = resticBefore(w, '')
  const run = await w.cli(['run', 's'], { env: { PATH: `${w.path('bin')}:${env.PATH}` } })
  expect(run).toMatchObject({ exit: 1, stderr: expect.stringContaining('wrote nothing for 2 s') })
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
})
