import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadManifest, readManifest } from '../../src/manifest/load.ts'
import { ManifestInvalid } from '../../src/manifest/problems.ts'

const file = '/etc/atelier/backup-manifest.json'
const read = (manifest: unknown) => readManifest(JSON.stringify(manifest), file, 'cellar')
const withServices = (services: unknown, more: object = {}) => ({ version: 2, host: 'cellar', services, ...more })
const withNotes = (notes: object, more: object = {}) => withServices({ notes: { paths: ['/var/lib/notes'], ...notes } }, more)
const withMain = (main: object) => withNotes({}, { repositories: { main } })

describe('[manifest.1] a manifest loads with every default filled', () => {
  test('down to the fields of what was left out', () => {
    expect(read(withNotes({ retention: { last: 9 } }))).toEqual({
      version: 2,
      host: 'cellar',
      repositories: {
        main: {
          repository: null,
          repositoryFile: '/run/agenix/restic/repo',
          passwordFile: '/run/agenix/restic/password',
          environmentFile: '/run/agenix/restic/env',
          rcloneConfigFile: null,
          extraOptions: [],
          initialize: false,
          retryLock: '10m',
        },
      },
      services: {
        notes: {
          enable: true,
          repository: 'main',
          paths: ['/var/lib/notes'],
          sqlite: [],
          postgres: [],
          exclude: [],
          tags: [],
          units: null,
          stopForBackup: false,
          preBackup: null,
          postBackup: null,
          partialIsFailure: false,
          hookTimeoutSec: 3600,
          stopTimeoutSec: 600,
          stallTimeoutSec: 3600,
          shrinkThreshold: 50,
          restoreAfter: [],
          healthCheck: null,
          formerNames: [],
          schedule: { onCalendar: null, randomizedDelaySec: null, fixedRandomDelay: null, persistent: null },
          retention: { last: 9, daily: null, weekly: null, monthly: null },
        },
      },
      schedule: { onCalendar: ['02:00'], randomizedDelaySec: '2h', fixedRandomDelay: false, persistent: true },
      retention: { last: 3, daily: 7, weekly: 5, monthly: 12 },
      prune: { onCalendar: ['Sun 05:00'], randomizedDelaySec: '1h' },
      restore: { keepOldDays: 7 },
      postgresql: { user: 'postgres', socketDir: '/run/postgresql', port: 5432 },
      stagingDir: null,
    })
  })

  test('a calendar event alone, as manifests before had it, is a list of one', () => {
    const { schedule, services, prune } = read({
      ...withNotes({ schedule: { onCalendar: 'hourly' } }),
      schedule: { onCalendar: '03:00' },
      prune: { onCalendar: ['Sat 05:00', 'Wed 05:00'] },
    })
    expect([schedule.onCalendar, services.notes?.schedule.onCalendar, prune.onCalendar]).toEqual([['03:00'], ['hourly'], ['Sat 05:00', 'Wed 05:00']])
  })

  test('a service’s retention, where it is left out, empty or stated in part', () => {
    const none = { last: null, daily: null, weekly: null, monthly: null }
    expect(read(withNotes({})).services.notes?.retention).toEqual(none)
    expect(read(withNotes({ retention: {} })).services.notes?.retention).toEqual(none)
    expect(read(withNotes({ retention: { daily: 0 } })).services.notes?.retention).toEqual({ ...none, daily: 0 })
  })

  test('another repository leaves the usual one there', () => {
    const { repositories } = read(withNotes({ repository: 'usb' }, { repositories: { usb: { repository: '/mnt/usb', environmentFile: null } } }))
    expect(Object.keys(repositories)).toEqual(['main', 'usb'])
    expect(repositories.usb).toMatchObject({ repository: '/mnt/usb', passwordFile: '/run/agenix/restic/password' })
  })

  test('paths come clean: no doubled or trailing slashes, none twice', () => {
    const paths = ['/srv/a//', '/srv/a', '/srv//a/b/', '/srv/ab', '/srv/a b/ü']
    const { notes } = read(withNotes({ paths, sqlite: ['/srv/a//n.db'] })).services
    expect(notes?.paths).toEqual(['/srv/a', '/srv/a/b', '/srv/ab', '/srv/a b/ü'])
    expect(notes?.sqlite).toEqual(['/srv/a/n.db'])
  })

  test('a service that may be called constructor is there only if declared', () => {
    expect(read(withNotes({})).services.constructor).toBeUndefined()
    expect(read(withServices({ constructor: { paths: ['/c'] } })).services.constructor).toMatchObject({ paths: ['/c'] })
  })

  test.each([
    ['a disabled service without data', withServices({ notes: { enable: false } })],
    ['no services', withServices({})],
    ['a database alone', withServices({ notes: { postgres: ['notes'] } })],
    [
      'a chain of restoreAfter',
      withServices({ a: { paths: ['/a'], restoreAfter: ['b'] }, b: { paths: ['/b'], restoreAfter: ['c'] }, c: { paths: ['/c'] } }),
    ],
    ['paths of services beside each other', withServices({ a: { paths: ['/srv/a'] }, ab: { paths: ['/srv/ab'], sqlite: ['/srv/a.db'] } })],
    ['a user without a password in a location', withMain({ repository: 'sftp://me@box:2222//srv/restic' })],
    ['a port in a location', withMain({ repository: 'rest:https://box:8000/a@b' })],
    ['a file with a key in a location', withMain({ repository: 'rclone:box,key_file=/root/key,env_auth=true:path' })],
    ['names that are no names of units', withServices({ my_app: { paths: ['/a'] }, 'b.c-d': { paths: ['/b'], units: [] } })],
    ['its own name among the former ones', withNotes({ formerNames: ['notes', 'memos'] })],
    ['4096 characters beyond the basic plane', withNotes({ exclude: ['😀'.repeat(4096)] })],
  ])('%s is fine', (_, manifest) => {
    expect(read(manifest)).toMatchObject({ version: 2, host: 'cellar' })
  })
})

describe('[manifest.2] a wrong manifest gives one line', () => {
  test.each<[unknown, string]>([
    [[], 'found [], expected an object'],
    [{}, 'version: missing, expected 2 (or 1, as the earlier shell version wrote it) (and 2 more)'],
    [{ ...withNotes({}), version: 3 }, 'version: found 3, expected 2 (or 1, as the earlier shell version wrote it)'],
    [{ ...withNotes({}), host: '-x' }, 'host: found "-x", expected a host name such as "cellar"'],
    [{ version: 2, hots: 'cellar', services: {} }, 'hots: unknown key, did you mean "host"? (and 1 more)'],
    [withServices([]), 'services: found [], expected an object'],
    [withServices({ notes: null }), 'services.notes: found null, expected an object'],
    [
      withNotes({ paths: ['/a', 'var/lib/notes'] }),
      'services.notes.paths[1]: found "var/lib/notes", expected an absolute path such as "/var/lib/notes"',
    ],
    [withNotes({ paths: '/a' }), 'services.notes.paths: found "/a", expected a list of at most 1000 different entries'],
    [withNotes({ paths: ['/a', '/a'] }), 'services.notes.paths: found ["/a","/a"], expected a list of at most 1000 different entries'],
    [withNotes({ path: ['/a'] }), 'services.notes.path: unknown key, did you mean "paths"?'],
    [withNotes({ toString: 1 }), 'services.notes.toString: unknown key'],
    [withNotes({ retention: { dayly: 1 } }), 'services.notes.retention.dayly: unknown key, did you mean "daily"?'],
    [withNotes({ retention: { daily: 1.5 } }), 'services.notes.retention.daily: found 1.5, expected a whole number from 0 to 100000, or null'],
    [withNotes({ enable: 'yes' }), 'services.notes.enable: found "yes", expected true or false'],
    [withNotes({ units: ['notes'] }), `services.notes.units[0]: found "notes", expected a unit's name with its suffix such as "notes.service"`],
    [
      withNotes({ exclude: ['x'.repeat(5000)] }),
      `services.notes.exclude[0]: found "${'x'.repeat(58)}…, expected text of at most 4096 characters such as "/var/lib/notes/cache"`,
    ],
    [
      withNotes({ tags: ['a\u202eb\u0007'] }),
      'services.notes.tags[0]: found "a\\u{202e}b\\u0007", expected a tag of at most 128 letters, digits and _.=/+@:- such as "important"',
    ],
    ...['a b', '-rf', '$(id)', '../x', '..', 'x'.repeat(300)].map((name): [unknown, string] => [
      withServices({ [name]: { paths: ['/a'] } }),
      `services["${name.length > 60 ? `${'x'.repeat(58)}…` : `${name}"`}]: expected a name of at most 63 letters, digits, _, - and . such as "notes" as the name`,
    ]),
    [withServices({ 'a..b': { paths: ['/a'] } }), 'services["a..b"]: a service\'s name must not contain ".."'],
    [withServices({ 'b.c': { paths: ['a'] } }), 'services["b.c"].paths[0]: found "a", expected an absolute path such as "/var/lib/notes"'],
    [
      withNotes({}, { repositories: { 'a/b': {} } }),
      'repositories["a/b"]: expected a name of at most 63 letters, digits, _ and - such as "main" as the name',
    ],
    [withMain({ retryLock: 'soon' }), 'repositories.main.retryLock: found "soon", expected a time in seconds, minutes or hours such as "30m"'],
    [
      withMain({ passwordFile: 'hunter2' }),
      `repositories.main.passwordFile: expected the absolute path of a file such as "/run/secrets/restic-password" (the value isn't shown: it may be a secret)`,
    ],
  ])('schema: %#', (manifest, line) => {
    expect(failure(() => read(manifest)).message).toBe(`${file}: ${line}`)
  })

  test.each<[unknown, string]>([
    [withNotes({ repository: 'mian' }), 'services.notes.repository: there is no repository "mian", did you mean "main"?'],
    [withNotes({ repository: 'constructor' }), 'services.notes.repository: there is no repository "constructor"'],
    [withNotes({ restoreAfter: ['ntoes'] }), 'services.notes.restoreAfter[0]: there is no service "ntoes", did you mean "notes"?'],
    [withNotes({ restoreAfter: ['notes'] }), 'services.notes.restoreAfter: a circle: notes → notes'],
    [
      withServices({
        z: { paths: ['/z'], restoreAfter: ['a'] },
        a: { paths: ['/a'], restoreAfter: ['b'] },
        b: { paths: ['/b'], restoreAfter: ['a'] },
      }),
      'services.a.restoreAfter: a circle: a → b → a',
    ],
    [
      withServices(Object.fromEntries([...Array(500).keys()].map((n) => [`s${n}`, { paths: [`/s${n}`], restoreAfter: [`s${(n + 1) % 500}`] }]))),
      'services.s0.restoreAfter: a circle: s0 → s1 → s2 → s3 → s4 → 495 more → s0',
    ],
    [withServices({ notes: {} }), 'services.notes: nothing to back up: name paths, sqlite or postgres, or set enable to false'],
    [withNotes({ paths: ['//'] }), 'services.notes.paths[0]: "/" is the whole host, not the data of a service'],
    [withNotes({ paths: ['/srv/../etc'] }), 'services.notes.paths[0]: "/srv/../etc" must not go through "." or ".."'],
    [withNotes({ sqlite: ['/srv/./a.db'] }), 'services.notes.sqlite[0]: "/srv/./a.db" must not go through "." or ".."'],
    [withNotes({ paths: ['/srv/.'] }), 'services.notes.paths[0]: "/srv/." must not go through "." or ".."'],
    [withNotes({ paths: ['/a\u0000b'] }), `services.notes.paths[0]: "/a\\u0000b" can't be the name of a file`],
    [
      withServices({ a: { paths: ['/srv/x'] }, b: { paths: ['/y', '/srv//x/'] } }),
      `services.b.paths[1]: "/srv/x" belongs to service a too (services.a.paths[0]): a restore of one would replace the other's data`,
    ],
    [
      withServices({ a: { paths: ['/srv/x/y'] }, b: { paths: ['/srv'] } }),
      `services.a.paths[0]: "/srv/x/y" is inside "/srv" of service b (services.b.paths[0]): a restore of b would replace a's data`,
    ],
    [
      withServices({ a: { paths: ['/srv'], enable: false }, b: { sqlite: ['/srv/b.db'] } }),
      `services.b.sqlite[0]: "/srv/b.db" is inside "/srv" of service a (services.a.paths[0]): a restore of a would replace b's data`,
    ],
    [
      withServices({ a: { postgres: ['x'] }, b: { postgres: ['x'] } }),
      `services.b.postgres[0]: database "x" belongs to service a too: a restore of one would replace the other's data`,
    ],
    ...['service:x', 'install:1', 'atelier:', 'unadopted', 'partial', 'failed'].map((tag): [unknown, string] => [
      withNotes({ tags: ['ok', tag] }),
      `services.notes.tags[1]: "${tag}" is a tag that atelier-backup sets itself`,
    ]),
    [withServices({ a: { paths: ['/a'] }, b: { paths: ['/b'], formerNames: ['a'] } }), 'services.b.formerNames[0]: "a" is another service'],
    [
      withServices({ a: { paths: ['/a'], formerNames: ['c'] }, b: { paths: ['/b'], formerNames: ['c'] } }),
      'services.b.formerNames[0]: "c" is a former name of service a',
    ],
    [
      withMain({ repository: 'rest:https://me:hunter2@box/' }),
      'repositories.main.repository: the location holds a password that everyone on this host can read: put the location into a file and name that as repositoryFile',
    ],
    ...['rclone:box,pass=x:path', 'rclone:box,type=b2,key="a:b":path', 'rest:https://me@corp:hunter2@box/'].map((repository): [unknown, string] => [
      withMain({ repository }),
      'repositories.main.repository: the location holds a password that everyone on this host can read: put the location into a file and name that as repositoryFile',
    ]),
    ...['passwordFile', 'repositoryFile', 'environmentFile', 'rcloneConfigFile'].map((field): [unknown, string] => [
      withMain({ [field]: '/nix//store/abc-secret' }),
      `repositories.main.${field}: everyone can read the Nix store: name a file outside of it`,
    ]),
  ])('meaning: %#', (manifest, line) => {
    expect(failure(() => read(manifest)).message).toBe(`${file}: ${line}`)
  })

  test('about the first problem, and tells how many more there are', () => {
    const error = failure(() => read(withNotes({ pahts: [], enable: 1, tags: ['a b'] })))
    expect(error.message).toBe(`${file}: services.notes.pahts: unknown key, did you mean "paths"? (and 2 more)`)
    expect(error.problems).toEqual([
      'services.notes.pahts: unknown key, did you mean "paths"?',
      'services.notes.enable: found 1, expected true or false',
      'services.notes.tags[0]: found "a b", expected a tag of at most 128 letters, digits and _.=/+@:- such as "important"',
    ])
  })

  test('secrets in a wrong value are not shown', () => {
    const location = 'rest:https://me:hunter2@box/\n'
    for (const manifest of [withMain({ repository: location }), withNotes({ repository: location }), withNotes({}, { repositories: location })])
      expect(failure(() => read(manifest)).problems.join()).not.toContain('hunter2')
    expect(failure(() => readManifest('{"passwordFile" "hunter2"}', file)).message).not.toContain('hunter2')
  })
})

describe('[manifest.2] a file that is no manifest gives one line', () => {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'manifest-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('a missing one says what would bring it', async () => {
    await expect(loadManifest('/nowhere/manifest.json')).rejects.toMatchObject({
      code: 'manifest-missing',
      exit: 1,
      message:
        'no manifest at /nowhere/manifest.json: the NixOS module writes it on rebuild; --manifest or ATELIER_BACKUP_MANIFEST names another file',
    })
    await expect(loadManifest('/dev/null/x')).rejects.toMatchObject({ code: 'manifest-missing' })
  })

  test('one without the right to read it names sudo', async () => {
    const locked = join(folder, 'locked.json')
    await writeFile(locked, '{}')
    await chmod(locked, 0)
    const root = process.geteuid?.() === 0
    if (root) process.seteuid?.(65534)
    try {
      await expect(loadManifest(locked)).rejects.toMatchObject({
        code: 'manifest-unreadable',
        message: `no permission to read ${locked}: run this as root, for example with sudo`,
      })
    } finally {
      if (root) process.seteuid?.(0)
    }
  })

  test('a folder is named as unreadable', async () => {
    await expect(loadManifest(folder)).rejects.toMatchObject({ code: 'manifest-unreadable', message: `${folder} can't be read (EISDIR)` })
  })

  test.each([
    ['empty', '', 'line 1, column 1: expected a value, found the end of the file'],
    ['broken', '{\n  "version": 2,\n}', 'line 3, column 1: expected a key in quotes, found "}"'],
    ['not text', Buffer.from([0x7b, 0xff]), 'not UTF-8 text'],
    ['endless', Buffer.alloc(20 << 20), 'more than 16 MiB: no manifest is that large'],
  ])('%s', async (name, content, line) => {
    const path = join(folder, `${name}.json`)
    await writeFile(path, content)
    await expect(loadManifest(path)).rejects.toMatchObject({ code: 'manifest-invalid', message: `${path}: ${line}` })
  })

  test('a good one loads', async () => {
    const path = join(folder, 'good\n.json')
    await writeFile(path, `\ufeff${JSON.stringify(withNotes({}))}`)
    await expect(loadManifest(path)).resolves.toMatchObject({ host: 'cellar' })
  })
})

function failure(act: () => unknown): ManifestInvalid {
  try {
    act()
  } catch (error) {
    if (error instanceof ManifestInvalid) return error
    throw error
  }
  throw new Error('it was accepted')
}
