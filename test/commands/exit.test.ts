import { existsSync, readdirSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { joinExits } from '../../src/core.ts'
import { has } from '../lib/needs.ts'
import { makeRepository } from '../lib/repository.ts'
import { fakeRestic, leaveLock } from '../lib/restics.ts'
import { type World, world } from '../lib/world.ts'

// A service for each way to end, and the exit code it stands for.
const ends = { ok: 0, partial: 3, locked: 11, gone: 10, password: 12, failed: 1 } as const
type Name = keyof typeof ends

let w: World
let end = () => {}
beforeAll(async () => {
  w = await world()
  const [locked, main] = [await makeRepository(w.path('locked')), w.repository]
  const repositories = { locked, gone: { ...main, repository: w.path('gone') }, password: { ...main, passwordFile: w.write('wrong', 'wrong') } }
  const paths = [w.write('data/file', 'x')]
  w.manifest({
    repositories,
    services: {
      ok: { paths: [w.write('data-ok', 'x')] },
      partial: { paths: [w.write('data-partial', 'x'), w.path('missing')] },
      locked: { paths: [w.write('data-locked', 'x')], repository: 'locked' },
      gone: { paths: [w.write('data-gone', 'x')], repository: 'gone' },
      password: { paths: [w.write('data-password', 'x')], repository: 'password' },
      failed: { paths: [w.write('data-failed', 'x')], preBackup: 'exit 1' },
      slow: { paths, preBackup: `touch ${w.path('begun')}; sleep 60` },
    },
  })
  if (has('strace')) ({ end } = await leaveLock({ ...w, repository: locked }, 'alive'))
})
afterAll(() => {
  end()
  w.cleanup()
})

describe('[exit.1] a backup', () => {
  test.each(Object.entries(ends))('that is %s exits %i', async (name, exit) => {
    for (const command of ['run', 'backup'])
      expect(await w.cli([command, name])).toMatchObject({ exit, stderr: exit === 0 ? '' : expect.stringMatching(/^[^\n]+\n$/) })
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('that is interrupted by %s exits 130', async (signal) => {
    rmSync(w.path('begun'), { force: true })
    const { child, ended } = w.startCli(['run', 'slow', '--json'])
    while (!existsSync(w.path('begun'))) await sleep(20)
    child.kill(signal)
    const { exit, events } = await ended
    expect(exit).toBe(130)
    expect(events().at(-1)).toMatchObject({ type: 'report', outcome: 'interrupted', exit: 130 })
  })

  test.each([
    [['bakup']],
    [['backup', '--frobnicate']],
    [['backup', 'nobody']],
    [['backup']],
    [['backup', 'ok', '--all']],
    [['backup', 'ok', '--jobs', 'x']],
    [['restore', 'ok', '--in-place']],
    [['restore', 'ok', '--snapshot', 'ffffffff']],
  ])('%j exits 2', async (args) => {
    expect(await w.cli(args)).toMatchObject({ exit: 2, stderr: expect.stringMatching(/^atelier-backup: [^\n]+\n$/) })
  })
})

describe('[exit.2] several services', () => {
  test('exit with the first of 130, 1, 12, 10, 11, 3, 4, 0 that occurs', () => {
    const order = [130, 1, 12, 10, 11, 3, 4, 0]
    for (const [i, worse] of order.entries())
      for (const milder of order.slice(i)) {
        expect(joinExits([milder, worse])).toBe(worse)
        expect(joinExits([worse, milder, 0])).toBe(worse)
      }
    expect(joinExits([])).toBe(0)
    // What no service means by itself: a usage error, a code of restic's that is new.
    expect(joinExits([2, 0])).toBe(2)
  })

  test.each<Name[]>([
    ['ok', 'partial'],
    ['ok', 'partial', 'locked'],
    ['partial', 'locked', 'gone'],
    ['locked', 'gone', 'password'],
    ['password', 'failed', 'ok'],
  ])('%s %s %s: each is named, the worst decides', async (...args: (Name | undefined)[]) => {
    const names = args.filter((name) => name !== undefined)
    const exit = joinExits(names.map((name) => ends[name]))
    const text = await w.cli(['backup', ...names])
    expect(text.exit).toBe(exit)
    for (const name of names) {
      expect(text.stdout).toMatch(new RegExp(`^ +${name} +${ends[name] === 0 ? '✓' : '[✗!]'}`, 'm'))
      if (ends[name] !== 0) expect(text.stderr).toMatch(new RegExp(`^${name}: `, 'm'))
    }
    const report = (await w.cli(['backup', ...names, '--json'])).events().at(-1)
    expect(report).toMatchObject({ type: 'report', exit, services: names.map((name) => ({ name, exit: ends[name] })) })
  })
})

test.skipIf(!has('strace'))('[repository.6] what to type names the repository', async () => {
  expect((await w.cli(['run', 'locked'])).stderr).toContain('type: atelier-backup unlock --repository locked')
})

describe('[repository.5] restic before 0.17', () => {
  const versions: [string, string][] = [
    ['restic 0.16.4 compiled with go1.21.6 on linux/amd64', 'restic 0.16.4 is too old: install restic 0.17 or newer'],
    ['restic 0.9.6 compiled with go1.13', 'restic 0.9.6 is too old: install restic 0.17 or newer'],
    ['something else', "restic doesn't say its version: install restic 0.17 or newer"],
  ]
  test.each(versions)('%s is refused in one line', async (version, line) => {
    // What only reads may have begun.
    const env = fakeRestic(w, `case " $* " in ' version '|*' --no-lock '*) ;; *) touch ${w.path('called')} ;; esac\necho '${version}'`)
    const reading = [['list', 'ok'], ['restore', 'ok', '--snapshot', 'latest'], ['unlock'], ['prune', '--repository', 'main']]
    for (const args of [['backup', 'ok'], ...(version.includes('0.16') ? reading : [])]) {
      const { exit, stderr } = await w.cli(args, { env })
      expect([args, exit, stderr]).toEqual([args, 1, expect.stringMatching(new RegExp(`^[^\\n]*${line}\\n$`))])
    }
    expect((await w.cli(['status', 'ok', '--json'], { env })).json().services[0]).toMatchObject({ state: 'unknown', message: line })
    expect(existsSync(w.path('called'))).toBe(false)
  })

  test.each(['0.17.0', '0.18.1-dev', '0.20.0', '1.0.0'])('%s is not', async (version) => {
    const env = fakeRestic(w, `[ "$*" = version ] && echo 'restic ${version} compiled with go' && exit\nPATH='${process.env.PATH}' exec restic "$@"`)
    expect(await w.cli(['run', 'ok'], { env })).toMatchObject({ exit: 0, stderr: '' })
  })
})

test('nothing of all this left a lock or a staged copy', () => {
  expect(readdirSync(w.path('secrets/repository/locks'))).toEqual([])
  expect(readdirSync(w.path('state/staging'))).toEqual([])
})
