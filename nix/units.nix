# The systemd units { services, timers }. They only start the CLI, which does the work.
{
  lib,
  config,
  utils,
  mounts,
}:
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
  # data: paths that must be mounted before the job starts
  # partialIsFailure: whether exit code 3 is a failure to systemd
  # postgres: whether the job needs the PostgreSQL server, which must then start first
  job =
    {
      description,
      command,
      data,
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
      unitConfig.RequiresMountsFor = map quoted (lib.filter isQuotable data);
      # Hooks find the same programs here as in an administrator's shell.
      path = optionals postgres serverPath ++ [ "/run/current-system/sw" ];
      serviceConfig = overridable (hardening // { ProtectSystem = "full"; RestrictSUIDSGID = true; }) // {
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
        Nice = lib.mkDefault 10;
        IOSchedulingClass = lib.mkDefault "idle";
      };
    };

  # systemd doesn't unescape backslashes in RequiresMountsFor, so a path with a quote or a backslash can't be written.
  isQuotable = path: builtins.match ''[^"\]*'' path != null;
  quoted = path: ''"${lib.replaceStrings [ "%" ] [ "%%" ] path}"'';

  # A host can set each of these without mkForce. Lists aren't replaced by what a host sets, but get longer.
  overridable = lib.mapAttrs (_: value: if lib.isList value then value else lib.mkDefault value);

  # As strict as all of our units allow. Three settings are missing on purpose:
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
    RestrictAddressFamilies = [
      "AF_UNIX"
      "AF_INET"
      "AF_INET6"
      "AF_NETLINK"
    ];
    RestrictNamespaces = "mnt";
    RestrictRealtime = true;
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
  # As `server` in src/manifest/engines.ts: the recover unit comes after it, so it can't come before it.
  isServer = unit: builtins.match "postgresql(-setup|@.*)?[.](service|target)" unit != null;
  postgresql = config.services.postgresql or { };
  serverPath = optional (postgresql.enable or false) postgresql.package;

  # A crash can interrupt a restore in place. A unit for each service ends it at boot, before the service's units start with a mixture of
  # old and new data. What it must and mustn't do to the boot:
  # - Without a journal it does nothing, and nothing is mounted or started for it: mounts and the server are in After= alone, which orders
  #   what starts anyway. Where there is a journal, `boot` itself mounts what is missing.
  # - What one service waits for, or lacks, is nothing to the others. Where the data of an interrupted restore is missing, `boot` masks that
  #   service's units.
  # - It stands before services alone. Sockets, paths, mounts and the like come before basic.target, so a unit of ours before them would be
  #   in a cycle as soon as it waits for a network disk or for the server. What they start waits: they may be open a little earlier.
  # - Services may be of the early boot (DefaultDependencies=no), so it has no default dependencies either. It comes after
  #   systemd-tmpfiles-setup.service because both could make the same folder.
  recoverUnit = name: "atelier-backup-recover-${name}";
  recover = name: service: {
    description = "End a restore in place of ${name} that a crash interrupted";
    wantedBy = [ "multi-user.target" ];
    conflicts = [ "shutdown.target" ];
    before = [
      "shutdown.target"
    ]
    ++ lib.unique (lib.concatMap startedBy (lib.filter (unit: !isServer unit) (unitsOf name service)));
    after = [
      "local-fs.target"
      "systemd-tmpfiles-setup.service"
    ]
    ++ map (point: "${utils.escapeSystemdPath point}.mount") (
      mounts.around (service.paths ++ service.sqlite)
    )
    ++ optionals (service.postgres != [ ]) server;
    restartIfChanged = false;
    unitConfig = {
      DefaultDependencies = false;
      # `|`: one of them is enough.
      ConditionPathExists = map (known: "|/var/lib/atelier-backup/journals/${known}.json") (
        [ name ] ++ service.formerNames
      );
    };
    path = optionals (service.postgres != [ ]) serverPath;
    # ProtectSystem= and RestrictSUIDSGID= are missing: the data can be anywhere, and its folders setgid.
    serviceConfig =
      overridable (
        hardening
        // {
          CapabilityBoundingSet = hardening.CapabilityBoundingSet ++ [ "CAP_SETFCAP" ];
        }
      )
      // {
        Type = "oneshot";
        ExecStart = "${program} boot ${name}";
        StateDirectory = "atelier-backup";
        StateDirectoryMode = "0700";
        UMask = "0077";
      };
  };

  # The services that a unit starts, or is stopped with.
  startedBy =
    unit:
    let
      kind = lib.last (lib.splitString "." unit);
      name = lib.removeSuffix ".${kind}" unit;
      declared = config.systemd."${kind}s".${name} or { };
      hangsOn =
        service:
        lib.elem unit ((service.partOf or [ ]) ++ (service.requires or [ ]) ++ (service.bindsTo or [ ]));
    in
    lib.filter (lib.hasSuffix ".service") (
      {
        service = [ unit ];
        socket = [ (declared.socketConfig.Service or "${name}.service") ];
        path = [ (declared.pathConfig.Unit or "${name}.service") ];
        timer = [ (declared.timerConfig.Unit or "${name}.service") ];
        target = map (service: "${service}.service") (
          lib.attrNames (filterAttrs (_: hangsOn) config.systemd.services)
        );
      }
      .${kind} or [ ]
    );
in
{
  services =
    mapAttrs' (
      name: service:
      nameValuePair "restic-backups-${name}" (
        lib.recursiveUpdate (job {
          description = "Backup of ${name}";
          command = "run ${name}";
          data =
            service.paths
            ++ service.sqlite
            ++ localFolder (cfg.repositories.${service.repository} or { repository = null; });
          inherit (service) partialIsFailure;
          postgres = service.postgres != [ ];
          # A Persistent= timer can start a missed backup at boot, where an interrupted restore must be ended first.
          after = [ "${recoverUnit name}.service" ];
        }) { serviceConfig.ExecStopPost = "${program} run --cleanup ${name}"; }
      )
    ) enabled
    // mapAttrs' (
      name: repository:
      nameValuePair (pruneUnit name) (job {
        description = "Forget old snapshots and free their space in the repository ${name}";
        command = "prune --repository ${name}";
        data = localFolder repository;
        # Pruning also drops the old databases that restores in place have kept.
        postgres = withDatabases != { };
      })
    ) pruned
    // mapAttrs' (name: service: nameValuePair (recoverUnit name) (recover name service)) cfg.services;

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
