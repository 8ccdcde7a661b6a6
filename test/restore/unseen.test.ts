// Data that can't be looked at, or not by its path, keeps nothing from being saved or restored: it is what one restores for.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { renumber } from '../../src/host/owners.ts'
import { canMountDisks, makeImage } from '../lib/disk.ts'
import { output } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { fingerprint } from '../lib/tree.ts'
import { world } from '../lib/world.ts'

test.skipIf(!isRoot)('[restore.49] folders deeper than a path may be long move aside unseen, and the plan says so', async (t) => {
  const w = await world(t)
  w.manifest({ services: { s: { paths: [w.path('data')], exclude: ['*.tmp'] } } })
  w.write('data/file', 'saved')
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  w.write('data/file', 'live')
  output(['bash', '-c', 'cd "$1"; n=$(printf "d%.0s" {1..100}); for i in {1..60}; do mkdir $n; cd -P ./$n; done 2>/dev/null', 'x', w.path('data')])
  // A backup saves what it can, and names the rest in a few words.
  const partial = await w.cli(['run', 's'])
  expect(partial).toMatchObject({ exit: 3, stderr: expect.stringMatching(/too long/) })
  expect(partial.stderr).not.toMatch(/\S{400}/)
  const restored = await w.cli(['restore', 's', '--in-place', '--yes'])
  expect(restored).toMatchObject({ exit: 0, stdout: expect.stringContaining("can't be looked at") })
  expect(readFileSync(w.path('data/file'), 'utf8')).toBe('live')
  expect(await w.cli(['restore', 's', '--discard-old', '--yes'])).toMatchObject({ exit: 0 })
})

test.skipIf(!canMountDisks || !has('debugfs'))(
  '[restore.49] a path that can’t be looked at is named by a backup, which saves the others',
  async (t) => {
    const w = await world(t)
    const [image, disk] = [w.write('image', ''), w.path('disk')]
    makeImage(image, 'ext4', 20)
    const mount = () => output(['mount', '-o', 'loop,errors=continue', image, disk])
    w.write('disk/empty', '')
    mount()
    t.onTestFinished(() => void output(['umount', disk]))
    w.write('disk/bad/file', 'lost')
    w.write('data/file', 'saved')
    output(['umount', disk])
    output(['debugfs', '-w', '-R', 'clri /bad', image])
    mount()
    w.manifest({ services: { s: { paths: [w.path('data'), w.path('disk/bad')] } } })
    const partial = await w.cli(['run', 's'])
    expect(partial).toMatchObject({ exit: 3, stderr: expect.stringMatching(/disk\/bad was not read: .*needs cleaning; the disk is damaged/) })
    expect((await w.restic(['dump', 'latest', w.path('data/file')])).stdout).toBe('saved')
  },
)

test.skipIf(!isRoot || !has('setcap'))(
  '[restore.50] a path that is too long where it is restored comes back whole, and with rights by consent alone',
  async (t) => {
    const w = await world(t)
    t.onTestFinished(() => void output(['rm', '-rf', w.root]))
    w.manifest({ services: { s: { paths: [w.path('data')] } } })
    w.write('data/file', 'saved')
    const sh = (script: string) => output(['bash', '-euc', script, 'x', w.path('data')])
    const names = Array.from({ length: Math.floor((4000 - w.path('data').length) / 101) }, () => 'd'.repeat(100))
    const left = 4080 - w.path('data', ...names).length - 1
    const deep = `cd "$1"; for n in ${names.join(' ')}; do mkdir -p $n; cd $n; done; f=${'f'.repeat(left)};`
    sh(`${deep} mkdir $f; echo in >$f/inner; echo b >two; chown 4242:4242 $f; chmod 750 $f; touch -d 2001-02-03 $f/inner $f .`)
    const before = fingerprint(w.path('data'))
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    sh(`${deep} rm $f/inner; echo new >two`)
    expect(await w.cli(['restore', 's', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
    expect(fingerprint(w.path('data'))).toEqual(before)
    expect(await w.cli(['restore', 's', '--target', w.path('look')])).toMatchObject({ exit: 0 })
    expect(output(['find', w.path('look'), '-name', 'inner', '-newermt', '2001-01-01', '!', '-newermt', '2002-01-01'])).not.toBe('')

    sh(`${deep} cd -P $f; setcap cap_chown+ep ./inner`)
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    sh(`${deep} cd -P $f; setcap -r ./inner`)
    const refused = await w.cli(['restore', 's', '--in-place', '--yes'])
    expect(refused).toMatchObject({ exit: 1, stderr: expect.stringMatching(/privileged files .*\/…\/inner/) })
    expect(await w.cli(['restore', 's', '--in-place', '--yes', '--allow-privileged'])).toMatchObject({ exit: 0 })
    await renumber(w.path('look'), { users: [[4242, 4343]], groups: [] })
    expect(output(['find', w.path('look'), '-uid', '4343', '-gid', '4242', '-name', 'fff*'])).not.toBe('')
  },
)
