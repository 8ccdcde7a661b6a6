// Old data that a restore in place has kept, and that can't all be deleted.
import { existsSync, readdirSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { canMountDisks, mountDisk } from '../lib/disk.ts'
import { output, withMounts } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const sh = (script: string) => output(['bash', '-euc', script])
const can = canMountDisks && has('chattr')

/** A service on a btrfs disk; `make` makes what is in its folder, `disk/app`, before it is saved. */
async function saved(t: TestContext, make: (app: string) => string): Promise<World> {
  const w = await world()
  const unmount = mountDisk(w.path('disk'), 'btrfs')
  t.onTestFinished(() => {
    sh(`chattr -R -f -i -a ${w.path('disk')} || true; umount ${w.path('disk')}/.atelier*/old*/${w.path('disk/app')}/m 2>/dev/null || true`)
    unmount()
    w.cleanup()
  })
  w.manifest({ services: { s: { paths: [w.path('disk/app'), w.path('disk/app.d')] } } })
  sh(`mkdir ${w.path('disk/app.d')}; ${make(w.path('disk/app'))}`)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  return w
}
const restore = (w: World, ...args: string[]) => w.cli(['restore', 's', '--yes', ...args])
const old = async (w: World): Promise<string[]> =>
  (await w.cli(['status', '--json', '--local'])).json().services[0].old.map(({ folder }: { folder: string }) => folder)
const tree = (w: World) => fingerprint(w.path('disk/app'))
const rest = (w: World) => readdirSync(w.path('disk')).filter((name) => name.startsWith('.atelier-backup-'))

test.skipIf(!can)(
  '[discard.1] subvolumes in old data are deleted with it: nested, read-only, with immutable files, and the data itself',
  async (t) => {
    const sub = 'btrfs subvolume create'
    const w = await saved(
      t,
      (app) => `${sub} ${app}; mkdir ${app}/a; ${sub} ${app}/a/b; ${sub} ${app}/a/b/c; echo x >${app}/a/b/c/file; echo y >${app}/top`,
    )
    sh(`cd ${w.path('disk/app')}; chattr +i a/b/c/file; btrfs subvolume snapshot -r a/b a/ro; btrfs subvolume snapshot -r a/b ../app.d/ro`)
    expect(await restore(w, '--in-place')).toMatchObject({ exit: 0 })
    expect(await restore(w, '--discard-old')).toMatchObject({ exit: 0, stderr: '' })
    expect([await old(w), rest(w), sh(`btrfs subvolume list ${w.path('disk')}`)]).toEqual([[], [], ''])
  },
)

test.skipIf(!can)('[discard.1] what can’t be removed keeps all of it: named, recorded, and put back whole', async (t) => {
  const w = await saved(t, (app) => `mkdir -p ${app}/sub ${app}/m; echo a >${app}/a; echo b >${app}/sub/b; touch ${app}/l\u2028s`)
  sh(`cd ${w.path('disk/app')}; chattr +i sub/b; echo since >since`)
  const before = tree(w)
  expect(await restore(w, '--in-place')).toMatchObject({ exit: 0 })
  const [folder = ''] = await old(w)
  const refused = async (what: string) => {
    expect(await restore(w, '--discard-old')).toMatchObject({
      exit: 1,
      stderr: expect.stringMatching(new RegExp(`s: \\S+/old-\\S+ isn't removed.*${what}.*--rollback`)),
    })
    expect(await old(w)).toEqual([folder])
  }
  await refused('app/sub/b')
  const inOld = (path: string) => `${folder}${w.path('disk/app', path)}`
  sh(`chattr -i ${inOld('sub/b')}`)
  for (const path of ['l\u2028s', 'sub']) {
    sh(`chattr +a ${inOld(path)}`)
    await refused(`append-only.*app/${path.slice(0, 1)}`)
    sh(`chattr -a ${inOld(path)}`)
  }
  sh(`mount -t tmpfs none ${folder}${w.path('disk/app/m')}`)
  await refused('app/m')
  sh(`umount ${folder}${w.path('disk/app/m')}`)
  expect(await restore(w, '--rollback')).toMatchObject({ exit: 0 })
  expect(tree(w)).toEqual(before)
  expect(await restore(w, '--discard-old')).toMatchObject({ exit: 0 })
  expect([await old(w), rest(w)]).toEqual([[], []])
})

test.skipIf(!can)('[discard.2] what a restore can’t tidy up keeps no later backup out: it is recorded, and --discard-old tries again', async (t) => {
  const w = await saved(t, (app) => `mkdir -p ${app}; echo a >${app}/a`)
  w.manifest({ services: { s: { paths: [w.path('disk/app'), w.path('disk/app.d')], healthCheck: `chattr +i ${w.path('disk/app/a')}; exit 1` } } })
  expect(await restore(w, '--in-place')).toMatchObject({ exit: 1 })
  expect(existsSync(w.path('state/journals/s.json'))).toBe(false)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  const [left = ''] = await old(w)
  expect(left).toMatch(/\/new$/)
  expect(await restore(w, '--discard-old')).toMatchObject({ exit: 1, stderr: expect.stringContaining('chattr') })
  sh(`chattr -R -i ${left}`)
  expect(await restore(w, '--discard-old')).toMatchObject({ exit: 0 })
  expect([await old(w), rest(w)]).toEqual([[], []])
})

test.skipIf(!can)('[discard.3] old data on a disk that isn’t mounted isn’t forgotten', async (t) => {
  const w = await saved(t, (app) => `mkdir -p ${app}; echo a >${app}/a`)
  expect(await restore(w, '--in-place')).toMatchObject({ exit: 0 })
  const kept = await old(w)
  const fstab = w.write('fstab', `none ${w.path('disk')} btrfs nofail 0 0\n`)
  const without = `mount --bind ${fstab} /etc/fstab; umount ${w.path('disk')}; $cli restore s --discard-old --yes`
  expect(await withMounts(w, without)).toMatchObject({ exit: 1, stderr: expect.stringContaining("disk should be mounted and isn't") })
  expect(await old(w)).toEqual(kept)
})
