// However a run ends: nothing mounted, nobody alive, no lock, and the next one is clean.

import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cliFile, start } from '../lib/cli.ts'
import { instead, living, mountedAnywhere, nobodyLives, resticBefore, sql, until, waitingRestic, withMounts } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let database: string
beforeEach(async () => {
  w = await world()
  database = w.write('data/app.db', '')
  sql(database, 'PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t SELECT randomblob(100000) FROM generate_series(1, 300);')
  for (let i = 0; i < 20; i++) w.write(`data/files/${i}`, randomBytes(2_000_000))
})
afterEach(async () => {
  await until(() => living(w).length === 0, 'nobody lives', 5).catch(() => {})
  for (const { pid } of living(w)) process.kill(pid, 'SIGKILL')
  w.cleanup()
})

const locks = () => readdirSync(`${w.repository.repository}/locks`)
/** Some are there long before restic is done; its lock alone would be seen before restic itself knows that it has one. */
const packs = () => readdirSync(`${w.repository.repository}/data`)
const snapshots = () => readdirSync(`${w.repository.repository}/snapshots`)
const record = () => JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8'))
const staged = () => existsSync(w.path('state/staging/notes/0.db'))
const sqlite = isRoot ? () => [database] : () => []
function declare(fields = {}) {
  w.manifest({ services: { notes: { paths: [w.path('data')], sqlite: sqlite(), ...fields } } })
}

const instants: [string, () => boolean, object][] = [
  ['during preBackup', () => existsSync(w.path('pre')), { preBackup: 'touch "$PRE"; sleep 300; true' }],
  ['as soon as it is announced', () => existsSync(w.path('state/running/notes.json')), {}],
  ...(isRoot ? ([['during the copy', staged, {}]] as [string, () => boolean, object][]) : []),
  ['while restic saves', () => packs().length > 0, {}],
]

const interruptions = [
  ...instants.map((instant) => ['SIGTERM', ...instant] as const),
  ...instants.slice(-1).map((instant) => ['SIGINT', ...instant] as const),
]
test.each(interruptions)('[exit.3] [snapshot.7] %s %s: exit 130, neither snapshot nor lock nor child', async (signal, _, reached, fields) => {
  declare(withPre(fields))
  const { child, ended } = w.startCli(['run', 'notes', '--json'])
  await until(reached)
  child.kill(signal)
  const { exit, stdout } = await ended
  expect(exit).toBe(130)
  expect(living(w)).toEqual([])
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ type: 'report', outcome: 'interrupted', exit: 130 })
  expect(locks()).toEqual([])
  expect(snapshots()).toEqual([])
  expect(mountedAnywhere(w.root)).toEqual([])
  expect(readdirSync(w.path('state/staging'))).toEqual([])
  expect(record().runs).toMatchObject([{ outcome: 'interrupted', code: 'interrupted', snapshotId: null }])
})

test('[exit.3] Ctrl-C at a terminal reaches restic too, and still exits 130', async () => {
  declare()
  const terminal = w.terminal(['backup', 'notes'])
  await until(() => packs().length > 0)
  terminal.type('\x03')
  expect(await terminal.exit).toBe(130)
  expect(living(w)).toEqual([])
  expect(locks()).toEqual([])
  expect(snapshots()).toEqual([])
})

test('[exit.3] several services: the one at work is interrupted, the rest isn’t begun', async () => {
  const services = Object.fromEntries(
    ['a', 'b', 'c'].map((name) => [name, { paths: [w.path('data/files', name === 'a' ? '1' : name === 'b' ? '2' : '3')] }]),
  )
  w.manifest({ services })
  const restic = waitingRestic(w)
  const { child, ended } = w.startCli(['backup', '--all', '--jobs', '1', '--json'], restic)
  await restic.waits()
  child.kill('SIGINT')
  const { exit, stdout } = await ended
  expect(exit).toBe(130)
  const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
  expect(report.services.map(({ outcome }: { outcome: string }) => outcome)).toEqual(['interrupted', 'interrupted', 'interrupted'])
  expect(snapshots()).toEqual([])
})

test.each(instants)('[cli.10] [sqlite.7] killed %s: no child lives on, nothing is mounted, the next run is clean', async (_, reached, fields) => {
  declare(withPre(fields))
  const { child, ended } = w.startCli(['run', 'notes'])
  await until(reached)
  child.kill('SIGKILL')
  expect((await ended).exit).toBe(137)
  await nobodyLives(w)
  expect(snapshots()).toEqual([])
  declare()
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  expect(record().runs).toMatchObject([
    { outcome: 'failed', code: 'killed' },
    { outcome: 'ok', code: null },
  ])
  expect(readdirSync(w.path('state/staging'))).toEqual([])
  // Told to end, restic removes its lock, unless it has something to say, which nobody hears any more. And who has ended counts as alive
  // until somebody has waited for it: an orphan's turn may take seconds.
  const unlocked = async () => [(await w.cli(['unlock'])).exit, locks()]
  await expect.poll(unlocked, { timeout: 30_000 }).toEqual([0, []])
})

test('[cli.10] killed before a child has asked to be told of that: what it was to become isn’t begun', async () => {
  declare()
  const [asked, begun] = [w.path('asked'), w.path('begun')]
  const { env } = resticBefore(w, `[ "$command" = version ] || echo "$command" >>${begun}`)
  const PATH = instead(w, env.PATH, 'setpriv', `case "$*" in *' restic backup '*) touch ${asked}; sleep 0.5;; esac; exec "$real" "$@"`)
  const { child, ended } = w.startCli(['run', 'notes'], { env: { PATH } })
  await until(() => existsSync(asked))
  child.kill('SIGKILL')
  await ended
  await nobodyLives(w)
  expect(existsSync(begun) && readFileSync(begun, 'utf8').includes('backup')).toBe(false)
})

test('[hook.2] run --cleanup tidies up after a killed run, records it once, and gives postBackup its turn', async () => {
  declare({ postBackup: `echo "$ATELIER_OUTCOME $ATELIER_SERVICE <$ATELIER_SNAPSHOT>" >>${w.path('told')}` })
  const restic = waitingRestic(w)
  const { child, ended } = w.startCli(['run', 'notes'], restic)
  await restic.waits()
  expect(await w.cli(['run', '--cleanup', 'notes']), 'while it runs').toMatchObject({ exit: 0, stderr: '' })
  expect(staged()).toBe(isRoot)
  child.kill('SIGKILL')
  await ended
  await nobodyLives(w)
  expect(await w.cli(['run', '--cleanup', 'notes'])).toMatchObject({ exit: 0, stderr: 'notes: cleaned up after a run that was killed\n' })
  expect(await w.cli(['run', '--cleanup', 'notes'])).toMatchObject({ exit: 0, stderr: '' })
  expect(readdirSync(w.path('state/staging'))).toEqual([])
  expect(record().runs).toMatchObject([{ outcome: 'failed', code: 'killed', snapshotId: null }])
  expect(readFileSync(w.path('told'), 'utf8')).toBe('failed notes <>\n')
  const status = JSON.parse((await w.cli(['status', '--local', '--json'])).stdout)
  expect(status.services[0].state).toBe('failed')
})

test.skipIf(!isRoot)('[restore.30] a restore in place first tidies up after a backup that was killed, and both are remembered', async () => {
  declare({ postBackup: `echo "$ATELIER_OUTCOME" >>${w.path('told')}` })
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0 })
  const restic = waitingRestic(w)
  const { child, ended } = w.startCli(['run', 'notes'], restic)
  await restic.waits()
  child.kill('SIGKILL')
  await ended
  await nobodyLives(w)
  expect(staged()).toBe(true)
  expect(await w.cli(['restore', 'notes', '--in-place', '--yes', '--snapshot', 'latest'])).toMatchObject({ exit: 0 })
  expect(staged()).toBe(false)
  expect(record().runs).toMatchObject([{ outcome: 'ok' }, { kind: 'backup', outcome: 'failed', code: 'killed' }, { kind: 'restore', outcome: 'ok' }])
  expect(readFileSync(w.path('told'), 'utf8')).toBe('ok\nfailed\n')
})

test('a run --cleanup after a run that came to its end does nothing', async () => {
  declare({ sqlite: [] })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  const before = readFileSync(w.path('state/records/notes.json'), 'utf8')
  expect(await w.cli(['run', '--cleanup', 'notes'])).toMatchObject({ exit: 0, stderr: '', stdout: '' })
  expect(readFileSync(w.path('state/records/notes.json'), 'utf8')).toBe(before)
})

test.skipIf(!isRoot)('a repository without room fails the run, and says so; with room the next one is fine', async () => {
  declare({ sqlite: [] })
  const { repository } = w.repository
  const script = `mkdir ${repository}.small; mount -t tmpfs -o size=20m none ${repository}.small; cp -r ${repository}/* ${repository}.small; mount --bind ${repository}.small ${repository}
    $cli run notes; echo "exit $?"; mount -o remount,size=200m ${repository}.small; $cli run notes; echo "exit $?"; ls ${repository}/locks`
  const { stdout, stderr } = await withMounts(w, script)
  expect(stderr).toMatch(/^notes: repository main .*no space left/m)
  expect(stdout.match(/^exit .*$/gm)).toEqual(['exit 1', 'exit 0'])
  expect(stdout).toMatch(/exit 0\n$/)
  expect(record().runs).toMatchObject([
    { outcome: 'failed', code: 'disk-full', snapshotId: null },
    { outcome: 'ok', code: null },
  ])
})

test('who reads our output may go away: the backup goes on', async () => {
  declare({ sqlite: [] })
  const script = '"$0" "$1" backup notes --json 2>&1 | head -c 1 >/dev/null; echo "$PIPESTATUS"'
  const { stdout } = await start(['bash', '-c', script, process.execPath, cliFile], { env: w.env }).ended
  expect(stdout).toBe('0\n')
  expect(record().runs).toMatchObject([{ outcome: 'ok' }])
})

/** A preBackup that says where it is: its environment is plain. */
function withPre(fields: { preBackup?: string }) {
  return fields.preBackup === undefined ? fields : { ...fields, preBackup: fields.preBackup.replace('$PRE', w.path('pre')) }
}
