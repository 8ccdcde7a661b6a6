import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Check } from '../../src/checks/check.ts'
import { has } from '../lib/needs.ts'
import { makeRepository, type TestRepository } from '../lib/repository.ts'
import { fakeRestic, leaveLock, withoutRestic } from '../lib/restics.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let good: string
beforeAll(async () => {
  w = await world()
  w.write('notes/a', 'a')
  declare()
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  good = w.path('good-state')
  cpSync(w.path('state'), good, { recursive: true })
  // Each test gets a copy, which is bound to no machine yet.
  rmSync(join(good, 'machine.json'))
})
afterAll(() => w.cleanup())
beforeEach(() => {
  declare()
  rmSync(w.path('state'), { recursive: true })
  cpSync(good, w.path('state'), { recursive: true })
})

function declare(main: object = {}, notes: object = {}): void {
  w.manifest({ services: { notes: { paths: [w.path('notes')], ...notes } }, repositories: { main: { ...w.repository, ...main } } })
}
async function examined(env: Record<string, string> = {}): Promise<{ exit: number; checks: Check[] }> {
  const { exit, json } = await w.cli(['doctor', '--json'], { env })
  expect(Object.keys(json())).toEqual(['checks'])
  return { exit, checks: json().checks }
}

test('[json.3] all is in order: every check says what it found', async () => {
  const { exit, checks } = await examined()
  expect(exit).toBe(0)
  expect([...new Set(checks.map(({ name }) => name))]).toEqual([
    'manifest',
    'restic',
    'secrets',
    'repository',
    'password',
    'locks',
    'paths',
    'state',
    'clock',
  ])
  for (const check of checks) {
    expect(Object.keys(check)).toEqual(['name', 'ok', 'message', 'remedy'])
    expect(check).toMatchObject({ ok: true, message: expect.stringMatching(/./), remedy: null })
  }
})

type Break = () => Record<string, string> | void | Promise<void>
const broken: [what: string, how: Break, name: string, message: string, remedy: string][] = [
  ['the manifest isn’t JSON', () => writeFileSync(w.path('manifest.json'), '{'), 'manifest', 'manifest.json', 'nixos-rebuild writes the manifest'],
  ['there is no manifest', () => rmSync(w.path('manifest.json')), 'manifest', 'no manifest at', 'nixos-rebuild writes the manifest'],
  ['restic is missing', () => withoutRestic(), 'restic', 'restic is not installed', 'install restic 0.17'],
  ['restic is too old', () => fakeRestic(w, 'echo restic 0.16.4 compiled with go1.21'), 'restic', 'restic 0.16.4 is too old', 'install restic 0.17'],
  ['the password file is missing', () => declare({ passwordFile: '/nowhere' }), 'secrets', "/nowhere of repository main doesn't exist", 'agenix'],
  ['everybody can read the password', () => declare({ passwordFile: open() }), 'secrets', 'is readable by other users', 'chmod 600'],
  ['the environment file is missing', () => declare({ environmentFile: '/nowhere' }), 'secrets', '/nowhere', 'agenix'],
  ['the password is wrong', () => declare({ passwordFile: secret('wrong') }), 'password', "doesn't open it", 'into its password file'],
  ['there is no repository', () => declare({ repository: '/nowhere' }), 'repository', 'existed before and was not found', 'mount its disk'],
  [
    'a new repository has no place',
    () => {
      rmSync(w.path('state/repositories/main.json'))
      declare({ repository: '/nowhere/restic', initialize: true })
    },
    'repository',
    "/nowhere doesn't exist: no repository is created at /nowhere/restic",
    'correct its location',
  ],
  [
    'another repository is there',
    async () => declare(await another()),
    'repository',
    'not the repository that was used before',
    'adopt --repository main',
  ],
  [
    'a path is missing',
    () => declare({}, { paths: [w.path('notes'), '/nowhere'] }),
    'paths',
    "notes: /nowhere doesn't exist",
    'remove it from the manifest',
  ],
  ['a database is missing', () => declare({}, { sqlite: ['/nowhere.db'] }), 'paths', '/nowhere.db', 'remove it from the manifest'],
  ['a record is damaged', () => state('records/notes.json'), 'state', 'records/notes.json is damaged', 'atelier-backup backup notes'],
  ['a record was set aside', () => state('records/notes.json.damaged-1700000000000'), 'state', 'was set aside', 'remove it'],
  [
    'a restore is unfinished',
    () => state('journals/notes.json', { version: 1, service: 'notes', moves: [], folders: [] }),
    'state',
    'unfinished',
    '--resume',
  ],
  ['a journal is damaged', () => state('journals/notes.json'), 'state', 'is damaged', 'remove the journal'],
  ['what runs is damaged', () => state('running/notes.json'), 'state', 'running/notes.json is damaged', 'atelier-backup run --cleanup notes'],
  ['the install’s id is damaged', () => state('install-id'), 'state', "install-id doesn't hold", 'adopt --all'],
  ['the repository’s pin is damaged', () => state('repositories/main.json'), 'state', 'repositories/main.json', 'adopt --repository main'],
  ['sqlite3 is missing', () => brokenSqlite(), 'sqlite', 'sqlite3 is not installed', 'install sqlite3'],
]

describe('[cli.11] doctor names what is broken, and what mends it', () => {
  test.each(broken)('%s', async (_, how, name, message, remedy) => {
    const env = (await how()) ?? {}
    const { exit, checks } = await examined(env)
    expect(exit).toBe(1)
    expect(checks.filter(({ ok }) => !ok)).toContainEqual({
      name,
      ok: false,
      message: expect.stringContaining(message),
      remedy: expect.stringContaining(remedy),
    })
    for (const check of checks) expect(check).toMatchObject({ ok: check.remedy === null, message: expect.stringMatching(/^[^\n]+$/) })
    // For people: what is broken comes last, each with its remedy below.
    const { stdout } = await w.cli(['doctor'], { env })
    const lines = stdout.trimEnd().split('\n')
    const first = lines.findIndex((line) => line.startsWith('✗'))
    expect(lines.slice(0, first).every((line) => line.startsWith('✓'))).toBe(true)
    expect(lines.slice(first).map((line) => line[0])).toEqual(checks.filter(({ ok }) => !ok).flatMap(() => ['✗', ' ']))
  })

  test.skipIf(!has('strace'))('a lock was left', async () => {
    const { pid } = await leaveLock(w, 'killed')
    const { checks } = await examined()
    expect(checks.filter(({ ok }) => !ok)).toEqual([
      { name: 'locks', ok: false, message: expect.stringContaining(`pid ${pid}`), remedy: 'wait, or: atelier-backup unlock --repository main' },
    ])
    expect((await w.cli(['unlock'])).exit).toBe(0)
    expect((await examined()).exit).toBe(0)
  })
})

function open(): string {
  const file = secret(readFileSync(w.repository.passwordFile, 'utf8'))
  chmodSync(file, 0o644)
  return file
}
function secret(text: string): string {
  const file = w.write('secrets/other', text)
  chmodSync(file, 0o600)
  return file
}
async function another(): Promise<TestRepository> {
  mkdirSync(w.path('another'), { recursive: true })
  return makeRepository(w.path('another'))
}
function state(name: string, content: object | null = null): void {
  w.write(join('state', name), content === null ? 'damaged' : JSON.stringify(content))
}
/** A database is declared, and PATH begins with a sqlite3 that doesn't work. */
function brokenSqlite(): Record<string, string> {
  declare({}, { sqlite: [w.write('notes/a.db', '')] })
  const env = fakeRestic(w, `PATH='${process.env.PATH}' exec restic "$@"`)
  writeFileSync(w.path('fake-bin/sqlite3'), '#!/bin/sh\nexit 127\n', { mode: 0o755 })
  return env
}
