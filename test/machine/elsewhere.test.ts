// Switching from the shell version, and from services.restic.backups: nothing of the history is lost, and nothing of it goes unasked.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { rebuild } from './nixos.ts'
import { makeNotesHost, notes, restic, snapshots, statusOf } from './notes.ts'

const unit = 'restic-backups-notes.service'

/** Manifest of the shell version, which saved the folder of a database. */
const version1 = {
  version: 1,
  host: 'hearth',
  generated: 'nixos-rebuild',
  services: {
    notes: { dataDir: '/var/lib/notes', data: { sqlite: '/var/lib/notes/notes.db', postgres: null, files: [], exclude: [] } },
    photos: { paths: ['/srv/photos'], exclude: ['*.tmp'], manual: true },
  },
}

/** As nixpkgs renders services.restic.backups.notes. */
const stock = `[Service]
Type=oneshot
Environment=RESTIC_CACHE_DIR=/var/cache/restic-backups-notes RESTIC_REPOSITORY_FILE=/run/agenix/restic/repo RESTIC_PASSWORD_FILE=/run/agenix/restic/password
CacheDirectory=restic-backups-notes
ExecStart=/usr/bin/restic backup --host hearth /var/lib/notes
`

describe.skipIf(!canHost)('a host with a history', () => {
  let host: TestHost
  beforeAll(async () => {
    host = await makeNotesHost()
    await host.sh('mkdir -p /srv/photos; echo old | tee /srv/photos/one >/var/lib/notes/file; chown notes: /var/lib/notes/file')
  }, imageTimeout)
  afterAll(() => host?.remove())
  beforeEach(() => host.sh('rm -rf /var/lib/atelier-backup /srv/repository/snapshots/*; echo old | tee /srv/photos/one >/var/lib/notes/file'))

  /** Three of one day long ago, of which retention keeps the latest, and the first because it is the oldest of all; one of yesterday. */
  async function history(command: string): Promise<string[]> {
    for (const time of ['40 days ago 10:00', '40 days ago 11:00', '40 days ago 12:00', 'yesterday 11:00'])
      await restic(host, `backup --quiet --host hearth --time "$(date --date '${time}' '+%F %T')" ${command}`)
    return (await snapshots(host)).map(({ id }) => id)
  }
  const listed = async (service: string) => (await host.cli(['list', service, '--json'])).json().map(({ id }: { id: string }) => id)
  /** Three newer ones, so that none of the history is among the last, and what retention leaves. */
  const backUpAndPrune = async () => {
    for (let i = 0; i < 3; i++) await host.sh(`systemctl start ${unit}`)
    await host.sh('systemctl start restic-prune')
    return (await snapshots(host)).map(({ id }) => id)
  }

  test.each([
    ['tagged', '--tag service:notes /var/lib/notes'],
    ['untagged', '/var/lib/notes'],
  ])('[elsewhere.1] the shell version, %s: its manifest is read, its snapshots are listed, inspected and restored in place', async (_, command) => {
    host.write('/etc/atelier/backup-manifest.json', JSON.stringify(version1))
    const old = await history(command)
    await restic(host, 'backup --quiet --host hearth /srv/photos')
    expect((await listed('notes')).toReversed()).toEqual(old)
    expect(await listed('photos')).toHaveLength(1)
    await host.sh('echo new | tee /srv/photos/one >/var/lib/notes/file')

    expect(await host.cli(['restore', 'notes', '--snapshot', 'latest', '--target', '/tmp/look'])).toMatchObject({ exit: 0 })
    expect(await host.sh('cat /tmp/look/var/lib/notes/file; rm -rf /tmp/look')).toBe('old')
    expect(await host.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
    expect([host.read('/var/lib/notes/file'), await host.sh('systemctl is-active notes')]).toEqual(['old\n', 'active'])
    // The shell version knew no units, and there is no photos.service.
    const refused = await host.cli(['restore', 'photos', '--in-place', '--yes'])
    expect(refused).toMatchObject({ exit: 1, stderr: expect.stringContaining("systemd doesn't know photos.service") })
    expect(host.read('/srv/photos/one')).toBe('new\n')
  })

  test('[elsewhere.2] services.restic.backups: the unit of the same name runs ours, and what it saved is listed and restored', async () => {
    const ours = host.read(`/etc/systemd/system/${unit}`)
    host.write(`/etc/systemd/system/${unit}`, stock)
    await host.sh(`systemctl daemon-reload; systemctl start ${unit}`)
    const [old] = await snapshots(host)
    expect(old).toMatchObject({ paths: ['/var/lib/notes'] })
    expect(old?.tags).toBeUndefined()

    await rebuild(host, notes())
    expect(host.read(`/etc/systemd/system/${unit}`)).toBe(ours)
    expect(await listed('notes')).toEqual([old?.id])
    await host.sh('echo new >/var/lib/notes/file')
    expect(await host.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
    expect(host.read('/var/lib/notes/file')).toBe('old\n')
  })

  test('[elsewhere.3] until somebody says which data is the truth, backups are taken and tagged, and nothing of the history goes', async () => {
    await rebuild(host, notes())
    const old = await history('--tag service:notes /var/lib/notes')
    expect(await backUpAndPrune()).toEqual(expect.arrayContaining(old))
    expect((await snapshots(host)).filter(({ tags }) => tags?.includes('unadopted'))).toHaveLength(3)
    expect(await statusOf(host)).toMatchObject({
      state: 'unadopted',
      latest: { id: old.at(-1) },
      message: expect.stringMatching(/adopt notes.*dr --only notes/),
    })
  })

  test('[elsewhere.4] once adopted, tagged history ages like any other; untagged history only when it is tagged', async () => {
    const tagged = await history('--tag service:notes /var/lib/notes')
    const all = await history('/var/lib/notes')
    const untagged = all.filter((id) => !tagged.includes(id))
    expect(await host.cli(['adopt', 'notes', '--yes'])).toMatchObject({ exit: 0 })
    const left = await backUpAndPrune()
    expect(tagged.map((id) => left.includes(id))).toEqual([true, false, true, true])
    expect(left).toEqual(expect.arrayContaining(untagged))
    expect(await statusOf(host)).toMatchObject({ state: 'ok' })

    await host.cli(['restic', '--', 'tag', '--add', 'service:notes', ...untagged])
    const before = await snapshots(host)
    expect(await backUpAndPrune()).not.toEqual(expect.arrayContaining(before.map(({ id }) => id)))
  })
})
