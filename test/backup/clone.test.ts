// Machines that were cloned or set back, and repositories that were: neither passes for the other.
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { type World, world } from '../lib/world.ts'

async function saved(t: TestContext): Promise<World> {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.path('data')] } } })
  w.write('data/note', 'production, day 1')
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  return w
}
const stateOf = async (w: World, ...args: string[]) => (await w.cli(['status', '--json', ...args])).json().services[0]
const tagsOf = async (w: World): Promise<string[][]> =>
  ((await w.restic(['snapshots', '--json'])).json() as { tags: string[]; time: string }[])
    .sort((a, b) => Date.parse(a.time) - Date.parse(b.time))
    .map(({ tags }) => tags)
/** Changes a file of the state folder as a person does, who leaves its checksum out. */
function change(w: World, file: string, how: (value: Record<string, unknown>) => void): void {
  const { sum: _, ...value } = JSON.parse(readFileSync(w.path(file), 'utf8'))
  how(value)
  writeFileSync(w.path(file), JSON.stringify(value))
}

test('[newest.10] a copy of the state folder is an install of its own: its backups are unadopted, the original goes on', async (t) => {
  const w = await saved(t)
  cpSync(w.path('state'), w.path('clone'), { recursive: true, preserveTimestamps: true })
  w.write('data/note', 'production, day 2')
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  w.write('data/note', 'a test on the clone')
  const clone = { env: { STATE_DIRECTORY: w.path('clone') } }
  const message = expect.stringContaining('its state folder is a copy of another one')
  expect((await w.cli(['status', '--json'], clone)).json().services[0]).toMatchObject({ state: 'unadopted', message })
  expect((await w.cli(['doctor'], clone)).stdout).toContain('is a copy of another one')
  expect(await w.cli(['run', 'notes'], clone)).toMatchObject({ exit: 0, stderr: message })
  expect((await w.cli(['status', '--json'], clone)).json().services[0]).toMatchObject({ state: 'unadopted', message })
  const [first, second, cloned] = await tagsOf(w)
  expect(second).toEqual(first)
  expect(cloned).toContain('unadopted')
  expect(cloned?.filter((tag) => first?.includes(tag))).toEqual(['service:notes'])
  expect(await stateOf(w)).toMatchObject({ state: 'ok' })
  // A new machine recovers what production saved.
  expect(await w.cli(['dr', '--yes', '--overwrite'], { env: { STATE_DIRECTORY: w.path('new') } })).toMatchObject({ exit: 0 })
  expect(readFileSync(w.path('data/note'), 'utf8')).toBe('production, day 2')
  // And a person may say that the clone is the truth.
  expect(await w.cli(['adopt', 'notes', '--yes'], clone)).toMatchObject({ exit: 0 })
  expect((await w.cli(['status', '--json'], clone)).json().services[0]).toMatchObject({ state: 'ok' })
})

test('[newest.10] a state folder of another machine is an install of its own', async (t) => {
  const w = await saved(t)
  change(w, 'state/machine.json', (binding) => {
    binding.machineId = '0'.repeat(32)
  })
  expect(await stateOf(w)).toMatchObject({ state: 'unadopted', message: expect.stringContaining('made on another machine') })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: expect.stringContaining('made on another machine') })
  expect((await tagsOf(w)).at(-1)).toContain('unadopted')
})

test('[newest.11] a machine that was set back says so, and its first backup after the boot doesn’t count', async (t) => {
  const w = await saved(t)
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  // Its record knows the first backup alone, of before the boot; the repository has a later one of this install.
  expect(await w.restic(['backup', '--host', 'testhost', '--tag', `service:notes,install:${install}`, w.path('data')])).toMatchObject({ exit: 0 })
  const [old] = (await w.restic(['snapshots', '--json'])).json() as { id: string; time: string }[]
  change(w, 'state/records/notes.json', (record) => {
    record.lastSnapshot = { ...(record.lastSnapshot as object), id: old?.id, time: '2020-01-01T00:00:00Z' }
    for (const run of record.runs as Record<string, unknown>[]) Object.assign(run, { started: '2020-01-01T00:00:00.000Z', snapshotId: old?.id })
  })
  const message = expect.stringContaining('the repository holds newer backups of this install than its own record')
  expect(await stateOf(w)).toMatchObject({ state: 'unadopted', message })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: message })
  const last = (await tagsOf(w)).at(-1)
  expect(last).toContain('unadopted')
  expect(last).not.toContain(`install:${install}`)
})

test('[newest.11] what a killed run has saved without writing it down is no sign of that', async (t) => {
  const w = await saved(t)
  const install = readFileSync(w.path('state/install-id'), 'utf8').trim()
  const started = new Date().toISOString()
  expect(await w.restic(['backup', '--host', 'testhost', '--tag', `service:notes,install:${install}`, w.path('data')])).toMatchObject({ exit: 0 })
  change(w, 'state/records/notes.json', (record) => {
    record.lastSnapshot = { ...(record.lastSnapshot as object), time: '2020-01-01T00:00:00Z' }
    const [first] = record.runs as Record<string, unknown>[]
    record.runs = [
      { ...first, started: '2020-01-01T00:00:00Z' },
      { ...first, run: 'killed', started, outcome: 'failed', code: 'killed', snapshotId: null },
    ]
  })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect((await tagsOf(w)).flat()).not.toContain('unadopted')
})

test('[newest.11] a repository that lost the newest recorded backup isn’t ok', async (t) => {
  const w = await saved(t)
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await w.restic(['forget', '--tag', 'service:notes', 'latest'])).toMatchObject({ exit: 0 })
  expect(await stateOf(w)).toMatchObject({ state: 'failed', message: expect.stringContaining('the repository no longer holds its backup') })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await stateOf(w)).toMatchObject({ state: 'ok' })
})
