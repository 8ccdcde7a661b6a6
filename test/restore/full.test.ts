// Disks that become full in the middle of a restore in place, in earnest: the server's, each one that data is staged on, the one with our own state.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, type TestContext, test } from 'vitest'
import { instead, output, resticBefore } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { canPostgres } from '../lib/postgres.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'
import { type Shop, second, shop } from './shop.ts'

const inPlace = ['--in-place', '--yes']
/** Shell: all that is left on a disk, but for so much. */
const fill = (folder: string, spare = 0) =>
  `if [ ! -e ${folder}/full ]; then head -c $(($(stat -f -c '%a * %S' ${folder}) - ${spare})) /dev/zero >${folder}/full; ${spare > 0 ? '' : `head -c 1M /dev/zero >>${folder}/full;`} fi;`

function mount(folder: string, size: string): string {
  output(['mkdir', '-p', folder])
  output(['mount', '-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'none', folder])
  onTestFinished(() => void output(['umount', folder]))
  return folder
}

describe.skipIf(!canPostgres)('the disk with the databases', () => {
  let s: Shop
  beforeAll(async () => {
    s = await shop('240M')
  })
  afterAll(() => s?.cleanup())

  const disk = () => `${s.server.declared.socketDir}/data`
  /** A restore; as soon as it fetches, all of the disk is taken but for so much. */
  const restored = (spare: number) => {
    const { env } = resticBefore(s, `if [ "$command" = restore ]; then ${fill(disk(), spare)} fi`)
    return s.cli(['restore', 'shop', ...inPlace], { env: { PATH: env.PATH.replace(/:.*/, `:${s.server.path}`) } })
  }
  const empty = (): number => Number(s.server.sql('postgres', "SELECT pg_database_size('template1')"))

  test('[postgres.13] becoming full while databases are loaded: given up in time, the server goes on, the old ones are untouched, nothing is left', async () => {
    const old = s.look()
    s.server.sql('shop', "CREATE TABLE own.bulk AS SELECT n, repeat('x', 50) FROM generate_series(1, 300000) n; CREATE INDEX ON own.bulk (n)")
    expect(await s.cli(['run', 'shop'])).toMatchObject({ exit: 0 })
    s.server.sql('shop', 'DROP TABLE own.bulk; CHECKPOINT')
    expect(s.look()).toEqual(old)
    const before = s.databases()
    const started = s.server.sql('postgres', 'SELECT pg_postmaster_start_time()')
    // Enough to make the first, and not to fill it; not enough for anything.
    for (const spare of [(48 << 20) + empty() + (6 << 20), 40 << 20]) {
      const { exit, stderr } = await restored(spare)
      expect([exit, stderr]).toEqual([1, expect.stringMatching(/^shop: no space is left for the server's data.*; the live data was not touched\n$/)])
      expect([s.look(), s.databases(), s.journal()]).toEqual([old, before, null])
      expect(s.server.sql('postgres', 'SELECT pg_postmaster_start_time()')).toBe(started)
      rmSync(`${disk()}/full`)
    }
    expect(await s.restore(...inPlace)).toMatchObject({ exit: 0 })
    expect(s.server.sql('shop', 'SELECT count(*) FROM own.bulk')).toBe('300000')
    expect(await s.restore('--rollback', '--yes')).toMatchObject({ exit: 0 })
    expect(s.look()).toEqual(old)
    expect(await s.restore('--discard-old', '--yes')).toMatchObject({ exit: 0 })
  })

  test('[postgres.10] full all at once, by somebody else: exit 1, and once there is room the old data is there, and --rollback leaves nothing', async () => {
    const old = s.look()
    const before = s.databases()
    // It may have gone down for it, as it would have with its next checkpoint.
    const up = async (): Promise<void> => {
      for (let left = 100; left > 0; left--) {
        try {
          s.server.sql('postgres', 'SELECT 1')
          return
        } catch {
          // Down, or coming up.
          try {
            s.server.start()
          } catch {}
          await sleep(200)
        }
      }
    }
    for (const spare of [Math.floor(empty() / 2), empty() + (1 << 20), 0]) {
      const { exit, stderr } = await restored(spare)
      expect([exit, stderr]).toEqual([1, expect.stringMatching(/^shop: .*; the live data was not touched$/m)])
      expect([null, 'staging']).toContain(s.journal()?.phase ?? null)
      rmSync(`${disk()}/full`)
      await up()
      if (s.journal()) expect(await s.restore('--rollback')).toMatchObject({ exit: 0 })
      expect([s.look(), s.databases(), s.journal()]).toEqual([old, before, null])
    }
  })

  test('[postgres.10] so is the disk that dumps are fetched onto', async () => {
    const [old, before] = [s.look(), s.databases()]
    const dumps = mount(s.path('dumps'), '200M')
    s.manifest({ services: { shop: { paths: [s.path('data')], postgres: ['shop', second] } }, postgresql: s.server.declared, stagingDir: dumps })
    const { env } = resticBefore(s, `if [ "$command" = restore ] && [[ "$*" == *.dump* ]]; then ${fill(dumps)} fi`)
    const { exit, stderr } = await s.cli(['restore', 'shop', ...inPlace], { env: { PATH: env.PATH.replace(/:.*/, `:${s.server.path}`) } })
    expect([exit, stderr]).toEqual([1, expect.stringMatching(/^shop: .*[Nn]o space.*; the live data was not touched\n$/)])
    expect([s.look(), s.databases(), s.journal()]).toEqual([old, before, null])
    expect(
      readdirSync(dumps)
        .filter((name) => name !== 'full')
        .flatMap((name) => readdirSync(`${dumps}/${name}`)),
    ).toEqual([])
  })
})

describe.skipIf(!isRoot)('a service on two disks', () => {
  const data = (w: World) => ['a', 'b'].map((name) => w.path('disks', name, 'data'))
  const look = (w: World) => data(w).map((path) => fingerprint(path))
  const open = (w: World) =>
    existsSync(w.path('state/journals/s.json')) ? JSON.parse(readFileSync(w.path('state/journals/s.json'), 'utf8')).phase : null
  const leftovers = (w: World) =>
    output(['find', w.path('disks'), '-name', '.atelier-backup-*'])
      .split('\n')
      .filter(Boolean)
  async function saved(
    t: TestContext,
    service: object = {},
  ): Promise<{ w: World; old: object; restore(...args: string[]): ReturnType<World['cli']> }> {
    const w = await world(t)
    for (const name of ['a', 'b']) mount(w.path('disks', name), '100M')
    mount(w.path('state'), '4M')
    w.manifest({ services: { s: { paths: data(w), ...service } } })
    for (const path of data(w)) {
      output(['mkdir', path])
      output(['bash', '-c', `head -c 8M /dev/urandom >${path}/bulk; echo saved >${path}/file; ln ${path}/file ${path}/twin; chown 7:8 ${path}/file`])
    }
    expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
    for (const path of data(w)) output(['bash', '-c', `echo live >${path}/since; rm ${path}/file; chmod 700 ${path}`])
    return { w, old: look(w), restore: (...args) => w.cli(['restore', 's', ...args]) }
  }

  test.for(['a', 'b'])(
    '[restore.7] [restore.12] disk %s full while it stages: one line that names it, the old data, nothing left',
    async (name, t) => {
      const { w, old, restore } = await saved(t)
      const { env } = resticBefore(w, `if [ "$command" = restore ]; then ${fill(w.path('disks', name), 1 << 20)} fi`)
      const { exit, stderr } = await w.cli(['restore', 's', ...inPlace], { env })
      expect([exit, stderr]).toEqual([1, expect.stringMatching(/^s: .*no space left.*; the live data was not touched\n$/i)])
      expect(stderr).toContain(w.path('disks', name))
      expect([look(w), open(w), leftovers(w)]).toEqual([old, null, []])
      rmSync(`${w.path('disks', name)}/full`)
      expect(await restore(...inPlace)).toMatchObject({ exit: 0 })
      expect(look(w)).not.toEqual(old)
      expect(await restore('--rollback', '--yes')).toMatchObject({ exit: 0 })
      expect(look(w)).toEqual(old)
    },
  )

  test.for([
    [
      'before it begins',
      (w: World) => output(['bash', '-c', `${fill(w.path('state'))} echo "$PATH"`]),
      null,
      /^s: no space is left on the filesystem of .*\/state\/.*make room.*$/m,
    ],
    // By the last program that is started before the exchange.
    [
      'once all is staged',
      (w: World) => instead(w, process.env.PATH ?? '', 'sync', `${fill(w.path('state'))} exec "$real" "$@"`),
      'staging',
      /^s: no space is left on the filesystem of .*make room.*; the live data was not touched$/m,
    ],
  ] as const)('[restore.34] the state folder’s disk full %s: one line, nothing is touched', async ([, full, phase, words], t) => {
    const { w, old, restore } = await saved(t)
    const { exit, stderr } = await w.cli(['restore', 's', ...inPlace], { env: { PATH: full(w) } })
    expect([exit, stderr]).toEqual([1, expect.stringMatching(words)])
    expect([look(w), open(w)]).toEqual([old, phase])
    rmSync(w.path('state/full'))
    if (phase) expect(await restore('--rollback')).toMatchObject({ exit: 0 })
    expect([look(w), open(w), leftovers(w)]).toEqual([old, null, []])
    expect(await restore(...inPlace)).toMatchObject({ exit: 0 })
  })

  test('[restore.34] full when it is to be taken back: the old data is there, it says what is open, and --rollback closes it', async (t) => {
    const { w, old, restore } = await saved(t)
    const healthCheck = fill(w.path('state')).concat(' false')
    w.manifest({ services: { s: { paths: data(w), healthCheck } } })
    const { exit, stderr } = await restore(...inPlace)
    expect([exit, stderr]).toEqual([
      1,
      expect.stringMatching(/no space is left.*healthCheck failed.*; the old data is back in place, and the journal still open/),
    ])
    expect([look(w), open(w)]).toEqual([old, 'swapping'])
    rmSync(w.path('state/full'))
    expect((await w.cli(['status', '--local', '--json'])).json().services[0].state).toBe('unfinished-restore')
    expect(await restore('--rollback')).toMatchObject({ exit: 0 })
    expect([look(w), open(w), leftovers(w)]).toEqual([old, null, []])
  })
})
