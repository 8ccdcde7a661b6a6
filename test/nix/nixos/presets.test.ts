// Each preset beside the real module of its service: where that keeps its state, and what its units are called.
import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { evaluate } from './nixos.ts'

interface Preset {
  paths: string[]
  sqlite: string[]
  postgres: string[]
  units: string[]
  exclude: string[]
}
// Of each service's units, those that nothing declares.
const more = `{
  undeclared = lib.mapAttrs (_: { units, ... }: builtins.filter (unit: !(config.systemd.units ? \${unit})) units) config.atelier.backup.services;
}`
const evaluatePresets = async (variant = '{ }') => {
  const host = await evaluate<{ undeclared: Record<string, string[]> }>(`[ ./test/nix/nixos/presets.nix (${variant}) ]`, more)
  expect(host.failed).toEqual([])
  expect(Object.values(host.undeclared).flat()).toEqual([])
  const services = Object.entries(host.manifest.services as unknown as Record<string, Preset>)
  return {
    data: Object.fromEntries(services.map(([name, { paths, sqlite, postgres }]) => [name, [paths, sqlite, postgres].map((of) => of.join(' '))])),
    units: Object.fromEntries(services.map(([name, { units }]) => [name, units])),
    exclude: Object.fromEntries(services.map(([name, { exclude }]) => [name, exclude])),
    ours: host.warnings.filter((text) => /atelier/.test(text)),
  }
}

test('[preset.1] as each service is by default', async () => {
  const { data, units, ours } = await evaluatePresets()
  expect(ours).toEqual([])
  expect(Object.keys(data).map((name) => `${name}.nix`)).toEqual(await readdir('nix/presets'))
  expect(data).toEqual({
    audiobookshelf: ['/var/lib/audiobookshelf', '/var/lib/audiobookshelf/config/absdatabase.sqlite', ''],
    dovecot: ['/var/vmail', '', ''],
    forgejo: ['/var/lib/forgejo', '/var/lib/forgejo/data/forgejo.db', ''],
    freshrss: ['/var/lib/freshrss', '/var/lib/freshrss/users/admin/db.sqlite', ''],
    gitea: ['/var/lib/gitea', '/var/lib/gitea/data/gitea.db', ''],
    gitolite: ['/var/lib/gitolite', '', ''],
    grafana: ['/var/lib/grafana', '/var/lib/grafana/data/grafana.db', ''],
    'home-assistant': ['/var/lib/hass', '/var/lib/hass/home-assistant_v2.db', ''],
    immich: ['/var/lib/immich', '', 'immich'],
    jellyfin: ['/var/lib/jellyfin', '/var/lib/jellyfin/data/jellyfin.db', ''],
    mastodon: ['/var/lib/mastodon', '', 'mastodon'],
    'matrix-synapse': ['/var/lib/matrix-synapse', '', 'matrix-synapse'],
    'minecraft-server': ['/var/lib/minecraft', '', ''],
    miniflux: ['', '', 'miniflux'],
    mosquitto: ['/var/lib/mosquitto', '', ''],
    murmur: ['/var/lib/murmur', '/var/lib/murmur/murmur.sqlite', ''],
    navidrome: ['/var/lib/navidrome', '/var/lib/navidrome/navidrome.db', ''],
    nextcloud: ['/var/lib/nextcloud', '', 'nextcloud'],
    nixos: ['/var/lib/nixos', '', ''],
    openssh: ['/etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_rsa_key.pub /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub', '', ''],
    paperless: ['/var/lib/paperless', '/var/lib/paperless/db.sqlite3', ''],
    postfix: ['/var/spool/mail', '', ''],
    prometheus: ['/var/lib/prometheus2', '', ''],
    radicale: ['/var/lib/radicale/collections', '', ''],
    syncthing: ['/var/lib/syncthing/.config/syncthing', '', ''],
    // A unit without a user of its own.
    'uptime-kuma': ['/var/lib/private/uptime-kuma', '/var/lib/private/uptime-kuma/kuma.db', ''],
    vaultwarden: ['/var/lib/vaultwarden', '/var/lib/vaultwarden/db.sqlite3', ''],
    znc: ['/var/lib/znc', '', ''],
  })
  expect(units.nextcloud).toContain('nextcloud-update-plugins.timer')
  expect(units.mastodon).toEqual(expect.arrayContaining(['mastodon-sidekiq-all.service', 'mastodon-streaming-2.service']))
  expect(units['matrix-synapse']).toContain('matrix-synapse-worker-federation.service')
  expect(units.syncthing).toContain('syncthing-init.service')
})

test("[preset.1] where a service's options put its data elsewhere", async () => {
  const { data, units, exclude, ours } = await evaluatePresets(`{ lib, pkgs, ... }: {
    system.stateVersion = "24.05";
    services = {
      audiobookshelf.dataDir = "books";
      dovecot2.settings = lib.mkForce { mail_location = "maildir:/srv/mail/%d/%n:INDEX=/var/index/%d/%n"; };
      forgejo = { database.type = "postgres"; repositoryRoot = "/srv/git"; lfs = { enable = true; contentDir = "/srv/lfs"; }; };
      freshrss.database = { type = "pgsql"; host = "/run/postgresql"; };
      gitea.database.type = "mysql";
      grafana.settings.database = { type = "postgres"; host = "127.0.0.1:5432"; };
      home-assistant = { extraComponents = [ "zha" ]; config.recorder.db_url = "postgresql://@/hass"; };
      immich = { mediaLocation = "/srv/photos"; machine-learning.enable = false; database = { enable = false; host = "db.example.org"; }; secretsFile = "/root/immich"; };
      matrix-synapse.settings.database.name = "sqlite3";
      miniflux = { createDatabaseLocally = false; config.DATABASE_URL = "postgres://miniflux@db.example.org/miniflux"; };
      navidrome.settings = { DataFolder = "/srv/navidrome"; Backup.Path = "/srv/navidrome/backups"; };
      nextcloud = { package = pkgs.nextcloud33; datadir = "/srv/cloud"; config.dbtype = lib.mkForce "sqlite"; database.createLocally = lib.mkForce false; };
      openssh = { startWhenNeeded = true; hostKeys = [ { type = "ed25519"; path = "/persist/key"; } { type = "rsa"; path = "/run/agenix/key"; } ]; };
      paperless = { database.createLocally = true; mediaDir = "/srv/documents"; };
      postgresql.enable = true;
      syncthing = { dataDir = "/home/alice"; configDir = "/home/alice/.config/syncthing"; };
      vaultwarden = { backupDir = lib.mkForce null; dbBackend = "postgresql"; configurePostgres = true; };
    };
  }`)
  expect(data).toMatchObject({
    audiobookshelf: ['/var/lib/books', '/var/lib/books/config/absdatabase.sqlite', ''],
    dovecot: ['/srv/mail', '', ''],
    forgejo: ['/var/lib/forgejo /srv/git /srv/lfs', '', 'forgejo'],
    freshrss: ['/var/lib/freshrss', '', 'freshrss'],
    gitea: ['/var/lib/gitea', '', ''],
    grafana: ['/var/lib/grafana', '', 'grafana'],
    'home-assistant': ['/var/lib/hass', '/var/lib/hass/zigbee.db', 'hass'],
    immich: ['/srv/photos', '', ''],
    'matrix-synapse': ['/var/lib/matrix-synapse', '/var/lib/matrix-synapse/homeserver.db', ''],
    navidrome: ['/srv/navidrome', '/srv/navidrome/navidrome.db', ''],
    nextcloud: ['/var/lib/nextcloud /srv/cloud', '/srv/cloud/data/nextcloud.db', ''],
    openssh: ['/persist/key /persist/key.pub', '', ''],
    paperless: ['/var/lib/paperless /srv/documents', '', 'paperless'],
    syncthing: ['/home/alice/.config/syncthing', '', ''],
    vaultwarden: ['/var/lib/bitwarden_rs', '', 'vaultwarden'],
  })
  expect(units.immich).toEqual(['immich-server.service'])
  expect(units.openssh).toEqual([])
  expect(exclude.navidrome).toEqual(['/srv/navidrome/cache', '/srv/navidrome/backups'])
  expect(data).not.toHaveProperty('miniflux')
  expect(ours.map((text) => text.replace(/; write.*/, ''))).toEqual([
    "atelier.backup.presets.gitea: the preset doesn't save its database (mysql), which isn't on this host's PostgreSQL server",
    "atelier.backup.presets.immich: the preset doesn't save its database, which isn't on this host's PostgreSQL server",
    "atelier.backup.presets.miniflux: the preset doesn't save its database, which isn't one of this host's PostgreSQL server that DATABASE_URL names",
  ])
})
