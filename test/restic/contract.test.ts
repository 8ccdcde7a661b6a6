// What we rely on, held against each supported restic: exit codes, JSON, locks, names, interrupts.
import { once } from 'node:events'
import * as fs from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildSync } from 'esbuild'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { textOf } from '../../src/bytes.ts'
import { Failure } from '../../src/errors.ts'
import { run } from '../../src/host/shell.ts'
import { type ClientOptions, openRestic } from '../../src/restic/client.ts'
import type { BackupRequest, Node, Restic } from '../../src/restic/types.ts'
import { until } from '../lib/live.ts'
import { lockRepository, makeRepository, resticPrograms, type TestRepository } from '../lib/repository.ts'
import { makeHostileTree } from '../lib/tree.ts'

const base = fs.mkdtempSync(join(tmpdir(), 'atelier-contract-'))
afterAll(() => fs.rmSync(base, { recursive: true }))

describe.each(resticPrograms())('%s', (program) => {
  let folder: string
  let source: string
  let repository: TestRepository
  let restic: Restic

  beforeEach(async () => {
    folder = fs.mkdtempSync(join(base, 'case-'))
    source = join(folder, 'source')
    fs.mkdirSync(source)
    repository = await makeRepository(folder)
    restic = open()
  })

  const open = (changes: Partial<ClientOptions['repository']> = {}) =>
    openRestic({ name: 'main', repository: { ...repository, ...changes }, cacheDir: join(folder, 'cache'), program })
  const backup = (request: Partial<BackupRequest> = {}) =>
    restic.backup({ paths: [source], exclude: [], tags: ['service:notes'], host: 'here', ...request })
  const write = (name: string | Buffer, content = 'content') => {
    const path = Buffer.concat([Buffer.from(`${source}/`), Buffer.from(name)])
    fs.writeFileSync(path, content)
    return path
  }
  /** Long to read, and nothing to store. */
  const writeLong = () => fs.truncateSync(write('long'), 40e9)
  const list = async (id: string, under?: string) => {
    const nodes: Node[] = []
    for await (const node of restic.ls(id, under)) nodes.push(node)
    return nodes
  }
  const locksLeft = () => fs.readdirSync(join(repository.repository, 'locks'))

  describe('results', () => {
    it('a backup tells its id, time, sizes and progress; the list tells the same', async () => {
      write('a', 'x'.repeat(5000))
      const made = await backup({ tags: ['service:notes', 'install:1'], exclude: ['*.tmp'] })
      expect(made).toMatchObject({ snapshotId: expect.stringMatching(/^[0-9a-f]{64}$/), bytes: 5000, files: 1, unreadable: [], unreadableCount: 0 })
      expect(made.addedBytes).toBeGreaterThan(0)
      const [snapshot] = await restic.snapshots()
      expect(snapshot).toEqual({
        id: made.snapshotId,
        shortId: made.snapshotId.slice(0, 8),
        time: made.time,
        host: 'here',
        paths: [source],
        tags: ['service:notes', 'install:1'],
        excludes: ['*.tmp'],
        parent: null,
        original: null,
        isRewritten: false,
        bytes: 5000,
        files: 1,
        addedBytes: made.addedBytes,
      })
    })

    it('an empty repository lists nothing, and has an id', async () => {
      expect(await restic.snapshots()).toEqual([])
      expect(await restic.repositoryId()).toMatch(/^[0-9a-f]{64}$/)
      expect(await restic.location()).toBe(repository.repository)
      expect(await restic.version()).toMatch(/^0\.(1[7-9]|[2-9]\d)/)
    })

    it('[newest.1] snapshots come newest first, by their time', async () => {
      const times = ['2025-03-01T10:00:00.000Z', '2025-03-03T10:00:00.000Z', '2025-03-02T10:00:00.000Z']
      for (const time of times) expect((await backup({ time: new Date(time) })).time).toBe(time)
      expect((await restic.snapshots()).map(({ time }) => new Date(time).toISOString())).toEqual([times[1], times[2], times[0]])
    })

    it('a parent is used, and recorded', async () => {
      write('a')
      const first = await backup()
      const second = await backup({ parent: first.snapshotId })
      expect(second.addedBytes).toBeLessThan(first.addedBytes)
      expect((await restic.snapshots())[0]?.parent).toBe(first.snapshotId)
    })

    it('ls tells each entry with mode and size, and what is below one path', async () => {
      fs.chmodSync(write('suid'), 0o4750)
      fs.mkdirSync(join(source, 'sticky'))
      fs.chmodSync(join(source, 'sticky'), 0o3777)
      fs.symlinkSync('/some/where', join(source, 'link'))
      await run(['mkfifo', join(source, 'fifo')])
      const { snapshotId } = await backup()
      const all = await list(snapshotId)
      const entry = (name: string) => all.find(({ path }) => path === join(source, name))
      expect(entry('suid')).toMatchObject({ type: 'file', mode: 0o4750, bytes: 7, uid: process.getuid?.() })
      expect(entry('sticky')).toMatchObject({ type: 'dir', mode: 0o3777, bytes: 0 })
      expect(entry('fifo')).toMatchObject({ type: 'fifo' })
      expect(Date.parse(entry('suid')?.mtime ?? '')).toBe(Math.floor(fs.statSync(join(source, 'suid')).mtimeMs))
      expect((await list(snapshotId, source)).map(({ path }) => path).sort()).toEqual(
        [source, ...['fifo', 'link', 'sticky', 'suid'].map((name) => join(source, name))].sort(),
      )
      expect(await list(snapshotId, join(source, 'suid'))).toHaveLength(1)
      expect(await list(snapshotId, join(source, 'none'))).toEqual([])
      expect(await restic.readlink(snapshotId, join(source, 'link'))).toBe('/some/where')
      expect(await restic.readlink(snapshotId, join(source, 'suid'))).toBeNull()
    })

    it('trees tells of several snapshots in one call what ls tells of each, and who owns what, and where links lead', async () => {
      makeHostileTree(join(source, 'hostile'))
      const first = await backup()
      fs.symlinkSync('/some/where', join(source, 'link'))
      write('new')
      const second = await backup()
      const trees = await restic.trees([first.snapshotId, second.snapshotId])
      expect([...trees.keys()].sort()).toEqual([first.snapshotId, second.snapshotId].sort())
      for (const { snapshotId } of [first, second]) {
        const tree = trees.get(snapshotId) ?? []
        expect(tree.map(({ user, group, target, ...node }) => node)).toEqual(await list(snapshotId))
      }
      const of = (name: string) => trees.get(second.snapshotId)?.find(({ path }) => path === join(source, name))
      expect(of('link')).toMatchObject({ type: 'symlink', target: '/some/where' })
      expect(of('new')).toMatchObject({ user: userInfo().username, target: null })
    })

    it('folder tells what stands directly in it, and nothing below', async () => {
      write('a')
      fs.mkdirSync(join(source, 'in/deep'), { recursive: true })
      const { snapshotId } = await backup()
      const names = async (path: string) => (await restic.folder(snapshotId, path)).map((node) => node.path)
      expect(await names(source)).toEqual([join(source, 'a'), join(source, 'in')])
      expect(await names(join(source, 'in/deep'))).toEqual([])
      expect(await names('/')).toEqual([`/${source.split('/')[1]}`])
      for (const path of [join(source, 'none'), join(source, 'a')]) await expect(names(path)).rejects.toMatchObject({ code: 'unknown-path' })
    })

    it('find looks through all snapshots of a host, newest first, in any case', async () => {
      write('Budget 2026.txt', 'one')
      const first = await backup({ time: new Date('2025-03-01T10:00:00Z') })
      write('Budget 2026.txt', 'more')
      const second = await backup({ time: new Date('2025-03-02T10:00:00Z') })
      await backup({ tags: ['service:other'] })
      await backup({ host: 'elsewhere' })
      const found = await restic.find({ pattern: '*budget*', host: 'here', tags: ['service:notes'] })
      expect(found).toMatchObject([
        { snapshot: second.snapshotId, nodes: [{ path: join(source, 'Budget 2026.txt'), type: 'file', bytes: 4 }] },
        { snapshot: first.snapshotId, nodes: [{ path: join(source, 'Budget 2026.txt'), type: 'file', bytes: 3 }] },
      ])
      expect(await restic.find({ pattern: '*budget*', host: 'here', tags: [] })).toHaveLength(3)
      expect(await restic.find({ pattern: 'nothing', host: 'here', tags: [] })).toEqual([])
      await expect(restic.find({ pattern: '[', host: 'here', tags: [] })).rejects.toMatchObject({ code: 'usage' })
    })

    it('leaving ls early ends restic', async () => {
      write('a')
      const { snapshotId } = await backup()
      for await (const _ of restic.ls(snapshotId)) break
      expect(running(folder)).toEqual([])
    })

    it('a tag makes a new snapshot in place of the old one', async () => {
      const { snapshotId } = await backup()
      const tagged = await restic.tag(snapshotId, ['a', 'b'])
      expect(await restic.snapshots()).toMatchObject([{ id: tagged, tags: ['service:notes', 'a', 'b'], original: snapshotId }])
      expect(await restic.tag(tagged, ['a'])).toBe(tagged)
    })

    it('[newest.9] where the storage kept both, the tagged one can only make the original partial', async () => {
      const { snapshotId } = await backup()
      const file = join(repository.repository, 'snapshots', snapshotId)
      const content = fs.readFileSync(file)
      for (const [tag, tags] of [
        ['partial', ['service:notes', 'partial']],
        ['failed', ['service:notes', 'partial']],
        ['unadopted', ['service:notes']],
      ] as const) {
        const tagged = await restic.tag(snapshotId, [tag])
        fs.writeFileSync(file, content)
        const [first, ...others] = (await restic.snapshots()).sort((a) => (a.id === snapshotId ? -1 : 1))
        expect(first).toMatchObject({ id: snapshotId, tags, isRewritten: false })
        // Another tag is another snapshot, which never counts while the original is there.
        expect(others.map(({ id, isRewritten }) => [id, isRewritten])).toEqual(tag === 'unadopted' ? [[tagged, true]] : [])
        fs.rmSync(join(repository.repository, 'snapshots', tagged))
      }
    })

    it('[newest.9] a snapshot that names another as its original, and says otherwise, takes nobody’s place', async () => {
      write('secret')
      const { snapshotId } = await backup()
      const rewrite = (...args: string[]) =>
        run([program, '--repo', repository.repository, '--password-file', repository.passwordFile, 'rewrite', ...args, snapshotId])
      expect(await rewrite('--new-host', 'elsewhere')).toMatchObject({ exit: 0 })
      expect(await rewrite('--exclude', 'secret')).toMatchObject({ exit: 0 })
      const all = await restic.snapshots()
      expect(all.filter(({ isRewritten }) => !isRewritten).map(({ id }) => id)).toEqual([snapshotId])
      expect(all).toHaveLength(3)
    })

    it('prune says what it does', async () => {
      await backup()
      expect(await restic.prune({ dryRun: true })).toMatch(/to delete/)
      expect(await restic.prune({ dryRun: false })).toMatch(/done/)
    })

    it('check counts damage', async () => {
      write('a')
      await backup()
      expect(await restic.check()).toEqual({ errors: 0 })
      const data = join(repository.repository, 'data')
      const [pack = ''] = fs.readdirSync(data, { recursive: true, encoding: 'utf8' }).filter((name) => name.length > 60)
      fs.rmSync(join(data, pack))
      expect((await restic.check()).errors).toBeGreaterThan(0)
    })

    it('[cli.6] restic’s own exit code comes back', async () => {
      expect(await restic.passthrough(['--quiet', 'unlock'])).toBe(0)
      expect(await open({ repository: join(folder, 'none') }).passthrough(['--quiet', 'unlock'])).toBe(10)
    })

    it('init makes a repository, once', async () => {
      const fresh = open({ repository: join(folder, 'fresh') })
      expect(await fresh.init()).toBe(await fresh.repositoryId())
      await expect(fresh.init()).rejects.toMatchObject({ code: 'restic-failed', message: expect.stringContaining('already') })
    })
  })

  describe('restore', () => {
    it('brings everything back below the target', async () => {
      fs.chmodSync(write('a'), 0o640)
      const { snapshotId } = await backup()
      const target = join(folder, 'target')
      expect(await restic.restore({ snapshot: snapshotId, target, include: [] })).toMatchObject({ bytes: 7 })
      expect(fs.readFileSync(join(target, source, 'a'), 'utf8')).toBe('content')
      expect(fs.statSync(join(target, source, 'a')).mode & 0o7777).toBe(0o640)
    })

    const long = 'ä'.repeat(127)
    const names = [
      '\n',
      'a\nb',
      '-rf',
      '--json',
      ' a ',
      '*',
      '?',
      '[a]',
      'a\\',
      '\\*',
      '$HOME',
      '`id`',
      "it's",
      '"',
      '😀',
      long,
      '%s',
      '#',
      '!a',
      '**',
      '\t',
      '\r',
      'a',
    ]
    it.each(names)('[inspect.3] a file called %j comes back, alone', async (name) => {
      for (const decoy of names) write(decoy, `of ${decoy}`)
      const { snapshotId } = await backup({ paths: names.map((each) => `${source}/${each}`) })
      const target = join(folder, 'target')
      await restic.restore({ snapshot: snapshotId, target, include: [`${source}/${name}`] })
      expect(fs.readdirSync(join(target, source))).toEqual([name])
      expect(fs.readFileSync(`${target}${source}/${name}`, 'utf8')).toBe(`of ${name}`)
    })

    it('[bytes.3] names that aren’t UTF-8 are told with all bytes, and come back by them', async () => {
      const odd = [
        [0x61, 0xff, 0xe2, 0x82, 0x62],
        [0x61, 0xfe, 0xe2, 0x82, 0x62],
        [0x0a, 0xe9, 0x0a],
        [0x2a, 0xc3],
        [0x5c, 0xe9],
      ].map((bytes) => Buffer.from(bytes))
      const names = [...odd, Buffer.from('a\ufffd\ufffd\ufffdb'), Buffer.from('x\ny')]
      const path = (name: Buffer) => `${source}/${textOf(name)}`
      for (const name of names) write(name, `of ${name}`)
      const { snapshotId } = await backup()
      const all = await list(snapshotId)
      expect(all.flatMap((node) => (node.type === 'file' ? [node.path] : [])).sort()).toEqual(names.map(path).sort())
      expect((await restic.folder(snapshotId, source)).map((node) => node.path).sort()).toEqual(names.map(path).sort())
      expect((await restic.trees([snapshotId])).get(snapshotId)?.map((node) => node.path)).toEqual(all.map((node) => node.path))
      const [found] = await restic.find({ pattern: `*${textOf(Buffer.from([0xe9]))}*`, host: 'here', tags: [] })
      expect(found?.nodes.map((node) => node.path)).toEqual(expect.arrayContaining([path(odd[2] as Buffer), path(odd[4] as Buffer)]))
      for (const name of odd.slice(1, 3)) {
        const target = join(folder, `target-${odd.indexOf(name)}`)
        await restic.restore({ snapshot: snapshotId, target, include: [path(name)] })
        expect(fs.readdirSync(join(target, source), 'buffer')).toEqual([name])
      }
      // Folders and links, too, and what differs between two snapshots.
      fs.mkdirSync(join(source, 'd'))
      const inner = Buffer.concat([Buffer.from(`${source}/d/`), Buffer.from([0xe8])])
      fs.mkdirSync(inner)
      fs.symlinkSync(Buffer.from([0x2f, 0xe9]), Buffer.concat([inner, Buffer.from('/link')]))
      for (const name of odd) write(name, `new ${name}`)
      const { snapshotId: next } = await backup()
      const changed: string[] = []
      for await (const change of restic.diff(snapshotId, next)) changed.push(change.path)
      expect(changed.sort()).toEqual([...odd.map(path), `${source}/d/`, `${textOf(inner)}/`, `${textOf(inner)}/link`].sort())
      expect(await restic.readlink(next, `${textOf(inner)}/link`)).toBe(textOf(Buffer.from([0x2f, 0xe9])))
    })

    it('more paths than one command line takes', async () => {
      const many = Array.from({ length: 600 }, (_, i) => `${'long-'.repeat(20)}${i}`)
      for (const name of many) write(name)
      write('not this')
      const { snapshotId } = await backup()
      const target = join(folder, 'target')
      const { bytes } = await restic.restore({ snapshot: snapshotId, target, include: many.map((name) => `${source}/${name}`) })
      expect(bytes).toBe(600 * 7)
      expect(fs.readdirSync(join(target, source)).sort()).toEqual(many.sort())
    })

    it('an error names the first item', async () => {
      write('a')
      write('b')
      const { snapshotId } = await backup()
      const target = join(folder, 'target')
      const there = join(target, source)
      fs.mkdirSync(there, { recursive: true })
      expect(await run(['chattr', '+i', there])).toMatchObject({ exit: 0 })
      try {
        await expect(restic.restore({ snapshot: snapshotId, target, include: [] })).rejects.toMatchObject({
          code: 'restic-failed',
          message: expect.stringMatching(
            new RegExp(`restoring snapshot ${snapshotId.slice(0, 8)} below ${target} met \\d errors, the first at ${source}/[ab]: `),
          ),
        })
      } finally {
        await run(['chattr', '-i', there])
      }
    })
  })

  describe('failures', () => {
    it('no repository: 10, and how to make one', async () => {
      await expect(open({ repository: join(folder, 'none') }).snapshots()).rejects.toMatchObject({
        code: 'no-repository',
        exit: 10,
        message: `repository main (${join(folder, 'none')}): no repository found at this location. The first backup creates one if the manifest says initialize = true; or type: atelier-backup restic --repository main -- init`,
      })
    })

    it('wrong password: 12, and which file holds it', async () => {
      fs.writeFileSync(repository.passwordFile, 'wrong')
      await expect(restic.snapshots()).rejects.toMatchObject({
        code: 'wrong-password',
        exit: 12,
        message: expect.stringContaining(repository.passwordFile),
      })
    })

    it('[repository.6] locked: 11, by whom, since when, and what to type; only `unlock` of all removes another host’s lock', async () => {
      await lockRepository(repository, { hostname: 'elsewhere', pid: 4242, time: new Date(Date.now() - 60_000) })
      for (const refused of [backup, () => restic.prune({ dryRun: false }), () => restic.check()])
        await expect(refused()).rejects.toMatchObject({
          code: 'locked',
          exit: 11,
          message: expect.stringMatching(
            /: locked by PID 4242 on elsewhere, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(1m\d+s ago\); wait, .*atelier-backup unlock$/,
          ),
        })
      expect(await restic.snapshots()).toEqual([])
      expect(await restic.locks()).toEqual([
        { id: locksLeft()[0], host: 'elsewhere', pid: 4242, user: 'someone', exclusive: true, time: expect.stringMatching(/^\d{4}-/) },
      ])
      expect(await restic.unlock()).toBe(0)
      expect(await restic.unlock({ all: true })).toBe(1)
      expect(await restic.locks()).toEqual([])
    })

    it('retryLock waits for a lock that goes away', async () => {
      await lockRepository(repository)
      const waiting = open({ retryLock: '1m' }).prune({ dryRun: false })
      await sleep(1000)
      await restic.unlock({ all: true })
      await expect(waiting).resolves.toMatch(/done/)
    })

    it('[snapshot.4] a missing path is told, whatever restic’s exit code', async () => {
      const made = await backup({ paths: [source, '/none', '/no ne\n'] })
      expect(made.unreadable[0]).toEqual({ path: '/none', message: 'does not exist' })
      expect(made.unreadableCount).toBeGreaterThan(0)
      expect(await restic.snapshots()).toHaveLength(1)
      await expect(backup({ paths: ['/none'] })).rejects.toMatchObject({ code: 'restic-failed', message: expect.stringContaining('do not exist') })
    })

    it('an unreadable file is told, and the rest is saved', async () => {
      write('a')
      const memory = `/proc/${process.pid}/mem`
      const made = await backup({ paths: [source, memory] })
      expect(made).toMatchObject({ unreadable: [{ path: memory, message: expect.stringContaining('input/output error') }], unreadableCount: 1 })
      expect(await list(made.snapshotId, join(source, 'a'))).toHaveLength(1)
    })

    it('of thousands of unreadable paths a thousand are named, and all are counted', async () => {
      const made = await backup({ paths: [source, ...Array.from({ length: 1100 }, (_, i) => `/none/${i}`)] })
      expect(made.unreadable).toHaveLength(1000)
      expect(made.unreadableCount).toBe(1100)
    })

    it('more paths than one command line takes are refused', async () => {
      const paths = Array.from({ length: 20_000 }, (_, i) => `/${'long'.repeat(30)}/${i}`)
      await expect(backup({ paths })).rejects.toMatchObject({ code: 'too-many-arguments' })
    })

    it('[repository.1] a parent that the repository doesn’t hold shows that it is another one', async () => {
      await expect(backup({ parent: 'a'.repeat(64) })).rejects.toMatchObject({ code: 'parent-missing', message: expect.stringContaining('aaaaaaaa') })
      expect(await restic.snapshots()).toEqual([])
    })

    it('an unknown snapshot', async () => {
      const id = 'a'.repeat(64)
      const restore = () => restic.restore({ snapshot: id, target: join(folder, 'target'), include: [] })
      for (const call of [() => list(id), restore, () => restic.tag(id, ['x']), () => list('abc')])
        await expect(call()).rejects.toMatchObject({ code: 'unknown-snapshot', exit: 2 })
    })

    it('a snapshot that the storage doesn’t let go isn’t forgotten without a word', async () => {
      const kept = await backup({ time: new Date('2025-01-01') })
      await backup()
      const file = join(repository.repository, 'snapshots', kept.snapshotId)
      expect(await run(['chattr', '+i', file])).toMatchObject({ exit: 0 })
      try {
        const forgetting = restic.forgetSnapshots([kept.snapshotId])
        await expect(forgetting).rejects.toMatchObject({ code: 'restic-failed', message: expect.stringContaining('unable to remove') })
        await expect(restic.tag(kept.snapshotId, ['x'])).rejects.toMatchObject({ code: 'restic-failed' })
      } finally {
        await run(['chattr', '-i', file])
      }
    })

    it('secrets that can’t be read are named before restic starts', async () => {
      const file = join(folder, 'secret')
      for (const changes of [{ passwordFile: file }, { environmentFile: file }, { repository: null, repositoryFile: file }])
        await expect(open(changes).snapshots()).rejects.toMatchObject({
          code: 'secrets-unreadable',
          message: expect.stringContaining(`${file} doesn't exist`),
        })
      fs.writeFileSync(file, ' \n')
      for (const changes of [{ passwordFile: file }, { repository: null, repositoryFile: file }])
        await expect(open(changes).snapshots()).rejects.toMatchObject({
          code: 'secrets-unreadable',
          message: expect.stringContaining(`${file} is empty`),
        })
      expect(await open({ environmentFile: file }).snapshots()).toEqual([])
      fs.writeFileSync(file, `${repository.repository}\n\n`)
      expect(await open({ repository: null, repositoryFile: file }).snapshots()).toEqual([])
      fs.mkdirSync(join(folder, 'dir'))
      await expect(open({ passwordFile: join(folder, 'dir') }).snapshots()).rejects.toMatchObject({ code: 'secrets-unreadable' })
    })
  })

  describe('unreachable', () => {
    let asked = 0
    const server = createServer((_, response) => {
      asked += 1
      response.writeHead(500).end()
    })
    let url: string
    beforeAll(async () => {
      await once(server.listen(0, '127.0.0.1'), 'listening')
      url = `rest:http://user:hidden-one@127.0.0.1:${(server.address() as AddressInfo).port}/x`
    })
    afterAll(() => server.close())

    it('[secret.2] [state.3] no answer in time, and no secret shown: neither in the error nor to other processes', async () => {
      const file = join(folder, 'location')
      const environmentFile = join(folder, 'environment')
      fs.writeFileSync(file, url)
      fs.writeFileSync(environmentFile, 'AWS_SECRET_ACCESS_KEY="hidden-two"\n')
      const remote = open({ repository: null, repositoryFile: file, environmentFile })
      expect(await remote.location()).toBe(url.replace('hidden-one', '***'))
      // A token in a name's place; the name of an account isn't secret.
      const named = (repository: string) => open({ repository, repositoryFile: '' }).location()
      expect(await named('rest:https://hidden-token@host:8000/x')).toBe('rest:https://***@host:8000/x')
      expect(await named('sftp://backup@host:22//srv/x')).toBe('sftp://backup@host:22//srv/x')
      const limit = new AbortController()
      const asking = remote.snapshots({ signal: limit.signal }).catch((error: Failure) => error)
      // By its second try restic has printed what became of the first.
      await until(() => asked > 1)
      const processes = everyProcess()
      limit.abort(new DOMException('no answer', 'TimeoutError'))
      expect(processes.filter(({ environment }) => environment.includes('hidden-two')).map(({ name }) => name)).toEqual(['restic'])
      expect(processes.filter(({ command }) => /hidden-(one|two)|correct horse/.test(command))).toEqual([])
      expect(processes.filter(({ environment }) => /hidden-one|correct horse/.test(environment))).toEqual([])
      const error = await asking
      expect(error).toBeInstanceOf(Failure)
      expect(error).toMatchObject({ code: 'repository-unreachable', message: expect.stringMatching(/: no answer in time \(.*500/) })
      expect(String(error)).not.toMatch(/hidden/)
    })

    it('a repository that goes away half-way: 0.18 makes the folders anew, saves into them, and exits 0', async () => {
      writeLong()
      let gone = false
      const saving = backup({
        signal: AbortSignal.timeout(20_000),
        onProgress() {
          if (gone) return
          gone = true
          fs.renameSync(repository.repository, join(folder, 'away'))
          fs.truncateSync(join(source, 'long'), 0)
        },
      })
      await expect(saving).rejects.toMatchObject({ code: 'repository-unreachable' })
      await expect(restic.snapshots()).rejects.toMatchObject({ code: 'no-repository' })
    })
  })

  describe('interrupts', () => {
    it('[exit.3] a backup ends, with no snapshot and no lock', async () => {
      writeLong()
      const controller = new AbortController()
      const saving = backup({ signal: controller.signal, onProgress: () => controller.abort() })
      await expect(saving).rejects.toMatchObject({ code: 'interrupted', exit: 130, message: 'interrupted' })
      expect(locksLeft()).toEqual([])
      expect(await restic.snapshots()).toEqual([])
      expect(running(folder)).toEqual([])
    })

    it('so does what is interrupted before it begins, and while it waits for a lock', async () => {
      await expect(restic.snapshots({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'interrupted', exit: 130 })
      await lockRepository(repository)
      const controller = new AbortController()
      const waiting = open({ retryLock: '1h' }).prune({ dryRun: false, signal: controller.signal })
      setTimeout(() => controller.abort(), 1000)
      await expect(waiting).rejects.toMatchObject({ code: 'interrupted' })
      expect(locksLeft()).toHaveLength(1)
    })

    it('a prefix is part of the call, and is interrupted with it', async () => {
      writeLong()
      const controller = new AbortController()
      const prefix = ['sh', '-c', `echo "$@" > ${folder}/argv; exec "$@"`, 'sh']
      await expect(backup({ prefix, signal: controller.signal, onProgress: () => controller.abort() })).rejects.toMatchObject({ code: 'interrupted' })
      expect(fs.readFileSync(join(folder, 'argv'), 'utf8')).toMatch(new RegExp(`^${program} backup --json .*-- ${source}\n`))
      expect(running(folder)).toEqual([])
    })

    it('[cli.10] when we are killed outright, restic ends too, and the next backup works', async () => {
      writeLong()
      const script = join(folder, 'backup.mjs')
      bundled(
        script,
        { repository, cacheDir: join(folder, 'cache'), program },
        `await restic.backup(${JSON.stringify({ paths: [source], exclude: [], tags: [], host: 'here' })})`,
      )
      let ours = 0
      const ended = run(['sh', '-c', '"$@" & echo $!; wait', 'sh', process.execPath, script], { onLine: (line) => (ours = Number(line)) })
      await until(() => locksLeft().length > 0)
      const [resticPid] = running(folder)
      expect(resticPid).toBeDefined()
      process.kill(ours, 'SIGKILL')
      await ended
      await until(() => running(folder).length === 0)
      // It dies of SIGPIPE when it says that it cleans up: its lock may stay, and doesn't keep the next backup from running.
      expect((await restic.locks()).every(({ pid }) => pid === resticPid)).toBe(true)
      fs.truncateSync(join(source, 'long'), 0)
      expect((await backup()).unreadableCount).toBe(0)
    })

    it('a lock held through a child lasts as long as the child', async () => {
      writeLong()
      const file = fs.openSync(join(folder, 'held'), 'w')
      const controller = new AbortController()
      let held: string[] = []
      const saving = backup({
        signal: controller.signal,
        inheritFds: [file],
        onProgress() {
          // More of it may be read when restic has ended.
          if (controller.signal.aborted) return
          const [pid = 0] = running(folder)
          held = fs.readdirSync(`/proc/${pid}/fd`).map((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`))
          controller.abort()
        },
      })
      await expect(saving).rejects.toMatchObject({ code: 'interrupted' })
      fs.closeSync(file)
      expect(held).toContain(join(folder, 'held'))
    })
  })
})

/** Pids of the restics that use the case's cache. */
function running(folder: string): number[] {
  return everyProcess().flatMap(({ pid, name, environment }) => (name === 'restic' && environment.includes(join(folder, 'cache')) ? [pid] : []))
}

function everyProcess(): { pid: number; name: string; command: string; environment: string }[] {
  const read = (pid: string, file: string) => fs.readFileSync(`/proc/${pid}/${file}`, 'utf8')
  return fs.readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      return [{ pid: Number(pid), name: read(pid, 'comm').trim(), command: read(pid, 'cmdline'), environment: read(pid, 'environ') }]
    } catch {
      return []
    }
  })
}

/** A program of its own that opens `restic` and then does `body`. */
function bundled(file: string, options: object, body: string): void {
  const client = join(import.meta.dirname, '../../src/restic/client.ts')
  const contents = `import { openRestic } from ${JSON.stringify(client)}\nconst restic = openRestic({ name: 'main', ...${JSON.stringify(options)} })\n${body}`
  // zx is CommonJS, and requires Node's own modules.
  const banner = { js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)" }
  buildSync({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner,
    outfile: file,
    logLevel: 'error',
  })
}
