// What NixOS makes of a configuration, on a test host: unit files, the manifest, secrets in place, and the switch from one generation to the next.
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { type FileSystem, makeImage } from '../lib/disk.ts'
import { type HostOptions, makeHost, type TestHost } from '../lib/host.ts'
import { output } from '../lib/live.ts'
import { makeRepository } from '../lib/repository.ts'
import { host as evaluated, type Host, libs } from '../nix/nix.ts'

type Value = string | number | boolean | null | Value[]
type Section = Record<string, Value>
/** A unit as `systemd.services`, `systemd.sockets` and the like declare it. */
interface Declared {
  description?: string
  wants?: string[]
  requires?: string[]
  conflicts?: string[]
  partOf?: string[]
  after?: string[]
  before?: string[]
  wantedBy?: string[]
  path?: string[]
  script?: string
  restartIfChanged?: boolean
  unitConfig?: object
  serviceConfig?: object
  timerConfig?: object
  socketConfig?: object
  pathConfig?: object
}

/** A host on which `modules` (a Nix list) are declared, not yet booted. An empty repository, and the secrets where agenix would place them. */
export async function makeNixosHost(modules: string, { password, ...options }: HostOptions & { password?: string } = {}): Promise<TestHost> {
  const host = await makeHost(options)
  await makeRepository(host.path('/srv'), password === undefined ? {} : { password })
  host.write('/srv/secrets/repo', '/srv/repository\n', 0o600)
  host.write('/srv/secrets/password', host.read('/srv/password'), 0o600)
  host.write('/srv/secrets/env', '', 0o600)
  host.write('/etc/tmpfiles.d/agenix.conf', 'C /run/agenix/restic 0700 root root - /srv/secrets\n')
  await declare(host, modules)
  return host
}

/** A disk of so many MiB below /mnt of a host that isn't booted yet. */
export function mountDiskOn(host: TestHost, type: FileSystem, size?: number): void {
  const [, pid = ''] = /\/proc\/(\d+)\//.exec(host.path('/')) ?? []
  makeImage(host.path(`/srv/${type}.image`), type, size)
  mkdirSync(host.path(`/mnt/${type}`))
  output(['nsenter', '--target', pid, '--mount', 'mount', '-o', 'loop', `/run/host/srv/${type}.image`, `/run/host/mnt/${type}`])
}

/** What a rebuild does to a running host: changed units that run are restarted, unless they forbid it, and active targets started again. */
export async function rebuild(host: TestHost, modules: string): Promise<void> {
  const changed = await declare(host, modules)
  await host.sh('systemctl daemon-reload')
  for (const unit of changed) {
    // Starting up counts as running: what an update must not end is a oneshot at work.
    const runs = /^activ/.test(await host.sh(`systemctl show --property=ActiveState --value ${unit}`))
    if (runs && !/^X-RestartIfChanged=false$/m.test(host.read(`/etc/systemd/system/${unit}`))) await host.sh(`systemctl restart ${unit}`)
  }
  await host.sh('systemctl start multi-user.target timers.target')
}

/** Writes the configuration's files. Gives the names of the units that are new or changed. */
async function declare(host: TestHost, modules: string): Promise<string[]> {
  const [, lib] = libs[0] ?? []
  const { assertions, manifest, etc, units } = await evaluated(lib ?? '', modules)
  if (assertions.length > 0) throw new Error(assertions.join('\n'))
  host.write('/etc/atelier/backup-manifest.json', JSON.stringify(manifest))
  for (const [file, text] of Object.entries(etc)) host.write(`/etc/${file}`, text)
  for (const [name, unit] of Object.entries(units.services) as [string, Declared][]) {
    if (unit.script === undefined) continue
    const file = `/nix/store/unit-script-${name}/bin/start`
    host.write(file, `#!/usr/bin/bash -e\n${unit.script}`, 0o755)
    unit.serviceConfig = { ...unit.serviceConfig, ExecStart: file }
    unit.path = [...(unit.path ?? []), '/nix/store/coreutils']
  }
  return Object.entries(unitFiles(units)).flatMap(([unit, { text, wantedBy }]) => {
    const file = `/etc/systemd/system/${unit}`
    if (existsSync(host.path(file)) && host.read(file) === text) return []
    host.write(file, text)
    for (const target of wantedBy) {
      const link = host.path(`/etc/systemd/system/${target}.wants/${unit}`)
      mkdirSync(dirname(link), { recursive: true })
      if (!existsSync(link)) symlinkSync(`../${unit}`, link)
    }
    return [unit]
  })
}

/** Unit files by name. */
function unitFiles({ services, timers, sockets, paths, targets, mounts }: Host['units']): Record<string, { text: string; wantedBy: string[] }> {
  const named = (units: object, suffix: string) =>
    Object.entries(units).map(([name, unit]: [string, Declared]) => [`${name}.${suffix}`, { text: textOf(unit), wantedBy: unit.wantedBy ?? [] }])
  const mounted = mounts.map(({ where, what, type, options, ...unit }) => {
    const text = textOf(unit) + section('Mount', { Where: where, What: what, Type: type ?? null, Options: options ?? null }).join('')
    return [`${where.slice(1).replaceAll('-', '\\x2d').replaceAll('/', '-')}.mount`, { text, wantedBy: unit.wantedBy ?? [] }]
  })
  return Object.fromEntries([
    ...named(services, 'service'),
    ...named(timers, 'timer'),
    ...named(sockets, 'socket'),
    ...named(paths, 'path'),
    ...named(targets, 'target'),
    ...mounted,
  ])
}

function textOf({ description, wants, requires, conflicts, partOf, after, before, path, restartIfChanged, unitConfig, ...kinds }: Declared): string {
  const unit = {
    Description: description ?? null,
    Wants: wants ?? null,
    Requires: requires ?? null,
    Conflicts: conflicts ?? null,
    PartOf: partOf ?? null,
    After: after ?? null,
    Before: before ?? null,
    'X-RestartIfChanged': restartIfChanged === false ? false : null,
    ...unitConfig,
  }
  const environment = path ? { Environment: `PATH=${path.map((folder) => `${folder}/bin:${folder}/sbin`).join(':')}` } : {}
  const { serviceConfig, timerConfig, socketConfig, pathConfig } = kinds
  return [
    ...section('Unit', unit),
    ...(serviceConfig ? section('Service', { ...environment, ...serviceConfig }) : []),
    ...(timerConfig ? section('Timer', { ...timerConfig }) : []),
    ...(socketConfig ? section('Socket', { ...socketConfig }) : []),
    ...(pathConfig ? section('Path', { ...pathConfig }) : []),
  ].join('')
}

function section(name: string, entries: Section): string[] {
  const lines = Object.entries(entries).flatMap(([key, value]) => (value === null ? [] : [value].flat().map((one) => `${key}=${one}\n`)))
  return [`[${name}]\n`, ...lines]
}
