// The tools that other tests stand on: a comparison that sees differences, a terminal that shows what a person sees.
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, test } from 'vitest'
import { has, isRoot } from './needs.ts'
import { keys, terminal } from './terminal.ts'
import { attributes, fingerprint, makeHostileTree } from './tree.ts'
import { world } from './world.ts'

test('restic brings a hostile tree back as it was', async (t) => {
  const w = await world(t)
  makeHostileTree(w.path('data'))
  expect((await w.restic(['backup', '--host', 'testhost', w.path('data')])).exit).toBe(0)
  expect((await w.restic(['restore', 'latest', '--target', w.path('back')])).exit).toBe(0)
  expect(fingerprint(w.path('back', w.path('data')))).toEqual(fingerprint(w.path('data')))
})

test('the CLI runs in a world, piped and at a terminal', async (t) => {
  const w = await world(t)
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  expect(await w.cli(['--version'])).toMatchObject({ exit: 0, stdout: `${version}\n`, stderr: '' })
  const terminal = w.terminal(['--version'])
  expect(await terminal.exit).toBe(0)
  expect(terminal.screen()).toBe(version)
})

test.skipIf(!has('setfattr'))('extended attributes are compared', async (t) => {
  const w = await world(t)
  w.write('data/plain', '')
  execFileSync('setfattr', ['--name=user.colour', '--value=blue', w.write('data/file', '')])
  expect(attributes(w.path('data'))).toEqual(['# file: file\nuser.colour="blue"'])
})

type Change = (path: (name: string) => string) => void
const changes: [string, Change][] = [
  ['one byte', (path) => writeFileSync(path('a'), 'A')],
  ['a longer file', (path) => appendFileSync(path('a'), 'a')],
  ['a mode', (path) => chmodSync(path('a'), 0o600)],
  ['an owner', (path) => chownSync(path('a'), 7, 7)],
  ['a time', (path) => utimesSync(path('folder'), 1, 2)],
  ['a name', (path) => renameSync(path('a'), path('A'))],
  ['a new empty folder', (path) => mkdirSync(path('new'))],
  ['a missing file', (path) => rmSync(path('b'))],
  [
    'a link target',
    (path) => {
      rmSync(path('link'))
      symlinkSync('b', path('link'))
    },
  ],
  [
    'a hard link made a copy',
    (path) => {
      rmSync(path('hard'))
      writeFileSync(path('hard'), 'b')
    },
  ],
]
test.each(changes.filter(([what]) => isRoot || what !== 'an owner'))('a comparison of trees sees %s', async (_, change) => {
  const w = await world()
  const path = (name: string) => w.path('tree', name)
  mkdirSync(path('folder'), { recursive: true })
  writeFileSync(path('a'), 'a')
  writeFileSync(path('b'), 'b')
  linkSync(path('b'), path('hard'))
  symlinkSync('a', path('link'))
  const before = fingerprint(w.path('tree'))
  expect(fingerprint(w.path('tree'))).toEqual(before)
  change(path)
  // The folder's own time isn't what shows it.
  expect(fingerprint(w.path('tree')).slice(1)).not.toEqual(before.slice(1))
  w.cleanup()
})

test('a terminal shows the screen, takes keys and gives the exit code', async () => {
  const t = terminal([
    'bash',
    '-c',
    'tput clear; printf "one\\rtwo\\n"; read -r -p "name? " name; echo "hello $name"; test -t 0 && test -t 1 && exit 7',
  ])
  expect(await t.waitFor('name?')).toBe('two\nname?')
  t.type(`you${keys.enter}`)
  expect(await t.waitFor(/hello \w+/)).toContain('hello you')
  expect(await t.exit).toBe(7)
  await expect(t.waitFor('never')).rejects.toThrow('the program ended before')
})

describe('a screen counts when it stands still', () => {
  const work = 'i=0; while ((i < 300000)); do i=$((i + 1)); done'
  test.each([
    ['the program works', work],
    ['its child works', `bash -c '${work}'; true`],
    ['a process group of its own works', `setsid --wait bash -c '${work}'`],
  ])('not while %s', async (_, script) => {
    const t = terminal(['bash', '-c', `printf 'first\\n'; ${script}; printf 'last\\n'; read -r`])
    expect(await t.waitFor('first')).toBe('first\nlast')
    t.type(keys.enter)
    expect(await t.exit).toBe(0)
  })

  test('nor while it answers a key', async () => {
    const t = terminal(['bash', '-c', `echo ready; read -rs; ${work}; echo answered; read -rs`])
    await t.waitFor('ready')
    t.type(keys.enter)
    expect(await t.waitFor('ready')).toBe('ready\nanswered')
    t.type(keys.enter)
    expect(await t.exit).toBe(0)
  })

  test('and between two frames of a spinner', async () => {
    const t = terminal([
      'bash',
      '-c',
      `trap 'columns=$(tput cols)' WINCH; while :; do printf '\\r%s begun' "$columns"; sleep 0.12; printf ' whole'; done`,
    ])
    expect(await t.waitFor('begun')).toMatch(/begun( whole)?$/)
    await t.resize(60, 24)
    expect(t.screen()).toContain('60 begun')
    t.type(keys.ctrlC)
    expect(await t.exit).toBe(130)
  })
})

test('Ctrl-C at a terminal is SIGINT', async () => {
  const t = terminal(['bash', '-c', 'trap "echo caught; exit 130" INT; echo ready; while :; do sleep 0.1; done'])
  await t.waitFor('ready')
  t.type(keys.ctrlC)
  expect(await t.exit).toBe(130)
  expect(t.screen()).toContain('caught')
})
