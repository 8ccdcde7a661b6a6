// The example with twenty services boots on a real systemd, by the units that NixOS makes of it and of the services' own modules.
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, makeHost, store, type TestHost } from '../../lib/host.ts'
import { evaluate, type NixOS } from './nixos.ts'

type Booted = NixOS & { package: string; fstab: string; all: Record<string, { text: string; aliases: string[]; folders: string[] }> }
type Shown = Record<string, string>

/** The example, its services enabled (and others). No backup is due meanwhile; folders stand for its disks, one of which isn't mounted at boot. */
const modules = `[
  ./nix/examples/twenty-services.nix
  { inherit (import ./test/nix/nixos/presets.nix) nixpkgs security services; }
  ({ lib, ... }: {
    atelier.backup = {
      schedule.onCalendar = "yearly";
      prune.onCalendar = "yearly";
      repositories.disk.passwordFile = "/root/password";
      services.vaultwarden.schedule.onCalendar = lib.mkForce "yearly";
      services.syncthing.healthCheck = "touch /run/checking; sleep 1000";
    };
    services = {
      immich.mediaLocation = "/srv/photos";
      keycloak = { enable = true; settings.hostname = "id.example.org"; database.passwordFile = "/root/keycloak"; };
      minecraft-server.dataDir = "/srv/minecraft";
      syncthing.dataDir = "/srv/sync";
      zigbee2mqtt.enable = true;
    };
    fileSystems."/mnt/backup" = lib.mkForce { device = "/opt/backup"; fsType = "none"; options = [ "bind" ]; };
    fileSystems."/srv/sync" = { device = "/opt/sync"; fsType = "none"; options = [ "bind" "noauto" ]; };
  })
]`
const more = `{
  package = toString config.atelier.backup.package;
  fstab = config.environment.etc.fstab.text;
  all = lib.mapAttrs (_: { text, aliases, wantedBy, requiredBy, upheldBy, ... }: {
    inherit text aliases;
    folders = lib.unique (map (by: "\${by}.wants") wantedBy ++ map (by: "\${by}.requires") requiredBy ++ map (by: "\${by}.upholds") upheldBy);
  }) (lib.filterAttrs (_: unit: unit.enable && unit.overrideStrategy == "asDropinIfExists") config.systemd.units);
}`

/** Our units stay as they are. The other services' programs, users, sandboxes and conditions don't exist here; all ordering and dependencies stay. */
function runnable(name: string, text: string): string {
  if (/^(restic|atelier)-/.test(name)) return text
  const [unit = '', service] = text.replace(/^(Condition|Assert|Socket(User|Group))\w*=.*\n/gm, '').split('[Service]\n')
  if (service === undefined) return unit
  // These make dependencies, too.
  const kept = service.match(/^(Slice|Sockets|RemainAfterExit|PrivateTmp|(State|Cache|Logs|Runtime|Working)Directory)=.*$/gm) ?? []
  const does = /^Type=oneshot$/m.test(service) ? ['Type=oneshot', 'ExecStart=/usr/bin/true'] : ['ExecStart=/usr/bin/sleep infinity']
  return `${unit}[Service]\n${[...kept, ...does].join('\n').replace(/^WorkingDirectory=-?/m, 'WorkingDirectory=-')}\n`
}

/** Writes the units as NixOS's generateUnits does, and returns their names. Left out: systemd's own units, which are Debian's, and drop-ins for units of packages. */
function install(host: TestHost, all: Booted['all']): string[] {
  const isWhole = (name: string, text: string) => !/\.(service|socket)$/.test(name) || /^(ExecStart|Listen\w+)=/m.test(text)
  const ours = Object.entries(all).filter(([name, { text }]) => isWhole(name, text) && !existsSync(host.path(`/usr/lib/systemd/system/${name}`)))
  const at = (file: string) => host.path(`/etc/systemd/system/${file}`)
  for (const [name, { text, aliases, folders }] of ours) {
    host.write(`/etc/systemd/system/${name}`, runnable(name, text))
    for (const alias of aliases) symlinkSync(name, at(alias))
    for (const folder of folders) {
      mkdirSync(at(folder), { recursive: true })
      symlinkSync(`../${name}`, at(`${folder}/${name}`))
    }
  }
  return ours.map(([name]) => name)
}

describe.skipIf(!canHost)('twenty services', () => {
  let nixos: Booted
  let names: string[]
  let host: TestHost
  const show = async (units: string[]) => {
    const properties = 'Id,ActiveState,Type,Result,ConditionResult,ConditionTimestampMonotonic,WantedBy,RequiredBy,UpheldBy'
    const shown = await host.sh(`systemctl show --property=${properties} -- ${units.map((name) => `'${name}'`).join(' ')}`)
    return shown.split('\n\n').map((unit) => Object.fromEntries(unit.split('\n').map((line) => line.split(/=(.*)/s))) as Shown)
  }
  /** systemd drops units from a boot before there is a journal: it says so on the console, and never evaluates the conditions of such a unit. */
  const expectWhole = async () => {
    const said = (await host.sh('journalctl --boot --output cat')) + readFileSync(host.path('/../console'), 'utf8')
    expect(said.match(/.*(ordering cycle|deleted to break).*/g)).toBeNull()
    expect(await host.sh('systemctl list-jobs --no-legend; systemctl list-units --failed --no-legend; systemctl is-system-running')).toBe('running')
    const active = new Set((await host.sh("systemctl list-units --state=active --plain --no-legend | cut -d ' ' -f 1")).split('\n'))
    const units = await show(names.filter((name) => !/@\./.test(name)))
    const started = units.filter((unit) => `${unit.WantedBy} ${unit.RequiredBy} ${unit.UpheldBy}`.split(' ').some((by) => active.has(by)))
    const ended = (unit: Shown) => unit.Type === 'oneshot' && unit.Result === 'success' && unit.ConditionTimestampMonotonic !== '0'
    expect(started.filter((unit) => unit.ActiveState !== 'active' && !ended(unit))).toEqual([])
    console.info(`${units.length} units, ${started.length} started at boot`)
    const services = Object.entries(nixos.manifest.services as unknown as Record<string, { enable: boolean; units: string[] | null }>)
    const named = services.flatMap(([name, { enable, units }]) => (enable ? (units ?? [`${name}.service`]) : []))
    expect(named.filter((unit) => !active.has(unit))).toEqual([])
  }
  beforeAll(async () => {
    nixos = await evaluate<Booted>(modules, more)
  })
  beforeAll(async () => {
    host = await makeHost()
    names = install(host, nixos.all)
    symlinkSync(store, host.path(nixos.package))
    host.write('/etc/fstab', nixos.fstab.replace(/^.* \/ .*$/m, ''))
    host.write('/etc/atelier/backup-manifest.json', JSON.stringify(nixos.manifest))
    host.write('/root/password', 'secret', 0o600)
    host.write('/opt/sync/file', 'old\n')
    mkdirSync(host.path('/opt/backup'))
    await host.boot()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test('[unit.21] [unit.22] no boot unit is in a cycle, or does anything', async () => {
    await expectWhole()
    const recover = await show(names.filter((name) => name.startsWith('atelier-backup-recover-')))
    expect(recover).toHaveLength(20)
    const idle = { ActiveState: 'inactive', Result: 'success', ConditionResult: 'no', ConditionTimestampMonotonic: expect.stringMatching(/^[1-9]/) }
    for (const unit of recover) expect(unit).toMatchObject(idle)
    expect(await show(['srv-sync.mount', 'mnt-backup.mount'])).toMatchObject([{ ActiveState: 'inactive' }, { ActiveState: 'active' }])
  })

  test('[unit.22] after a power cut in the middle of a restore that service alone waits for its end', async () => {
    await host.sh('systemctl start restic-backups-syncthing; echo new >/srv/sync/file')
    const broken = host.cli(['restore', 'syncthing', '--in-place', '--yes'])
    await host.until('test -e /run/checking', 100)
    await host.powerCut()
    await broken
    // Held until nobody else has anything to start.
    const waiting = ['atelier-backup-recover-syncthing.service', 'syncthing-init.service', 'syncthing.service']
    const jobs = "systemctl list-jobs --no-legend | awk '{ print $2 }' | grep -v '\\.target$' | sort | xargs"
    const hold = `until test "$(${jobs})" = '${waiting.join(' ')}' -o $SECONDS -gt 30; do sleep 0.2; done`
    host.write('/opt/hold', `PATH=/usr/bin; ${hold}; ${jobs} >/opt/waiting`)
    host.write('/etc/systemd/system/atelier-backup-recover-syncthing.service.d/hold.conf', '[Service]\nExecStartPre=/usr/bin/bash /opt/hold\n')
    await host.boot()
    expect(host.read('/opt/waiting').trim().split(' ')).toEqual(waiting)
    await expectWhole()
    expect(await host.sh('journalctl --boot --output cat -u atelier-backup-recover-syncthing')).toContain('an interrupted restore was completed')
    expect(await host.sh('cat /srv/sync/file; systemctl is-active srv-sync.mount')).toBe('old\nactive')
  })
})
