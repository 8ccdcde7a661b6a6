// What is mounted, and what should be.
import { mkdirSync, symlinkSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { missingMount, missingMounts, mountsWithin } from '../../src/host/mounts.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
})
afterAll(() => w.cleanup())

test('[repository.4] a mount point of fstab at or above a path is missed until it is mounted', async () => {
  mkdirSync(w.path('usb disk/deep'), { recursive: true })
  symlinkSync('usb disk/deep', w.path('link'))
  const escaped = w.path('usb disk').replace(' ', '\\040')
  const fstab = w.write(
    'fstab',
    `# ${w.path('comment')} x ext4\n\n  #indented\nnone none swap sw 0 0\n/dev/a / ext4 x 0 1\n\tUUID=1\t${escaped}\text4 nofail 0 2\nproc /proc proc\n`,
  )
  const missing = (path: string) => missingMount(path, fstab)
  expect(await missing(w.path('usb disk'))).toBe(w.path('usb disk'))
  expect(await missing(w.path('usb disk/deep/not/yet/there'))).toBe(w.path('usb disk'))
  expect(await missing(w.path('link/not/yet'))).toBe(w.path('usb disk'))
  expect(await missing(w.path('usb diskette'))).toBeNull()
  expect(await missing(w.path('comment/x'))).toBeNull()
  expect(await missing('/proc/self')).toBeNull()
  expect(await missingMount(w.path('usb disk'), w.path('no-fstab'))).toBeNull()
})

test('[mount.1] what fstab or a unit of systemd would mount is missed: by its real path, escaped, not where it is masked', async () => {
  mkdirSync(w.path('usb disk'), { recursive: true })
  symlinkSync('usb disk', w.path('short'))
  const fstab = w.write('fstab.2', `a ${w.path('short')}/ ext4 noauto,ro 0 0\n`)
  const name = (path: string) => `${w.path(path).slice(1).replaceAll('-', '\\x2d').replaceAll('é', '\\xc3\\xa9').replaceAll('/', '-')}.mount`
  for (const path of ['é-disk', 'usb disk', 'other']) w.write(`units/${name(path.replace(' ', '\\x20'))}`, '[Mount]')
  w.write('units/other.service', '')
  symlinkSync('/dev/null', w.path('units', name('masked')))
  const missing = await missingMounts(fstab, [w.path('units'), w.path('nowhere')])
  expect(missing.sort((a, b) => (a.point < b.point ? -1 : 1))).toEqual([
    { point: w.path('other'), auto: true },
    { point: w.path('usb disk'), auto: false },
    { point: w.path('é-disk'), auto: true },
  ])
})

test('mounts within a path are those at it and below it, not those beside it', async () => {
  expect(await mountsWithin('/proc')).toContain('/proc')
  expect(await mountsWithin('/pro')).toEqual([])
  expect(await mountsWithin('/')).toContain('/proc')
})
