# The systemd units: thin, what they do is the CLI's. { services, timers }
{ lib, config }:
let
  inherit (lib) mapAttrs' nameValuePair optional;

  cfg = config.atelier.backup;
  program = lib.getExe cfg.package;
  enabled = lib.filterAttrs (_: service: service.enable) cfg.services;
  used = lib.mapAttrsToList (_: service: service.repository) enabled;
  # `main` is always there; where nobody uses it, its secrets needn't be.
  pruned = lib.filterAttrs (name: _: name != "main" || builtins.elem name used) cfg.repositories;
  pruneUnit = name: "restic-prune${lib.optionalString (name != "main") "-${name}"}";

  # A folder of this host, as restic names it, or nothing. Where it stands in a secret file it isn't known here.
  localFolder = repository:
    let folder = if repository.repository == null then "" else lib.removePrefix "local:" repository.repository; in
    optional (lib.hasPrefix "/" folder) folder;

  # What every job of ours is. `mounts`: what must be mounted before it starts. `postgres`: it needs the server, which at a boot comes first.
  job = { description, command, mounts, postgres ? false, after ? [ ] }: {
    inherit description;
    wants = [ "network-online.target" ];
    # The next two place secrets: agenix and sops-nix, where they do so by a unit.
    after = [ "network-online.target" "agenix-install-secrets.service" "sops-install-secrets.service" ] ++ lib.optionals postgres server ++ after;
    # A rebuild leaves a running backup alone.
    restartIfChanged = false;
    unitConfig.RequiresMountsFor = map quoted (builtins.filter isQuotable mounts);
    # The host's own programs are there for hooks, as they are when a person runs the same job.
    path = lib.optionals postgres serverPath ++ [ "/run/current-system/sw" ];
    serviceConfig = hardening // {
      Type = "oneshot";
      ExecStart = "${program} ${command}";
      # Partial: saved, but some files weren't read. `status` shows it.
      SuccessExitStatus = 3;
      # The CLI ends its children itself: restic must remove its lock, and units must be started again.
      KillMode = "mixed";
      # A first backup may take days. To be set per unit.
      TimeoutStartSec = lib.mkDefault "infinity";
      TimeoutStopSec = lib.mkDefault "10min";
      StateDirectory = "atelier-backup";
      StateDirectoryMode = "0700";
      CacheDirectory = "atelier-backup";
      CacheDirectoryMode = "0700";
      UMask = "0077";
      Nice = 10;
      IOSchedulingClass = "idle";
    };
  };

  # systemd keeps backslashes here, so a path that needs one can't be written.
  isQuotable = path: builtins.match "[^\"\\]*" path != null;
  quoted = path: "\"${builtins.replaceStrings [ "%" ] [ "%%" ] path}\"";

  # As far as the work allows. Not ProtectSystem=strict and ProtectHome: the repository may be a folder anywhere (its name may stand in a
  # secret file), SQLite writes beside the database it reads, rclone renews its tokens below /root. Not PrivateTmp: hooks leave dumps in /tmp.
  hardening = {
    CapabilityBoundingSet = [
      "CAP_SYS_ADMIN" # the private mounts over live databases; to be heard by systemd
      "CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE" # reading everybody's files; SQLite's -wal and -shm in a service's folder
      "CAP_CHOWN CAP_FOWNER CAP_FSETID" # copies with the original's owner and mode
      "CAP_SETUID CAP_SETGID" # pg_dump as the database's owner
      "CAP_KILL CAP_SYS_PTRACE" # ending those; seeing who has a database open
    ];
    LockPersonality = true;
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateMounts = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectSystem = "full";
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
    RestrictNamespaces = "mnt";
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    # V8 asks for @pkey, and is killed without the error number.
    SystemCallFilter = [ "@system-service" "@mount" "@pkey" ];
    SystemCallErrorNumber = "EPERM";
  };

  unitsOf = name: service: if service.units == null then [ "${name}.service" ] else service.units;

  # A service's field, or the host's where it is null.
  own = service: field: if service.schedule.${field} != null then service.schedule.${field} else cfg.schedule.${field};

  # Their exchange needs the server.
  withDatabases = lib.filterAttrs (_: service: service.postgres != [ ]) cfg.services;
  server = [ "postgresql.service" "postgresql.target" ];
  serverPath = optional (config.services.postgresql.enable or false) config.services.postgresql.package;

  # At boot, before the services start: a restore in place that a crash interrupted mustn't leave them a mixture of old and new.
  recoverFiles = "atelier-backup-recover";
  # Apart, so that no other service waits for the server with them.
  recoverDatabases = "atelier-backup-recover-databases";
  recover = unit: services: more: lib.optionalAttrs (services != { }) {
    ${unit} = {
      description = "End restores in place that a crash interrupted";
      wantedBy = [ "multi-user.target" ];
      before = builtins.filter (name: !builtins.elem name server) (lib.unique (lib.concatLists (lib.mapAttrsToList unitsOf services)));
      restartIfChanged = false;
      unitConfig = {
        RequiresMountsFor = map quoted (builtins.filter isQuotable (lib.concatMap (service: service.paths ++ service.sqlite) (lib.attrValues services)));
        ConditionDirectoryNotEmpty = "/var/lib/atelier-backup/journals";
      };
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${program} boot ${lib.concatStringsSep " " (builtins.attrNames services)}";
        StateDirectory = "atelier-backup";
        StateDirectoryMode = "0700";
        UMask = "0077";
      };
    } // more;
  };
in
{
  services = mapAttrs' (name: service: nameValuePair "restic-backups-${name}" (lib.recursiveUpdate
    (job {
      description = "Backup of ${name}";
      command = "run ${name}";
      mounts = service.paths ++ service.sqlite ++ localFolder (cfg.repositories.${service.repository} or { repository = null; });
      postgres = service.postgres != [ ];
      # One that was missed is made up for at boot, when a restore that a crash interrupted must have ended.
      after = [ "${if service.postgres == [ ] then recoverFiles else recoverDatabases}.service" ];
    })
    { serviceConfig.ExecStopPost = "${program} run --cleanup ${name}"; })) enabled
  // mapAttrs' (name: repository: nameValuePair (pruneUnit name) (job {
    description = "Forget old snapshots and free their space in the repository ${name}";
    command = "prune --repository ${name}";
    mounts = localFolder repository;
    # It drops databases that restores have kept.
    postgres = withDatabases != { };
  })) pruned
  // recover recoverFiles (lib.filterAttrs (_: service: service.postgres == [ ]) cfg.services) { }
  // recover recoverDatabases withDatabases { after = server; path = serverPath; };

  timers = mapAttrs' (name: service: nameValuePair "restic-backups-${name}" {
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = own service "onCalendar";
      RandomizedDelaySec = own service "randomizedDelaySec";
      Persistent = own service "persistent";
    };
  }) enabled
  // mapAttrs' (name: _: nameValuePair (pruneUnit name) {
    wantedBy = [ "timers.target" ];
    timerConfig = {
      OnCalendar = cfg.prune.onCalendar;
      RandomizedDelaySec = cfg.prune.randomizedDelaySec;
      Persistent = true;
    };
  }) pruned;
}
