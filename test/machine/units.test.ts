// systemd's own opinion of the units that the module declares.
import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { makeNixosHost, rebuild } from './nixos.ts'

describe.skipIf(!canHost)('the units of an example', () => {
  let host: TestHost
  beforeAll(async () => {
    host = await makeNixosHost('[ ./nix/examples/small.nix ]')
    await host.boot()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test.each(readdirSync('nix/examples'))('[unit.1] %s: systemd accepts each unit without a word', async (example) => {
    await rebuild(host, `[ ./nix/examples/${example} ]`)
    expect(await host.run(['bash', '-c', 'systemd-analyze verify /etc/systemd/system/{restic,atelier}-*'])).toMatchObject({
      exit: 0,
      stdout: '',
      stderr: '',
    })
  })

  test('[unit.2] they are closed as far as copying databases, mounting and dumping allow', async () => {
    const lines = (await host.sh('systemd-analyze security --no-pager restic-backups-notes.service restic-prune.service')).split('\n')
    const scores = lines.flatMap((line) => /exposure level for (\S+): ([0-9.]+)/.exec(line)?.slice(1, 3).join(' ') ?? [])
    console.info(`systemd-analyze security (0 closed, 10 open): ${scores.join(', ')}`)
    expect(scores).toHaveLength(2)
    for (const score of scores) expect(Number(score.split(' ')[1])).toBeLessThan(6)
  })
})
