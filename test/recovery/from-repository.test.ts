// Disaster recovery on a machine that has the repository, its password and nothing else.
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { living, output, resticBefore, until } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { makeRepository, type TestRepository } from '../lib/repository.ts'
import { keys } from '../lib/terminal.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

let w: World
let saved: ReturnType<typeof fingerprint>
const path = (name: string) => w.path('srv', name)
const flags = () => ['--from-repository', '--repository', w.repository.repository, '--password-file', w.path('given/password')]
const without = (args: string[], flag: string) => args.filter((arg, i) => arg !== flag && args[i - 1] !== flag)

beforeAll(async () => {
  w = await world()
  const services = {
    notes: { paths: [path('notes')], healthCheck: `touch ${w.path('ran')}`, preBackup: 'true' },
    wiki: { paths: [path('wiki')], restoreAfter: ['notes'] },
  }
  for (const name of ['notes', 'wiki']) w.write(`srv/${name}/file`, `of ${name}`)
  w.manifest({ services })
  expect(await w.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
  w.write('given/password', 'correct horse\n')
  // Where the manifest has its secrets there are none here.
  saved = fingerprint(w.path('srv'))
  rmSync(w.path('manifest.json'))
  rmSync(w.path('secrets/password'))
})
afterAll(() => w.cleanup())
beforeEach(() => {
  for (const folder of ['srv', 'state', 'ran', 'saved.json']) rmSync(w.path(folder), { recursive: true, force: true })
  for (const folder of ['srv', 'state']) mkdirSync(w.path(folder), { mode: 0o700 })
})
const look = () => fingerprint(w.path('srv')).filter(({ path, type }) => type !== 'folder' && !path.includes('.atelier-backup'))

describe.skipIf(!isRoot)('dr --from-repository', () => {
  test('[dr.13] needs no manifest: it shows the stored one, and brings every service back', async () => {
    expect(await w.cli(['dr'])).toMatchObject({ exit: 1, stderr: expect.stringContaining('atelier-backup dr --from-repository') })
    const { exit, stdout } = await w.cli(['dr', ...flags(), '--yes'])
    expect(exit).toBe(0)
    expect(stdout).toMatch(/The manifest of testhost, stored today/)
    expect(stdout).toMatch(new RegExp(`notes +– +${path('notes')}`))
    expect(stdout).toContain(`notes healthCheck   touch ${w.path('ran')}`)
    expect(look()).toEqual(saved.filter(({ type }) => type !== 'folder'))
    expect(existsSync(w.path('manifest.json'))).toBe(false)
    expect(JSON.parse(readFileSync(w.path('state/records/notes.json'), 'utf8'))).toMatchObject({ origin: { how: 'recovered' } })
  })

  test('[dr.14] its commands do not run without consent', async () => {
    const silent = await w.cli(['dr', ...flags(), '--yes', '--json'])
    expect(silent.exit).toBe(0)
    expect(silent.stderr).toContain('--run-commands')
    expect(silent.events().at(-1)).toMatchObject({ services: [{ name: 'notes', health: 'unchecked' }, { name: 'wiki' }] })
    expect(existsSync(w.path('ran'))).toBe(false)
    const allowed = await w.cli(['dr', ...flags(), '--yes', '--json', '--overwrite', '--run-commands'])
    expect(allowed.events().at(-1)).toMatchObject({ services: [{ name: 'notes', health: 'passed' }, { name: 'wiki' }] })
    expect(existsSync(w.path('ran'))).toBe(true)
  })

  test('[dr.14] [dr.15] at a terminal it asks for what is missing; the password is shown nowhere, and only restic’s environment holds it', async () => {
    const { env } = resticBefore(
      w,
      `if [ "$command" = restore ]; then : >${w.path('begun')}; while [ ! -e ${w.path('go')} ]; do sleep 0.02; done; fi`,
    )
    const terminal = w.terminal(['dr', '--from-repository', '--save-manifest', w.path('saved.json')], { env, rows: 60 })
    const answers: [string | RegExp, string][] = [
      ['Location of the repository', w.repository.repository],
      ["The repository's password", 'correct horse'],
      ['Type run', 'run'],
      ['Type testhost', 'testhost'],
    ]
    for (const [question, answer] of answers) {
      await terminal.waitFor(question)
      terminal.type(`${answer}${keys.enter}`)
    }
    await until(() => existsSync(w.path('begun')), 'it restores')
    const secret = 'correct horse'
    const holders = living(w).filter(({ environment, argv }) => [environment, ...argv].some((text) => text.includes(secret)))
    expect(holders.length).toBeGreaterThan(0)
    for (const { argv } of holders) expect(argv.join(' ')).toMatch(/restic|sleep 0\.02/)
    for (const { argv } of holders) expect(argv.join(' ')).not.toContain(secret)
    writeFileSync(w.path('go'), '')
    expect(await terminal.exit).toBe(0)
    expect(terminal.all()).not.toContain(secret)
    expect(existsSync(w.path('ran'))).toBe(true)
    const { notes } = JSON.parse(readFileSync(w.path('saved.json'), 'utf8')).services
    expect(notes).toMatchObject({ healthCheck: `touch ${w.path('ran')}`, preBackup: null })
    expect(output(['bash', '-c', `grep -rlF '${secret}' ${w.path('state')} ${w.path('cache')} || true`])).toBe('')
    expect(look()).toEqual(saved.filter(({ type }) => type !== 'folder'))
  })

  test('[dr.15] a slip at a prompt is told and asked for again, and what was right is kept', async () => {
    const terminal = w.terminal(['dr', '--from-repository'], { rows: 60, cols: 200 })
    const answers: [string | RegExp, string][] = [
      ['Location of the repository', `${w.repository.repository}/nowhere`],
      ["The repository's password", 'correct horse'],
      [/no repository found at this location[\s\S]*Location of the repository/, w.repository.repository],
      [/no repository found at this location[\s\S]*The repository's password/, 'wrong horse'],
      [/the password that was given doesn't open it[\s\S]*The repository's password/, 'correct horse'],
      ['Type run', ''],
      ['Type testhost', 'testhost'],
    ]
    for (const [question, answer] of answers) {
      await terminal.waitFor(question)
      terminal.type(`${answer}${keys.enter}`)
    }
    expect(await terminal.exit).toBe(0)
    expect(terminal.all().match(/Location of the repository/g)?.length).toBeGreaterThan(1)
    expect(look()).toEqual(saved.filter(({ type }) => type !== 'folder'))
  })

  test('[dr.13] an interrupted one goes on with --resume', async () => {
    const fails = resticBefore(w, `if [ "$command" = restore ] && [[ "$*" == *srv/wiki* ]]; then exit 1; fi`)
    const broken = await w.cli(['dr', ...flags(), '--yes'], fails)
    expect(broken.exit).toBe(1)
    const [, again = ''] = /^Next: +atelier-backup (.*)$/m.exec(broken.stdout) ?? []
    expect(again).toBe(`dr ${flags().join(' ')} --host testhost --resume`)
    expect(await w.cli([...again.split(' '), '--yes'])).toMatchObject({ exit: 0 })
    expect(look()).toEqual(saved.filter(({ type }) => type !== 'folder'))
  })

  test('[dr.13] of several hosts the one is taken that is named, and of its manifests the newest that is not too new', async () => {
    const stored = w.path('state/repositories/main.manifest')
    mkdirSync(stored, { recursive: true })
    const older = { version: 2, host: 'older', services: { photos: { paths: [path('photos')], units: [] } } }
    writeFileSync(`${stored}/manifest.json`, JSON.stringify(older))
    writeFileSync(`${stored}/host.json`, JSON.stringify({ repository: 'main', users: {}, groups: {} }))
    const password = { env: { RESTIC_PASSWORD_FILE: w.path('given/password') } }
    const store = ['backup', '--quiet', '--host', 'older', '--tag', 'atelier:manifest', '--time', '2020-01-01 02:00:00', stored]
    expect((await w.restic(store, password)).exit).toBe(0)
    writeFileSync(`${stored}/manifest.json`, JSON.stringify({ ...older, services: {} }))
    expect((await w.restic([...store.slice(0, -2), '2021-01-01 02:00:00', stored], password)).exit).toBe(0)
    rmSync(w.path('state'), { recursive: true })
    expect(await w.cli(['dr', ...flags(), '--yes'])).toMatchObject({ exit: 2, stderr: expect.stringMatching(/older, testhost.*--host/) })
    expect(await w.cli(['dr', ...flags(), '--host', 'odler', '--yes'])).toMatchObject({ exit: 2, stderr: expect.stringContaining('older') })
    const plan = await w.cli(['dr', ...flags(), '--host', 'older', '--at', '2020-06-01', '--dry-run', '--json'])
    expect(plan.json().choices).toEqual([expect.objectContaining({ name: 'photos', skip: expect.objectContaining({ code: 'unknown-snapshot' }) })])
    const terminal = w.terminal(['dr', ...flags(), '--dry-run'])
    await terminal.waitFor('Which host?')
    terminal.type(keys.escape)
    expect(await terminal.exit).toBe(130)
    const all = (await w.restic(['snapshots', '--json', '--host', 'older', '--tag', 'atelier:manifest'], password)).json() as { id: string }[]
    await w.restic(['forget', '--quiet', ...all.map(({ id }) => id)], password)
  })

  test('[dr.13] --save-manifest writes it into a new file, and nowhere else is it written', async () => {
    const saving = [...flags(), '--dry-run', '--save-manifest', w.path('saved.json')]
    expect(await w.cli(['dr', ...saving])).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining(`the manifest is written to ${w.path('saved.json')} without 2 commands`),
    })
    expect(JSON.parse(readFileSync(w.path('saved.json'), 'utf8'))).toMatchObject({
      host: 'testhost',
      services: { wiki: { restoreAfter: ['notes'] } },
    })
    expect(await w.cli(['dr', ...saving])).toMatchObject({ exit: 2, stderr: expect.stringContaining('exists') })
    expect(await w.cli(['status', '--local', '--manifest', w.path('saved.json')])).toMatchObject({ exit: expect.any(Number) })
  })

  test.each<[string, (args: string[]) => string[], number, RegExp]>([
    ['no location', (args) => without(args, '--repository'), 2, /--repository/],
    ['no password', (args) => without(args, '--password-file'), 2, /--password-file/],
    ['a location with a password', (args) => args.map((arg) => (arg.endsWith('/repository') ? 'rest:https://user:hunter2@host/' : arg)), 2, /prompt/],
    ['a wrong password', (args) => args.map((arg) => (arg.endsWith('/password') ? w.write('given/wrong', 'wrong') : arg)), 12, /doesn't open it/],
    [
      'a repository that is not there',
      (args) => args.map((arg) => (arg.endsWith('/repository') ? w.path('nowhere') : arg)),
      10,
      /no repository found at this location/,
    ],
    ['its flags without it', (args) => args.slice(1), 2, /--repository needs --from-repository/],
  ])('[dr.15] %s is said in one line', async (_, change, exit, words) => {
    const ended = await w.cli(['dr', ...change(flags()), '--yes'])
    expect(ended).toMatchObject({ exit, stdout: '', stderr: expect.stringMatching(/^atelier-backup: [^\n]*\n$/) })
    expect(ended.stderr).toMatch(words)
    expect(ended.stderr).not.toMatch(/hunter2/)
  })

  test('[dr.13] a repository without a manifest says so, and whose snapshots it holds', async (t) => {
    const other = await world(t)
    const empty = await makeRepository(other.path('r'))
    const ended = await other.cli(['dr', '--from-repository', '--repository', empty.repository, '--password-file', empty.passwordFile, '--yes'])
    expect(ended).toMatchObject({ exit: 1, stderr: expect.stringMatching(/holds no manifest.*--manifest FILE.*no host/) })
  })

  describe('a manifest that a stranger stored', () => {
    let strange: World
    const at = (name: string) => strange.path('srv', name)
    const args = (...more: string[]) => [
      'dr',
      '--from-repository',
      '--repository',
      strange.repository.repository,
      '--password-file',
      strange.path('given/password'),
      ...more,
    ]
    const store = async (
      manifest: object | string,
      { time = '', install = 'abc', parent = '', host = { repository: 'main', users: {}, groups: {} } as unknown } = {},
    ) => {
      const folder = strange.path('stored')
      mkdirSync(folder, { recursive: true })
      const base = { version: 2, host: 'testhost', services: {} }
      writeFileSync(`${folder}/manifest.json`, typeof manifest === 'string' ? manifest : JSON.stringify({ ...base, ...manifest }))
      writeFileSync(`${folder}/host.json`, typeof host === 'string' ? host : JSON.stringify(host))
      const dated = time === '' ? [] : ['--time', time]
      const tags = ['--tag', 'atelier:manifest', '--tag', `install:${install}`]
      const after = parent === '' ? [] : ['--parent', parent]
      const stored = await strange.restic(['backup', '--json', '--quiet', '--host', 'testhost', ...tags, ...dated, ...after, folder])
      expect(stored.exit).toBe(0)
      return JSON.parse(stored.stdout.trim().split('\n').at(-1) ?? '').snapshot_id as string
    }
    beforeEach(async () => {
      strange = await world()
      strange.write('given/password', 'correct horse\n')
    })
    afterEach(() => strange.cleanup())

    test('[dr.22] its locations are no commands and get no credentials, not even asked; they are told without secrets', async () => {
      let asked = 0
      const server = createServer((_, response) => {
        asked += 1
        response.writeHead(404).end()
      })
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const { port } = server.address() as AddressInfo
      strange.write('bin/rclone', `#!/bin/sh\ntouch ${strange.path('PWNED')}\n`)
      chmodSync(strange.path('bin/rclone'), 0o755)
      const env = { PATH: `${strange.path('bin')}:${process.env.PATH}` }
      const secrets = {
        passwordFile: strange.path('given/password'),
        environmentFile: strange.write('given/env', 'RESTIC_REST_PASSWORD=TOPSECRET\n'),
      }
      await store({
        repositories: {
          run: { repository: 'rclone:x:y', ...secrets },
          rest: { repository: `rest:http://127.0.0.1:${port}/\u001b[31m`, ...secrets },
          hidden: { repository: null, repositoryFile: strange.write('given/location', `rest:http://127.0.0.1:${port}/`), ...secrets },
        },
        services: Object.fromEntries(['run', 'rest', 'hidden'].map((name) => [name, { paths: [at(name)], units: [], repository: name }])),
        postgresql: { user: 'nobody', socketDir: '/tmp/strange', port: 1 },
        stagingDir: '/tmp/strange',
      })
      try {
        for (const more of [['--dry-run'], ['--yes'], ['--yes', '--resume']]) {
          const { exit, stdout } = await strange.cli(args(...more), { env })
          if (more.includes('--yes')) expect(exit).toBe(1)
          expect(stdout).toContain('rclone:x:y; holds run')
          expect(stdout).toMatch(/rest:http:\/\/127\.0\.0\.1:\d+\/\\u\{1b\}\[31m; holds rest/)
          expect(stdout).toMatch(/not used here[^\n]*\n +postgresql: user nobody, socketDir \/tmp\/strange, port 1\n +stagingDir: \/tmp\/strange/)
          expect(stdout).toMatch(/run needs a password[^\n]*--repository LOCATION/)
        }
        await strange.cli(args('--dry-run', '--save-manifest', strange.path('saved.json')))
        const saved = readFileSync(strange.path('saved.json'), 'utf8')
        expect(saved).not.toMatch(/rclone:|127\.0\.0\.1|given\/(env|location)|strange"/)
        await strange.cli(['status', '--manifest', strange.path('saved.json')], { env })
      } finally {
        server.close()
      }
      expect([asked, existsSync(strange.path('PWNED'))]).toEqual([0, false])
    })

    test('[dr.23] one from the future is passed over and named; a damaged one is named, and the one before it is taken, whose install is shown', async () => {
      const notes = { services: { notes: { paths: [at('notes')], units: [] } } }
      await store(notes, { time: '2020-01-01 02:00:00', install: 'good' })
      const damaged: [Parameters<typeof store>[0], object?][] = [
        ['{"version": 2, "host"'],
        [{ host: 'another' }],
        [notes, { host: '{"repos' }],
        [notes, { host: null }],
        [notes, { host: { repository: 7 } }],
        [`"${'x'.repeat(5 << 20)}"`],
        [{ services: { notes: { paths: [`/${'x'.repeat(5000)}`] } } }],
      ]
      for (const [i, [manifest, more]] of damaged.entries()) await store(manifest, { time: `2021-01-0${i + 1} 02:00:00`, install: 'bad', ...more })
      await store({ services: { future: { paths: [at('future')], units: [] } } }, { time: '2038-01-01 00:00:00' })
      const { stdout, stderr } = await strange.cli(args('--dry-run'))
      expect(stdout).toMatch(/The manifest of testhost, stored [^\n]*2020[^\n]* by install\s+good/)
      expect(stdout).toContain('another stored manifest is from install bad')
      expect(stderr).toMatch(/1 stored manifest dated in the future, passed over: [0-9a-f]{8} of testhost, 2038-01-01\n/)
      expect(stderr.match(/is damaged \([^\n]*passed over\n/g)).toHaveLength(damaged.length)
      const { json, stderr: alone } = await strange.cli(args('--dry-run', '--json'))
      expect(json().choices).toEqual([expect.objectContaining({ name: 'notes' })])
      expect(alone).toMatch(/future[\s\S]*damaged/)
      const all = (await strange.restic(['snapshots', '--json', '--tag', 'install:good'])).json() as { id: string }[]
      await strange.restic(['forget', '--quiet', ...all.map(({ id }) => id)])
      const none = await strange.cli(args('--dry-run'))
      expect(none).toMatchObject({ exit: 1, stderr: expect.stringMatching(/no stored manifest can be read: (the manifest in snapshot [\s\S]*){7}/) })
    })

    test('[dr.25] the one that was stored last is taken, and one that a wrong clock dated later is named, with what takes it', async () => {
      const declares = (name: string) => ({ services: { [name]: { paths: [at(name)], units: [] } } })
      const parent = await store(declares('old'), { time: '2022-01-01 02:00:00' })
      await store(declares('new'), { time: '2021-01-01 02:00:00', parent })
      const taken = async (...more: string[]) => {
        const { json, stderr } = await strange.cli(args('--dry-run', '--json', ...more))
        return [json().choices.map(({ name }: { name: string }) => name), stderr]
      }
      const [names, told] = await taken()
      expect(names).toEqual(['new'])
      expect(told).toMatch(
        /1 stored manifest dated later than [0-9a-f]{8} \(2021-01-01\), which was stored after them, passed over: [0-9a-f]{8}, 2022-01-01\. /,
      )
      expect(await taken('--at', /--at (\S+)$/m.exec(`${told}`)?.[1] ?? '')).toEqual([['old'], expect.not.stringContaining('passed over')])
    })

    test('[dr.24] every path is shown whole, those outside of the usual places first and marked', async () => {
      const paths = ['/var/lib/a b', `/srv/${'long-'.repeat(40)}notes`, '/etc/cron.d', '/var/lib/systemd/linger']
      await store({ services: { notes: { paths, units: [] } } })
      const { stdout } = await strange.cli(args('--dry-run'), { env: { COLUMNS: '60' } })
      expect(stdout).toMatch(
        /Written outside of the usual places of data[^\n]*\n\S+ notes {3}\/etc\/cron\.d\n\S+ notes {3}\/var\/lib\/systemd\/linger\n\nSERVICE/,
      )
      const rows = stdout.slice(stdout.indexOf('SERVICE'))
      for (const path of ["'/var/lib/a b'", ...paths.slice(1)]) expect(rows).toContain(path)
    })
  })

  describe('[dr.20] with services in another repository', () => {
    const manifest = (other: object) => ({
      services: {
        notes: { paths: [path('notes')] },
        photos: { paths: [path('photos')], repository: 'disk' },
        wiki: { paths: [path('wiki')], repository: 'disk' },
      },
      repositories: { disk: other },
    })
    let two: World
    let all: ReturnType<typeof fingerprint>
    let other: TestRepository
    const lookAt = () => fingerprint(two.path('srv')).filter(({ path, type }) => type !== 'folder' && !path.includes('.atelier-backup'))
    const flags = () => ['--from-repository', '--repository', two.repository.repository, '--password-file', two.path('given/main')]
    beforeAll(async () => {
      two = await world()
      other = await makeRepository(two.path('other'), { password: 'another one' })
      const { services } = manifest(other)
      for (const service of Object.values(services)) service.paths = service.paths.map((path) => path.replace(w.root, two.root))
      for (const name of Object.keys(services)) two.write(`srv/${name}/file`, `of ${name}`)
      two.manifest({ services, repositories: { disk: other } })
      expect(await two.cli(['backup', '--all'])).toMatchObject({ exit: 0 })
      all = lookAt()
      for (const [name, secret] of Object.entries({ main: 'correct horse', disk: 'another one' })) two.write(`given/${name}`, `${secret}\n`)
      for (const gone of ['manifest.json', 'secrets/password', 'other/password']) rmSync(two.path(gone))
    })
    afterAll(() => two?.cleanup())
    beforeEach(() => {
      for (const folder of ['srv', 'state']) rmSync(two.path(folder), { recursive: true, force: true })
      for (const folder of ['srv', 'state']) mkdirSync(two.path(folder), { mode: 0o700 })
    })

    test('unattended: what can be is recovered, and what is typed then brings back the rest', async () => {
      const first = await two.cli(['dr', ...flags(), '--yes'])
      const next = `dr --from-repository --repository ${other.repository} --password-file FILE --host testhost --only photos --only wiki`
      expect([first.exit, first.stdout]).toEqual([1, expect.stringContaining(`Next:    atelier-backup ${next}\n`)])
      expect(first.stdout).toMatch(/photos: its repository disk needs a password that wasn't given/)
      expect(lookAt()).toEqual(all.filter(({ path }) => path.startsWith('./notes')))
      const second = await two.cli([...next.replace('FILE', two.path('given/disk')).split(' '), '--yes'])
      expect(second.exit).toBe(0)
      expect(lookAt()).toEqual(all)
      expect(existsSync(two.path('state/disaster-recovery.json'))).toBe(false)
    })

    test('at a terminal one call asks for each, and brings back all; no other gets the credentials of the first', async () => {
      const { env } = resticBefore(two, `[ -z "$B2_ACCOUNT_KEY" ] || printenv RESTIC_REPOSITORY >>${two.path('given/to')}`)
      const environment = two.write('given/environment', 'B2_ACCOUNT_KEY=of the first\n')
      const terminal = two.terminal(['dr', ...flags(), '--environment-file', environment], { env, rows: 60, cols: 160 })
      await terminal.waitFor(/Location of the repository disk, which holds photos, wiki/)
      terminal.type(`${other.repository}${keys.enter}`)
      await terminal.waitFor('The password of the repository disk, which holds photos, wiki')
      terminal.type(`another one${keys.enter}`)
      await terminal.waitFor('Type testhost')
      terminal.type(`testhost${keys.enter}`)
      expect(await terminal.exit).toBe(0)
      expect(terminal.all()).not.toContain('another one')
      expect(lookAt()).toEqual(all)
      expect([...new Set(readFileSync(two.path('given/to'), 'utf8').trim().split('\n'))]).toEqual([two.repository.repository])
    })

    test('[dr.22] files of this machine that the manifest names as secrets are not used', async () => {
      two.write('other/password', 'another one\n')
      const ended = await two.cli(['dr', ...flags(), '--yes'])
      rmSync(two.path('other/password'))
      expect([ended.exit, ended.stdout]).toEqual([1, expect.stringContaining('photos: its repository disk needs a password')])
      expect(lookAt()).toEqual(all.filter(({ path }) => path.startsWith('./notes')))
    })
  })
})
