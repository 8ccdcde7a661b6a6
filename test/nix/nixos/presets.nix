# A host with every service that has a preset, each as its module makes it by default.
{
  atelier.backup = {
    enable = true;
    presets.enable = true;
    repositories.main = {
      repository = "/mnt/backup/restic";
      passwordFile = "/root/restic-password";
      environmentFile = null;
    };
  };

  nixpkgs.config.allowUnfree = true;
  security.acme = {
    acceptTerms = true;
    defaults.email = "root@example.org";
  };
  services = {
    audiobookshelf.enable = true;
    dovecot2 = {
      enable = true;
      settings = {
        dovecot_config_version = "2.4.1";
        dovecot_storage_version = "2.4.1";
        mail_home = "/var/vmail/%{user | domain}/%{user | username}";
        mail_path = "~/mail";
      };
    };
    forgejo.enable = true;
    freshrss = {
      enable = true;
      baseUrl = "https://rss.example.org";
      passwordFile = "/root/freshrss-password";
    };
    gitea = {
      enable = true;
      dump.enable = true;
    };
    gitolite = {
      enable = true;
      adminPubkey = "ssh-ed25519 AAAA admin";
    };
    grafana = {
      enable = true;
      settings.security.secret_key = "$__file{/root/grafana-key}";
    };
    home-assistant = {
      enable = true;
      config.default_config = { };
    };
    immich.enable = true;
    jellyfin.enable = true;
    mastodon = {
      enable = true;
      configureNginx = true;
      localDomain = "social.example.org";
      smtp.fromAddress = "mastodon@example.org";
      streamingProcesses = 2;
    };
    matrix-synapse = {
      enable = true;
      configureRedisLocally = true;
      settings.server_name = "matrix.example.org";
      workers.federation = { };
    };
    minecraft-server = {
      enable = true;
      eula = true;
    };
    miniflux = {
      enable = true;
      adminCredentialsFile = "/root/miniflux";
    };
    mosquitto.enable = true;
    murmur.enable = true;
    navidrome.enable = true;
    nextcloud = {
      enable = true;
      autoUpdateApps.enable = true;
      config = {
        adminpassFile = "/root/nextcloud-password";
        dbtype = "pgsql";
      };
      database.createLocally = true;
      hostName = "cloud.example.org";
    };
    openssh.enable = true;
    paperless = {
      enable = true;
      exporter.enable = true;
    };
    postfix.enable = true;
    prometheus.enable = true;
    radicale = {
      enable = true;
      settings.auth.type = "htpasswd";
    };
    syncthing = {
      enable = true;
      settings.options.urAccepted = -1;
    };
    uptime-kuma.enable = true;
    vaultwarden = {
      enable = true;
      backupDir = "/var/backup/vaultwarden";
    };
    znc = {
      enable = true;
      config = { };
      useLegacyConfig = false;
    };
  };
}
