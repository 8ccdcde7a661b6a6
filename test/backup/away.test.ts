// A repository that goes away while a backup is on its way to it.
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { living, mountedAnywhere, sql, until } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { canServe, serve } from '../lib/server.ts'
import { world } from '../lib/world.ts'

const ways: [way: string, password: string, exit: number][] = [
  ['and is back in a moment: the backup is made', 'pass', 0],
  ['and, back again, lets nobody in: the run fails, nothing is left, and the next one is fine', 'another', 1],
]
test.skipIf(!canServe || !isRoot).for(ways)('[repository.9] a server goes away half-way, %s', async ([, password, exit], test) => {
  const w = await world(test)
  const user = { name: 'us', password: 'pass' }
  const first = await serve(w, { user })
  test.onTestFinished(() => void first.kill())
  const database = w.write('data/app.db', '')
  sql(database, 'CREATE TABLE t(x); INSERT INTO t VALUES(1);')
  for (let i = 0; i < 50; i++) w.write(`data/${i}`, randomBytes(2_000_000))
  w.manifest({
    services: { notes: { paths: [w.path('data')], sqlite: [database], postBackup: `echo $ATELIER_OUTCOME >>${w.path('told')}` } },
    repositories: { main: { ...w.repository, repository: null, repositoryFile: w.write('secrets/location', first.repository) } },
  })
  const { ended } = w.startCli(['run', 'notes'])
  const packs = () => readdirSync(`${w.repository.repository}/data`, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const atWork = () => living(w).find(({ argv }) => argv[0] === 'restic' && argv[1] === 'backup')
  const restic = await until(() => (packs().length > 0 ? atWork() : undefined), 'half-way')
  process.kill(restic.pid, 'SIGSTOP')
  await first.kill()
  const again = await serve(w, { port: Number(new URL(first.repository.slice(5)).port), user: { ...user, password } })
  test.onTestFinished(() => void again.kill())
  const snapshots = () => readdirSync(`${w.repository.repository}/snapshots`).length
  expect(snapshots(), 'it is half-way').toBe(0)
  process.kill(restic.pid, 'SIGCONT')
  const { exit: is, stderr } = await ended
  expect(is, stderr).toBe(exit)
  const alive = living(w).filter(({ argv }) => !argv[0]?.endsWith('rest-server'))
  expect([readdirSync(w.path('state/staging')), mountedAnywhere(w.root), alive]).toEqual([[], [], []])
  expect(readFileSync(w.path('told'), 'utf8')).toBe(exit === 0 ? 'ok\n' : 'failed\n')
  if (exit !== 0) {
    expect(stderr).toMatch(/^notes: repository main .*/m)
    expect(stderr).not.toContain('us:pass')
    await again.kill()
    const well = await serve(w, { port: Number(new URL(first.repository.slice(5)).port), user })
    test.onTestFinished(() => void well.kill())
    const before = snapshots()
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
    expect(snapshots()).toBeGreaterThan(before)
  }
  expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(1)
  // A stopped server takes its clients' locks to nobody.
  expect(await w.restic(['check'])).toMatchObject({ exit: 0 })
})
