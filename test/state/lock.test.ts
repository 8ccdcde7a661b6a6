// One lock for each service: whoever comes second is told who is at work, and a dead owner holds nothing.
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeState } from '../../src/state/install.ts'
import { lockService } from '../../src/state/lock.ts'
import { readKilledRun, readRunning, removeRunning, writeRunning } from '../../src/state/running.ts'
import { cliFile, start } from '../lib/cli.ts'
import { living, until, waitingRestic } from '../lib/live.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async () => {
  w = await world()
  await makeState(w.path('state'))
})
afterEach(async () => {
  for (const { pid } of living(w)) process.kill(pid, 'SIGKILL')
  await until(() => living(w).length === 0)
  w.cleanup()
})

test('[state.6] the lock is taken once, for each service apart, and is free after its release', async () => {
  const state = w.path('state')
  const lock = await lockService(state, 'notes')
  await expect(lockService(state, 'notes')).rejects.toMatchObject({ code: 'busy', exit: 11 })
  ;(await lockService(state, 'wiki')).release()
  lock.release()
  ;(await lockService(state, 'notes')).release()
})

test('[state.6] of many that come at once one gets it', async () => {
  const taken = await Promise.allSettled(Array.from({ length: 12 }, () => lockService(w.path('state'), 'notes')))
  const got = taken.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
  expect(got).toHaveLength(1)
  for (const lock of got) lock.release()
})

test('[state.6] run, backup, restore and dr wait for no one: they say who is at work, and touch nothing', async () => {
  w.manifest({ services: { notes: { paths: [w.write('data/file', 'x')] } } })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  const restic = waitingRestic(w)
  const { child, ended } = w.startCli(['run', 'notes'], restic)
  await restic.waits()
  for (const args of [
    ['run', 'notes'],
    ['backup', 'notes'],
    ['restore', 'notes', '--in-place', '--yes'],
    ['dr', '--yes', '--overwrite'],
  ]) {
    const second = await w.cli(args)
    expect(second.exit, args[0]).toBe(11)
    expect(second.stderr + second.stdout, args[0]).toMatch(new RegExp(`notes: a backup has been running since .+ \\(pid ${child.pid}\\)`))
  }
  restic.go()
  expect(await ended).toMatchObject({ exit: 0 })
  expect(JSON.parse((await w.restic(['snapshots', '--json'])).stdout)).toHaveLength(2)
})

test('[state.6] a child that outlives its owner still holds the lock; with its end the lock is free', async () => {
  w.manifest({ services: { notes: { paths: [w.write('data/file', 'x')] } } })
  const restic = waitingRestic(w)
  const { child, ended } = w.startCli(['run', 'notes'], restic)
  const pid = await restic.waits()
  // Stopped, it can't follow us into death.
  process.kill(pid, 'SIGSTOP')
  await until(() => /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')))
  child.kill('SIGKILL')
  await ended
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 11, stderr: expect.stringContaining('notes: another atelier-backup is running') })
  // One that ends in a moment is waited for.
  restic.go()
  const next = w.cli(['run', 'notes'], { env: restic.env })
  await until(() => living(w).some(({ argv }) => argv.includes('--timeout')))
  process.kill(pid, 'SIGCONT')
  expect(await next).toMatchObject({ exit: 0 })
})

test('[state.2] what is announced runs as long as its process does: a dead one that nobody has buried doesn’t', async () => {
  const state = w.path('state')
  await writeRunning(state, 'notes', { run: 'r', kind: 'backup', started: '2026-01-01T00:00:00Z' })
  expect(await readRunning(state, 'notes')).toMatchObject({ pid: process.pid })
  expect(await readKilledRun(state, 'notes')).toBeNull()
  await removeRunning(state, 'notes')
  expect(await readRunning(state, 'notes')).toBeNull()
  w.manifest({ services: { notes: { paths: [w.write('data/file', 'x')] } } })
  const restic = waitingRestic(w)
  // Its parent never waits for it.
  const { ended } = start(['bash', '-c', '"$@" & echo $!; exec sleep 60', 'bash', process.execPath, cliFile, 'run', 'notes'], {
    env: { ...w.env, ...restic.env },
  })
  void ended
  await restic.waits()
  const running = await readRunning(state, 'notes')
  expect(running).not.toBeNull()
  process.kill(running?.pid ?? 0, 'SIGKILL')
  await until(() => living(w).every(({ argv }) => argv[0] === 'sleep'))
  expect(await readRunning(state, 'notes')).toBeNull()
  expect(await readKilledRun(state, 'notes')).toMatchObject({ kind: 'backup', pid: running?.pid })
})
