// The README's recovery chapter, word by word: a host of twenty services is lost, and brought back under another name, on a system that
// gives its users other numbers.
import { chmodSync, lchownSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Manifest, Service } from '../../src/manifest/types.gen.ts'
import type { Recovered } from '../../src/recovery/recover.ts'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { output } from '../lib/live.ts'
import { has } from '../lib/needs.ts'
import { keys } from '../lib/terminal.ts'
import { attributes, type Entry, fingerprint } from '../lib/tree.ts'
import { makeNixosHost } from './nixos.ts'

/** What the chapter tells to type, without its comments. */
const chapter = /## Recover a dead host\n([\s\S]*?)\n## /.exec(readFileSync('README.md', 'utf8'))?.[1] ?? ''
const commands = [...chapter.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = '']) =>
  block
    .trim()
    .split('\n')
    .map((line) => line.replace(/ +#.*/, '')),
)

type Services = Record<string, Service>
const dataOf = ({ paths, sqlite }: Service) => [...paths, ...sqlite.filter((file) => !paths.some((path) => file.startsWith(`${path}/`)))]
const userOf = (name: string) => `u-${name}`.slice(0, 31)
/** On the new host every other user has another number. */
const numberOf = (name: string, services: Services, host: 'old' | 'new') => {
  const n = Object.keys(services).indexOf(name)
  return (host === 'old' ? 5000 : n % 2 === 0 ? 5000 : 7000) + n
}

describe.skipIf(!canHost || !has('setfattr'))('a host of twenty services', { timeout: imageTimeout }, () => {
  let lost: TestHost
  let storage = ''
  let services: Services
  let saved: Look
  let hostKey: string
  beforeAll(async () => {
    lost = await makeNixosHost('[ ./nix/examples/twenty-services.nix ]')
    services = declare(lost, 'terebithia')
    for (const [name, service] of Object.entries(services)) populate(lost, name, service, numberOf(name, services, 'old'))
    hostKey = lost.read('/etc/ssh/file')
    await bootWith(lost, services, 'old')
    await placeSecrets(lost)
    await lost.sh('mkdir -p /mnt/backup')
    for (const [name, { sqlite }] of Object.entries(services))
      for (const file of sqlite)
        await lost.sh(
          `mkdir -p $(dirname ${file}); sqlite3 ${file} "PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES ('row of ${name}');" >/dev/null; chown ${userOf(name)}: ${file}`,
        )
    const { exit, stderr } = await lost.cli(['backup', '--all', '--jobs', '4'])
    expect([exit, stderr]).toEqual([0, ''])
    // What is disabled was saved when it wasn't.
    await lost.sh(`sed -i 's/"enable":false/"enable":true/' /etc/atelier/backup-manifest.json`)
    expect((await lost.cli(['backup', 'wiki'])).exit).toBe(0)
    saved = await look(lost, services)
    // The machine is gone; what is left is the storage.
    storage = mkdtempSync(join(tmpdir(), 'atelier-storage-'))
    output(['cp', '-a', lost.path('/srv/repository'), lost.path('/mnt/backup'), storage])
    await lost.remove()
  }, imageTimeout)
  afterAll(async () => {
    await lost?.remove()
    rmSync(storage, { recursive: true, force: true })
  })

  /** Another machine, with the same flake and another name, on which each service has begun anew. */
  const install = async (): Promise<TestHost> => {
    const host = await makeNixosHost('[ ./nix/examples/twenty-services.nix ]')
    onTestFinished(() => host.remove())
    output(['rm', '-r', host.path('/srv/repository')])
    output(['cp', '-a', join(storage, 'repository'), host.path('/srv/repository')])
    output(['cp', '-a', join(storage, 'backup'), host.path('/mnt/backup')])
    declare(host, 'narnia')
    await bootWith(host, services, 'new')
    await host.sh('mkdir -p /etc/ssh /var/lib/grafana/data; echo new >/etc/ssh/file; echo new >/var/lib/grafana/data/made-at-first-start')
    host.write('/root/restic-password', host.read('/srv/password'), 0o600)
    return host
  }

  /** Types a command of the chapter at a terminal, and answers what it asks. */
  const type = async (host: TestHost, command: string, answers: [string, string][] = []): Promise<{ exit: number; said: string }> => {
    const terminal = host.terminal(command.split(' ').slice(1), { cols: 160, rows: 120 })
    for (const [question, answer] of answers) {
      await terminal.waitFor(question)
      terminal.type(`${answer}${keys.enter}`)
    }
    return { exit: await terminal.exit, said: terminal.all() }
  }
  const secrets: [string, string][] = [
    ['Location of the repository', '/srv/repository'],
    ["The repository's password", 'correct horse'],
  ]
  const reportOf = (host: TestHost, said: string): Recovered[] => JSON.parse(host.read(/Report: +(\S+)/.exec(said)?.[1] ?? '')).results

  test('[dr.16] comes back by the commands of the recovery chapter, under another name and with other numbers', { timeout: 600_000 }, async () => {
    const host = await install()
    const restic = (command: string) => host.sh(`RESTIC_REPOSITORY=/srv/repository RESTIC_PASSWORD_FILE=/srv/password restic --no-cache ${command}`)
    const steps: Record<string, (command: string) => Promise<void>> = {
      'atelier-backup dr --from-repository --dry-run': async (command) => {
        const { exit, said } = await type(host, command, [...secrets, ['Location of the repository disk', '']])
        expect(exit).toBe(0)
        expect(said).toMatch(/The manifest of terebithia/)
        expect(said).toContain('vaultwarden healthCheck')
      },
      'atelier-backup dr --from-repository --only ssh': async (command) => {
        const { exit } = await type(host, command, [...secrets, ['Type run', ''], ['Type terebithia', 'terebithia']])
        expect(exit).toBe(0)
        expect(host.read('/etc/ssh/file')).toBe(hostKey)
      },
      // With the host key agenix can decrypt again.
      'nixos-rebuild switch': async () => placeSecrets(host),
      'atelier-backup doctor': async (command) => {
        const { said } = await type(host, command)
        for (const good of ['main (/srv/repository) answers', 'the password opens main', 'disk (/mnt/backup/restic) answers'])
          expect(said).toContain(good)
      },
      'atelier-backup dr --host terebithia': async (command) => {
        const { exit, said } = await type(host, command, [['Type narnia', 'narnia']])
        expect(said).toMatch(/users.*\n[\s\S]*ssh: it lives here/)
        // Its health check calls a program that isn't there yet.
        expect([exit, reportOf(host, said).filter(({ exit }) => exit !== 0)]).toEqual([
          1,
          [
            expect.objectContaining({ name: 'ssh', code: 'protected' }),
            expect.objectContaining({
              name: 'vaultwarden',
              outcome: 'rolled-back',
              health: 'failed',
              next: 'atelier-backup dr --host terebithia --resume',
            }),
          ],
        ])
        addProgram(host, 'curl')
      },
      'atelier-backup dr --resume': async (command) => {
        const { exit, said } = await type(host, command, [['Type narnia', 'narnia']])
        const results = reportOf(host, said)
        expect([exit, results.filter(({ exit }) => exit !== 0).map(({ name }) => name)]).toEqual([3, ['ssh']])
        expect(results).toHaveLength(20)
        for (const { name, units } of results)
          expect(
            units.map(({ state }) => state),
            name,
          ).toEqual(units.map(() => 'active'))
      },
      'atelier-backup status': async (command) => expect((await type(host, command)).said).toMatch(/narnia/),
      'atelier-backup dr --from-repository --repository /mnt/backup/restic --password-file /root/restic-password --without-units': async (
        command,
      ) => {
        // Everything is back: it has nothing to do, and says so.
        const { exit, said } = await type(host, `${command} --run-commands`, [['Location of the repository main', '']])
        expect(exit).not.toBe(0)
        expect(said).toMatch(/syncthing.*: it lives here/)
      },
      'restic snapshots --tag service:notes --host terebithia': async () => {
        expect((await restic('snapshots --json --tag service:mosquitto')).length).toBeGreaterThan(100)
      },
      // It knows no names: this one's number is the same.
      'restic restore ID --target /root/notes': async () => {
        const [{ id }] = JSON.parse(await restic('snapshots --json --tag service:mosquitto'))
        await host.sh('rm -r /var/lib/mosquitto')
        await restic(`restore ${id} --target /root/notes`)
        await host.sh('mv /root/notes/var/lib/mosquitto /var/lib/')
      },
    }
    expect(Object.keys(steps)).toEqual(commands)
    for (const command of commands) await steps[command]?.(command)
    expect(await look(host, services)).toEqual(saved)
  })
})

/** The example under a name; PostgreSQL's databases, of which no server runs here, are folders. */
function declare(host: TestHost, name: string): Services {
  const file = '/etc/atelier/backup-manifest.json'
  const manifest = JSON.parse(host.read(file)) as Manifest
  for (const [service, declared] of Object.entries(manifest.services)) {
    if (declared.postgres.length > 0 && declared.paths.length === 0) declared.paths = [`/var/lib/${service}`]
    declared.postgres = []
  }
  writeFileSync(host.path(file), JSON.stringify({ ...manifest, host: name }))
  expect(Object.keys(manifest.services)).toHaveLength(20)
  return manifest.services
}

/** Users, units that do nothing, programs that hooks call; and the secrets aren't there. */
async function bootWith(host: TestHost, services: Services, numbers: 'old' | 'new'): Promise<void> {
  const users = Object.keys(services).map((name) => `u ${userOf(name)} ${numberOf(name, services, numbers)}\n`)
  host.write('/etc/sysusers.d/services.conf', users.join(''))
  host.write('/etc/tmpfiles.d/agenix.conf', '')
  const idle = '[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n'
  for (const [name, { units }] of Object.entries(services))
    for (const unit of units ?? [`${name}.service`])
      host.write(`/etc/systemd/system/${unit}`, unit.endsWith('.timer') ? '[Timer]\nOnCalendar=yearly\nUnit=sleep.service\n' : idle)
  host.write('/etc/systemd/system/sleep.service', idle)
  host.write('/opt/sw/bin/mcrcon', '#!/usr/bin/bash\n', 0o755)
  await host.boot()
  await host.sh('mkdir -p /run/current-system; ln -s /opt/sw /run/current-system')
  const units = Object.entries(services).flatMap(([name, { units }]) => units ?? [`${name}.service`])
  await host.sh(`systemctl start ${units.join(' ')}`)
  if (numbers === 'old') addProgram(host, 'curl')
}

function addProgram(host: TestHost, name: string): void {
  host.write(`/opt/sw/bin/${name}`, '#!/usr/bin/bash\n', 0o755)
}

/** As agenix does it, once it can. */
async function placeSecrets(host: TestHost): Promise<void> {
  await host.sh(`
    mkdir -p /run/secrets /run/agenix/restic
    echo /srv/repository >/run/secrets/restic-main
    cp /srv/password /run/agenix/restic/
    touch /run/agenix/restic/env
    chmod 600 /run/secrets/restic-main /run/agenix/restic/*`)
}

/** Files, modes, links, owners and attributes of all kinds, few and small. */
function populate(host: TestHost, name: string, service: Service, number: number): void {
  for (const path of service.paths) {
    host.write(`${path}/file`, `of ${name}\n`, 0o640)
    host.write(`${path}/deep/er/secret`, name.repeat(2000), 0o400)
    host.write(`${path}/deep/runs`, '#!/bin/sh\n', 0o755)
    symlinkSync('file', host.path(`${path}/link`))
    chmodSync(host.path(`${path}/deep`), 0o2751)
    for (const entry of ['', '/file', '/deep', '/deep/er', '/deep/er/secret', '/link']) lchownSync(host.path(path + entry), number, number)
    chmodSync(host.path(`${path}/deep`), 0o2751)
    output(['setfattr', '--name=trusted.made-by', `--value=${name}`, host.path(`${path}/deep/runs`)])
  }
}

interface Look {
  entries: Entry[]
  attributes: string[]
  rows: string
}

/** All that must come back. A database's copy has a time and pages of its own; its rows are compared. */
async function look(host: TestHost, services: Services): Promise<Look> {
  const isDatabase = (path: string) => Object.values(services).some(({ sqlite }) => sqlite.includes(path))
  const [users, groups] = [namesIn(host.read('/etc/passwd')), namesIn(host.read('/etc/group'))]
  const entries = Object.values(services)
    .flatMap(dataOf)
    .flatMap((path) =>
      fingerprint(host.path(path))
        .map((entry) => ({ ...entry, path: path + entry.path.slice(1) }))
        .filter((entry) => !/-(wal|shm)$/.test(entry.path))
        .map((entry) => ({
          ...entry,
          ...(isDatabase(entry.path) ? { mtime: '', size: null, sha256: null } : {}),
          ...(entry.type === 'folder' ? { mtime: '' } : {}),
          owner: [users.get(entry.owner.split(':')[0] ?? ''), groups.get(entry.owner.split(':')[1] ?? '')].join(':'),
        })),
    )
  const databases = Object.values(services).flatMap(({ sqlite }) => sqlite)
  const rows = await host.sh(databases.map((file) => `echo ${file}; sqlite3 ${file} 'PRAGMA integrity_check; SELECT n FROM t'`).join('; '))
  return { entries, attributes: Object.values(services).flatMap(({ paths }) => paths.flatMap((path) => attributes(host.path(`${path}/deep`)))), rows }
}

/** By number. */
function namesIn(file: string): Map<string, string> {
  return new Map(file.split('\n').map((line) => [line.split(':')[2] ?? '', line.split(':')[0] ?? '']))
}
