// A service's own user, to whom folders on the way belong, tries to lead a restore in place elsewhere.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, type TestContext, test } from 'vitest'
import { start } from '../lib/cli.ts'
import { output, resticBefore } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const inPlace = ['restore', 's', '--in-place', '--yes']
const service = 1234
const sh = (script: string) => output(['bash', '-euc', script])

/** A service with data in folders of its own, and a folder that isn't its. */
async function saved(t: TestContext, disk = false): Promise<World> {
  const w = await world()
  t.onTestFinished(w.cleanup)
  if (disk) {
    mkdirSync(w.path('home'))
    sh(`mount -t tmpfs none ${w.path('home')}`)
    t.onTestFinished(() => void sh(`umount ${w.path('home')}`))
  }
  w.manifest({ services: { s: { paths: [disk ? w.path('home') : w.path('home/inner/data')], exclude: ['*.log'] } } })
  w.write('home/inner/data/file', 'saved')
  w.write('victim/data/file', 'not ours')
  w.write('victim/data/secret.log', 'not ours')
  sh(`chown -R ${service} ${w.path('home')}; chmod 700 ${w.path('victim')}`)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  sh(`echo live >${w.path('home/inner/data/file')}; touch ${w.path('home/inner/data/a.log')}`)
  return w
}

describe.skipIf(!isRoot)('a hostile user of the service', () => {
  test.for([
    ['a parent', 'mv inner aside; ln -s ../victim inner'],
    ['the path itself', 'mv inner/data aside; ln -s ../../victim/data inner/data'],
    ['a parent, with a link of root', 'mv inner aside; mv rootly inner'],
  ])('[restore.18] %s becomes a link while it stages: nothing is written outside', async ([, script], t) => {
    const w = await saved(t)
    sh(`ln -s ../victim ${w.path('home/rootly')}`)
    const before = fingerprint(w.path('victim'))
    const { env } = resticBefore(w, `if [ "$command" = restore ]; then (cd ${w.path('home')}; ${script}); fi`)
    const { exit } = await w.cli(inPlace, { env })
    expect(fingerprint(w.path('victim'))).toEqual(before)
    // A link in place of the data itself is data: it moves aside.
    const replaced = script?.includes('inner/data') ?? false
    expect(exit).toBe(replaced ? 0 : 1)
    if (replaced) expect(readFileSync(w.path('home/inner/data/file'), 'utf8')).toBe('saved')
  })

  test('[restore.18] the staging folder itself is replaced by a link before restic writes: nothing is written outside', async (t) => {
    const w = await saved(t, true)
    const before = fingerprint(w.path('victim'))
    const script = 'stage=$(echo .atelier-backup-*); mv "$stage" aside; ln -s ../victim "$stage"'
    const { env } = resticBefore(w, `if [ "$command" = restore ]; then (cd ${w.path('home')}; ${script}); fi`)
    expect(await w.cli(inPlace, { env })).toMatchObject({ exit: 1 })
    expect(fingerprint(w.path('victim'))).toEqual(before)
    expect(existsSync(w.path('home/aside'))).toBe(true)
    expect(readFileSync(w.path('home/inner/data/file'), 'utf8')).toBe('live\n')
  })

  test('[restore.18] the staging folder is replaced before what has too long a path is restored: nothing is written into the new one', async (t) => {
    const w = await saved(t, true)
    const parent = join(w.path('home'), ...Array.from({ length: Math.floor((4000 - w.path('home').length) / 101) }, () => 'd'.repeat(100)))
    sh(`mkdir -p ${parent}; cd ${parent}; echo saved >${'f'.repeat(4080 - parent.length - 1)}`)
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    // In a folder of the user's, what root writes into can become a link while restic is at work.
    const plant = `mv "$stage" aside; mkdir -p "$stage/new${parent}"; touch "$stage/new${parent}/planted"`
    const { env } = resticBefore(
      w,
      `if [ "$command" = ls ]; then (cd ${w.path('home')}; stage=$(echo .atelier-*); [ ! -d "$stage/new" ] || { ${plant}; }); fi`,
    )
    await w.cli(inPlace, { env })
    expect(output(['find', w.path('home'), '-name', 'planted', '-execdir', 'ls', ';'])).toBe('planted')
  })

  test('[restore.18] the parent is a link every other moment: nothing is written outside', async (t) => {
    const w = await saved(t)
    const before = fingerprint(w.path('victim'))
    const flip = 'while :; do mv -T inner aside; ln -s ../victim inner; rm inner; mv -T aside inner; done 2>/dev/null'
    for (let n = 0; n < (process.env.ATELIER_SOAK ? 40 : 4); n++) {
      const flipping = start(['setpriv', `--reuid=${service}`, '--clear-groups', 'sh', '-c', `cd ${w.path('home')}; ${flip}`])
      await w.cli(inPlace)
      flipping.child.kill('SIGKILL')
      await flipping.ended
      sh(`cd ${w.path('home')}; if test -d aside; then rm -f inner; mv -T aside inner; fi`)
      await w.cli(['restore', 's', '--rollback', '--yes'])
      expect(fingerprint(w.path('victim'))).toEqual(before)
    }
  })
})

test('[restore.47] an exclude pattern out of a snapshot, made to be matched for ever, keeps no restore at work', async (t) => {
  const w = await world(t)
  w.manifest({ services: { s: { paths: [w.path('data')] } } })
  w.write('data/file', 'saved')
  w.write(`data/${'a'.repeat(200)}`, 'live')
  const crafted = `${'*a'.repeat(15)}*b`
  const tags = ['--host', 'testhost', '--tag', 'service:s']
  expect(await w.restic(['backup', ...tags, '--exclude', crafted, w.path('data')])).toMatchObject({ exit: 0 })
  const { child, ended } = w.startCli(['restore', 's', '--in-place', '--dry-run'])
  const limit = setTimeout(() => child.kill('SIGKILL'), 45_000)
  expect(await ended).toMatchObject({ exit: 0 })
  clearTimeout(limit)
})
