// Locks in the repository: ours that a crash left go by themselves, a stranger's never.
import { readdirSync, rmSync } from 'node:fs'
import { hostname } from 'node:os'
import { beforeEach, expect, test } from 'vitest'
import { living, until } from '../lib/live.ts'
import { lockRepository } from '../lib/repository.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async (test) => {
  w = await world(test)
  w.write('data/file', 'data')
  w.manifest({ services: { notes: { paths: [w.path('data')] } } })
  await w.cli(['run', 'notes'])
})
/** Written whole. */
const locks = () => readdirSync(`${w.repository.repository}/locks`).filter((name) => /^[0-9a-f]{64}$/.test(name))

/** What is left where memory was short: its exclusive lock. */
async function killedPrune(): Promise<void> {
  const { ended } = w.startCli(['prune'])
  const [restic] = await until(() => {
    const found = living(w).filter(({ argv }) => argv[0] === 'restic' && (argv[1] === 'forget' || argv[1] === 'prune'))
    return locks().length > 0 && found.length > 0 ? found : null
  }, 'restic holds its lock')
  process.kill(restic?.pid ?? 0, 'SIGKILL')
  expect((await ended).exit).toBe(1)
  expect(locks()).not.toEqual([])
}

test.each(['run notes', 'prune'])('[lock.1] a lock that a killed prune of ours left is removed by the next `%s` itself', async (command) => {
  await killedPrune()
  expect(await w.cli(command.split(' '))).toMatchObject({ exit: 0 })
  expect(locks()).toEqual([])
})

const strangers: [who: string, lock: Parameters<typeof lockRepository>[1]][] = [
  ['another host', { hostname: 'elsewhere' }],
  ['another machine of the same name', { hostname: hostname(), pid: 4_194_300 }],
]
test('a file in the place of the notes on our own restics keeps nothing from running', async () => {
  rmSync(w.path('state/repositories/main.lockers'), { recursive: true, force: true })
  w.write('state/repositories/main.lockers', '')
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
  expect((await w.cli(['prune'])).exit).toBe(0)
})

test.each(strangers)('[lock.2] [repository.6] beside the lock of %s nothing is removed, and who holds it is named', async (_, stranger) => {
  await killedPrune()
  await lockRepository(w.repository, stranger)
  const before = locks()
  for (const args of [['run', 'notes'], ['prune']]) {
    const { exit, stderr } = await w.cli(args)
    expect([exit, stderr]).toEqual([
      11,
      expect.stringMatching(/locked by PID \d+ on \S+, since .* ago\); wait, or, if nothing runs there, type: atelier-backup unlock/),
    ])
  }
  expect(locks()).toEqual(before)
})

test('[lock.3] a service waits as long as retryLock says for a lock that goes away', async () => {
  const main = { ...w.repository, retryLock: '1m' }
  w.manifest({ services: { notes: { paths: [w.path('data')] } }, repositories: { main } })
  await lockRepository(w.repository)
  const { ended } = w.startCli(['run', 'notes'])
  const [lock = ''] = locks()
  setTimeout(() => w.restic(['unlock', '--remove-all']), 2000)
  expect(await ended).toMatchObject({ exit: 0 })
  expect(locks()).not.toContain(lock)
})
