// What is allowed, and would fail or mislead later, is told at the rebuild.
import { describe, expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { hasNix, host, libs } from './nix.ts'

const databases = `({ lib, ... }: {
  options.services = lib.genAttrs [ "mysql" "redis" "influxdb2" "mongodb" ] (_: lib.mkOption { type = lib.types.anything; default = { }; });
})`

describe.skipIf(!hasNix).each(libs)('with %s', (_, lib) => {
  /** Each service here has no units, which nobody warns of. */
  const warningsOf = async (services: string, more = '') => {
    const { assertions, warnings } = await host(
      lib,
      `[ ${databases} { atelier.backup = { enable = true; services = builtins.mapAttrs (_: service: { units = [ ]; } // service) { ${services} }; }; ${more} } ]`,
    )
    expect(assertions).toEqual([])
    return warnings
  }

  test("[warning.1] a host with NixOS's own default name", async () => {
    expect(await warningsOf('', 'networking.hostName = "nixos";')).toEqual([
      "networking.hostName is `nixos`, as on every NixOS that wasn't given a name: two such hosts that share a repository would pass for one; set it",
    ])
  })

  test('[warning.2] secrets that nothing makes, of a repository that is used', async () => {
    const [warning, ...others] = await warningsOf(
      'a.paths = [ "/a" ];',
      'age.secrets."restic/repo".path = "/run/agenix/restic/repo"; atelier.backup.repositories.unused = { };',
    )
    expect(others).toEqual([])
    expect(warning).toBe(
      'atelier.backup.repositories.main: nothing in this configuration makes passwordFile (`/run/agenix/restic/password`), environmentFile (`/run/agenix/restic/env`), so each backup would fail; ' +
        'declare age.secrets."restic/password", age.secrets."restic/env" (agenix), or set passwordFile = config.sops.secrets."restic/password".path, environmentFile = config.sops.secrets."restic/env".path (sops-nix), or name files that exist; environmentFile = null if the storage needs no credentials',
    )
  })

  test('[warning.2] no secret that something makes: agenix, sops-nix, tmpfiles, or a person', async () => {
    const made = `
      age.secrets = { };
      atelier.backup.repositories.main = {
        repository = "/r"; passwordFile = "/run/secrets/password"; environmentFile = "/root/env";
      };
      atelier.backup.repositories.sops = { repositoryFile = "/run/secrets/location"; passwordFile = "/run/secrets/rendered/password"; environmentFile = null; };`
    const services = 'a.paths = [ "/a" ]; b = { paths = [ "/b" ]; repository = "sops"; };'
    const [main, sops] = await warningsOf(services, made)
    expect([main, sops]).toEqual([
      expect.stringMatching(/^atelier\.backup\.repositories\.main: .*password/),
      expect.stringMatching(/\.sops: .*location/),
    ])
    const makers = `
      systemd.tmpfiles.rules = [ "f /run/secrets/password 0600 root root - x" ];
      sops = { secrets.x.path = "/run/secrets/location"; templates.y.path = "/run/secrets/rendered/password"; };`
    expect(await warningsOf(services, made + makers)).toEqual([])
  })

  test('[warning.3] PostgreSQL databases on a host without a server', async () => {
    expect(await warningsOf('a.postgres = [ "a" ];')).toEqual([
      "atelier.backup.services.a.postgres: services.postgresql isn't enabled on this host, so no dump can be made; enable it, or set atelier.backup.postgresql.socketDir to the folder of another server's socket and add its programs (pg_dump) to environment.systemPackages",
    ])
    expect(await warningsOf('a.postgres = [ "a" ];', 'services.postgresql = { enable = true; package = "/p"; };')).toEqual([])
    expect(await warningsOf('a.postgres = [ "a" ];', 'atelier.backup.postgresql.socketDir = "/run/container";')).toEqual([])
  })

  test("[warning.4] the files of a running server: the host's, above them and below", async () => {
    const servers = `services = {
      postgresql = { enable = true; package = "/p"; dataDir = "/var/lib/postgresql/16"; };
      mysql = { enable = true; dataDir = "/var/lib/mysql"; };
      redis.servers = {
        cache = { enable = true; unixSocket = "/run/redis-cache/redis.sock"; };
        queue = { enable = true; unixSocket = null; port = 6380; settings.dir = "/srv/queue"; };
      };
      influxdb2.enable = true;
      mongodb = { enable = false; dbpath = "/var/db/mongodb"; };
    };`
    const told = await warningsOf('a.paths = [ "/var/lib" ];', servers)
    expect(told.map((text) => text.replace(/, and a copy.*/, ''))).toEqual([
      'atelier.backup.services.a.paths: /var/lib/postgresql/16 holds the files of a running server (PostgreSQL)',
      'atelier.backup.services.a.paths: /var/lib/mysql holds the files of a running server (MySQL)',
      'atelier.backup.services.a.paths: /var/lib/redis-cache holds the files of a running server (Redis)',
      'atelier.backup.services.a.paths: /var/lib/influxdb2 holds the files of a running server (InfluxDB)',
    ])
    expect(await warningsOf('a.paths = [ "/var/lib/postgresql/16/base" "/var/lib/mysqlx" "/var/db" ];', servers)).toEqual(told.slice(0, 1))
    expect(await warningsOf('a.paths = [ "/srv/queue" ];', servers)).toEqual([expect.stringContaining('(redis-cli -p 6380 --rdb FILE)')])
    expect(told[1]).toBe(
      'atelier.backup.services.a.paths: /var/lib/mysql holds the files of a running server (MySQL), and a copy of them is no backup; dump it in preBackup (mysqldump --single-transaction --all-databases) to a folder under `paths`, and leave its files out (exclude = [ "/var/lib/mysql" ]); or stop it meanwhile (stopForBackup = true, with mysql.service among units)',
    )
    expect(
      await warningsOf(
        `a = {
          paths = [ "/var/lib" ];
          exclude = [ "/var/lib/postgresql" "/var/lib/redis-cache" "/var/lib/influxdb2" ];
          units = [ "mysql.service" ];
          stopForBackup = true;
        };`,
        `${servers} systemd.services.mysql = { };`,
      ),
    ).toEqual([])
  })

  test('[nix.4] services that nixpkgs has removed', async () => {
    // As mkRemovedOptionModule declares them.
    const removed = `({ lib, ... }: {
      options.services = lib.genAttrs [ "influxdb" "murmur" "redis" ] (name: lib.mkOption { type = lib.types.anything; apply = _: throw "services.\${name} has been removed"; });
    })`
    const config = '{ atelier.backup = { enable = true; presets.enable = true; services.a = { paths = [ "/a" ]; units = [ ]; }; }; }'
    const { manifest, assertions, warnings } = await host(lib, `[ ${removed} ${config} ]`)
    expect([Object.keys(manifest.services), assertions, warnings]).toEqual([['a', 'nixos'], [], []])
  })

  test("[postgres.24] the port and the socket of the host's own server are taken over, and what is declared wins", async () => {
    const server = 'services.postgresql = { enable = true; settings = { port = 5433; unix_socket_directories = "@abstract, /run/pg, /tmp"; }; };'
    const postgresql = async (config: string) =>
      (await host(lib, `[ { ${server} atelier.backup = { enable = true; ${config} }; } ]`)).manifest.postgresql
    expect(await postgresql('')).toEqual({ port: 5433, socketDir: '/run/pg', user: 'postgres' })
    expect(await postgresql('postgresql = { port = 5432; socketDir = "/x"; };')).toEqual({ port: 5432, socketDir: '/x', user: 'postgres' })
  })

  test('[manifest.5] each name that NixOS gives a host is taken', async () => {
    const { assertions, manifest } = await host(lib, '[ { atelier.backup.enable = true; networking.hostName = "my_host"; } ]')
    expect(assertions).toEqual([])
    expect(readManifest(JSON.stringify(manifest), 'manifest.json').host).toBe('my_host')
  })
})
