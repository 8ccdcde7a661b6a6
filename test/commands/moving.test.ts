// scripts/docs/moving.md: what NixOS's own module for restic has saved is listed, restored and kept.
import { readFileSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { isRoot } from '../lib/needs.ts'
import { world } from '../lib/world.ts'

test.skipIf(!isRoot)('[newest.7] snapshots that restic made of a service’s paths without our tags are listed, restored and kept', async (t) => {
  const w = await world(t)
  const data = w.path('data/notes')
  // As the unit of services.restic.backups.NAME calls it.
  const save = () =>
    w.restic(['backup', '--files-from', w.write('staging/includes', `${data}\n`), '--exclude-file', w.write('staging/exclude', '*.tmp\n')])
  for (const text of ['first', 'second']) {
    w.write('data/notes/file', text)
    expect(await save()).toMatchObject({ exit: 0 })
  }
  const host = (await w.restic(['snapshots', '--json'])).json()[0].hostname
  w.manifest({ host, services: { notes: { paths: [data] } } })
  expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'unadopted' })
  const listed = async () => (await w.cli(['list', 'notes', '--json'])).json() as { id: string }[]
  const old = await listed()
  expect(old).toHaveLength(2)
  expect(await w.cli(['adopt', 'notes', '--yes'])).toMatchObject({ exit: 0 })
  w.write('data/notes/file', 'third')
  expect(await w.cli(['backup', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
  expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'ok' })
  expect((await listed()).map(({ id }) => id).slice(1)).toEqual(old.map(({ id }) => id))
  expect((await w.cli(['prune', '--json'])).json()).toMatchObject({ services: [{ name: 'notes', remove: [] }] })
  expect(await listed()).toHaveLength(3)
  rmSync(data, { recursive: true })
  expect(await w.cli(['restore', 'notes', '--snapshot', old.at(-1)?.id ?? '', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
  expect(readFileSync(w.path('data/notes/file'), 'utf8')).toBe('first')
})
