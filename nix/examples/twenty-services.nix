# A host with twenty services: databases that are backed up while they run, a service that is stopped for its backup, hooks, an order
# of recovery, and a second repository.
{
  networking.hostName = "terebithia";

  atelier.backup = {
    enable = true;
    retention = {
      daily = 14;
      monthly = 24;
    };
    repositories = {
      main.repositoryFile = "/run/secrets/restic-main";
      # A local disk for large data.
      disk = {
        repository = "/mnt/backup/restic";
        environmentFile = null;
        initialize = true;
      };
    };

    services = {
      vaultwarden = {
        paths = [ "/var/lib/vaultwarden" ];
        sqlite = [ "/var/lib/vaultwarden/db.sqlite3" ];
        schedule = {
          onCalendar = "hourly";
          randomizedDelaySec = "5min";
        };
        healthCheck = "curl -fsS http://localhost:8222/alive";
      };
      forgejo = {
        paths = [ "/var/lib/forgejo" ];
        sqlite = [ "/var/lib/forgejo/data/forgejo.db" ];
        exclude = [ "/var/lib/forgejo/data/tmp" ];
        units = [ "forgejo.service" ];
      };
      nextcloud = {
        paths = [ "/var/lib/nextcloud" ];
        postgres = [ "nextcloud" ];
        units = [
          "phpfpm-nextcloud.service"
          "nextcloud-cron.timer"
        ];
        restoreAfter = [ "keycloak" ];
        tags = [ "important" ];
      };
      keycloak.postgres = [ "keycloak" ];
      miniflux.postgres = [ "miniflux" ];
      immich = {
        paths = [ "/srv/photos" ];
        postgres = [ "immich" ];
        units = [ "immich-server.service" ];
        exclude = [
          # The folders of users, which are made anew; without the files .immich beside them Immich doesn't start.
          "/srv/photos/thumbs/*-*"
          "/srv/photos/encoded-video/*-*"
        ];
        repository = "disk";
        retention.monthly = 120;
      };
      paperless = {
        paths = [ "/var/lib/paperless" ];
        sqlite = [ "/var/lib/paperless/db.sqlite3" ];
        units = [
          "paperless-web.service"
          "paperless-consumer.service"
          "paperless-scheduler.service"
          "paperless-task-queue.service"
        ];
      };
      home-assistant = {
        paths = [ "/var/lib/hass" ];
        sqlite = [ "/var/lib/hass/home-assistant_v2.db" ];
        restoreAfter = [ "mosquitto" ];
      };
      mosquitto.paths = [ "/var/lib/mosquitto" ];
      zigbee2mqtt = {
        paths = [ "/var/lib/zigbee2mqtt" ];
        restoreAfter = [ "mosquitto" ];
      };
      grafana = {
        paths = [ "/var/lib/grafana" ];
        sqlite = [ "/var/lib/grafana/data/grafana.db" ];
      };
      jellyfin = {
        paths = [ "/var/lib/jellyfin" ];
        sqlite = [
          "/var/lib/jellyfin/data/library.db"
          "/var/lib/jellyfin/data/jellyfin.db"
        ];
        exclude = [ "/var/lib/jellyfin/transcodes" ];
      };
      navidrome = {
        paths = [ "/var/lib/navidrome" ];
        sqlite = [ "/var/lib/navidrome/navidrome.db" ];
      };
      radicale.paths = [ "/var/lib/radicale" ];
      syncthing = {
        paths = [ "/srv/sync" ];
        stopForBackup = true;
        repository = "disk";
      };
      minecraft = {
        paths = [ "/srv/minecraft" ];
        units = [ "minecraft-server.service" ];
        preBackup = "mcrcon save-off save-all";
        postBackup = "mcrcon save-on";
      };
      uptime-kuma = {
        paths = [ "/var/lib/uptime-kuma" ];
        sqlite = [ "/var/lib/uptime-kuma/kuma.db" ];
      };
      murmur = {
        sqlite = [ "/var/lib/murmur/murmur.sqlite" ];
        formerNames = [ "mumble" ];
      };
      # This service no longer runs, but it can still be restored.
      wiki = {
        enable = false;
        paths = [ "/var/lib/wiki" ];
      };
      ssh = {
        paths = [ "/etc/ssh" ];
        units = [ ];
      };
    };
  };

  fileSystems."/mnt/backup" = {
    device = "/dev/disk/by-label/backup";
    fsType = "ext4";
  };
}
