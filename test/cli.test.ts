// The command line as scripts and careless people use it: one clear line, the right exit code, nothing touched.
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commands } from '../src/commands/index.ts'
import { cliFile, type Ended, start, startCli } from './lib/cli.ts'
import { living, nobodyLives, resticBefore, until } from './lib/live.ts'
import { loadedBy } from './lib/loaded.ts'
import { has, isRoot } from './lib/needs.ts'
import { terminal } from './lib/terminal.ts'
import { fingerprint } from './lib/tree.ts'
import { type World, world } from './lib/world.ts'

let w: World
let snapshot = ''
beforeAll(async () => {
  w = await world()
  w.write('data/notes/a', 'one')
  w.write('data/photos/b', 'two')
  w.manifest({
    services: {
      notes: { paths: [w.path('data/notes')] },
      photos: { paths: [w.path('data/photos')] },
      'a-b': { paths: [w.path('data/a-b')], enable: false },
    },
  })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0, stderr: '' })
  snapshot = (await w.cli(['list', 'notes', '--json'])).json()[0].id
})
afterAll(() => w.cleanup())

/** Runs it, and sees that nothing changed. */
async function untouched(args: string[], options: Parameters<World['cli']>[1] = {}): Promise<Ended> {
  const before = everything()
  const ended = await w.cli(args, options)
  expect(everything()).toEqual(before)
  return ended
}

/** Data, records and repository, with all times. */
function everything() {
  return ['data', 'state', 'secrets'].map((folder) => fingerprint(w.path(folder)))
}

/** One line, and no stack trace. */
function line(said: string | RegExp) {
  const text = typeof said === 'string' ? said : said.source
  return expect.stringMatching(
    new RegExp(`^atelier-backup: [^\\n]*${typeof said === 'string' ? text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&') : text}[^\\n]*\\n$`),
  )
}

describe('[cli.2] what is unknown is named beside the nearest known, and nothing is touched:', () => {
  test.each<[string, string[], string]>([
    ['a command', ['statsu'], "unknown command 'statsu' (Did you mean status?); see: atelier-backup --help"],
    ['a flag', ['restore', 'notes', '--snapshto', '1'], "unknown option '--snapshto' (Did you mean --snapshot?); see: atelier-backup restore --help"],
    ['a flag of another command', ['status', '--in-place'], "unknown option '--in-place'"],
    ['a service to look at', ['status', 'nots'], 'no service "nots" in'],
    ['a service to list', ['list', 'notse'], 'did you mean notes?'],
    ['a service to back up', ['backup', 'photos', 'foto'], 'no service "foto"'],
    ['a service to restore', ['restore', 'phtos', '--in-place', '--yes'], 'did you mean photos?'],
    ['a service to recover', ['dr', '--only', 'notess', '--yes'], 'did you mean notes?'],
    ['a service to leave alone', ['dr', '--except', 'notess', '--yes'], 'did you mean notes?'],
    ['a service to adopt', ['adopt', 'nots', '--yes'], 'did you mean notes?'],
    ['a service to run', ['run', 'nots'], 'did you mean notes?'],
    ['nothing near', ['status', 'zzz'], 'declared are notes, photos, a-b'],
    ['a repository', ['unlock', '--repository', 'mian'], 'did you mean main?'],
    ['an argument too many', ['list', 'notes', 'photos'], 'too many arguments'],
    ['a missing argument', ['run'], "missing required argument 'service'; see: atelier-backup run --help"],
    ['a missing value', ['backup', '--jobs'], "option '--jobs <number>' argument missing"],
    ['a wrong number', ['backup', '--all', '--jobs', '0'], '--jobs takes a number from 1 to 99, not "0"'],
    ['a time that is none', ['restore', 'notes', '--at', 'yesterday'], 'write 2026-11-20'],
    ['an id that is none', ['restore', 'notes', '--snapshot', '-rf'], 'is not a snapshot id'],
    ['a relative path', ['restore', 'notes', '--path', 'a'], '--path takes an absolute path'],
    ['a relative path to list', ['list', 'notes', '--path', 'a'], '--path takes an absolute path'],
    ['a path without a service', ['list', '--path', '/a'], 'need a service'],
    ['two ways at once', ['restore', 'notes', '--in-place', '--rollback'], "--in-place and --rollback can't be used together"],
    ['two snapshots at once', ['restore', 'notes', '--at', '2026-01-01', '--snapshot', 'latest'], 'give one of them'],
    ['all and some', ['backup', 'notes', '--all'], "can't be used together"],
    ['restic without --', ['restic', 'snapshots'], 'after two dashes: atelier-backup restic -- snapshots'],
    ['a path that the snapshot lacks', ['list', 'notes', '--snapshot', 'latest', '--path', '/nowhere'], "/nowhere isn't in snapshot"],
  ])('%s', async (_, args, said) => {
    expect(await untouched(args)).toMatchObject({ exit: 2, stdout: '', stderr: line(said) })
  })

  test('a snapshot', async () => {
    const last = snapshot[7] === '0' ? '1' : '0'
    expect(await untouched(['restore', 'notes', '--snapshot', snapshot.slice(0, 7) + last])).toMatchObject({
      exit: 2,
      stdout: '',
      stderr: line(`no snapshot ${snapshot.slice(0, 7)}${last} on testhost; did you mean ${snapshot.slice(0, 8)}?`),
    })
    // Of another service is as good as unknown.
    expect((await untouched(['restore', 'photos', '--snapshot', snapshot])).exit).toBe(2)
  })

  test('a beginning that several snapshots have', async (t) => {
    const other = await world(t)
    other.write('data/a', '')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    const ids = new Set<string>()
    let twice: string | undefined
    while (twice === undefined) {
      const save = () => other.restic(['backup', '--quiet', '--json', '--host', 'testhost', '--tag', 'service:notes', other.path('data')])
      for (const { stdout } of await Promise.all([save(), save(), save()])) {
        const [, id = ''] = /"snapshot_id":"(..)/.exec(stdout) ?? []
        if (ids.has(id)) twice = id
        ids.add(id)
      }
    }
    expect(await other.cli(['restore', 'notes', '--snapshot', twice])).toMatchObject({
      exit: 2,
      stderr: line(new RegExp(`\\d snapshots begin with ${twice} \\(${twice}[0-9a-f]{10}, .*give more of the id`)),
    })
  })
})

const impossible = ['../x', '-rf', 'a b', '$(id)', 'x'.repeat(300), '', 'notes\nphotos', '\u001b[31mnotes']
const naming: [string, (name: string) => string[]][] = [
  ['status', (name) => ['status', '--', name]],
  ['list', (name) => ['list', '--', name]],
  ['backup', (name) => ['backup', '--', name]],
  ['restore', (name) => ['restore', '--in-place', '--yes', '--', name]],
  ['restore --discard-old', (name) => ['restore', '--discard-old', '--yes', '--', name]],
  ['restore --rollback', (name) => ['restore', '--rollback', '--', name]],
  ['adopt', (name) => ['adopt', '--yes', '--', name]],
  ['run', (name) => ['run', '--', name]],
  ['run --cleanup', (name) => ['run', '--cleanup', '--', name]],
  ['dr --only', (name) => ['dr', '--yes', `--only=${name}`]],
]
test.each(naming)('[cli.3] names that can’t be a service’s are refused by %s', async (_, args) => {
  const before = everything()
  const refused = impossible.map(async (name) => {
    const { exit, stdout, stderr } = await w.cli(args(name))
    expect({ name, exit, stdout }).toEqual({ name, exit: 2, stdout: '' })
    expect(stderr).toMatch(/^atelier-backup: no service "[^\n\x1b]*\n$/)
  })
  await Promise.all(refused)
  expect(everything()).toEqual(before)
})

describe('[cli.1] without a terminal nothing is asked:', () => {
  test.each<[string, string[], string]>([
    ['the menu', [], 'see: atelier-backup --help'],
    ['the menu, with flags', ['--no-color'], 'see: atelier-backup --help'],
    ['which services to back up', ['backup'], '--all'],
    ['which service to restore', ['restore'], "the service's name"],
    ['whose old data', ['restore', '--discard-old'], "the service's name"],
    ['whether to restore in place', ['restore', 'notes', '--in-place'], '--yes'],
    ['whether to recover', ['dr', '--overwrite'], '--yes'],
    ['what to adopt', ['adopt'], '--all'],
    ['whether to adopt', ['adopt', '--all'], '--yes'],
  ])('%s', async (_, args, flag) => {
    // A piped newline would answer a prompt.
    const { exit, stderr } = await untouched(args, { input: '\n\n\n' })
    expect({ exit, stderr }).toEqual({ exit: 2, stderr: expect.stringMatching(new RegExp(`^atelier-backup: [^\\n]*${flag}[^\\n]*\\n$`, 'i')) })
  })

  test.each([
    ['for machines', ['backup', '--json'], {}],
    ['at a terminal that can’t be drawn on', ['backup'], { TERM: 'dumb' }],
  ])('nor %s', async (_, args, env) => {
    const t = w.terminal(args, { env })
    expect(await t.exit).toBe(2)
    expect(t.all().replaceAll('\n', ' ')).toContain('give the names of services, or --all')
  })
})

describe('[cli.4] every error is one line that says what to do next:', () => {
  const at = (name: string) => w.path('bad', name)
  beforeAll(() => {
    w.write('bad/broken.json', '{ "version": 2,')
    w.write('bad/misspelled.json', JSON.stringify({ ...JSON.parse(readFileSync(w.path('manifest.json'), 'utf8')), servcies: {} }))
    w.write('bad/shared.json', JSON.stringify({ version: 2, host: 'h', services: { a: { paths: ['/x'] }, b: { paths: ['/x'] } } }))
    w.write('bad/empty.json', JSON.stringify({ version: 2, host: 'testhost', repositories: { main: w.repository }, services: {} }))
    w.write('bad/binary.json', Buffer.from([0xff, 0xfe, 0x00]))
  })

  test.each<[string, string, string]>([
    ['no manifest', 'none.json', 'no manifest at'],
    ['a folder for a manifest', '.', "can't be read"],
    ['broken JSON', 'broken.json', 'broken.json'],
    ['an unknown key', 'misspelled.json', 'services'],
    ['not UTF-8', 'binary.json', 'not UTF-8'],
    ['services that share a path', 'shared.json', 'paths'],
  ])('%s', async (_, file, said) => {
    for (const args of [['status'], ['backup', '--all'], ['dr', '--yes']])
      expect(await untouched([...args, '--manifest', at(file)])).toMatchObject({ exit: 1, stdout: '', stderr: line(said) })
  })

  test('[cli.10] a fault that is found when the repository has been asked already: nobody goes on asking', async () => {
    const { env } = resticBefore(w, `echo $$ >>${w.path('asked')}; exec sleep 600`)
    const waits = w.cli(['status'], { env: { ...env, ATELIER_BACKUP_MANIFEST: at('misspelled.json') } })
    expect(await waits).toMatchObject({ exit: 1, stdout: '', stderr: line('services') })
    await nobodyLives(w)
  })

  test('nothing declared', async () => {
    const manifest = ['--manifest', at('empty.json')]
    expect(await untouched(['status', ...manifest])).toMatchObject({ exit: 0, stdout: expect.stringContaining('No service is declared') })
    expect(await untouched(['backup', '--all', ...manifest])).toMatchObject({ exit: 2, stderr: line('no service is enabled') })
    for (const args of [['list'], ['restore'], ['backup']]) {
      const t = w.terminal([...args, ...manifest])
      expect(await t.exit).not.toBe(130)
      expect(t.all()).toMatch(/^atelier-backup: no service is (declared|enabled)/m)
    }
  })

  test('a stack trace needs DEBUG', async () => {
    const quiet = await w.cli(['status', '--manifest', at('broken.json')])
    const loud = await w.cli(['status', '--manifest', at('broken.json')], { env: { DEBUG: '1' } })
    expect(quiet.stderr).not.toMatch(/^\s+at /m)
    expect(loud.stderr).toMatch(/^\s+at .*src\/manifest\/load\.ts:\d+/m)
  })

  test('what is not ours to print raw is written out', async () => {
    expect((await w.cli(['list', 'notes', '--path', '/\x1b]0;title\x07'])).stderr).toBe(
      `atelier-backup: notes: /\\u{1b}]0;title\\u{7} isn't in snapshot ${snapshot.slice(0, 8)}; see: atelier-backup list notes --snapshot ${snapshot.slice(0, 8)}\n`,
    )
    expect((await w.cli(['\x1b[31mstatus'])).stderr).not.toContain('\x1b')
  })
})

describe('[cli.5] places:', () => {
  test('flags win over variables, and these over the defaults', async (t) => {
    const other = await world(t)
    other.manifest({ host: 'another', services: { wiki: { paths: [other.path('wiki')] } } })
    const hostOf = async (args: string[], env = {}) => (await w.cli(['status', '--local', '--json', ...args], { env })).json().host
    expect(await hostOf([])).toBe('testhost')
    expect(await hostOf(['--manifest', other.path('manifest.json')])).toBe('another')
    expect(await hostOf([], { ATELIER_BACKUP_MANIFEST: other.path('manifest.json') })).toBe('another')
    const nothing = await w.cli(['status'], { env: { ATELIER_BACKUP_MANIFEST: '' } })
    expect(nothing.stderr).toContain('/etc/atelier/backup-manifest.json')
    // A flag before the command counts too.
    expect((await w.cli(['--manifest', other.path('manifest.json'), 'status', '--local', '--json'])).json().host).toBe('another')

    other.write('wiki/page', '')
    const state = other.path('elsewhere')
    expect((await other.cli(['backup', 'wiki', '--state-dir', state], { env: { STATE_DIRECTORY: other.path('not-here') } })).exit).toBe(0)
    expect(readFileSync(join(state, 'records/wiki.json'), 'utf8')).toContain('"ok"')
    expect(() => readFileSync(other.path('not-here'))).toThrow('ENOENT')
  })

  test.each(['--manifest', '--state-dir'])('an empty %s is refused: it would mean the folder that somebody is in', async (flag) => {
    for (const args of [
      [`${flag}=`, 'status'],
      ['backup', '--all', flag, ''],
    ])
      expect(await untouched(args)).toMatchObject({ exit: 2, stdout: '', stderr: line(`${flag} is empty`) })
  })

  test('relative ones are meant from here, also by what we start', async (t) => {
    const other = await world(t)
    other.write('wiki/page', '')
    other.manifest({ services: { wiki: { paths: [other.path('wiki')] } } })
    const args = ['backup', 'wiki', '--manifest', 'manifest.json', '--state-dir', 'here']
    expect((await other.cli(args, { cwd: other.root, env: { RESTIC_CACHE_DIR: '' } })).exit).toBe(0)
    expect(fingerprint(other.path('here')).map(({ path }) => path)).toEqual(expect.arrayContaining(['./records/wiki.json', './cache/CACHEDIR.TAG']))
  })
})

describe('[cli.6] restic -- ARGS', () => {
  test('runs restic with this repository, its secrets and this cache, and gives back its exit code', async () => {
    const snapshots = await w.cli(['restic', '--', 'snapshots', '--json', '--tag', 'service:notes'])
    expect(snapshots).toMatchObject({ exit: 0, stderr: '' })
    expect(snapshots.json()).toMatchObject([{ id: snapshot }])
    expect((await w.cli(['restic', '--', 'cache', '--json'])).stdout).toContain(w.path('cache'))
    expect((await w.cli(['restic', '--repository', 'main', '--', 'cat', 'snapshot', '00000000'])).exit).toBe(1)
    expect((await w.cli(['restic', '--', 'snapshots', '--no-such-flag'])).exit).toBe(1)
    const wrong = w.write('wrong', 'no\n')
    expect((await w.cli(['restic', '--', 'snapshots', '--password-file', wrong])).exit).toBe(12)
  })

  test('passes every word on as it is', async () => {
    const words = ['--', '--json', 'a b', '$(id)', "it's", '--manifest', 'x']
    const found = await w.cli(['restic', '--', 'ls', '--json', snapshot, ...words.slice(1)])
    expect(found.stderr).toContain('unknown flag: --manifest')
    expect((await w.cli(['restic', '--', 'find', '--json', '--', '$(id) *'])).stdout).toBe('[]\n')
  })

  test.each([[['restic']], [['restic', 'snapshots']], [['restic', 'snapshots', '--', '--json']], [['restic', '--json', 'snapshots']]])(
    'without -- is refused: %j',
    async (args) => {
      expect(await untouched(args)).toMatchObject({ exit: 2, stdout: '', stderr: line('two dashes') })
    },
  )
})

test('[cli.7] --help, --version and a slip of the fingers load neither zod nor zx nor prompts, and `status --local` no prompts', async () => {
  const heavy = /^(zod|zx|@inquirer)\b/
  for (const args of [['--help'], ['--version'], ['restore', '--help'], ['backup', '--halp'], ['statsu']])
    expect((await loadedBy(args)).filter((name) => heavy.test(name))).toEqual([])
  const loaded = await loadedBy(['status', '--local', '--manifest', w.path('manifest.json'), '--state-dir', w.path('state')])
  expect(loaded.some((name) => name.startsWith('zod'))).toBe(true)
  expect(loaded.filter((name) => name.startsWith('@inquirer'))).toEqual([])
})

test('[cli.8] where no unit runs this manifest, `backup` runs the job in this process', async (t) => {
  const other = await world(t)
  other.write('data/file', '')
  other.manifest({
    services: {
      'no-unit-of-this-name': {
        paths: [other.path('data')],
        preBackup: 'tr "\\0" " " </proc/$(grep PPid /proc/$PPID/status | cut -f 2)/cmdline; echo',
      },
    },
  })
  const { exit, stdout, stderr } = await other.cli(['backup', 'no-unit-of-this-name'])
  expect({ exit, stdout }).toEqual({ exit: 0, stdout: expect.stringMatching(/no-unit-of-this-name {2}✓/) })
  expect(stderr).toContain('backup no-unit-of-this-name')
})

describe('[cli.9] plain text:', () => {
  const esc = '\x1b'
  test.each([
    [['status']],
    [['list']],
    [['list', 'notes']],
    [['list', 'notes', '--snapshot', 'latest']],
    [['backup', 'notes']],
    [['doctor']],
    [['prune', '--dry-run']],
    [['--help']],
  ])('piped, %j prints no escape, and each service once', async (args) => {
    const { stdout, stderr } = await w.cli(args)
    expect(stdout + stderr).not.toContain(esc)
    expect(stdout).not.toBe('')
  })

  /** What was written to the terminal, raw. */
  const raw = async (args: string[], env: Record<string, string>) => {
    const file = w.path('typescript')
    await start(['script', '--quiet', '--return', '--command', `'${process.execPath}' '${cliFile}' ${args.join(' ')}`, file], {
      env: { ...w.env, TERM: 'xterm-256color', ...env },
    }).ended
    // script's own first and last line.
    return readFileSync(file, 'utf8').split('\n').slice(1, -2).join('\n')
  }
  test.skipIf(!has('script'))('at a terminal colours come, and go with --no-color, NO_COLOR and TERM=dumb', async () => {
    expect(await raw(['status', '--local'], {})).toContain(`${esc}[`)
    expect(await raw(['status', '--local', '--no-color'], {})).not.toContain(esc)
    expect(await raw(['status', '--local'], { NO_COLOR: '1' })).not.toContain(esc)
    expect(await raw(['status', '--local'], { TERM: 'dumb' })).not.toContain(esc)
    // Nor is anything redrawn where that can't be.
    expect(await raw(['backup', 'notes'], { TERM: 'dumb' })).toMatch(/^ {2}notes {2}✓ [^\x1b]*$/)
  })

  test('without UTF-8 every sign is ASCII', async () => {
    for (const args of [
      ['status'],
      ['list'],
      ['list', 'notes'],
      ['backup', 'notes'],
      ['prune', '--dry-run'],
      ['restore', 'notes', '--in-place', '--dry-run'],
    ])
      for (const LANG of ['C', 'de_DE.ISO-8859-1']) expect((await w.cli(args, { env: { LANG } })).stdout).toMatch(/^[\n\x20-\x7e]+$/)
    expect((await w.cli(['status'])).stdout).toMatch(/[✓▆]/)
  })
})

describe('long work with --json ends with a report, also if it ended before it began:', () => {
  test.each<[string, string[], number]>([
    ['an unknown service', ['backup', 'nots', '--json'], 2],
    ['no name', ['backup', '--json'], 2],
    ['an unknown flag', ['restore', '--json', '--snapshto', '1'], 2],
    ['no manifest', ['run', 'notes', '--json', '--manifest', '/nowhere'], 1],
    ['no answer', ['dr', '--overwrite', '--json'], 2],
    ['an unknown snapshot', ['restore', 'notes', '--snapshot', '00', '--json'], 2],
    ['an unknown service beside one called like a command', ['backup', 'list', 'nope', '--json'], 2],
    ['nothing to resume', ['restore', 'notes', '--resume', '--json'], 2],
    ['nothing to take back', ['restore', 'notes', '--rollback', '--yes', '--json'], 2],
  ])('[json.4] %s', async (_, args, exit) => {
    const ended = await untouched(args)
    expect(ended.exit).toBe(exit)
    const why = { code: expect.stringMatching(/^[a-z-]+$/), message: ended.stderr.replace(/^atelier-backup: (.+)\n$/, '$1') }
    expect(ended.events()).toEqual([{ time: expect.any(String), service: null, type: 'report', outcome: 'failed', exit, ...why, services: [] }])
  })

  test('only there: a query that fails prints nothing', async () => {
    for (const args of [
      ['status', 'nots'],
      ['list', 'nots'],
      ['prune', '--repository', 'mian'],
    ])
      expect((await w.cli([...args, '--json'])).stdout).toBe('')
  })
})

test('every command that works on services reports, and the help says of each what it does', async () => {
  expect(commands.filter(({ reports }) => reports).map(({ name }) => name)).toEqual(['backup', 'restore', 'dr', 'run'])
  const { exit, stdout, stderr } = await w.cli(['--help'])
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' })
  for (const { name, hidden } of commands) expect(stdout.includes(`\n  ${name}`)).toBe(!hidden)
  expect(stdout).toContain('12 wrong password')
  expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80)
})

test('a reader who leaves early (| head) breaks nothing off', async () => {
  const through = async (args: string[]) => {
    const command = `'${process.execPath}' '${cliFile}' ${args.join(' ')} | true; exit "\${PIPESTATUS[0]}"`
    return start(['bash', '-c', command], { env: w.env }).ended
  }
  expect(await through(['list', 'notes', '--snapshot', 'latest'])).toMatchObject({ exit: 0, stderr: '' })
  const before = (await w.cli(['list', 'notes', '--json'])).json().length
  expect(await through(['backup', 'notes', '--json'])).toMatchObject({ exit: 0, stderr: '' })
  expect((await w.cli(['list', 'notes', '--json'])).json()).toHaveLength(before + 1)
})

test('[cli.22] an output that can’t be written isn’t success', async () => {
  for (const args of ['status --json', '--help', '--version']) {
    const full = await start(['bash', '-c', `'${process.execPath}' '${cliFile}' ${args} >/dev/full`], { env: w.env }).ended
    expect(full, args).toMatchObject({ exit: 1, stderr: line("can't write the output") })
  }
})

test('[json.7] all of an answer reaches a slow reader; one that never reads is left at the first signal', async () => {
  const services = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`service${i}`, { paths: [`/nothing/${i}`] }]))
  const command = `'${process.execPath}' '${cliFile}' status --local --json`
  const repositories = { main: { repository: '/nowhere' } }
  const manifest = w.write('many.json', JSON.stringify({ version: 2, host: 'testhost', repositories, services }))
  const env = { ...w.env, ATELIER_BACKUP_MANIFEST: manifest }
  const read = start(['bash', '-c', `${command} | (sleep 1; cat)`], { env })
  expect((await read.ended).json().services).toHaveLength(200)
  const unread = ['mkfifo unread', 'exec 3<>unread', `${command} >unread & head -c 1 <&3; kill -TERM $!; wait $!`].join('\n')
  const { exit } = await start(['bash', '-c', unread], { env, cwd: w.path('') }).ended
  expect(exit).toBe(128 + 15)
})

test.each([['--help'], ['status', '--local'], ['run', 'notes']])('[cli.21] in a folder that is gone: %s %s', async (...args) => {
  const gone = `mkdir '${w.path('gone')}'; cd '${w.path('gone')}'; rmdir '${w.path('gone')}'; exec '${process.execPath}' '${cliFile}' "$@"`
  expect(await start(['bash', '-c', gone, 'bash', ...args], { env: w.env }).ended).toMatchObject({ exit: 0, stderr: '' })
})

test('a state folder that is none is told in words', async () => {
  const file = w.write('a-file', '')
  for (const command of ['status', 'backup'])
    expect(await w.cli([command, 'notes', '--state-dir', file]), command).toMatchObject({
      exit: 1,
      stderr: line('is not a folder: move the file away'),
    })
})

describe('[cli.12] without the rights', () => {
  const user = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
  let own: World
  beforeAll(async () => {
    own = await world()
    own.write('data/a', '')
    own.manifest({ services: { notes: { paths: [own.path('data')] } } })
    chmodSync(own.root, 0o755)
    // sudo that asks nothing, says how it was called, and does it without the caller's environment.
    own.write(
      'bin/sudo',
      `#!/bin/bash\nprintf '%s\\n' "$@" >${own.path('called', 'sudo')}\nshift\nexec env -i PATH="$PATH" TERM="$TERM" unroot "$@"\n`,
    )
    chmodSync(own.path('bin/sudo'), 0o755)
    mkdirSync(own.path('called'), { mode: 0o777 })
    chmodSync(own.path('called'), 0o777)
    // The built CLI stands in a folder of root's.
    cpSync(dirname(cliFile), own.path('cli'), { recursive: true })
    // To be root again takes a real sudo: here the fake one tells, and what it would have run is only looked at.
    writeFileSync(own.path('bin/unroot'), `#!/bin/bash\n"$@" --help >/dev/null && echo "as root" && exit 7\n`, { mode: 0o755 })
  })
  afterAll(() => own.cleanup())
  const argv = (args: string[]) => [...user, process.execPath, own.path('cli/atelier-backup.cjs'), ...args]
  const env = () => ({ ...own.env, HOME: own.root, PATH: `${own.path('bin')}:${process.env.PATH}` })

  test.skipIf(!isRoot)('at a terminal it runs again through sudo, with the same words and places, and gives back its exit code', async () => {
    const t = terminal(argv(['status', 'a b', '--no-color']), { env: env(), cwd: '/' })
    expect(await t.exit).toBe(7)
    expect(t.all()).toBe(`no permission to use ${own.path('state')}: trying again with sudo\nas root`)
    expect(readFileSync(own.path('called/sudo'), 'utf8').split('\n')).toEqual([
      '--',
      process.execPath,
      own.path('cli/atelier-backup.cjs'),
      '--manifest',
      own.path('manifest.json'),
      '--state-dir',
      own.path('state'),
      'status',
      'a b',
      '--no-color',
      '',
    ])
  })

  test.skipIf(!isRoot)('for the menu and a manifest that isn’t ours to read, too', async () => {
    chmodSync(own.path('manifest.json'), 0o600)
    const t = terminal(argv([]), { env: env(), cwd: '/', cols: 120 })
    expect(await t.exit).toBe(7)
    expect(t.all()).toContain(`no permission to read ${own.path('manifest.json')}: trying again with sudo`)
    chmodSync(own.path('manifest.json'), 0o644)
  })

  test.skipIf(!isRoot)('without a terminal, or without sudo, it is one line, and nothing is made', async () => {
    rmSync(own.path('called/sudo'), { force: true })
    const before = fingerprint(own.path('state'))
    const said = `atelier-backup: no permission to use ${own.path('state')}: run this as root, for example with sudo\n`
    for (const args of [['status'], ['backup', '--all'], ['dr', '--yes']])
      expect(await start(argv(args), { env: env(), cwd: '/' }).ended).toMatchObject({ exit: 1, stdout: '', stderr: said })
    const { checks } = (await start(argv(['doctor', '--json']), { env: env(), cwd: '/' }).ended).json()
    expect(checks).toEqual([{ name: 'rights', ok: false, message: expect.stringContaining('state'), remedy: 'run this as root' }])
    rmSync(own.path('bin/sudo'))
    const t = terminal(argv(['status']), { env: { ...env(), PATH: `${own.path('bin')}:/usr/bin` }, cwd: '/' })
    expect(await t.exit).toBe(1)
    // The line is wider than the terminal.
    expect(t.all().replaceAll('\n', '')).toContain('run this as root')
    expect(fingerprint(own.path('state'))).toEqual(before)
    expect(() => readFileSync(own.path('called/sudo'))).toThrow('ENOENT')
  })

  test.skipIf(!isRoot)('whoever owns it all needs no root', async () => {
    const all = ['state', 'cache', 'secrets', 'data', 'manifest.json'].map((name) => own.path(name))
    await start(['chown', '-R', '65534:65534', ...all]).ended
    expect(await start(argv(['backup', '--all']), { env: env(), cwd: '/' }).ended).toMatchObject({ exit: 0, stderr: '' })
    expect(await start(argv(['status']), { env: env(), cwd: '/' }).ended).toMatchObject({ exit: 0, stderr: '' })
    chmodSync(own.path('secrets/password'), 0o000)
    const { exit, stderr } = await start(argv(['list']), { env: env(), cwd: '/' }).ended
    expect({ exit, stderr }).toEqual({ exit: 1, stderr: expect.stringContaining(`no permission to use ${own.path('secrets/password')}`) })
  })
})

test('[exit.3] SIGINT and SIGTERM at a prompt end it with 130', async () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const t = w.terminal(['backup'])
    await t.waitFor('Back up')
    process.kill(t.pid, signal)
    expect(await t.exit).toBe(130)
  }
})

test('a signal to a query ends it', async () => {
  const slow = w.write('bin/restic', '#!/bin/bash\n[ "$1" = version ] && echo "restic 0.18.0" && exit\nexec -a "$0" sleep 60\n')
  chmodSync(slow, 0o755)
  const { child, ended } = startCli(['list', 'notes'], { env: { ...w.env, PATH: `${w.path('bin')}:${process.env.PATH}` } })
  await until(() => living(w).some(({ argv }) => argv.includes(slow)), 'restic runs')
  child.kill('SIGINT')
  expect(await ended).toMatchObject({ exit: 130, stdout: '', stderr: line('interrupted') })
})
