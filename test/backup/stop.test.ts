// Frozen copies, and which filesystems can make them. Units that stop for it: test/machine/stop.test.ts.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canMountDisks, type FileSystem, mountDisk } from '../lib/disk.ts'
import { mountedAnywhere, output, resticBefore, sql } from '../lib/live.ts'
import { type World, world } from '../lib/world.ts'

describe.skipIf(!canMountDisks)('data is frozen', () => {
  let w: World
  const unmount: (() => void)[] = []
  beforeAll(async () => {
    w = await world()
    for (const type of ['btrfs', 'xfs', 'ext4'] as const) unmount.push(mountDisk(disk(type), type))
  })
  afterAll(() => {
    for (const end of unmount) end()
    w.cleanup()
  })

  const disk = (type: FileSystem) => w.path(type)
  const record = () => JSON.parse(readFileSync(w.path('state/records/app.json'), 'utf8')).runs.at(-1)
  const declare = (fields: object) => w.manifest({ services: { app: { stopForBackup: true, shrinkThreshold: null, ...fields } } })
  const ours = (type: FileSystem) => output(['find', disk(type), '-name', '.atelier-backup-*'])
  const subvolumes = () => output(['btrfs', 'subvolume', 'list', disk('btrfs')]).match(/path .*/g)
  async function newest(): Promise<string> {
    const { id } = (await w.restic(['snapshots', '--json'])).json().at(-1)
    const target = w.path(`restored-${id.slice(0, 12)}`)
    await w.restic(['restore', id, '--target', target])
    return target
  }
  /** A restic before which somebody changes what is to be saved. */
  const meanwhile = (shell: string) => resticBefore(w, `[ "$command" = backup ] && nsenter --target $PPID --mount bash -c '${shell}'`)

  const kinds: [name: string, type: FileSystem, make: (folder: string) => unknown, view: string][] = [
    ['a btrfs subvolume', 'btrfs', (folder) => output(['btrfs', 'subvolume', 'create', folder]), 'btrfs'],
    ['a folder of btrfs', 'btrfs', (folder) => mkdirSync(folder), 'reflink'],
    ['a folder of xfs', 'xfs', (folder) => mkdirSync(folder), 'reflink'],
  ]
  test.each(kinds)('[view.1] [view.2] %s is saved as it was in an instant, and nothing is left', async (name, type, make, view) => {
    const folder = join(disk(type), name.replaceAll(' ', '-'))
    make(folder)
    const database = join(folder, 'a.db')
    sql(database, 'PRAGMA journal_mode=wal; CREATE TABLE t(n); INSERT INTO t VALUES(1);')
    writeFileSync(join(folder, 'file'), 'then')
    const before = subvolumes()
    declare({ paths: [folder], sqlite: [database] })
    const { env } = meanwhile(`echo now >${folder}/file; touch ${folder}/new; sqlite3 ${database} "INSERT INTO t VALUES(2)"`)
    expect(await w.cli(['run', 'app'], { env })).toMatchObject({ exit: 0, stderr: '' })
    expect(record()).toMatchObject({ outcome: 'ok', view, downtimeSeconds: null })
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('now\n')
    const saved = join(await newest(), folder)
    expect(readFileSync(join(saved, 'file'), 'utf8')).toBe('then')
    expect(existsSync(join(saved, 'new'))).toBe(false)
    expect(sql(join(saved, 'a.db'), 'SELECT group_concat(n) FROM t')).toBe('1')
    expect([ours(type), mountedAnywhere(folder), subvolumes()]).toEqual(['', [], before])
  })

  test('[view.2] several subvolumes beside each other, and a mount point that is one', async () => {
    const one = join(disk('btrfs'), 'one')
    const two = join(disk('btrfs'), 'two')
    for (const folder of [one, two]) output(['btrfs', 'subvolume', 'create', folder])
    const before = subvolumes()
    declare({ paths: [one, two] })
    expect(await w.cli(['run', 'app'])).toMatchObject({ exit: 0, stderr: '' })
    expect([record().view, ours('btrfs'), subvolumes()]).toEqual(['btrfs', '', before])
    const mounted = w.path('mounted')
    mkdirSync(mounted)
    output(['mount', '-o', 'subvol=one', output(['findmnt', '-no', 'SOURCE', disk('btrfs')]).replace(/\[.*/, ''), mounted])
    try {
      writeFileSync(join(mounted, 'file'), 'then')
      declare({ paths: [mounted] })
      const { env } = meanwhile(`echo now >${mounted}/file`)
      expect(await w.cli(['run', 'app'], { env })).toMatchObject({ exit: 0, stderr: '' })
      expect([record().view, readdirSync(mounted), subvolumes()]).toEqual(['btrfs', ['file'], before])
      expect(readFileSync(join(await newest(), mounted, 'file'), 'utf8')).toBe('then')
    } finally {
      output(['umount', mounted])
    }
  })

  test('[view.5] a frozen copy is made where nobody but root can put another folder in its place; without such a folder, none is made', async () => {
    const folder = join(disk('xfs'), 'owned/data')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'file'), 'x')
    const views = async () => {
      const { exit, events } = await w.cli(['backup', 'app', '--json'])
      expect(exit).toBe(0)
      const plan = events().find(({ type }) => type === 'plan')
      return plan?.type === 'plan' ? plan.plan.steps.flatMap((step) => (step.do === 'view' ? step.at : [])) : null
    }
    declare({ paths: [folder] })
    output(['chown', '--recursive', '12345:12345', join(disk('xfs'), 'owned')])
    expect(await views()).toEqual([expect.stringMatching(`^${disk('xfs')}/\\.atelier-backup-app-[^/]*/view$`)])
    output(['chown', '12345:12345', disk('xfs')])
    expect(await views()).toEqual([])
    output(['chown', '0:0', disk('xfs')])
    expect(ours('xfs')).toBe('')
  })

  test('[view.3] no frozen copy is made where it would lose data: another filesystem inside, a subvolume inside a subvolume', async () => {
    const outer = join(disk('btrfs'), 'outer')
    output(['btrfs', 'subvolume', 'create', outer])
    output(['btrfs', 'subvolume', 'create', join(outer, 'inner')])
    writeFileSync(join(outer, 'inner/file'), 'inside')
    declare({ paths: [outer] })
    expect(await w.cli(['run', 'app'])).toMatchObject({ exit: 0 })
    expect(record().view).toBe('reflink')
    expect(readFileSync(join(await newest(), outer, 'inner/file'), 'utf8')).toBe('inside')
    output(['mount', '-t', 'tmpfs', 'tmpfs', join(outer, 'inner')])
    try {
      writeFileSync(join(outer, 'inner/file'), 'on another disk')
      expect(await w.cli(['run', 'app'])).toMatchObject({ exit: 0 })
      expect(record().view).toBe('live')
      expect(readFileSync(join(await newest(), outer, 'inner/file'), 'utf8')).toBe('on another disk')
    } finally {
      output(['umount', join(outer, 'inner')])
    }
  })

  const plain: [name: string, paths: () => string[]][] = [
    ['a folder of ext4', () => [join(disk('ext4'), 'lost+found')]],
    ['a mount point without subvolumes', () => [disk('xfs')]],
    ['two folders of which one can', () => [join(disk('ext4'), 'lost+found'), join(disk('xfs'), 'a-folder-of-xfs')]],
  ]
  test.each(plain)('[view.3] %s is saved without a view', async (_, paths) => {
    declare({ paths: paths() })
    expect(await w.cli(['run', 'app'])).toMatchObject({ exit: 0 })
    expect(record().view).toBe('live')
    expect([ours('ext4'), ours('xfs')]).toEqual(['', ''])
  })

  test('[view.4] the rows in the -wal of a database that is declared alone are saved', async () => {
    const database = join(disk('btrfs'), 'alone.db')
    // Killed: what it committed stands in the -wal.
    const left = 'PRAGMA journal_mode=wal; CREATE TABLE t(n); INSERT INTO t VALUES(7); .shell kill -KILL $PPID'
    output(['bash', '-c', 'sqlite3 "$0" <<<"$1" || true', database, left.replaceAll('; ', ';\n')])
    expect(statSync(`${database}-wal`).size).toBeGreaterThan(0)
    declare({ sqlite: [database] })
    expect(await w.cli(['run', 'app'])).toMatchObject({ exit: 0, stderr: '' })
    expect(sql(join(await newest(), database), 'SELECT n FROM t')).toBe('7')
  })

  test('[view.2] a frozen copy that can’t be finished fails the run, and nothing is left', async () => {
    const folder = join(disk('xfs'), 'vanishing')
    mkdirSync(folder)
    declare({ paths: [folder], preBackup: `rmdir ${folder}` })
    const { exit, stderr } = await w.cli(['run', 'app'])
    expect([exit, stderr]).toEqual([1, expect.stringContaining(`a reflink copy of ${folder} can't be made`)])
    expect(ours('xfs')).toBe('')
  })

  test('[staging.1] a staging folder that somebody else could lead elsewhere is refused, and nothing is deleted', async () => {
    const victim = w.write('victim/app/file', 'mine')
    output(['mkdir', w.path('shared')])
    output(['ln', '-s', w.path('victim'), w.path('shared/atelier-backup')])
    w.manifest({ services: { app: { paths: [w.path('secrets')] } }, stagingDir: w.path('shared') })
    const { exit, stderr } = await w.cli(['run', 'app'])
    expect([exit, stderr]).toEqual([1, expect.stringContaining("isn't a folder of this user alone")])
    expect(readFileSync(victim, 'utf8')).toBe('mine')
  })

  test('[staging.2] a staging folder below a folder of another user is refused, which is named', async () => {
    output(['mkdir', '--parents', w.path('of-a-user/scratch/atelier-backup')])
    output(['chown', '4242', w.path('of-a-user')])
    w.manifest({ services: { app: { paths: [w.path('secrets')] } }, stagingDir: w.path('of-a-user/scratch') })
    const { exit, stderr } = await w.cli(['run', 'app'])
    expect([exit, stderr]).toEqual([1, expect.stringContaining(`others than root can write to ${w.path('of-a-user')},`)])
    expect(existsSync(w.path('of-a-user/scratch/atelier-backup'))).toBe(true)
  })
})
