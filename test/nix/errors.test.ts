// What the author of a wrong configuration reads.
import { describe, expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { errorOf, evaluate, hasNix, host, libs } from './nix.ts'

const path = 'absolute path, as a string'
const secret = 'absolute path outside the Nix store, as a string (Nix copies a path without quotes into the store, where every user can read it)'

// [what is wrong, value of atelier.backup, where, the type that was expected]
const types: [string, string, string, string][] = [
  ['a string where a list belongs', '{ services.n.paths = "/n"; }', 'services.n.paths', `list of ${path}`],
  ['a number among paths', '{ services.n.paths = [ "/n" 3 ]; }', 'services.n.paths."[definition 1-entry 2]"', path],
  ['a relative path', '{ services.n.paths = [ "n" ]; }', 'services.n.paths."[definition 1-entry 1]"', path],
  ['a path without quotes', '{ services.n.paths = [ ./nix ]; }', 'services.n.paths."[definition 1-entry 1]"', path],
  ['null where there is no null', '{ services.n.paths = null; }', 'services.n.paths', `list of ${path}`],
  ['a word where a boolean belongs', '{ services.n.enable = "yes"; }', 'services.n.enable', 'boolean'],
  ['a negative number', '{ retention.daily = -1; }', 'retention.daily', 'integer between 0 and 100000 (both inclusive)'],
  ['days below the least', '{ restore.keepOldDays = 1; }', 'restore.keepOldDays', 'integer between 7 and 3650 (both inclusive)'],
  [
    'a tag with a blank',
    '{ services.n.tags = [ "a b" ]; }',
    'services.n.tags."[definition 1-entry 1]"',
    'string matching the pattern ^[A-Za-z0-9_.=/+@:-]{1,128}$',
  ],
  [
    'a unit without its kind',
    '{ services.n.units = [ "n" ]; }',
    'services.n.units."[definition 1-entry 1]"',
    'string matching the pattern ^[A-Za-z0-9:_.@\\\\-]+[.](service|socket|timer|target|path|mount)$',
  ],
  [
    'an overlong pattern to exclude',
    '{ services.n.exclude = [ (builtins.concatStringsSep "" (builtins.genList (_: "x") 4097)) ]; }',
    'services.n.exclude."[definition 1-entry 1]"',
    'string matching the pattern ^[^\\n]+$ of at most 4096 bytes',
  ],
  ['a secret by its path literal', '{ repositories.main.passwordFile = ./flake.nix; }', 'repositories.main.passwordFile', secret],
  [
    'a secret in the store',
    '{ repositories.main.repositoryFile = "/nix/store/00000000000000000000000000000000-repo"; }',
    'repositories.main.repositoryFile',
    secret,
  ],
  [
    'a secret in the store, by a detour',
    '{ repositories.main.passwordFile = "/nix/var/..//store/password"; }',
    'repositories.main.passwordFile',
    secret,
  ],
  ['credentials in the store', '{ repositories.main.environmentFile = "/nix/store/env"; }', 'repositories.main.environmentFile', `null or ${secret}`],
]

// [what is wrong, value of atelier.backup, the text]
const texts: [string, string, string][] = [
  ['an unknown option', '{ serivces = { }; }', "The option `atelier.backup.serivces' does not exist."],
  [
    'an unknown option of a service',
    '{ services.n = { paths = [ "/n" ]; pathz = [ ]; }; }',
    "The option `atelier.backup.services.n.pathz' does not exist.",
  ],
  ["a host of one's own", '{ host = "other"; }', "The option `atelier.backup.host' is read-only, but it's set multiple times."],
  ['another version', '{ version = 1; }', "The option `atelier.backup.version' is read-only, but it's set multiple times."],
]

// What types can't see. [what is wrong, value of atelier.backup, the assertion, whether the CLI's loader must refuse it too]
const assertions: [string, string, string, 'loader too' | 'Nix only'][] = [
  [
    'a bad name',
    '{ services."a b".paths = [ "/a" ]; }',
    'atelier.backup.services."a b": the name must match ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$',
    'loader too',
  ],
  [
    'a bad name of a repository',
    '{ repositories."a/b" = { }; }',
    'atelier.backup.repositories."a/b": the name must match ^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$',
    'loader too',
  ],
  [
    'a name that climbs',
    '{ services."a..b".paths = [ "/a" ]; }',
    'atelier.backup.services."a..b": a service\'s name must not contain ".."',
    'loader too',
  ],
  ['one path twice', '{ services.a.paths = [ "/a" "/a" ]; }', 'atelier.backup.services.a.paths: listed more than once: /a', 'loader too'],
  [
    'too many tags',
    '{ services.a = { paths = [ "/a" ]; tags = builtins.genList (i: "t" + toString i) 101; }; }',
    'atelier.backup.services.a.tags: takes at most 100 entries',
    'loader too',
  ],
  [
    'nothing to back up',
    '{ services.a = { }; }',
    'atelier.backup.services.a: nothing to back up; set paths, sqlite or postgres, or enable = false',
    'loader too',
  ],
  [
    'an unknown repository',
    '{ services.a = { paths = [ "/a" ]; repository = "offsite"; }; }',
    'atelier.backup.services.a.repository: no repository `offsite` is declared; declare atelier.backup.repositories.offsite, or use one of `main`',
    'loader too',
  ],
  [
    'an unknown service to wait for',
    '{ services.a = { paths = [ "/a" ]; restoreAfter = [ "b" ]; }; }',
    'atelier.backup.services.a.restoreAfter: no service `b` is declared; declare atelier.backup.services.b, or remove the name',
    'loader too',
  ],
  [
    'a circle',
    '{ services = { a = { paths = [ "/a" ]; restoreAfter = [ "b" ]; }; b = { paths = [ "/b" ]; restoreAfter = [ "c" ]; }; c = { paths = [ "/c" ]; restoreAfter = [ "b" ]; }; }; }',
    'atelier.backup.services: restoreAfter has a cycle: b after c after b; remove one of these names',
    'loader too',
  ],
  [
    'a service that waits for itself',
    '{ services.a = { paths = [ "/a" ]; restoreAfter = [ "a" ]; }; }',
    'atelier.backup.services: restoreAfter has a cycle: a after a; remove one of these names',
    'loader too',
  ],
  [
    'the whole host',
    '{ services.a.paths = [ "/" ]; }',
    'atelier.backup.services.a.paths: "/" is the whole host, not the data of a service',
    'loader too',
  ],
  [
    'a path that climbs',
    '{ services.a.sqlite = [ "/a/../b" ]; }',
    'atelier.backup.services.a.sqlite: `/a/../b` must not go through "." or ".."',
    'loader too',
  ],
  [
    'a path of two services',
    '{ services = { a.paths = [ "/x" ]; b.paths = [ "/x/" ]; }; }',
    '/x belongs to the services `a`, `b`: restoring one would overwrite the data of the others; declare it in only one of them',
    'loader too',
  ],
  [
    "a path inside another service's",
    '{ services = { a.paths = [ "/x" ]; b = { enable = false; sqlite = [ "/x/y/db" ]; }; }; }',
    'atelier.backup.services.b.sqlite: `/x/y/db` is inside `/x` of the service `a`; restoring a would overwrite the data of b; declare it in only one of them',
    'loader too',
  ],
  [
    'a PostgreSQL database of two services',
    '{ services = { a.postgres = [ "x" ]; b.postgres = [ "x" ]; }; }',
    'the PostgreSQL database `x` belongs to the services `a`, `b`: restoring one would overwrite the data of the others; declare it in only one of them',
    'loader too',
  ],
  [
    'a tag of ours',
    '{ services.a = { paths = [ "/a" ]; tags = [ "service:b" ]; }; }',
    'atelier.backup.services.a.tags: atelier-backup sets the tag `service:b` itself; remove it',
    'loader too',
  ],
  [
    'a former name that is in use',
    '{ services = { a = { paths = [ "/a" ]; formerNames = [ "b" ]; }; b.paths = [ "/b" ]; }; }',
    'atelier.backup.services: `b` is a name or former name of `a`, `b`; declare it in only one of them',
    'loader too',
  ],
  [
    'a password in the open',
    '{ repositories.main.repository = "rest:https://me:secret@example.org/"; }',
    'atelier.backup.repositories.main.repository: contains a password, and every user of this host can read it; write the location to a file and set repositoryFile to its path',
    'loader too',
  ],
  [
    'a password of rclone in the open',
    '{ repositories.main.repository = "rclone:box,user=me,pass=\'hunter2\':backup"; }',
    'atelier.backup.repositories.main.repository: contains a password, and every user of this host can read it; write the location to a file and set repositoryFile to its path',
    'loader too',
  ],
]

describe.skipIf(!hasNix).each(libs)('with %s', (_, lib) => {
  test.each(types)('%s names the option and the type that it takes', async (_, config, where, type) => {
    expect(await errorOf(lib, config)).toMatch(`A definition for option \`atelier.backup.${where}' is not of type \`${type}'.`)
  })

  test.each(texts)('%s is refused', async (_, config, text) => {
    expect(await errorOf(lib, config)).toContain(text)
  })

  test('a secret is never shown to the store, and the value that stands there is named with its file', async () => {
    const text = await errorOf(lib, '{ repositories.main.passwordFile = "/nix/store/password"; }')
    expect(text).toContain('Definition values: - In `/etc/nixos/configuration.nix\': "/nix/store/password"')
  })

  test.each(assertions)('%s is refused at the rebuild, and so by the loader', async (_, config, text, by) => {
    const { assertions, manifest } = await host(lib, `[ { atelier.backup = ${config}; } { atelier.backup.enable = true; } ]`)
    expect(assertions).toContain(text)
    if (by === 'loader too') expect(() => readManifest(JSON.stringify(manifest), 'manifest.json')).toThrow()
  })

  test('several faults are all told at once', async () => {
    const { assertions } = await host(
      lib,
      '[ { atelier.backup = { enable = true; services = { a = { repository = "x"; }; b.paths = [ "/" ]; }; }; } ]',
    )
    expect(assertions).toHaveLength(3)
  })

  test('a unit that nixpkgs would make too is refused', async () => {
    const { assertions } = await host(
      lib,
      '[ { atelier.backup = { enable = true; services.notes.paths = [ "/n" ]; }; services.restic.backups.notes = { }; } ]',
    )
    expect(assertions).toEqual([
      'atelier.backup.services.notes and services.restic.backups.notes both define restic-backups-notes.service; remove services.restic.backups.notes (its snapshots stay restorable), or rename one of them',
    ])
  })

  test('a host without a name is refused', async () => {
    const modules = '[ { atelier.backup.enable = true; networking.hostName = ""; } ]'
    expect(await evaluate(`(import ./test/nix/nixos.nix { lib = import ${lib}; modules = ${modules}; }).assertions`)).toEqual([
      "networking.hostName is empty; set it, because snapshots are stored under the host's name",
    ])
  })

  test("units that the configuration doesn't declare are warned of, those that it declares are not", async () => {
    const { warnings } = await host(
      lib,
      `[ {
        atelier.backup = { enable = true; services = {
          notes.paths = [ "/a" ];
          known.paths = [ "/b" ];
          worker = { paths = [ "/c" ]; units = [ "worker@1.service" "worker.socket" "mnt-x.mount" "gone.timer" ]; };
          other = { paths = [ "/f" ]; units = [ "also-known.service" "tailscaled.service" "NetworkManager.service" ]; };
          none = { paths = [ "/d" ]; units = [ ]; };
          off = { paths = [ "/e" ]; enable = false; };
        }; };
        systemd.services.known.aliases = [ "also-known.service" ];
        systemd.packages = [ { pname = "tailscale"; } { pname = "networkmanager"; } ];
        systemd.services."worker@" = { };
        systemd.sockets.worker = { };
      } ]`,
    )
    const told = (name: string, unit: string) =>
      `atelier.backup.services.${name}.units: this configuration declares no \`${unit}\`; list the units that use the data (an empty list if none does), otherwise restores in place are refused`
    expect(warnings).toEqual([told('notes', 'notes.service'), told('worker', 'gone.timer')])
  })

  test('[unit.23] data on a tmpfs is warned of, unless it is really somewhere else', async () => {
    const { warnings } = await host(
      lib,
      `[ {
        atelier.backup = { enable = true; services.n = { units = [ ]; paths = [ "/var/lib/kept" "/var/lib/bound/x" "/var/lib/lost" "/var/lib/shown" ]; sqlite = [ "/run/n/db" ]; }; };
        fileSystems = { "/".fsType = "tmpfs"; "/var/lib/kept".fsType = "none"; "/disk".fsType = "ext4"; "/var/lib/atelier-backup".fsType = "ext4"; "/etc".fsType = "ext4"; };
        systemd.mounts = [
          { where = "/var/lib/bound"; what = "/disk/bound"; type = "none"; options = "rw,bind"; }
          { where = "/var/lib/shown"; what = "/tmp/shown"; options = "bind"; }
        ];
      } ]`,
    )
    expect(warnings).toEqual([
      'atelier.backup.services.n: on a tmpfs, which is empty after a reboot: /var/lib/lost, /var/lib/shown, /run/n/db; have a disk mounted there',
    ])
  })

  const storage = 'persistentStoragePath = "/keep/it";'
  test.each([
    [
      'impermanence',
      `environment.persistence."/keep/it" = { ${storage} directories = [ { dirPath = "/var/lib/n"; } ]; files = [ MORE ]; users.u = { directories = [ { dirPath = "/home/u/x"; } ]; files = [ ]; }; };`,
      '{ filePath = "/etc/machine-id"; } { filePath = "/var/lib/atelier-backup"; }',
      'environment.persistence."/keep/it"',
      '"/etc/machine-id"',
    ],
    [
      'preservation',
      `preservation = { enable = true; preserveAt."/keep/it" = { ${storage} directories = [ { directory = "/var/lib/n"; how = "symlink"; } { directory = "/home/u/"; how = "_intermediate"; } ]; files = [ MORE ]; users.u = { directories = [ { directory = "/home/u/x"; } ]; files = [ ]; }; }; };`,
      '{ file = "/etc/machine-id"; } { file = "/var/lib/atelier-backup"; }',
      'preservation.preserveAt."/keep/it"',
      '{ file = "/etc/machine-id"; inInitrd = true; }',
    ],
  ])(
    '[unit.23] %s: what it keeps is never warned of, and a state that it does not keep is, with the line to write',
    async (_, kept, more, option, file) => {
      const of = async (config: string) => (await host(lib, `[ { atelier.backup.enable = true; ${config} } ]`)).warnings
      const data = 'atelier.backup.services.n = { units = [ ]; paths = [ "/var/lib/n/data" "/home/u/x" ]; };'
      const roots = ['fileSystems."/".fsType = "tmpfs";', 'fileSystems."/".fsType = "btrfs";']
      for (const root of roots) {
        const disks = `${data} ${root} fileSystems."/keep".fsType = "ext4";`
        const told = (path: string, list: string, entry: string) =>
          `atelier.backup: ${path} doesn't outlive a reboot, so this host would pass for another one after each, and its backups not count; add ${option}.${list} = [ ${entry} ];`
        expect(await of(disks + kept.replace('MORE', ''))).toEqual([
          told('/var/lib/atelier-backup', 'directories', '"/var/lib/atelier-backup"'),
          told('/etc/machine-id', 'files', file),
        ])
        expect(await of(disks + kept.replace('MORE', more))).toEqual([])
        // Snapshots keep their paths: no other folder is to be declared.
        const gone = 'atelier.backup.services.gone = { units = [ ]; paths = [ "/var/gone" ]; sqlite = [ "/var/db/gone.db" ]; };'
        const add = `add ${option}.directories = [ "/var/gone" "/var/db" ];`
        expect(await of(disks + gone + kept.replace('MORE', more))).toEqual(root.includes('tmpfs') ? [expect.stringContaining(add)] : [])
      }
    },
  )

  test('[unit.23] a host that loses its root without either is told to mount a disk; one that keeps its root, or declares its machine id, is told nothing', async () => {
    const of = async (config: string) => (await host(lib, `[ { atelier.backup.enable = true; ${config} } ]`)).warnings
    expect(await of('fileSystems."/".fsType = "tmpfs";')).toEqual([
      expect.stringMatching(/atelier-backup doesn't outlive.*; have a disk mounted there$/),
      expect.stringContaining('/etc/machine-id'),
    ])
    const home = 'environment.persistence."/keep" = { persistentStoragePath = "/keep"; directories = [ { dirPath = "/home"; } ]; files = [ ]; };'
    expect(await of(`fileSystems."/".fsType = "ext4"; ${home}`)).toEqual([])
    const id = 'environment.etc.machine-id.text = "x"; fileSystems."/var".fsType = "xfs"; fileSystems."/".fsType = "tmpfs";'
    expect(await of(id)).toEqual([])
  })
})
