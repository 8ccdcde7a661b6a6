import { readdirSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { has } from '../lib/needs.ts'
import { leaveLock } from '../lib/restics.ts'
import { keys } from '../lib/terminal.ts'
import { type World, world } from '../lib/world.ts'

async function host(): Promise<World & { locks(): string[] }> {
  const w = await world()
  w.manifest({ services: { notes: { paths: [w.write('notes', 'a')] } } })
  return { ...w, locks: () => readdirSync(join(w.repository.repository, 'locks')) }
}

describe.skipIf(!has('strace'))('a repository that a prune holds locked', () => {
  test('[cli.11] one that was killed: unlock removes its lock', async () => {
    const w = await host()
    const { pid } = await leaveLock(w, 'killed')
    const unlocked = await w.cli(['unlock'])
    expect(unlocked).toMatchObject({ exit: 0, stdout: `exclusive lock of ${hostname()}, pid ${pid}, just now\n1 of 1 locks removed\n` })
    expect(w.locks()).toEqual([])
    expect(await w.cli(['unlock'])).toMatchObject({ exit: 0, stdout: "main isn't locked\n" })
    w.cleanup()
  })

  test('[repository.6] one that is alive: what it blocks says who, since when and what to type', async () => {
    const w = await host()
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
    const { pid, end } = await leaveLock(w, 'alive')
    const who = `locked by PID ${pid} on ${hostname()}, since \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d \\(.*s ago\\)`
    const line = new RegExp(`repository main \\(.*\\): ${who}; wait, or, if nothing runs there, type: atelier-backup unlock`)
    try {
      for (const command of [['prune'], ['run', 'notes'], ['backup', 'notes']]) {
        const { exit, stderr } = await w.cli(command)
        expect([command, exit, stderr.trimEnd().split('\n')]).toEqual([command, 11, [expect.stringMatching(line)]])
      }
      expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'failed', message: expect.stringMatching(line) })
      // What only reads goes on.
      expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(1)
    } finally {
      end()
    }
    w.cleanup()
  })

  test('[cli.11] one that is alive keeps its lock unless all are to go', async () => {
    const w = await host()
    const { pid, end } = await leaveLock(w, 'alive')
    try {
      expect(await w.cli(['unlock'])).toMatchObject({
        exit: 0,
        stdout: expect.stringContaining('0 of 1 locks removed; 1 may be in use: wait, or remove them with --all'),
      })
      const told = (await w.cli(['unlock', '--json'])).json()
      const id = expect.stringMatching(/^[0-9a-f]{64}$/)
      expect(told).toEqual({
        repository: 'main',
        locks: [{ id, host: hostname(), pid, user: expect.any(String), time: expect.stringMatching(/T.*(Z|[+-]\d\d:\d\d)$/), exclusive: true }],
        removed: 0,
      })
      expect(await w.cli(['unlock', '--all'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('--yes') })
      const unsure = w.terminal(['unlock', '--all'])
      await unsure.waitFor('Type "unlock"')
      unsure.type(`y${keys.enter}`)
      expect(await unsure.exit).toBe(130)
      expect(w.locks()).toHaveLength(1)
      expect((await w.cli(['unlock', '--all', '--yes'])).stdout).toContain('1 of 1 locks removed\n')
      expect(w.locks()).toEqual([])
    } finally {
      end()
    }
    w.cleanup()
  })
})
