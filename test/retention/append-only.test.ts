// A repository that takes new snapshots and lets nothing go, as rest-server --append-only serves it.
import { expect, test } from 'vitest'
import { canServe, serve } from '../lib/server.ts'
import { world } from '../lib/world.ts'

test.skipIf(!canServe)(
  '[retention.7] an append-only repository is backed up to, partial backups are marked, and prune leaves it alone and says who must prune',
  async (test) => {
    const w = await world(test)
    const serving = await serve(w, { args: ['--append-only'] })
    test.onTestFinished(() => void serving.kill())
    const main = { ...w.repository, repository: serving.repository }
    const retention = { last: 1, daily: 0, weekly: 0, monthly: 0 }
    w.write('data/file', 'data')
    const declare = (paths: string[]) => w.manifest({ services: { notes: { paths, shrinkThreshold: null } }, repositories: { main }, retention })
    const all = async () => (await w.restic(['snapshots', '--json'])).json()
    declare([w.path('data')])
    for (let i = 0; i < 2; i++) expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
    const before = await all()
    const { exit, stdout } = await w.cli(['prune', '--json'])
    expect(exit).toBe(0)
    expect(JSON.parse(stdout).services[0]).toMatchObject({
      remove: [],
      message: 'the repository is append-only here: prune it from a host that may delete',
    })
    expect(await all()).toEqual(before)
    declare([w.path('data'), w.path('missing')])
    expect((await w.cli(['run', 'notes'])).exit).toBe(3)
    expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(3)
    expect((await all()).at(-1).tags).toContain('partial')
  },
  60_000,
)
