// What no real restic says on demand: old versions, cut lines, a million files. Programs of our own stand at the process boundary.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openRestic } from '../../src/restic/client.ts'

const folder = mkdtempSync(join(tmpdir(), 'atelier-client-'))
afterAll(() => rmSync(folder, { recursive: true }))
const passwordFile = join(folder, 'password')
writeFileSync(passwordFile, 'secret')

/** A client whose restic is this shell script. */
function restic(script: string, location = '/mnt/repository') {
  const program = join(folder, 'restic')
  writeFileSync(program, `#!/bin/sh\n[ "$1" = version ] && exec echo 'restic 0.18.0 compiled with go1.24.4 on linux/amd64'\n${script}\n`)
  chmodSync(program, 0o755)
  const repository = { repository: location, repositoryFile: '/none', passwordFile, environmentFile: null, retryLock: '10m' }
  return openRestic({ name: 'main', repository, cacheDir: folder, program })
}

it('[repository.11] every call has the declared options of the storage and rclone’s configuration', async () => {
  restic('echo "$* $RCLONE_CONFIG" >>"$0.called"; echo "[]"')
  const repository = {
    ...{ repository: 'rclone:box:path', repositoryFile: '/none', passwordFile, environmentFile: null, retryLock: '10m' },
    ...{ rcloneConfigFile: '/root/rclone.conf', extraOptions: ['rclone.args=serve restic --stdio', 'a.b=c'] },
  }
  const options = { name: 'main', repository, cacheDir: folder, program: join(folder, 'restic') }
  const called = () => readFileSync(join(folder, 'restic.called'), 'utf8').trim().split('\n').at(-1)
  const expected = '--option rclone.args=serve restic --stdio --option a.b=c'
  await openRestic(options).snapshots()
  expect(called()).toBe(`${expected} snapshots --no-lock --json /root/rclone.conf`)
  for await (const _ of openRestic(options).ls('x'));
  expect(called()).toBe(`${expected} ls --no-lock --json -- x /root/rclone.conf`)
  await openRestic(options).passthrough(['-o', 'a.b=d', 'snapshots'])
  expect(called()).toBe(`${expected} -o a.b=d snapshots /root/rclone.conf`)
  // What a manifest out of a repository declares is never used.
  await openRestic({ ...options, credentials: { location: '/mnt', password: 'x', variables: {} }, onlyGiven: true }).snapshots()
  expect(called()).toBe('snapshots --no-lock --json')
})

describe('[repository.5] which restic', () => {
  const versioned = (text: string) => {
    restic('')
    writeFileSync(join(folder, 'restic'), `#!/bin/sh\n[ "$1" = version ] || touch '${folder}/called'\necho '${text}'\n`)
    return openRestic({
      name: 'main',
      repository: { repository: '/mnt', repositoryFile: '', passwordFile, environmentFile: null, retryLock: '1m' },
      cacheDir: folder,
      program: join(folder, 'restic'),
    })
  }

  it.each([
    ['restic 0.14.0 compiled with go1.19.8 on linux/amd64', 'restic 0.14.0 is too old: install restic 0.17 or newer'],
    ['restic 0.16.5 compiled with go1.22 on linux/amd64', 'restic 0.16.5 is too old: install restic 0.17 or newer'],
    ['hello', `${folder}/restic doesn't say its version: install restic 0.17 or newer`],
  ])('%s: refused before any other call', async (text, message) => {
    const old = versioned(text)
    await expect(old.version()).rejects.toMatchObject({ code: 'restic-too-old', exit: 1, message })
    await expect(old.snapshots()).rejects.toMatchObject({ code: 'restic-too-old' })
    await expect(old.backup({ paths: ['/x'], exclude: [], tags: [], host: 'here' })).rejects.toMatchObject({ code: 'restic-too-old' })
    await expect(old.ls('abc').next()).rejects.toMatchObject({ code: 'restic-too-old' })
    await expect(old.passthrough(['snapshots'])).rejects.toMatchObject({ code: 'restic-too-old' })
    expect(existsSync(join(folder, 'called'))).toBe(false)
  })

  it.each([
    ['restic 0.17.0 compiled with go1.22', '0.17.0'],
    ['restic 0.19.1-dev (compiled manually) compiled with go1.25', '0.19.1-dev'],
    ['restic 1.0.0 compiled with go1.25', '1.0.0'],
  ])('%s: taken', async (text, version) => {
    expect(await versioned(text).version()).toBe(version)
  })

  it('none', async () => {
    const repository = { repository: '/mnt', repositoryFile: '', passwordFile, environmentFile: null, retryLock: '1m' }
    const none = openRestic({ name: 'main', repository, cacheDir: folder, program: join(folder, 'no-restic') })
    await expect(none.snapshots()).rejects.toMatchObject({ code: 'restic-missing', message: expect.stringContaining('is not installed') })
  })

  it('is asked once', async () => {
    const client = restic(`echo '[]'`)
    writeFileSync(join(folder, 'restic'), `#!/bin/sh\necho "$1" >> '${folder}/calls'\n[ "$1" = version ] && echo 'restic 0.18.0' || echo '[]'\n`)
    await Promise.all([client.snapshots(), client.snapshots(), client.version()])
    await client.snapshots()
    expect(readFileSync(join(folder, 'calls'), 'utf8').split('\n').sort()).toEqual(['', 'snapshots', 'snapshots', 'snapshots', 'version'])
  })
})

describe('what restic says', () => {
  it('lines that are no JSON, or cut, or of unknown kinds, are passed over', async () => {
    const said = [
      'unable to open cache: permission denied',
      '{"message_type":"status","bytes_do',
      '{"message_type":"new in 0.30","x":1}',
      '{}',
      '[]',
      '{"message_type":"status","percent_done":0.5,"total_bytes":10,"bytes_done":5,"files_done":1,"seconds_remaining":7}',
      '{"message_type":"status"}',
      `{"message_type":"summary","snapshot_id":"${'a'.repeat(64)}","total_bytes_processed":10,"backup_start":"2026-01-01T00:00:00Z"}`,
    ]
    writeFileSync(join(folder, 'said'), `${said.join('\n')}\nlast`)
    const location = mkdtempSync(join(folder, 'r-'))
    writeFileSync(join(location, 'config'), '')
    const progress: unknown[] = []
    const client = restic(`cat '${folder}/said'; printf 'foreign\\n{"message_type":"error"\\n' >&2`, location)
    const made = await client.backup({ paths: ['/x'], exclude: [], tags: [], host: 'here', onProgress: (each) => progress.push(each) })
    expect(made).toMatchObject({ snapshotId: 'a'.repeat(64), time: '2026-01-01T00:00:00Z', bytes: 10, files: 0, unreadable: [] })
    expect(progress).toEqual([
      { doneBytes: 5, totalBytes: 10, files: 1, secondsLeft: 7 },
      { doneBytes: 0, totalBytes: null, files: 0, secondsLeft: null },
    ])
  })

  it('[restore.50] a path is too long for the place, a name of more than 255 bytes for any', async () => {
    const restored = (item: string) => {
      const message = JSON.stringify({ message_type: 'error', item, error: { message: 'open: file name too long' } })
      return restic(`echo '${message}' >&2; exit 1`).restore({ snapshot: 'a'.repeat(64), target: '/target', include: [] })
    }
    await expect(restored(`/${'d'.repeat(100)}`.repeat(41))).resolves.toMatchObject({ tooLong: { code: 'restic-failed' } })
    await expect(restored(`/${'d'.repeat(256)}`)).rejects.toMatchObject({ code: 'restic-failed' })
  })

  it('a backup that says nothing of a snapshot failed, whatever its exit code', async () => {
    const backing = restic('exit 0').backup({ paths: ['/x'], exclude: [], tags: [], host: 'here' })
    await expect(backing).rejects.toMatchObject({ code: 'restic-garbled' })
  })

  it.each([
    [10, 'Fatal: repository does not exist: unable to open config file: stat /x: no such file', 'no-repository', 'no repository found'],
    [
      11,
      'unable to create lock in backend: repository is already locked exclusively by PID 7 on h by r (UID 0, GID 0)\nlock was created at 2026-01-01 00:00:00 (26h0m1.5s ago)',
      'locked',
      'by PID 7 on h, since 2026-01-01 00:00:00 (26h0m1s ago)',
    ],
    [12, 'Fatal: wrong password or no key found', 'wrong-password', passwordFile],
    [
      1,
      'Fatal: unable to open repository at sftp:u@h:/x: unable to start the sftp session',
      'repository-unreachable',
      "can't be reached: unable to open repository at sftp:u@h:/x",
    ],
    [1, 'Fatal: unable to open config file: Head "https://u:pw@h/": dial tcp: lookup h: no such host', 'repository-unreachable', 'https://u:***@h/'],
    [1, 'Fatal: unable to save: write /x: no space left on device', 'disk-full', 'no space left'],
    [1, 'subprocess ssh: Connection closed\nFatal: something new', 'restic-failed', 'restic failed (exit code 1): something new'],
    [1, '', 'restic-failed', 'it printed no message'],
    [130, 'signal interrupt received, cleaning up ', 'interrupted', 'interrupted'],
    [1, 'signal interrupt received, cleaning up \nFatal: unable to save snapshot: context canceled', 'interrupted', 'interrupted'],
  ])('plain text (0.17), exit %i: %s', async (exit, text, code, message) => {
    writeFileSync(join(folder, 'said'), text)
    const failing = restic(`cat '${folder}/said' >&2; exit ${exit}`).snapshots()
    await expect(failing).rejects.toMatchObject({ code, message: expect.stringContaining(message) })
    await expect(failing).rejects.toMatchObject({ message: expect.not.stringMatching(/\n|:pw@/) })
  })

  it.each(['rclone:remote,user=me,pass=hunter2:backup', 'rclone::webdav,url="https://h:1",bearer_token="hunter2":backup'])(
    '[secret.2] no password of rclone’s in %s',
    async (location) => {
      const client = restic(`echo 'Fatal: unable to open hunter2' >&2; exit 1`, location)
      await expect(client.snapshots()).rejects.toMatchObject({ message: expect.not.stringContaining('hunter2') })
      expect(await client.location()).not.toContain('hunter2')
    },
  )

  it('control characters don’t reach the terminal', async () => {
    const failing = restic(`printf 'Fatal: \\033[31mred' >&2; exit 1`).snapshots()
    await expect(failing).rejects.toMatchObject({ message: expect.stringContaining('\\u{1b}[31mred') })
  })

  it('0.17’s tag prints no JSON: the new snapshot names the old one', async () => {
    const snapshot = (id: string, original: string) => ({
      id: id.repeat(64),
      short_id: id.repeat(8),
      time: '2026-01-01T00:00:00Z',
      hostname: 'h',
      paths: [],
      original: original.repeat(64),
    })
    writeFileSync(join(folder, 'said'), JSON.stringify([snapshot('c', 'd'), snapshot('b', 'a')]))
    expect(await restic(`[ "$1" = tag ] && echo 'modified tags on 1 snapshots' || cat '${folder}/said'`).tag('a'.repeat(64), ['x'])).toBe(
      'b'.repeat(64),
    )
  })

  it('a million files are listed in little memory', async () => {
    const node = JSON.stringify({
      message_type: 'node',
      type: 'file',
      path: `/srv/${'name'.repeat(20)}`,
      mtime: '2026-01-01T00:00:00Z',
      mode: 420,
      size: 1,
    })
    writeFileSync(join(folder, 'said'), node)
    let files = 0
    let most = 0
    const before = process.memoryUsage().rss
    for await (const { bytes } of restic(`yes "$(cat '${folder}/said')" | head -n 1000000`).ls('abc')) {
      files += bytes
      if (files % 10_000 === 0) most = Math.max(most, process.memoryUsage().rss)
    }
    expect(files).toBe(1_000_000)
    expect((most - before) / 2 ** 20).toBeLessThan(150)
  })
})
