// A reader that doesn't read: what it is to get waits where it comes from.
import { chmodSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { cliFile, start } from '../lib/cli.ts'
import { world } from '../lib/world.ts'

const id = 'ab'.repeat(32)
const time = '2026-01-01T00:00:00Z'
const snapshot = { id, short_id: 'abababab', time, hostname: 'testhost', paths: ['/srv/notes'], tags: ['service:notes'] }
const node = { message_type: 'node', type: 'file', path: '/srv/notes/%.0f', mtime: time, mode: 420, size: 1 }
const fakeRestic = `#!/bin/sh
case "$1" in
version) echo 'restic 0.18.0 compiled with go' ;;
snapshots) echo '${JSON.stringify([snapshot])}' ;;
ls) seq -f '${JSON.stringify(node)}' 1000000 ;;
esac
`

test.each([
  ['list', 1_000_000],
  ['list --json', 1_000_002],
])('[memory.1] a million files take little memory, at whatever pace they are read: %s', async (command, lines) => {
  const w = await world()
  try {
    w.manifest({ services: { notes: { paths: ['/srv/notes'] } } })
    chmodSync(w.write('bin/restic', fakeRestic), 0o755)
    const pipe = `(echo $BASHPID >${w.path('pid')}; exec "$@") | { until [ -e ${w.path('go')} ]; do sleep 0.05; done; wc -l; }`
    const argv = [process.execPath, cliFile, ...command.split(' '), 'notes', '--snapshot', 'latest']
    const { ended } = start(['bash', '-c', pipe, 'bash', ...argv], { env: { ...w.env, PATH: `${w.path('bin')}:${process.env.PATH}` } })
    const told = (file: string) => readFileSync(`/proc/${readFileSync(w.path('pid'), 'utf8').trim()}/${file}`, 'utf8')
    const memory = () => Number(/VmHWM:\s+(\d+)/.exec(told('status'))?.[1]) / 1024
    const ticks = () => told('stat').split(' ').slice(13, 15).join(' ')
    await vi.waitFor(() => expect(memory()).toBeGreaterThan(50), 30_000)
    // It waits as soon as it has nothing more to do.
    for (let before = '', quiet = 0; quiet < 10; before = ticks()) {
      await sleep(100)
      quiet = ticks() === before ? quiet + 1 : 0
    }
    expect(memory()).toBeLessThan(150)
    w.write('go', '')
    expect((await ended).stdout.trim()).toBe(String(lines))
  } finally {
    w.cleanup()
  }
})
