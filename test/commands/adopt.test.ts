import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Ended } from '../lib/cli.ts'
import { keys } from '../lib/terminal.ts'
import { type World, world } from '../lib/world.ts'

interface Listed {
  id: string
  tags: string[]
}
const isUnadopted = ({ tags }: Listed) => tags.includes('unadopted')

/** A host that was saved twice by an install that is gone, and was then set up anew with empty data. */
async function rebuilt() {
  const w: World = await world()
  w.manifest({ services: { notes: { paths: [w.path('notes')] } }, retention: { last: 1, daily: 0, weekly: 0, monthly: 0 } })
  for (const text of ['first', 'second']) {
    w.write('notes/text', text)
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  }
  rmSync(w.path('state'), { recursive: true })
  w.write('notes/text', '')
  const state = async () => (await w.cli(['status', '--json'])).json().services[0]
  const list = async (): Promise<Listed[]> => (await w.cli(['list', 'notes', '--json'])).json()
  return { ...w, state, list }
}

describe('a fresh install, before and after somebody says which data is the truth', () => {
  let w: Awaited<ReturnType<typeof rebuilt>>
  let good: string
  let first: Ended
  beforeAll(async () => {
    w = await rebuilt()
    good = (await w.list())[0]?.id ?? ''
    first = await w.cli(['run', 'notes', '--json'])
    await w.cli(['run', 'notes'])
    return w.cleanup
  })
  const latest = async () => {
    rmSync(w.path('look'), { recursive: true, force: true })
    expect((await w.cli(['restore', 'notes', '--snapshot', 'latest', '--target', w.path('look')])).exit).toBe(0)
    return readFileSync(w.path('look', w.path('notes/text')), 'utf8')
  }

  test('[newest.3] its backups are taken, and tagged', async () => {
    expect(first.exit).toBe(0)
    expect(first.events()[0]).toMatchObject({ type: 'plan', plan: { notes: [expect.stringContaining('tagged unadopted')] } })
    const told =
      "notes: saved, but it doesn't count yet: backups from elsewhere exist. If this host's data is the truth, say so (atelier-backup adopt notes); else"
    expect(first.events()).toContainEqual(expect.objectContaining({ type: 'warning', code: 'unadopted', message: expect.stringContaining(told) }))
    expect((await w.cli(['doctor', '--json'])).json().checks).toContainEqual(
      expect.objectContaining({ name: 'adopted', ok: false, message: expect.stringContaining('backups of notes are unadopted') }),
    )
    expect((await w.list()).map(isUnadopted)).toEqual([true, true, false, false])
  })

  test('[newest.13] status names `dr` first only where it would replace nothing newer', async () => {
    const advised = async (...more: string[]) =>
      (await w.cli(['status', '--json', ...more])).json().services[0].message.match(/(?<=atelier-backup )[a-z]+/g)
    const [adoptFirst, drFirst] = [
      ['adopt', 'dr'],
      ['dr', 'adopt'],
    ]
    expect([await advised(), await advised('--local')]).toEqual([adoptFirst, adoptFirst])
    const places = [w.path('notes/text'), w.path('notes')]
    for (const place of places) utimesSync(place, 1e9, 1e9)
    // By the records alone nobody knows how old the backups are that count.
    expect([await advised(), await advised('--local')]).toEqual([drFirst, adoptFirst])
    rmSync(w.path('notes/text'))
    expect(await advised('--local')).toEqual(drFirst)
    w.write('notes/text', '')
    expect(await advised()).toEqual(adoptFirst)
  })

  test('[newest.4] status, latest, dr and prune pass over them', async () => {
    const status = await w.cli(['status'])
    expect(status).toMatchObject({ exit: 4, stdout: expect.stringContaining('atelier-backup dr --only notes') })
    expect(status.stdout).toContain('atelier-backup adopt notes')
    expect(await w.state()).toMatchObject({ state: 'unadopted', latest: { id: good } })
    expect(await latest()).toBe('second')
    const newer = (await w.list()).filter(isUnadopted)[0]?.id.slice(0, 8)
    const passed = new RegExp(
      `2\\s+newer\\s+snapshots\\s+are\\s+unadopted\\s+and\\s+passed\\s+over;\\s+the\\s+newest\\s+of\\s+them\\s+is\\s+${newer}`,
    )
    for (const how of [['dr'], ['restore', 'notes', '--snapshot', 'latest', '--in-place'], ['restore', 'notes', '--snapshot', 'latest']]) {
      const plan = (await w.cli([...how, '--dry-run'])).stdout
      expect(plan).toContain(good.slice(0, 8))
      expect(plan).toMatch(passed)
    }
    expect((await w.cli(['restore', 'notes', '--snapshot', good.slice(0, 8), '--dry-run'])).stdout).not.toMatch(passed)
    const prune = await w.cli(['prune', '--json'])
    expect(prune.exit).toBe(0)
    expect(prune.json().services).toEqual([{ name: 'notes', message: expect.stringContaining('unadopted'), keep: [], remove: [], strangers: 0 }])
    expect(await w.list()).toHaveLength(4)
  })

  test('[newest.5] after the adoption they count and age like any other', async () => {
    const [newest] = await w.list()
    expect(await w.cli(['adopt', 'notes', '--yes'])).toMatchObject({ exit: 0, stdout: 'Adopted: notes\n' })
    expect(await w.state()).toMatchObject({ state: 'ok', latest: { id: newest?.id } })
    expect(await latest()).toBe('')
    writeFileSync(w.path('notes/text'), 'third')
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
    expect((await w.list()).map(isUnadopted)).toEqual([false, true, true, false, false])
    expect(await latest()).toBe('third')
    expect((await w.cli(['prune'])).exit).toBe(0)
    expect((await w.list()).map(isUnadopted)).toEqual([false])
  })
})

test('[newest.5] after a recovery its backups count, and the empty ones made before never do', async () => {
  const w = await rebuilt()
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  expect((await w.cli(['dr', '--yes'])).exit).toBe(0)
  expect(readFileSync(w.path('notes/text'), 'utf8')).toBe('second')
  const [empty, good] = await w.list()
  expect(isUnadopted(empty as Listed)).toBe(true)
  expect(await w.state()).toMatchObject({ state: 'ok', latest: { id: good?.id } })
  // Whoever adopts all the same must not make the empty one the newest.
  expect((await w.cli(['adopt', '--all', '--yes'])).exit).toBe(0)
  expect(await w.state()).toMatchObject({ state: 'ok', latest: { id: good?.id } })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  const [mine] = await w.list()
  expect(isUnadopted(mine as Listed)).toBe(false)
  expect(await w.state()).toMatchObject({ state: 'ok', latest: { id: mine?.id } })
  w.cleanup()
})

test('[newest.3] a damaged record doesn’t make this install’s own backups somebody else’s', async (t) => {
  const w = await world(t)
  w.manifest({ services: { notes: { paths: [w.write('notes/text', 'x')] } } })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  w.write('state/records/notes.json', 'x')
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  expect((await w.cli(['list', 'notes', '--json'])).json().map(isUnadopted)).toEqual([false, false])
})

test('[newest.7] snapshots of the shell version are from elsewhere, and the newest until this install is adopted', async (t) => {
  const w = await world(t)
  const paths = [w.path('notes'), w.path('more')]
  w.write('notes/text', 'old')
  w.write('more/text', 'old')
  // The shell version: no tag, but host and paths.
  await w.restic(['backup', '--host', 'testhost', ...paths])
  await w.restic(['backup', '--host', 'testhost', w.path('notes')])
  await w.restic(['backup', '--host', 'other', ...paths])
  w.manifest({ services: { notes: { paths } } })
  expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(1)
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  const [mine, shells] = (await w.cli(['list', 'notes', '--json'])).json()
  expect([mine, shells].map(isUnadopted)).toEqual([true, false])
  expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'unadopted', latest: { id: shells.id } })
})

test('[newest.6] a service that was renamed finds its snapshots, and another host’s when that is named', async (t) => {
  const w = await world(t)
  w.write('notes/text', 'old')
  await w.restic(['backup', '--host', 'testhost', '--tag', 'service:memos', w.path('notes')])
  await w.restic(['backup', '--host', 'attic', '--tag', 'service:notes', w.path('notes')])
  w.manifest({ services: { notes: { paths: [w.path('notes')], formerNames: ['memos'] } } })
  expect((await w.cli(['list', 'notes', '--json'])).json()).toMatchObject([{ host: 'testhost', tags: ['service:memos'] }])
  expect((await w.cli(['list', 'notes', '--json', '--host', 'attic'])).json()).toMatchObject([{ host: 'attic' }])
})

describe('adopt', () => {
  test('asks on a terminal, and takes only the word', async (t) => {
    const w = await world(t)
    w.manifest({ services: { notes: { paths: [w.write('notes', '')] } } })
    const file = w.path('state/records/notes.json')
    const unsure = w.terminal(['adopt', 'notes'])
    await unsure.waitFor('Type "adopt"')
    unsure.type(`yes${keys.enter}`)
    expect(await unsure.exit).toBe(130)
    expect(existsSync(file)).toBe(false)
    const sure = w.terminal(['adopt', 'notes'])
    await sure.waitFor('Type "adopt"')
    sure.type(`adopt${keys.enter}`)
    expect(await sure.exit).toBe(0)
    expect(JSON.parse(readFileSync(file, 'utf8')).origin.how).toBe('adopted')
    const again = w.terminal(['adopt'])
    expect(await again.exit).toBe(2)
    expect(again.all()).toContain('nothing to adopt')
  })

  test('without a terminal needs the words', async (t) => {
    const w = await world(t)
    w.manifest({ services: { notes: { paths: ['/n'] }, wiki: { paths: ['/w'] } } })
    expect(await w.cli(['adopt', 'notes'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('--yes') })
    expect(await w.cli(['adopt', '--yes'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('--all') })
    expect(await w.cli(['adopt', 'notse', '--yes'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('did you mean notes?') })
    expect(await w.cli(['adopt', 'notes', '--all', '--yes'])).toMatchObject({ exit: 2 })
    expect(existsSync(w.path('state/records'))).toBe(false)
    expect((await w.cli(['adopt', '--all', '--yes', '--json'])).json()).toEqual({ adopted: ['notes', 'wiki'], repository: null })
  })

  test('of a repository makes one only where one may be made', async (t) => {
    const w = await world(t)
    const lost = { ...w.repository, repository: w.path('mnt/usb/repository'), initialize: true }
    const declare = (main: object) => w.manifest({ services: { notes: { paths: [w.write('notes', 'a')] } }, repositories: { main } })
    declare(w.repository)
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
    declare(lost)
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 10, stderr: expect.stringContaining('existed before and was not found') })
    expect(await w.cli(['adopt', '--repository', 'main', '--yes'])).toMatchObject({
      exit: 10,
      stderr: expect.stringContaining("mnt/usb doesn't exist"),
    })
    declare({ ...lost, initialize: false })
    expect((await w.cli(['adopt', '--repository', 'main', '--yes'])).exit).toBe(10)
    expect(existsSync(w.path('mnt'))).toBe(false)
    w.write('mnt/usb/keep', '')
    declare(lost)
    expect((await w.cli(['adopt', '--repository', 'main', '--yes'])).exit).toBe(0)
    expect((await w.cli(['run', 'notes'])).exit).toBe(0)
    expect((await w.cli(['status'])).exit).toBe(0)
  })
})
