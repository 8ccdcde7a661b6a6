// Data whose disk should be mounted and isn't: neither saved as emptiness, nor restored onto the folder below.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { output, withMounts } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { type World, world } from '../lib/world.ts'

/** The service `s` on a disk that fstab declares, and `t`, inside of whose data another one is declared. `without`: as where no disk is mounted. */
async function onDisks(t: TestContext) {
  const w = await world(t)
  const service = (path: string) => ({ paths: [w.path(path)], shrinkThreshold: null })
  const declared = { services: { s: service('disk/s'), t: service('t') } }
  w.manifest(declared)
  for (const file of ['disk/s/file', 't/file', 't/disk/file']) w.write(file, `saved ${file}`)
  for (const name of ['s', 't']) expect(await w.cli(['run', name])).toMatchObject({ exit: 0 })
  const fstab = w.write('fstab', `none ${w.path('disk')} tmpfs nofail 0 0\nnone ${w.path('t/disk')} tmpfs nofail 0 0\n`)
  const without = (commands: string) => withMounts(w, `mount --bind ${fstab} /etc/fstab; ${commands}`)
  return { w, without, service, declared }
}
const gone = (w: World) => output(['bash', '-c', `rm -r ${w.path('disk/s')} ${w.path('t/disk/file')}`])

test.skipIf(!isRoot)('[mount.1] data on a disk that isn’t mounted isn’t saved as emptiness: named, and the rest is saved', async (t) => {
  const { w, without, service, declared } = await onDisks(t)
  expect(await without('$cli run s')).toMatchObject({ exit: 1, stderr: expect.stringContaining(`${w.path('disk')} should be mounted and isn't`) })
  expect(await without('$cli run t')).toMatchObject({
    exit: 3,
    stderr: expect.stringContaining(`${w.path('t/disk')}, in ${w.path('t')}, should be mounted`),
  })
  expect((await w.restic(['snapshots', '--json', '--tag', 'service:s'])).json()).toHaveLength(1)
  expect((await without('$cli doctor')).stdout).toMatch(/paths .*disk should be mounted/)
  // What backups exclude may be missing, and so may what is mounted by hand alone.
  w.manifest({ services: { t: { ...service('t'), exclude: [w.path('t/disk')] } } })
  expect(await without('$cli run t')).toMatchObject({ exit: 0 })
  w.manifest(declared)
  expect(await without(`echo "$(sed s/nofail/noauto/ /etc/fstab)" >/etc/fstab; $cli run t`)).toMatchObject({ exit: 0 })
  expect(await without('$cli run s')).toMatchObject({ exit: 1 })
})

test.skipIf(!isRoot)('[mount.2] nothing is restored onto the folder of a disk that isn’t mounted, but with --onto-unmounted', async (t) => {
  const { w, without } = await onDisks(t)
  gone(w)
  mkdirSync(w.path('disk/s'))
  for (const command of ['restore t --in-place --yes', 'dr --yes --overwrite']) {
    const { exit, stderr, stdout } = await without(`$cli ${command}`)
    expect([exit, stderr + stdout], command).toEqual([1, expect.stringMatching(/should be mounted and isn't.*--onto-unmounted; nothing was touched/)])
    expect([existsSync(w.path('disk/s/file')), existsSync(w.path('t/disk/file'))], command).toEqual([false, false])
  }
  expect((await without('$cli restore s --in-place --dry-run')).stdout).toContain("should be mounted and isn't")
  expect(await without('$cli restore s --in-place --yes --onto-unmounted')).toMatchObject({ exit: 0 })
  expect(await without('$cli dr --yes --overwrite --only t --onto-unmounted')).toMatchObject({ exit: 0 })
  expect(readFileSync(w.path('disk/s/file'), 'utf8')).toBe('saved disk/s/file')
  expect(readFileSync(w.path('t/disk/file'), 'utf8')).toBe('saved t/disk/file')
})

test.skipIf(!isRoot)('[mount.2] once it is mounted, the same recovery goes on', async (t) => {
  const { w, without } = await onDisks(t)
  gone(w)
  expect(await without('$cli dr --yes --overwrite --only s')).toMatchObject({ exit: 1, stdout: expect.stringContaining('dr --resume') })
  const disk = w.path('disk')
  const { exit, stdout } = await without(`mount -t tmpfs none ${disk}; $cli dr --yes --resume && cat ${disk}/s/file`)
  expect([exit, stdout]).toEqual([0, expect.stringContaining('saved disk/s/file')])
})
