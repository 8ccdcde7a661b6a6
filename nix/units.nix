# The systemd units { services, timers }. They only start the CLI, which does the work.
{ lib, config }:
let
  inherit (lib)
    filterAttrs
    mapAttrs'
    nameValuePair
    optional
    optionals
    ;

  cfg = config.atelier.backup;
  program = lib.getExe cfg.package;
  enabled = filterAttrs (_: service: service.enable) cfg.services;
  used = lib.mapAttrsToList (_: service: service.repository) enabled;
  # The module always declares `main`. Its secrets may be missing where no service uses it, so it isn't pruned there.
  pruned = filterAttrs (name: _: name != "main" || lib.elem name used) cfg.repositories;
  pruneUnit = name: "restic-prune${lib.optionalString (name != "main") "-${name}"}";

  # The repository's folder as a list, empty unless the location is a folder of this host. A location in a secret file is unknown
  # at evaluation.
  localFolder =
    repository:
    let
      folder =
        if repository.repository == null then "" else lib.removePrefix "local:" repository.repository;
    in
    optional (lib.hasPrefix "/" folder) folder;

  # The unit of a backup or prune job.
  # mounts: paths that must be mounted before the job starts
  # partialIsFailure: whether exit code 3 is a failure to systemd
  # postgres: whether the job needs the PostgreSQL server, which must then start first
  job =
    {
      description,
      command,
      mounts,
      partialIsFailure ? false,
      postgres ? false,
      after ? [ ],
    }:
    {
      inherit description;
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        # agenix and sops-nix install secrets in these units if the host lets systemd do it.
        "agenix-install-secrets.service"
        "sops-install-secrets.service"
      ]
      ++ optionals postgres server
      ++ after;
      # nixos-rebuild must not stop a running backup.
      restartIfChanged = false;
      unitConfig.RequiresMountsFor = map quoted (lib.filter isQuotable mounts);
      # Hooks find the same programs here as in an administrator's shell.
      path = optionals postgres serverPath ++ [ "/run/current-system/sw" ];
      serviceConfig = hardening // {
        Type = "oneshot";
        ExecStart = "${program} ${command}";
        # 3: a snapshot was saved, but some files couldn't be read. `status` shows it as partial.
        SuccessExitStatus = optional (!partialIsFailure) 3;
        # Only the CLI gets SIGTERM: it stops restic, which removes its lock, and starts stopped units again.
        KillMode = "mixed";
        # A first backup can take days. mkDefault lets a host set both timeouts of a unit.
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

  # systemd doesn't unescape backslashes in RequiresMountsFor, so a path with a quote or a backslash can't be written.
  isQuotable = path: builtins.match ''[^"\]*'' path != null;
  quoted = path: ''"${lib.replaceStrings [ "%" ] [ "%%" ] path}"'';

  # As strict as the jobs allow. Three settings are missing on purpose:
  # ProtectSystem=strict: the repository can be a folder anywhere (its location may be secret), and SQLite writes next to the database
  # ProtectHome: rclone renews its tokens below /root
  # PrivateTmp: hooks leave dumps in /tmp
  hardening = {
    CapabilityBoundingSet = [
      # bind mounts over live databases; systemd stops and starts units only for callers that have it
      "CAP_SYS_ADMIN"
      # files of every user; SQLite's -wal and -shm in a service's folder
      "CAP_DAC_READ_SEARCH"
      "CAP_DAC_OVERRIDE"
      # copies keep the owner and mode of the original
      "CAP_CHOWN"
      "CAP_FOWNER"
      "CAP_FSETID"
      # pg_dump runs as the database's owner, and is killed if the job ends early
      "CAP_SETUID"
      "CAP_SETGID"
      "CAP_KILL"
      # finding the processes that have a database open
      "CAP_SYS_PTRACE"
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
    RestrictAddressFamilies = [
      "AF_UNIX"
      "AF_INET"
      "AF_INET6"
      "AF_NETLINK"
    ];
    RestrictNamespaces = "mnt";
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    # V8 calls pkey_alloc. Without SystemCallErrorNumber, a denied call would kill Node.
    SystemCallFilter = [
      "@system-service"
      "@mount"
      "@pkey"
    ];
    SystemCallErrorNumber = "EPERM";
  };

  unitsOf = name: service: if service.units == null then [ "${name}.service" ] else service.units;

  # A field of the service's schedule; null means the host's.
  own =
    service: field:
    if service.schedule.${field} != null then service.schedule.${field} else cfg.schedule.${field};

  # A restore in place of these services needs the PostgreSQL server.
  withDatabases = filterAttrs (_: service: service.postgres != [ ]) cfg.services;
  server = [
    "postgresql.service"
    "postgresql.target"
  ];
  postgresql = config.services.postgresql or { };
  serverPath = optional (postgresql.enable or false) postgresql.package;

  # A crash can interrupt a restore in place. These units finish or undo it at boot, before the services start with a mixture of
  # old and new data.
  recoverFiles = "atelier-backup-recover";
  # A unit of its own, so that services without databases don't wait for the PostgreSQL server.
  recoverDatabases = "atelier-backup-recover-databases";
  recover =
    unit: services: more:
    lib.optionalAttrs (services != { }) {
      ${unit} = {
        description = "End restores in place that a crash interrupted";
        wantedBy = [ "multi-user.target" ];
        before = lib.filter (name: !lib.elem name server) (
          lib.unique (lib.concatLists (lib.mapAttrsToList unitsOf services))
        );
        restartIfChanged = false;
        unitConfig = {
          RequiresMountsFor = map quoted (
            lib.filter isQuotable (
              lib.concatMap (service: service.paths ++ service.sqlite) (lib.attrValues services)
            )
          );
          ConditionDirectoryNotEmpty = "/var/lib/atelier-backup/journals";
        };
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${program} boot ${lib.concatStringsSep " " (lib.attrNames services)}";
          StateDirectory = "atelier-backup";
          StateDirectoryMode = "0700";
          UMask = "0077";
        };
      }
      // more;
    };
in
{
  services =
    mapAttrs' (
      name: service:
      nameValuePair "restic-backups-${name}" (
        lib.recursiveUpdate (job {
          description = "Backup of ${name}";
          command = "run ${name}";
          mounts =
            service.paths
            ++ service.sqlite
            ++ localFolder (cfg.repositories.${service.repository} or { repository = null; });
          inherit (service) partialIsFailure;
          postgres = service.postgres != [ ];
          # A Persistent= timer can start a missed backup at boot, where an interrupted restore must be ended first.
          after = [ "${if service.postgres == [ ] then recoverFiles else recoverDatabases}.service" ];
        }) { serviceConfig.ExecStopPost = "${program} run --cleanup ${name}"; }
      )
    ) enabled
    // mapAttrs' (
      name: repository:
      nameValuePair (pruneUnit name) (job {
        description = "Forget old snapshots and free their space in the repository ${name}";
        command = "prune --repository ${name}";
        mounts = localFolder repository;
        # Pruning also drops the old databases that restores in place have kept.
        postgres = withDatabases != { };
      })
    ) pruned
    // recover recoverFiles (filterAttrs (_: service: service.postgres == [ ]) cfg.services) { }
    // recover recoverDatabases withDatabases {
      after = server;
      path = serverPath;
    };

  timers =
    mapAttrs' (
      name: service:
      nameValuePair "restic-backups-${name}" {
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = own service "onCalendar";
          RandomizedDelaySec = own service "randomizedDelaySec";
          FixedRandomDelay = own service "fixedRandomDelay";
          Persistent = own service "persistent";
        };
      }
    ) (filterAttrs (_: service: own service "onCalendar" != [ ]) enabled)
    // mapAttrs' (
      name: _:
      nameValuePair (pruneUnit name) {
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = cfg.prune.onCalendar;
          RandomizedDelaySec = cfg.prune.randomizedDelaySec;
          Persistent = true;
        };
      }
    ) (lib.optionalAttrs (cfg.prune.onCalendar != [ ]) pruned);
}
