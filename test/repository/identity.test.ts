// Where backups go: made once, where it may be; afterwards the same one, or none.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { resticBefore, withMounts } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { makeRepository } from '../lib/repository.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeEach(async () => {
  w = await world()
  w.write('data/file', 'x')
})
afterEach(() => w.cleanup())

/** Declares a repository at `location` and the services that save to it. */
function declare({ location = w.repository.repository, initialize = true, names = ['notes'] } = {}) {
  const services = Object.fromEntries(names.map((name) => [name, { paths: [w.write(`data/${name}/file`, 'x')] }]))
  w.manifest({ services, repositories: { main: { ...w.repository, repository: location, initialize } } })
}
const pin = () => JSON.parse(readFileSync(w.path('state/repositories/main.json'), 'utf8')).id
const lastRun = (name = 'notes') => JSON.parse(readFileSync(w.path('state/records', `${name}.json`), 'utf8')).runs.at(-1)
const state = async () => JSON.parse((await w.cli(['status', '--json'])).stdout).services[0].state
const snapshots = async (repository = w.repository.repository) =>
  (await w.restic(['snapshots', '--json'], { env: { RESTIC_REPOSITORY: repository } })).json().length

test('[repository.1] the id is pinned after the first success; no backup goes to another repository in its place', async () => {
  declare()
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  const { id } = JSON.parse((await w.restic(['cat', 'config'])).stdout)
  expect(pin()).toBe(id)
  mkdirSync(w.path('elsewhere'))
  const { repository: other } = await makeRepository(w.path('elsewhere'))
  renameSync(w.repository.repository, w.path('kept'))
  renameSync(other, w.repository.repository)
  const before = fingerprint(w.repository.repository, { times: false })
  for (const names of [['notes'], ['notes', 'wiki']]) {
    declare({ names })
    const name = names.at(-1) ?? ''
    const run = await w.cli(['run', name])
    expect(run.exit, name).toBe(1)
    expect(run.stderr).toMatch(/is another one .* than before .*nothing was written.*adopt --repository main/)
    expect(lastRun(name)).toMatchObject({ code: 'other-repository', snapshotId: null })
  }
  expect(fingerprint(w.repository.repository, { times: false })).toEqual(before)
  expect(await state()).toBe('unknown')
  for (const args of [
    ['list', 'notes'],
    ['restore', 'notes', '--snapshot', 'latest'],
  ])
    expect(await w.cli(args), args[0]).toMatchObject({ exit: 1, stderr: expect.stringContaining('is another one') })
  expect(pin()).toBe(id)
  rmSync(w.repository.repository, { recursive: true })
  renameSync(w.path('kept'), w.repository.repository)
  expect(await w.cli(['run', 'notes']), 'the right one is back').toMatchObject({ exit: 0 })
})

test('[repository.1] a failure pins nothing', async () => {
  declare()
  const { env } = resticBefore(w, '[ "$command" = backup ] && exit 1')
  expect((await w.cli(['run', 'notes'], { env })).exit).toBe(1)
  expect(existsSync(w.path('state/repositories/main.json'))).toBe(false)
})

test('a snapshot that somebody else has forgotten doesn’t hinder the next backup, which is whole', async () => {
  declare()
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  await w.restic(['forget', 'latest', '--prune'])
  expect(await snapshots()).toBe(0)
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await snapshots()).toBe(1)
  expect((await w.restic(['restore', 'latest', '--target', w.path('back')])).exit).toBe(0)
  expect(readFileSync(w.path('back', w.path('data/notes/file')), 'utf8')).toBe('x')
})

test('[repository.7] one that stands inside of the data, or around it, takes no backup of it and is replaced by no restore', async () => {
  const at = w.path('data/notes/backups')
  const services = (notes: object) => ({
    services: { notes: { paths: [w.path('data/notes')], ...notes } },
    repositories: { main: { ...w.repository, repository: at, initialize: true } },
  })
  w.write('data/notes/file', 'x')
  symlinkSync(w.path('data/notes'), w.path('link'))
  const refused = { exit: 1, stderr: expect.stringMatching(/notes: its repository .* stand one inside the other.*Keep them apart/) }
  for (const paths of [[w.path('data/notes')], [w.path('link')], [w.path('data/notes/backups/inside')]]) {
    w.manifest(services({ paths }))
    expect(await w.cli(['run', 'notes']), paths[0]).toMatchObject(refused)
  }
  expect(existsSync(at)).toBe(false)
  expect((await w.cli(['doctor'])).stdout).toContain('stand one inside the other')
  // Left out it is safe from backups, but not from restores.
  w.manifest(services({ exclude: [at] }))
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await w.cli(['restore', 'notes', '--in-place', '--snapshot', 'latest', '--yes'])).toMatchObject(refused)
  expect(await w.cli(['restore', 'notes', '--snapshot', 'latest', '--target', w.path('look')])).toMatchObject({ exit: 0 })
})

test('[repository.2] a repository that vanished is never created anew, neither by the service that used it nor by a new one', async () => {
  declare()
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  renameSync(w.repository.repository, w.path('kept'))
  for (const emptied of [false, true]) {
    if (emptied) mkdirSync(w.repository.repository)
    declare({ names: ['notes', 'wiki'] })
    for (const name of ['notes', 'wiki']) {
      const run = await w.cli(['run', name])
      expect(run.exit, name).toBe(10)
      expect(run.stderr).toMatch(/existed before and was not found.*no new one is created/)
      // What would make it anew isn't advised.
      expect(run.stderr).not.toMatch(/initialize|-- init/)
    }
  }
  expect(readdirSync(w.repository.repository)).toEqual([])
  expect(await state()).toBe('unknown')
})

test('[repository.3] a repository is created where there is none and the manifest allows it, and only then', async () => {
  const location = w.path('disk/new')
  mkdirSync(w.path('disk'))
  declare({ location, initialize: false })
  const refused = await w.cli(['run', 'notes'])
  expect(refused.exit).toBe(10)
  expect(refused.stderr).toContain('initialize')
  expect(existsSync(location)).toBe(false)
  declare({ location })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(await snapshots(location)).toBe(1)
})

test.each([
  ['a wrong password', () => w.write('secrets/password', 'wrong\n'), 12],
  ['a damaged config', () => writeFileSync(w.path('secrets/repository/config'), 'x', { mode: 0o600 }), 1],
  ['the keys are gone', () => rmSync(w.path('secrets/repository/keys'), { recursive: true }), undefined],
])('[repository.3] nothing is created over %s, though the manifest allows to create', async (_, damage, exit) => {
  damage()
  declare()
  const before = fingerprint(w.repository.repository, { times: false })
  const run = await w.cli(['run', 'notes'])
  expect(run.exit).not.toBe(0)
  if (exit !== undefined) expect(run.exit).toBe(exit)
  expect(fingerprint(w.repository.repository, { times: false })).toEqual(before)
})

test('[repository.3] of two services that begin together one creates the repository, and both save to it', async () => {
  const location = w.path('both')
  declare({ location, names: ['a', 'b', 'c'] })
  expect(await w.cli(['backup', '--all', '--jobs', '3'])).toMatchObject({ exit: 0, stderr: '' })
  expect(await snapshots(location)).toBe(3)
  const { id } = JSON.parse((await w.restic(['cat', 'config'], { env: { RESTIC_REPOSITORY: location } })).stdout)
  expect(pin()).toBe(id)
})

test('[repository.4] a repository isn’t created in a folder whose parent is missing', async () => {
  declare({ location: w.path('not/there') })
  const run = await w.cli(['run', 'notes'])
  expect(run.exit).toBe(10)
  expect(run.stderr).toContain(`${w.path('not')} doesn't exist`)
  expect(existsSync(w.path('not'))).toBe(false)
})

test.skipIf(!isRoot)('[repository.4] nor on the empty mount point of a filesystem that should be mounted, also through a link', async () => {
  mkdirSync(w.path('mnt/usb disk/restic'), { recursive: true })
  symlinkSync(w.path('mnt/usb disk'), w.path('backup'))
  // A fstab of our own, in a mount namespace of our own.
  const fstab = w.write('fstab', `# /dev/sdz ${w.path('data')} ext4\n/dev/sdb1 ${w.path('mnt/usb disk').replace(' ', '\\040')} ext4 defaults 0 2\n`)
  for (const location of [w.path('mnt/usb disk/restic/host'), w.path('mnt/usb disk'), `local:${w.path('backup/restic/host')}`]) {
    declare({ location })
    const { stdout, stderr } = await withMounts(w, `mount --bind ${fstab} /etc/fstab; $cli run notes; echo "exit $?"`)
    expect(stdout).toContain('exit 1')
    expect(stderr).toContain(`${w.path('mnt/usb disk')} should be mounted and isn't`)
  }
  expect(fingerprint(w.path('mnt')).map(({ path }) => path)).toEqual(['.', './usb disk', './usb disk/restic'])
  const mounted = await withMounts(
    w,
    `mount --bind ${fstab} /etc/fstab; mount -t tmpfs none '${w.path('mnt/usb disk')}'; $cli run notes; echo "exit $?"`,
  )
  expect(mounted.stdout, mounted.stderr).toContain(`exit 10`)
  expect(mounted.stderr, 'the folder on the disk').toContain("doesn't exist")
})

test.skipIf(!isRoot)(
  '[repository.10] one that may only be read gives everything back, and what would write to it says at once that it can’t',
  async () => {
    declare()
    expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
    rmSync(w.path('data/notes'), { recursive: true })
    const { repository } = w.repository
    const readOnly = (command: string) =>
      withMounts(w, `mount --bind ${repository} ${repository}; mount -o remount,ro,bind ${repository}; exec $cli ${command}`)
    expect(await readOnly(`restore notes --snapshot latest --target ${w.path('look')}`)).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('look', w.path('data/notes/file')), 'utf8')).toBe('x')
    expect(await readOnly('dr --yes --overwrite')).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('data/notes/file'), 'utf8')).toBe('x')
    for (const command of ['run notes', 'prune'])
      expect(await readOnly(command)).toMatchObject({ exit: 1, stderr: expect.stringMatching(/repository main \(.*\): it is mounted read-only/) })
    // As restic says it of a server that lets us read alone.
    const forbidding = resticBefore(
      w,
      `if [ "$command" = restore ] && [[ "$*" != *--no-lock* ]]; then
      echo 'Fatal: unable to create lock in backend: unexpected HTTP response (403): 403 Forbidden' >&2; exit 1; fi`,
    )
    rmSync(w.path('look'), { recursive: true })
    expect(await w.cli(['restore', 'notes', '--snapshot', 'latest', '--target', w.path('look')], forbidding)).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('look', w.path('data/notes/file')), 'utf8')).toBe('x')
  },
)
