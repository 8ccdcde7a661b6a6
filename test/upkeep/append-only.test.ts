// A repository that takes new snapshots and lets nothing go, as rest-server --append-only serves it.
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { start } from '../lib/cli.ts'
import { until } from '../lib/live.ts'
import { world } from '../lib/world.ts'

const server = '.cache/tools/restic-rest-server-trixie/restic-rest-server'

test.skipIf(!existsSync(server))(
  '[retention.7] an append-only repository is backed up to, partial backups are marked, and prune leaves it alone and says who must prune',
  async (test) => {
    const w = await world(test)
    const port = await freePort()
    const serving = start([server, '--path', w.repository.repository, '--listen', `127.0.0.1:${port}`, '--append-only', '--no-auth'])
    test.onTestFinished(() => void serving.child.kill())
    let said = ''
    serving.child.stdout.on('data', (text) => (said += text))
    serving.child.stderr.on('data', (text) => (said += text))
    await until(() => said.includes('start server'), 'it serves')
    const main = { ...w.repository, repository: `rest:http://127.0.0.1:${port}/` }
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
      message: 'the repository is append-only here: prune it where its storage allows deleting',
    })
    expect(await all()).toEqual(before)
    declare([w.path('data'), w.path('missing')])
    expect((await w.cli(['run', 'notes'])).exit).toBe(3)
    expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(3)
    expect((await all()).at(-1).tags).toContain('partial')
  },
  60_000,
)

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}
