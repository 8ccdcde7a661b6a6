// A person at a terminal: menu, lists and wizards, walked by keystrokes.

import { chmodSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, type TestContext, test } from 'vitest'
import { updateRecord } from '../../src/state/records.ts'
import { cliFile } from '../lib/cli.ts'
import { living, resticBefore, until, waitingRestic } from '../lib/live.ts'
import { keys, type Terminal, terminal } from '../lib/terminal.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  w.write('data/notes/a.txt', 'first')
  w.write('data/notes/gone.txt', 'gone')
  w.write('data/notes/folder/deep.txt', 'deep')
  w.write('data/photos/one.jpg', 'one')
  w.write('data/albums/two.jpg', 'two')
  w.manifest({
    services: {
      notes: { paths: [w.path('data/notes')] },
      photos: { paths: [w.path('data/photos'), w.path('data/albums')] },
      empty: { paths: [w.path('data/empty')], enable: false },
    },
  })
  await w.cli(['backup', '--all'])
  w.write('data/notes/a.txt', 'second')
  rmSync(w.path('data/notes/gone.txt'))
  w.write('data/notes/new.txt', 'new')
  await w.cli(['backup', 'notes'])
})
afterAll(() => w.cleanup())

/** Presses keys, each when the screen shows what comes before it. */
async function walk(t: Terminal, ...steps: [screen: string | RegExp, keys: string][]): Promise<void> {
  for (const [screen, typed] of steps) {
    await t.waitFor(screen)
    t.type(typed)
  }
}

const { enter, down, up, space, ctrlC, escape: esc } = keys
/** A screen with what differs from run to run named alike, column for column where it is as long. */
const plain = (screen: string) =>
  screen
    .replaceAll(w.root, '/ROOT')
    .replaceAll(/\b[0-9a-f]{8}\b/g, 'ID______')
    .replaceAll(/\b\d\d:\d\d\b/g, 'TIME_')
    .replaceAll(/\+\d+\.\d kB/g, '+N.N kB')
const screenOf = async (t: Terminal, shows: string | RegExp) => plain(await t.waitFor(shows)).split('\n')

/** The line that the cursor stands on. */
const at = (text: string) => new RegExp(`❯[^\\n]*${text}`)
const live = () => fingerprint(w.path('data'))

describe('the menu', () => {
  test('leads to a backup and its progress, and comes again', async () => {
    const t = w.terminal([])
    await walk(t, [at('Status'), down], [at('List'), down], [at('Back up now'), enter])
    await walk(t, ['? Back up', space], ['◯ notes', enter])
    await t.waitFor(/photos {2}✓ +\d+ B +\+\d+ B new +\d\.\d s +stopped 0 ms {2}[0-9a-f]{8}/)
    expect(t.screen()).not.toMatch(/notes {2}✓/)
    // The menu again, right above the prompt; its last entry leaves it.
    await walk(t, [/ms +[0-9a-f]{8}\n\n\? testhost\n❯ Status/, up], [at('Status'), keys.escape])
    expect(await t.exit).toBe(0)
  })

  test('shows status, tells a failure and stays; Leave gives the last exit code', async () => {
    const t = w.terminal([])
    await walk(t, [at('Status'), enter])
    await walk(t, [/notes +ok[\s\S]*\n\n\? testhost/, down])
    await walk(t, [at('List'), down], [at('Back up'), down], [at('Restore'), enter])
    await walk(t, ['Restore which service?', down], [at('photos'), down], [at('empty'), enter])
    expect(await t.waitFor(/empty: no snapshots on testhost[\s\S]*\? testhost/)).toContain('see: atelier-backup list empty')
    t.type('le')
    await walk(t, [at('Leave'), enter])
    expect(await t.exit).toBe(2)
  })

  test('puts unfinished restores first', async (t) => {
    const other = await world(t)
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    other.write('state/journals/notes.json', 'a crash left this')
    const shown = other.terminal([])
    expect(await shown.waitFor(at('Finish the restore of notes'))).toContain('  Undo the restore of notes\n  Status')
    shown.type(ctrlC)
    expect(await shown.exit).toBe(130)
  })
})

test('on a new install the menu begins with the recovery, and afterwards with the status', async (t) => {
  const other = await world(t)
  other.manifest({ services: { notes: { paths: [other.write('data', '')] } } })
  const fresh = other.terminal([])
  expect(await fresh.waitFor('? testhost')).toMatch(/❯ Disaster recovery\n {2}Status\n {2}List[^❯]* {2}Find a file in all snapshots\n {2}Doctor/)
  fresh.type(ctrlC)
  expect(await fresh.exit).toBe(130)
  await other.cli(['backup', 'notes'])
  const used = other.terminal([])
  expect(await used.waitFor('? testhost')).toMatch(/❯ Status\n {2}List[^❯]* {2}Disaster recovery\n {2}Doctor/)
  used.type(ctrlC)
  await used.exit
})

describe('list', () => {
  test('[cli.13] goes from service to snapshot to files, and every step back by Esc', async () => {
    const before = live()
    const t = w.terminal(['list'])
    expect(await t.waitFor('Which service?')).toMatch(/❯ notes +\d snapshots {2}today {2}\d\d:\d\d +\d+ B\n {2}photos/)
    await walk(t, [at('notes'), enter], ['? Snapshots of notes', enter], [at('Walk its files'), enter])
    // Where the data begins.
    expect(await screenOf(t, `? ${w.path('data/notes')}`)).toEqual([
      '✓ Which service? notes',
      '✓ Snapshots of notes ID______, today TIME_',
      '? /ROOT/data/notes',
      '   ..',
      '   Restore this folder …',
      '❯◯      6 B  today TIME_       a.txt',
      ' ◯      dir  today TIME_       folder/',
      ' ◯      3 B  today TIME_       new.txt',
      '',
      '↑↓ navigate • space mark • ⏎ select • esc back',
    ])
    await walk(t, [at('a.txt'), down], [at('folder/'), enter])
    await walk(t, [at('deep.txt'), esc], [at('folder/'), esc], [at('Walk its files'), esc], ['? Snapshots of notes', esc], ['? Which service?', esc])
    expect(await t.exit).toBe(0)
    expect(live()).toEqual(before)
  })

  test('a service that was never backed up is told, and the list comes again', async () => {
    const t = w.terminal(['list'])
    await walk(t, [at('notes'), down], [at('photos'), down], [at('empty'), enter])
    await t.waitFor(/empty: no snapshots of host testhost; make one with: atelier-backup backup empty[\s\S]*Which service\?/)
    t.type(esc)
    expect(await t.exit).toBe(0)
  })

  test('says what changed since the snapshot before, and brings back what is gone', async () => {
    const t = w.terminal(['list', 'notes'])
    await walk(t, ['? Snapshots of notes', enter], [at('Walk'), down], [at('What changed'), enter])
    expect(await screenOf(t, '1 gone since')).toEqual([
      '✓ Snapshots of notes ID______, today TIME_',
      '? 1 new, 1 changed, 1 gone since ID______, +N.N kB',
      '❯ changed  /ROOT/data/notes/a.txt',
      '  gone     /ROOT/data/notes/gone.txt',
      '  new      /ROOT/data/notes/new.txt',
      '',
      '↑↓ navigate • ⏎ select • esc back',
    ])
    t.type('gone')
    await walk(t, ['1 of 1', enter], [at('Restore it as of today'), enter], [at('Inspect: into /tmp/restore-notes-'), enter])
    expect(await t.exit).toBe(0)
    const target = inspected(t)
    expect(readFileSync(target + w.path('data/notes/gone.txt'), 'utf8')).toBe('gone')
    rmSync(target, { recursive: true })
    // The oldest has none before it.
    const oldest = w.terminal(['list', 'notes'])
    await walk(oldest, ['? Snapshots of notes', down], [/\n❯ today.*\n {2}Leave/, enter])
    expect(await oldest.waitFor(at('Walk'))).not.toContain('What changed')
    oldest.type(ctrlC)
    expect(await oldest.exit).toBe(130)
  })

  /** The folder of a restore for a look, from what it printed. */
  const inspected = (t: Terminal) => /(\/tmp\/restore-notes-[0-9a-f]{8})\//.exec(t.all().replaceAll('\n', ''))?.[1] ?? ''

  test('[cli.14] a space that goes on with a name marks nothing, and the first Esc takes the search away', async (context) => {
    const own = await world(context)
    for (const n of [112, 128, 144]) own.write(`photos/IMG ${n}.jpg`, String(n))
    own.manifest({ services: { photos: { paths: [own.path('photos')] } } })
    expect(await own.cli(['backup', 'photos'])).toMatchObject({ exit: 0 })
    const t = own.terminal(['list', 'photos'])
    await walk(t, ['? Snapshots of photos', enter], [at('Walk'), enter], [/❯◯.*IMG 112/, 'img'], ['photos img', ' 14'])
    await walk(t, [/❯◯.*IMG 144.*\n\n1 of 1/, space], [/❯◉.*IMG 144/, esc])
    // In the same folder still.
    await walk(t, [/\? .*photos\n[\s\S]*◯.*IMG 112[\s\S]*◯.*IMG 128[\s\S]*◉.*IMG 144/, esc], [at('Walk its files'), ctrlC])
    expect(await t.exit).toBe(130)
  })

  test('[cli.14] what is marked, in whatever folders, is restored from there, and nothing else', async () => {
    const t = w.terminal(['list', 'notes'])
    await walk(t, ['? Snapshots of notes', enter], [at('Walk'), enter], [at('a.txt'), space], [/❯◉.*a\.txt/, down])
    await walk(t, [at('folder/'), keys.right], [at('deep.txt'), space], [/❯◉.*deep\.txt/, keys.left], [at('folder/'), up], [/❯◉.*a\.txt/, 'Res'])
    expect(await screenOf(t, /notes Res\n❯.*marked/)).toEqual([
      '✓ Snapshots of notes ID______, today TIME_',
      '? /ROOT/data/notes Res',
      '❯  Restore what is marked (2) …',
      '',
      '1 of 1 • ↑↓ navigate • space mark • ⏎ select • esc back',
    ])
    await walk(t, [at('Restore what'), enter], [at('Inspect: into /tmp/restore-notes-'), enter])
    expect(await t.exit).toBe(0)
    const target = inspected(t)
    expect(readFileSync(target + w.path('data/notes/folder/deep.txt'), 'utf8')).toBe('deep')
    expect(readdirSync(target + w.path('data/notes')).sort()).toEqual(['a.txt', 'folder'])
    rmSync(target, { recursive: true })
  })

  test('[cli.18] of a large snapshot only the folders that are visited are read, each once', async (t) => {
    const other = await world(t)
    other.write('data/a/deep/file.txt', 'a')
    other.write('data/b/file.txt', 'b')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    await other.cli(['backup', 'notes'])
    const log = other.path('listed')
    const { env } = resticBefore(
      other,
      `[ "$command" != snapshots ] || { "$real" "$@" | sed 's/"total_files_processed":2/"total_files_processed":20001/g'; exit; }
       [ "$command" != ls ] || echo "\${@: -1}" >>${log}`,
    )
    const shown = other.terminal(['list', 'notes'], { env })
    await walk(
      shown,
      ['20,001 files', enter],
      [at('Walk'), enter],
      [at('a/'), enter],
      [at('deep/'), enter],
      [at('file.txt'), esc],
      [at('deep/'), esc],
    )
    await walk(shown, [at('a/'), down], [at('b/'), keys.right], [at('file.txt'), ctrlC])
    expect(await shown.exit).toBe(130)
    expect(readFileSync(log, 'utf8').trim().split('\n')).toEqual([
      other.root,
      ...['data', 'data/a', 'data/a/deep', 'data/b'].map((path) => other.path(path)),
    ])
  })

  test('more than a screenful is searched by typing', async (t) => {
    const other = await world(t)
    other.write('data/file', '')
    const names = Array.from({ length: 30 }, (_, n) => `service-${n}`)
    other.manifest({ services: Object.fromEntries(names.map((name) => [name, { paths: [other.path('data', name)] }])) })
    const shown = other.terminal(['list'])
    await walk(shown, ['type to search', 'service-27'], [/❯ service-27/, enter])
    await shown.waitFor('service-27: no snapshots')
    shown.type(ctrlC)
    expect(await shown.exit).toBe(130)
  })

  test('names and tags never reach the terminal raw, however long, in whichever list', async (t) => {
    const other = await world(t)
    const hostile = ['\x1b[31mred\u202e.txt', 'line\nbreak \x1b]0;title\x07.txt', '\u05d0\u05d1 \u2067rtl.txt']
    // As deep as a path may be: 4,096 bytes.
    const deep = `${'long folder name '.repeat(14)}/`.repeat(16)
    const [file = ''] = hostile.map((name) => other.write(`data/${name}`, ''))
    other.write(`data/${deep}end.txt`, '')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    const save = () => other.restic(['backup', '--host', 'testhost', '--tag', 'service:notes', '--tag', '\x1b]0;tag\x07', other.path('data')])
    await save()
    for (const name of hostile) other.write(`data/${name}`, 'changed')
    await save()
    const shown = other.terminal(['list', 'notes'])
    // Each list by its help line, all on lines of their own.
    const isWhole = (screen: string) => screen.split('\n').every((line) => line.length <= 80) && /esc back$/.test(screen)
    const list = async (shows: string) => {
      const screen = await shown.waitFor(shows)
      expect(screen).toSatisfy(isWhole)
      return screen
    }
    expect(await list('Leave')).toContain('\\u{1b}]0;tag\\u{7}')
    await walk(shown, ['? Snapshots of notes', enter], [at('Walk'), enter])
    const files = await list('Restore this folder')
    for (const words of ['\\u{1b}[31mred\\u{202e}.txt', 'line\\u{a}break \\u{1b}]0;title\\u{7}.txt', '\\u{2067}rtl.txt', 'long folder name'])
      expect(files).toContain(words)
    await walk(shown, ['Restore this folder', esc], [at('Walk'), down], [at('What changed'), enter])
    const changes = await list('3 changed since')
    for (const words of ['\\u{1b}[31mred\\u{202e}.txt', '\\u{7}.txt', '\\u{2067}rtl.txt']) expect(changes).toContain(words)
    shown.type(ctrlC)
    expect(await shown.exit).toBe(130)
    const found = other.terminal(['find', '.txt'])
    const versions = await found.waitFor('7 versions of .txt')
    expect(versions).toSatisfy(isWhole)
    expect(versions).toContain('end.txt')
    found.type(ctrlC)
    expect(await found.exit).toBe(130)
    const { stdout } = await other.cli(['list', 'notes', '--snapshot', 'latest', '--path', file])
    expect(stdout).toMatch(/7 B {2}today \d\d:\d\d {7}\/.*\\u\{1b\}\[31mred\\u\{202e\}\.txt\n$/)
  })
})

describe('restore', () => {
  let before: ReturnType<typeof live>
  beforeEach(() => {
    before = live()
  })
  const plan = /Restore photos in place from [0-9a-f]{8} · today \d\d:\d\d \(.*\) · 6 B\n\n {2}replaces /

  test('[cli.13] asks service, snapshot, what and how; Esc goes back to each', async () => {
    const t = w.terminal(['restore'])
    await walk(
      t,
      [at('notes'), down],
      [at('photos'), enter],
      ['? Snapshots of photos', enter],
      ['◉', enter],
      [at('Inspect'), down],
      [at('In place'), enter],
    )
    expect(await t.waitFor('Type photos to restore it:')).toMatch(plan)
    await walk(
      t,
      ['Type photos', esc],
      [at('Inspect'), esc],
      ['? Restore which paths?', esc],
      ['? Snapshots of photos', esc],
      ['? Restore which service?', esc],
    )
    expect(await t.exit).toBe(130)
    expect(t.all()).toContain('atelier-backup: nothing was done')
    expect(live()).toEqual(before)
  })

  test('[restore.10] in place takes the typed name, and nothing else', async () => {
    w.write('data/photos/one.jpg', 'damaged')
    const damaged = live()
    for (const word of ['', 'y', 'photo', 'PHOTOS', 'notes']) {
      const t = w.terminal(['restore', 'photos', '--in-place', '--snapshot', 'latest'])
      await walk(t, ['Type photos to restore it:', `${word}${enter}`])
      expect(await t.exit).toBe(130)
      expect(t.all()).toContain("photos: that isn't its name: nothing was touched")
      expect(live()).toEqual(damaged)
    }
    const t = w.terminal(['restore', 'photos'])
    await walk(t, ['? Snapshots of photos', enter], ['◉', enter], [at('Inspect'), down], [at('In place'), enter], ['Type photos', `photos${enter}`])
    expect(await t.exit).toBe(0)
    expect(t.screen()).toMatch(/photos {2}✓ {2}restored +6 B +\d\.\d s/)
    expect(readFileSync(w.path('data/photos/one.jpg'), 'utf8')).toBe('one')
    // And back, by the line that the plan showed.
    expect(await w.cli(['restore', 'photos', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
    expect(readFileSync(w.path('data/photos/one.jpg'), 'utf8')).toBe('damaged')
    w.write('data/photos/one.jpg', 'one')
    await w.cli(['restore', 'photos', '--discard-old', '--yes'])
  })

  test('one of several paths, to look at', async () => {
    const t = w.terminal(['restore', 'photos'])
    await walk(t, ['? Snapshots of photos', enter], ['◉', space], [/❯◯/, enter], [at('Inspect'), enter])
    expect(await t.exit).toBe(0)
    const [, target = ''] = /(\/tmp\/restore-photos-[0-9a-f]{8})\//.exec(t.all().replaceAll('\n', '')) ?? []
    expect(readdirSync(target + w.path('data'))).toHaveLength(1)
    rmSync(target, { recursive: true })
    expect(live()).toEqual(before)
  })

  test('a flag that is given isn’t asked for', async () => {
    const t = w.terminal(['restore', 'photos', '--path', w.path('data/albums'), '--in-place'])
    await walk(t, ['? Snapshots of photos', enter])
    expect(await t.waitFor('Type photos')).toContain(w.path('data/albums'))
    expect(t.screen()).not.toContain(w.path('data/photos '))
    t.type(ctrlC)
    expect(await t.exit).toBe(130)
    const named = w.terminal(['restore', '--snapshot', 'latest', '--dry-run'])
    await walk(named, ['Restore which service?', enter])
    expect(await named.exit).toBe(0)
    expect(named.all()).toContain('Would restore notes of today')
    expect(live()).toEqual(before)
  })

  test('the old data that is kept is deleted for the typed name alone', async () => {
    await w.cli(['restore', 'photos', '--in-place', '--yes'])
    const kept = live()
    await updateRecord(w.path('state'), 'photos', (record) => void record.undropped.push('atelier-new-shop'))
    const no = w.terminal(['restore', 'photos', '--discard-old'])
    expect(await no.waitFor('Type photos to delete')).toMatch(/^today .*\.atelier-backup-photos-[\s\S]*^not dropped {2}atelier-new-shop/m)
    no.type(`yes${enter}`)
    expect(await no.exit).toBe(130)
    expect(live()).toEqual(kept)
    await updateRecord(w.path('state'), 'photos', (record) => void record.undropped.pop())
    const yes = w.terminal(['restore', '--discard-old'])
    await walk(yes, ['Which service?', down], [at('photos'), enter], ['Type photos to delete', `photos${enter}`])
    expect(await yes.exit).toBe(0)
    expect(live().filter(({ path }) => path.includes('.atelier-backup-'))).toEqual([])
  })
})

describe('dr', () => {
  test('takes the typed host name, and nothing else', async (t) => {
    const other = await world(t)
    other.write('data/a', 'one')
    other.manifest({ services: { notes: { paths: [other.path('data')] }, never: { paths: [other.path('never')] } } })
    await other.cli(['backup', 'notes'])
    rmSync(other.path('data'), { recursive: true })
    rmSync(other.path('state'), { recursive: true })
    const no = other.terminal(['dr'])
    const screen = await no.waitFor('Type testhost')
    expect(screen).toMatch(
      /Recover 1 of 2 services on testhost[\s\S]*notes +today \d\d:\d\d +3 B {2}[0-9a-f]{8}\n\n[\s\S]*· never: no snapshots on testhost\n[^\n]+\n[^\n]+\n\nData that is there/,
    )
    no.type(`notes${enter}`)
    expect(await no.exit).toBe(130)
    expect(no.all()).toContain("the answer is not this host's name: nothing was touched")
    expect(existsSync(other.path('data'))).toBe(false)
    const yes = other.terminal(['dr'])
    await walk(yes, ['Type testhost', `testhost${enter}`])
    expect(await yes.exit).toBe(1)
    expect(readFileSync(other.path('data/a'), 'utf8')).toBe('one')
    expect(yes.screen()).toMatch(/notes {2}✓ {2}recovered[\s\S]*Recovered 1 of 2 services[\s\S]*✗ never: no snapshots on testhost\n\nReport:/)
  })

  test('what it left undone is the menu’s first entry', async (t) => {
    const other = await world(t)
    other.write('data/a', 'one')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    await other.cli(['backup', 'notes'])
    for (const gone of ['data', 'state']) rmSync(other.path(gone), { recursive: true })
    const failing = resticBefore(other, '[ "$command" = restore ] && exit 1')
    expect(await other.cli(['dr', '--yes'], failing)).toMatchObject({ exit: 1 })
    const menu = other.terminal([])
    await walk(menu, [at('Continue the disaster recovery'), enter], ['Type testhost', `testhost${enter}`], [/Recovered 1 of 1[\s\S]*❯ Status/, esc])
    expect(await menu.exit).toBe(0)
    expect(readFileSync(other.path('data/a'), 'utf8')).toBe('one')
  })
})

describe('whatever the terminal', () => {
  test.each([80, 60])('at %i columns nothing of a list, a plan or the progress is wider', async (cols) => {
    const long = 'a-service-with-a-name-that-is-longer-than-most-but-still-allowed'.slice(0, 60)
    const other = await world()
    other.write('data/file', '')
    other.manifest({
      services: {
        [long]: { paths: [other.path('data')], tags: ['a-tag-that-goes-on-and-on', 'and-another-tag-beside-it'] },
        b: { paths: [other.path('b')] },
      },
    })
    const narrow = (args: string[]) => other.terminal(args, { cols, env: { COLUMNS: String(cols) } })
    // A line that is too wide would be wrapped: the next begins without its indent or its mark.
    const t = narrow(['backup', long])
    expect(await t.exit).toBe(0)
    expect(t.all()).toMatch(/^ {2}a-service-with.* B .*[0-9a-f]{8}$/)
    const list = narrow(['list'])
    expect(await list.waitFor('esc back')).toMatch(/^\? Which service\?\n❯ a-serv.*\n {2}b .*\n\n.*esc back$/)
    list.type(enter)
    expect(await list.waitFor('Leave')).toMatch(/Snapshots of[\s\S]*\n❯ today.*…\n {2}Leave\n/)
    list.type(ctrlC)
    await list.exit
    const plan = narrow(['restore', long, '--snapshot', 'latest', '--in-place', '--dry-run'])
    expect(await plan.exit).toBe(0)
    // Up to what is there to be copied, the longest name whole.
    const [lines = ''] = plan.all().split('\n\n')[1]?.split('  undo') ?? []
    expect(lines).toContain('replaces')
    for (const line of lines.trimEnd().split('\n')) expect(line).toMatch(/^ {2}(\w+| {8}) +\S/)
    const status = narrow(['status'])
    await status.exit
    const table = status.all().split('\n')
    expect(table.slice(table.findIndex((line) => line.includes('SERVICE'))).slice(0, 3)).toEqual([
      expect.stringMatching(/^ {2}SERVICE +STATE/),
      expect.stringMatching(/^✓ a-ser.* ok /),
      expect.stringMatching(/^✗ b +never/),
    ])
    other.cleanup()
  })

  test.each([
    ['no UTF-8', { LANG: 'C' }, '> Status'],
    ['no colours', { NO_COLOR: '1' }, '❯ Status'],
  ])('%s', async (_, env, cursor) => {
    const t = w.terminal([], { env })
    const screen = await t.waitFor(cursor)
    if ('LANG' in env) expect(screen).toMatch(/^[\n\x20-\x7e]+$/)
    await walk(t, [cursor, down], [/[>❯] List/, down], [/[>❯] Back up/, enter], ['? Back up', space], [/\[ \]|◯/, enter])
    await t.waitFor(/photos {2}(ok|✓)/)
    if ('LANG' in env) expect(t.screen()).toMatch(/^[\n\x20-\x7e]+$/)
    t.type(ctrlC)
    expect(await t.exit).toBe(130)
  })

  test('[snapshot.7] Ctrl-C ends a backup that runs: 130, no snapshot, no lock, and the prompt is whole again', async (t) => {
    const other = await world(t)
    other.write('data/file', '')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    const restic = waitingRestic(other)
    const shown = other.terminal(['backup', 'notes'], { env: restic.env })
    await restic.waits()
    await walk(shown, [/notes {2}[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] {2}saving/, ctrlC])
    expect(await shown.exit).toBe(130)
    expect(shown.all()).toMatch(/^ {2}notes {2}! {2}interrupted\nnotes: interrupted/)
    expect((await other.cli(['list', 'notes', '--json'])).json()).toEqual([])
    expect((await other.restic(['list', 'locks'])).stdout).toBe('')
  })

  /** A world with two services that are saved when `go` says so, and a shell with jobs at a terminal. */
  async function atShell(test: TestContext) {
    const other = await world(test)
    const services = Object.fromEntries(['notes', 'wiki'].map((name) => [name, { paths: [other.write(name, '')] }]))
    other.manifest({ services })
    const restic = waitingRestic(other)
    chmodSync(other.write('bin/save', `#!/bin/sh\nexec ${process.execPath} ${cliFile} backup notes wiki\n`), 0o755)
    const env = { ...other.env, ...restic.env, PS1: '$ ' }
    const shell = terminal(['bash', '--norc', '--noprofile', '-i'], { env })
    await shell.waitFor('$')
    const told = () =>
      shell
        .all()
        .replaceAll(/[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]/g, '*')
        .replaceAll(/ +[+\d]+ B new +\d\.\d s/g, ' N B new N s')
        .replaceAll(/[0-9a-f]{8}\b/g, 'ID______')
        .split('\n')
    shell.type(`save${enter}`)
    await shell.waitFor(/notes {2}. {2}saving\n.*wiki {3}. {2}saving/)
    return { restic, shell, told }
  }
  const working = [
    '  notes  *  saving',
    '  wiki   *  saving',
    '  total  ·      0 B  0 of 2 done',
    'Ctrl-C stops it; data that is saved already stays in the repository.',
  ]

  test('[cli.16] after Ctrl-Z and fg the lines stand once, below the shell’s; in the background nothing is drawn', async (t) => {
    const { restic, shell, told } = await atShell(t)
    shell.type(keys.ctrlZ)
    await shell.waitFor(/Stopped[^$]*\$/)
    // A frame that is drawn between the echo and the stop takes the ^Z away.
    expect(told()).toEqual(['$ save', ...working, expect.stringMatching(/^(\^Z)?$/), expect.stringMatching(/^\[1\]\+ +Stopped/), '$'])
    shell.type(`fg${enter}`)
    await shell.waitFor(/fg\n[\s\S]*total/)
    expect(told().slice(-6)).toEqual(['$ fg', 'save', ...working])
    shell.type(keys.ctrlZ)
    await shell.waitFor(/fg\n[\s\S]*Stopped[^$]*\$/)
    shell.type(`bg${enter}`)
    await shell.waitFor(/bg\n[^$]*\$/)
    const before = shell.all()
    await sleep(400)
    expect(shell.all()).toBe(before)
    restic.go()
    await shell.waitFor(/notes {2}✓[\s\S]*wiki {3}✓/)
    shell.type(`exit${enter}`)
    await shell.exit
  })

  test('[cli.16] however the size changes, each service keeps one line, and the total stands below', async (t) => {
    const { restic, shell, told } = await atShell(t)
    for (const [cols, rows] of [
      [60, 24],
      [200, 24],
      [60, 6],
    ] as const) {
      await shell.resize(cols, rows)
      expect(told().filter((line) => /^ {2}(notes|wiki|total)/.test(line))).toEqual(working.slice(0, 3))
    }
    restic.go()
    await shell.waitFor(/wiki {3}✓.*\n\$/)
    expect(told().slice(-3, -1)).toEqual(['notes', 'wiki'].map((name) => expect.stringMatching(new RegExp(`^ {2}${name} +✓ .*ID______$`))))
    shell.type(`exit${enter}`)
    await shell.exit
  })

  test('[cli.17] a backup whose terminal is lost ends as by Ctrl-C', async (t) => {
    const other = await world(t)
    other.write('data/file', '')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    const restic = waitingRestic(other)
    const shown = other.terminal(['backup', 'notes'], { env: restic.env })
    await restic.waits()
    shown.hangUp()
    await until(() => living(other).length === 0, 'nothing is left of it')
    expect((await other.cli(['list', 'notes', '--json'])).json()).toEqual([])
    expect((await other.cli(['status', '--json'])).json().services[0]).toMatchObject({ state: 'failed', lastRun: { outcome: 'interrupted' } })
  })

  test('[cli.17] a restore in place whose terminal is lost goes on to its end', async (t) => {
    const other = await world(t)
    other.write('data/file', 'good')
    other.manifest({ services: { notes: { paths: [other.path('data')] } } })
    await other.cli(['backup', 'notes'])
    other.write('data/file', 'damaged')
    const may = other.path('bin/may')
    const { env } = resticBefore(other, `if [ "$command" = restore ]; then while [ ! -e ${may} ]; do sleep 0.02; done; fi`)
    const shown = other.terminal(['restore', 'notes', '--snapshot', 'latest', '--in-place'], { env })
    await walk(shown, ['Type notes to restore it', `notes${enter}`])
    await shown.waitFor(/fetching\n.*if this terminal is lost, it continues/)
    // As a shell does whose terminal is lost: to all of its job.
    process.kill(-shown.pid, 'SIGHUP')
    shown.hangUp()
    await sleep(300)
    other.write('bin/may', '')
    await until(() => living(other).length === 0, 'it ends')
    expect(readFileSync(other.path('data/file'), 'utf8')).toBe('good')
    expect(JSON.parse(readFileSync(other.path('state/records/notes.json'), 'utf8')).runs.at(-1)).toMatchObject({ kind: 'restore', outcome: 'ok' })
  })

  test('a terminal that becomes narrower keeps one line for each service', async (t) => {
    const other = await world(t)
    other.write('data/file', '')
    const name = 'a-service-of-a-longer-name'
    other.manifest({ services: { [name]: { paths: [other.path('data')] } } })
    const restic = waitingRestic(other)
    const shown = other.terminal(['backup', name], { env: restic.env })
    await restic.waits()
    await shown.waitFor('saving')
    await shown.resize(30, 24)
    expect(shown.all().match(/a-serv/g)).toHaveLength(1)
    restic.go()
    expect(await shown.exit).toBe(0)
  })
})
