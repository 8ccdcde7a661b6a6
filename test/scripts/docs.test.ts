// The manual page and the completions: fresh, well-formed, and working in real shells.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { errors } from '../../scripts/docs/errors.ts'
import { exits } from '../../src/errors.ts'
import { cliFile, start } from '../lib/cli.ts'
import { has } from '../lib/needs.ts'
import { type World, world } from '../lib/world.ts'

const page = 'scripts/docs/atelier-backup.1'

test('the manual page, the list of errors and the glossary are fresh (else run scripts/docs/manual)', async (context) => {
  const { path } = await world(context)
  await start(['scripts/docs/manual', path('page.1'), path('errors.md'), path('README.md')]).ended
  expect(readFileSync(path('README.md'), 'utf8')).toBe(readFileSync('README.md', 'utf8'))
  expect(readFileSync(path('errors.md'), 'utf8')).toBe(readFileSync('scripts/docs/errors.md', 'utf8'))
  expect(readFileSync(path('page.1'), 'utf8')).toBe(readFileSync(page, 'utf8'))
})

// That each code has an entry, and no entry is of another code, is read by tsc: see the types of src/errors.ts and scripts/docs/errors.ts.
test('[error.1] every code that has an entry still occurs, and every entry says what to do', () => {
  const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => /(?<!\.gen)\.ts$/.test(file))
  const text = sources.map((file) => readFileSync(`src/${file}`, 'utf8').replace(/export const exits = \{[^}]*\}/, '')).join('\n')
  expect(Object.keys(errors).filter((code) => !text.includes(`'${code}'`))).toEqual([])
  expect(Object.keys(errors).sort()).toEqual(Object.keys(exits).sort())
  for (const entry of Object.values(errors).flat()) expect(entry).toMatch(/^[A-Z][^|\n]{5,}$|^[a-z'][^|\n]{5,}$/)
})

test('[error.1] at a terminal the code stands behind the error, elsewhere it is the error alone', async (context) => {
  const { cli: run, terminal } = await world(context)
  const shown = terminal(['status'], { cols: 400 })
  expect(await shown.exit).toBe(1)
  expect(shown.all()).toMatch(/^atelier-backup: no manifest at .* \[manifest-missing\]$/)
  expect((await run(['status'])).stderr).toMatch(/^atelier-backup: no manifest at [^[\]]*\n$/)
})

test.skipIf(!has('groff'))('the manual page has its sections, and groff no complaint', async () => {
  const { stdout, stderr } = await start(['groff', '-man', '-Tascii', '-P-c', '-ww', page]).ended
  expect(stderr).toBe('')
  // Bold is overstruck.
  const sections = stdout
    .replaceAll(/.\x08/g, '')
    .split('\n')
    .filter((line) => /^[A-Z][A-Z ]+$/.test(line))
  expect(sections).toEqual([
    'NAME',
    'SYNOPSIS',
    'DESCRIPTION',
    'COMMANDS',
    'OPTIONS',
    'RESTORE MODES',
    'DISASTER RECOVERY',
    'EXAMPLES',
    'FILES',
    'ENVIRONMENT',
    'EXIT STATUS',
    'ERRORS',
    'BACKUP SCHEDULE',
    'RETENTION POLICY',
    'GLOSSARY',
    'SEE ALSO',
    'AUTHORS',
  ])
})

describe('completions', () => {
  let it: World
  beforeAll(async () => {
    it = await world()
    it.manifest({
      services: { notes: { paths: [it.path('notes')] }, 'my_app.v2': { paths: [it.path('app')] }, photos: { paths: [it.path('photos')] } },
    })
    mkdirSync(it.path('bin'))
    writeFileSync(it.path('bin/atelier-backup'), `#!/bin/sh\nexec ${process.execPath} ${cliFile} "$@"\n`, { mode: 0o755 })

    return it.cleanup
  })
  const shell = async (argv: string[]) =>
    (await start(argv, { env: { ...it.env, PATH: `${it.path('bin')}:${process.env.PATH}` }, cwd: process.cwd() }).ended).stdout.trim().split('\n')

  test.each([
    [['re'], ['restore', 'restic']],
    [
      ['restore', ''],
      ['notes', 'my_app.v2', 'photos'],
    ],
    [['restore', 'n'], ['notes']],
    [
      ['backup', 'notes', ''],
      ['my_app.v2', 'photos'],
    ],
    [['restore', 'notes', '--snap'], ['--snapshot']],
    [['restore', 'notes', '--snapshot', ''], ['latest']],
    [['dr', '--only', 'ph'], ['photos']],
    [['prune', '--repository', ''], ['main']],
    [['restic', '--', ''], ['']],
  ])('%j', async (words, expected) => {
    const { stdout, exit } = await it.cli(['complete', '--', ...words])
    expect([
      exit,
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split('\t')[0]),
    ]).toEqual([0, expected])
  })

  test('a broken manifest completes nothing and says nothing', async () => {
    const { stdout, stderr, exit } = await it.cli(['complete', '--', 'restore', ''], { env: { ATELIER_BACKUP_MANIFEST: '/dev/null' } })
    expect([stdout, stderr, exit]).toEqual(['', '', 0])
  })

  test('bash completes services, and runs nothing that is typed', async () => {
    const complete = (line: string, words: string[]) =>
      shell([
        'bash',
        '-c',
        `. scripts/docs/completions/atelier-backup.bash; COMP_LINE=$1; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _atelier_backup; printf "%s\\n" "\${COMPREPLY[@]}"`,
        'bash',
        line,
        ...words,
      ])
    expect(await complete('atelier-backup restore my', ['atelier-backup', 'restore', 'my'])).toEqual(['my_app.v2'])
    expect(await complete('', ['atelier-backup', 'restore', `$(touch ${it.path('ran')})`])).toEqual([''])
    expect(() => readFileSync(it.path('ran'))).toThrow()
  })

  test.skipIf(!has('fish'))('fish completes services', async () => {
    const lines = await shell([
      'fish',
      '--no-config',
      '-c',
      'source scripts/docs/completions/atelier-backup.fish; complete --do-complete "atelier-backup restore my"',
    ])
    expect(lines.map((line) => line.split('\t')[0])).toEqual(['my_app.v2'])
  })

  test.skipIf(!has('zsh'))('zsh completes services', async () => {
    const script = `autoload -U compinit; compinit -u -D; _describe() { print -l -- "\${(@)candidates}"; }; words=(atelier-backup restore ""); CURRENT=3; . scripts/docs/completions/_atelier-backup`
    expect(await shell(['zsh', '-f', '-c', script])).toEqual(['notes:service', 'my_app.v2:service', 'photos:service'])
  })
})
