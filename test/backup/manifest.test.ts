// The manifest in the repository: stored when it changed, never in the way of a backup, never taken for a service's snapshot.
import { readFileSync, rmSync } from 'node:fs'
import { beforeEach, expect, test } from 'vitest'
import { resticBefore } from '../lib/live.ts'
import { makeRepository } from '../lib/repository.ts'
import { watchedRestic } from '../lib/restics.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async (test) => {
  w = await world(test)
  for (const name of ['notes', 'wiki', 'disk']) w.write(`data/${name}/file`, name)
})
const services = (more: object = {}) => ({ notes: { paths: [w.path('data/notes')], ...more }, wiki: { paths: [w.path('data/wiki')] } })
const stored = async (env: Record<string, string> = {}): Promise<{ id: string; hostname: string; time: string }[]> => {
  const listed = (await w.restic(['snapshots', '--json', '--tag', 'atelier:manifest'], { env })).json() as {
    id: string
    hostname: string
    time: string
  }[]
  // restic lists those of one time in any order.
  return listed.sort((a, b) => (a.time + a.id < b.time + b.id ? -1 : 1))
}
const read = async (id: string, name: string, env: Record<string, string> = {}) =>
  (await w.restic(['dump', id, w.path('state/repositories', name)], { env })).json()

test('[dr.8] a run stores the manifest, with names and numbers of the users, where it changed', async () => {
  w.manifest({ services: services() })
  expect(await w.cli(['backup', '--all', '--jobs', '2'])).toMatchObject({ exit: 0, stderr: '' })
  const [first, ...more] = await stored()
  expect(more).toEqual([])
  const manifest = await read(first?.id ?? '', 'main.manifest/manifest.json')
  expect(manifest).toMatchObject({ version: 2, host: 'testhost', services: { notes: { paths: [w.path('data/notes')], restoreAfter: [] } } })
  const host = await read(first?.id ?? '', 'main.manifest/host.json')
  expect(host).toMatchObject({ repository: 'main', users: { root: 0 }, groups: { root: 0 } })
  expect(Object.values(host.users).every(Number.isInteger)).toBe(true)
  // Where secrets are, and none of them.
  expect(manifest.repositories.main.passwordFile).toBe(w.repository.passwordFile)
  expect(JSON.stringify([manifest, host])).not.toContain('correct horse')

  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await stored()).toHaveLength(1)
  w.manifest({ services: services({ healthCheck: 'true' }) })
  expect(await w.cli(['run', 'wiki'])).toMatchObject({ exit: 0 })
  const now = await stored()
  expect(now).toHaveLength(2)
  expect((await read(now.at(-1)?.id ?? '', 'main.manifest/manifest.json')).services.notes.healthCheck).toBe('true')
})

test('[dr.8] it costs no call of restic while it is the same', async () => {
  w.manifest({ services: services() })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  const { env, calls } = watchedRestic(w)
  expect(await w.cli(['run', 'notes'], { env })).toMatchObject({ exit: 0 })
  expect(calls()).toEqual([expect.stringMatching(/^backup .*service:notes/)])
})

test('[dr.8] each repository has it, with the name by which the manifest knows it, and another one in its place gets it too', async () => {
  const other = await makeRepository(w.path('other'))
  const declared = { ...services(), disk: { paths: [w.path('data/disk')], repository: 'disk' } }
  w.manifest({ services: declared, repositories: { disk: other } })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  const env = { RESTIC_REPOSITORY: other.repository, RESTIC_PASSWORD_FILE: other.passwordFile }
  const [there] = await stored(env)
  expect(await read(there?.id ?? '', 'disk.manifest/host.json', env)).toMatchObject({ repository: 'disk' })
  rmSync(w.path('other'), { recursive: true })
  await makeRepository(w.path('other'))
  expect(await w.cli(['adopt', '--repository', 'disk', '--yes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['run', 'disk'])).toMatchObject({ exit: 0 })
  expect(await stored(env)).toHaveLength(1)
})

test('[dr.25] a new one names the one that this install stored before it, not the newest by date', async () => {
  w.manifest({ services: services() })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  const [first] = await stored()
  const other = ['backup', '--quiet', '--host', 'testhost', '--tag', 'atelier:manifest', w.path('state/repositories/main.manifest')]
  expect(await w.restic(other)).toMatchObject({ exit: 0 })
  w.manifest({ services: services({ healthCheck: 'true' }) })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  const all = (await w.restic(['snapshots', '--json', '--tag', 'atelier:manifest'])).json() as { id: string; parent?: string }[]
  expect(all.filter(({ parent }) => parent === first?.id).length).toBe(2)

  // Where that one was forgotten, the next is stored all the same.
  w.manifest({ services: services() })
  await w.restic(['forget', '--quiet', ...all.map(({ id }) => id)])
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
  expect(await stored()).toHaveLength(1)
})

test('[dr.9] where it can not be stored the backup is ok all the same, with a warning, and the next run stores it', async () => {
  w.manifest({ services: services() })
  const { env } = resticBefore(w, '[[ "$*" == *atelier:manifest* ]] && { echo "Fatal: no" >&2; exit 1; }')
  const run = await w.cli(['run', 'notes', '--json'], { env })
  expect(run.exit).toBe(0)
  expect(run.events()).toContainEqual(expect.objectContaining({ type: 'warning', code: 'manifest-not-stored' }))
  expect(run.events().at(-1)).toMatchObject({ type: 'report', outcome: 'ok' })
  expect(await stored()).toEqual([])
  expect((await w.cli(['status', '--json'])).json().services[0]).toMatchObject({ name: 'notes', state: 'ok' })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await stored()).toHaveLength(1)
})

test('[dr.9] it is no snapshot of a service: not in list and status, not restored, not restic’s latest', async () => {
  // A service that declares the very folder.
  w.manifest({ services: { notes: { paths: [w.path('data/notes')] }, nosy: { paths: [w.path('state/repositories/main.manifest')] } } })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await stored()).toHaveLength(1)
  expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(1)
  expect((await w.cli(['list', 'nosy', '--json'])).json()).toEqual([])
  expect((await w.cli(['status', 'nosy', '--json'])).json().services[0]).toMatchObject({ state: 'never', latest: null })
  expect((await w.restic(['dump', 'latest', w.path('data/notes/file')])).stdout).toBe('notes')
})

test('[dr.9] a fresh install that was not recovered stores none in place of the lost host’s', async () => {
  w.manifest({ services: services() })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  const before = await stored()
  rmSync(w.path('state'), { recursive: true })
  w.manifest({ services: { notes: { paths: [w.path('data/notes')] } } })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await stored()).toEqual(before)
  expect(await w.cli(['adopt', '--all', '--yes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await stored()).toHaveLength(2)
})

test('[retention.8] prune keeps the ten newest manifests of this host, and touches no other host’s', async () => {
  w.manifest({ services: services() })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  const tags = `atelier:manifest,install:${readFileSync(w.path('state/install-id'), 'utf8').trim()}`
  const save = (day: number, host: string) =>
    w.restic(['backup', '--quiet', '--host', host, '--tag', tags, '--time', `2020-01-${10 + day} 02:00:00`, w.path('data/disk')])
  for (let day = 0; day < 11; day++) await save(day, 'testhost')
  for (let day = 0; day < 2; day++) await save(day, 'other')
  const before = await stored()
  expect(before).toHaveLength(14)
  const dry = await w.cli(['prune', '--dry-run'])
  expect(dry.stdout.match(/\(manifest\) .*would be forgotten: 10 newer ones are kept/g)).toHaveLength(2)
  expect(dry.stdout).toContain('main: 2 snapshots would be forgotten')
  expect(await stored()).toEqual(before)
  expect((await w.cli(['prune', '--json'])).json().manifests.remove).toHaveLength(2)
  const kept = (list: typeof before, host: string) => list.filter(({ hostname }) => hostname === host).map(({ id }) => id)
  const after = await stored()
  expect(kept(after, 'other')).toEqual(kept(before, 'other'))
  expect(kept(after, 'testhost')).toEqual(kept(before, 'testhost').slice(2))
})

test('[retention.8] those that carry this install’s id push out none that it stored, and are told', async () => {
  w.manifest({ services: services() })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  const [own] = await stored()
  const tags = `atelier:manifest,install:${readFileSync(w.path('state/install-id'), 'utf8').trim()}`
  const later = new Date(Date.now() + 60_000).toISOString().slice(0, 19).replace('T', ' ')
  const forge = ['backup', '--quiet', '--host', 'testhost', '--tag', tags, '--time', later, w.path('data/disk')]
  for (let n = 0; n < 11; n++) expect(await w.restic(forge, { env: { TZ: 'UTC' } })).toMatchObject({ exit: 0 })
  const { stdout } = await w.cli(['prune'], { env: { COLUMNS: '200' } })
  expect(stdout.match(/\(manifest\).*it has the id of this install, which has no note of storing it/g)).toHaveLength(10)
  expect((await stored()).map(({ id }) => id)).toContain(own?.id)
  expect((await w.cli(['prune', '--dry-run', '--json'])).json().manifests).toMatchObject({ remove: [], unknown: { length: 10 } })
})
