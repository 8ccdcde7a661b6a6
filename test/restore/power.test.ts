// The power fails right before any of its changes: what the disk holds at that moment, and nothing that was in memory alone, is entirely old or new after
// the boot; of data and of our own state.
import { existsSync, rmSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Change, changesOf, powerlessAt, random } from '../lib/killed.ts'
import { output, sql } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { fingerprint, makeHostileTree } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

/** With ATELIER_SOAK every instant; otherwise some, others with another ATELIER_SEED. */
const soak = Boolean(process.env.ATELIER_SOAK)
const seed = Number(process.env.ATELIER_SEED ?? 1)
const figures = { tried: 0, lost: 0 }
afterAll(() => console.log(`power cuts: tried ${figures.tried}, lost ${figures.lost}`))

describe.skipIf(!isRoot || !has('strace') || !has('mkfs.ext4')).each([
  ['a restore in place', ['restore', 'a', '--in-place', '--yes'], ['a']],
  ['a recovery', ['dr', '--yes', '--overwrite', '--jobs', '1'], ['a', 'b']],
] as const)('the power fails in %s', (_, command, names) => {
  let w: World
  let changes: Change[]
  let old: ReturnType<typeof look>
  let fresh: ReturnType<typeof look>
  const args = [...command]
  const disk = () => w.path('disk')
  const sh = (script: string) => output(['bash', '-euc', script])
  const unmount = () => sh(`! mountpoint -q ${disk()} || umount ${disk()}`)
  /** Nothing is written of itself, by the clock or by a guess of the filesystem's. */
  const insert = (image: string) => sh(`mount -o loop,commit=300,noauto_da_alloc ${w.path(image)} ${disk()}`)
  /** Into a new file: another process's view of all mounts may hold the one before, and write to it. */
  const copy = (from: string, to: string) => sh(`cp --sparse=always --remove-destination ${w.path(from)} ${w.path(to)}`)
  const reset = () => {
    unmount()
    copy('image-saved', 'image')
    insert('image')
  }
  /** The machine is without power at this moment, and boots again. */
  const cut = () => {
    copy('image', 'image-of-the-cut')
    unmount()
    insert('image-of-the-cut')
  }
  function look(): Record<string, string> {
    const of = (name: string) => {
      rmSync(w.path('looked-at'), { recursive: true, force: true })
      sh(`cp -a ${disk()}/srv/${name}-db ${w.path('looked-at')}`)
      const rows = sql(w.path('looked-at/n.db'), 'PRAGMA integrity_check; SELECT a FROM t')
      return JSON.stringify([fingerprint(`${disk()}/srv/${name}`), rows])
    }
    return Object.fromEntries(names.map((name) => [name, of(name)]))
  }

  beforeAll(async () => {
    w = await world()
    w.env.STATE_DIRECTORY = `${disk()}/state`
    sh(`truncate -s 240M ${w.path('image')}; mkfs.ext4 -q ${w.path('image')}; mkdir ${disk()}`)
    insert('image')
    sh(`mkdir -m 700 ${disk()}/state; mkdir ${disk()}/srv`)
    const services = Object.fromEntries(names.map((name) => [name, { paths: [`${disk()}/srv/${name}`], sqlite: [`${disk()}/srv/${name}-db/n.db`] }]))
    w.manifest({ services })
    const make = (version: number) => {
      for (const name of names) {
        sh(`rm -rf ${disk()}/srv/${name} ${disk()}/srv/${name}-db; mkdir ${disk()}/srv/${name}-db`)
        makeHostileTree(`${disk()}/srv/${name}`, version)
        sql(`${disk()}/srv/${name}-db/n.db`, `PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES (${version})`)
      }
    }
    make(1)
    for (const name of names) expect(await w.cli(['run', name])).toMatchObject({ exit: 0 })
    make(2)
    unmount()
    sh(`mv ${w.path('image')} ${w.path('image-saved')}`)
    reset()
    old = look()
    const unkilled = await changesOf(w, args)
    changes = unkilled.changes
    expect(unkilled.ended).toMatchObject({ exit: 0 })
    fresh = look()
    for (const name of names) expect(fresh[name]).not.toBe(old[name])
  })
  afterEach(unmount)
  afterAll(() => {
    unmount()
    w.cleanup()
  })

  test('[restore.36] once it has said that it is done, that holds', async () => {
    reset()
    expect(await w.cli(args)).toMatchObject({ exit: 0 })
    cut()
    expect(look()).toEqual(fresh)
  })

  const numbers = soak ? Array.from({ length: 500 }, (_, i) => i) : Array.from({ length: 5 }, (_, i) => random(seed * 100 + i))
  test.for(numbers)('[restore.36] before its change %i', async (number) => {
    const change = soak ? changes[number] : changes[number % changes.length]
    if (!change) return
    reset()
    expect(await powerlessAt(w, change, args)).toBe(true)
    cut()
    figures.tried += 1
    figures.lost += 1
    // As the boot unit does, before the services start.
    expect(await w.cli(['boot'])).toMatchObject({ exit: 0 })
    const now = look()
    for (const name of names) {
      expect([old[name], fresh[name]]).toContain(now[name])
      expect(existsSync(`${disk()}/state/journals/${name}.json`)).toBe(false)
    }
    if (command[0] === 'dr') {
      const isOpen = existsSync(`${disk()}/state/disaster-recovery.json`)
      expect(await w.cli(isOpen ? [...args, '--resume'] : args)).toMatchObject({ exit: 0 })
      expect(look()).toEqual(fresh)
    }
    figures.lost -= 1
  })
})
