# A provider of selfhostblocks' contracts "backup" and "databasebackup", beside its own shb.restic and shb.borgbackup:
#
#   shb.atelier-backup.instances.vaultwarden.request = config.shb.vaultwarden.backup.request;
#   shb.vaultwarden.backup.result = config.shb.atelier-backup.instances.vaultwarden.result;
#
# Its modules bring the argument `shb`.
{
  config,
  lib,
  pkgs,
  shb,
  ...
}:
let
  inherit (lib)
    concatStringsSep
    escapeShellArg
    mapAttrs
    mapAttrs'
    mapAttrsToList
    mkDefault
    mkOption
    nameValuePair
    types
    ;

  cfg = config.shb.atelier-backup;
  backup = config.atelier.backup;
  program = lib.getExe backup.package;

  settings = mkOption {
    type = types.attrsOf types.anything;
    default = { };
    description = "Any fields of `atelier.backup.services.<name>`.";
    example = {
      schedule.onCalendar = "hourly";
    };
  };
  scriptOf = name: "atelier-backup-of-${name}";
  provider =
    contract: service: description:
    mkOption {
      inherit description;
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = contract.mkProvider {
              inherit settings;
              resultCfg = {
                restoreScript = scriptOf (service name);
                restoreScriptText = scriptOf (service "<name>");
                backupService = "restic-backups-${service name}.service";
                backupServiceText = "restic-backups-${service "<name>"}.service";
              };
            };
          }
        )
      );
    };

  # An instance and a database can have the same name.
  ofFiles = name: name;
  ofDatabase = name: "${name}-database";
  folderOf = name: "/var/cache/atelier-backup-databases/${name}";

  # Hooks run as root; what the requester has run before, after and for a backup runs as its user. It loads a dump as whoever restores.
  as =
    user: command:
    if user == "" || user == "root" then
      "bash -eo pipefail -c ${escapeShellArg command}"
    else
      "runuser -u ${escapeShellArg user} -- bash -eo pipefail -c ${escapeShellArg command}";
  hook = user: lines: if lines == [ ] then null else as user (concatStringsSep "\n" lines);

  files =
    name:
    { request, settings, ... }:
    mapAttrs (_: mkDefault) {
      paths = request.sourceDirectories;
      exclude = request.excludePatterns;
      preBackup = hook request.user request.hooks.beforeBackup;
      postBackup = hook request.user request.hooks.afterBackup;
      # The contract doesn't say which units use the data.
      units = if config.systemd.services ? ${name} then null else [ ];
    }
    // settings;
  database =
    name:
    { request, settings, ... }:
    let
      folder = folderOf name;
      file = escapeShellArg "${folder}/${request.backupName}";
    in
    mapAttrs (_: mkDefault) {
      paths = [ folder ];
      preBackup = ''
        set -e
        umask 077
        rm -rf ${folder}
        mkdir -p ${folder}
        ${as request.user request.backupCmd} >${file}
        test -s ${file}
      '';
      postBackup = "rm -rf ${folder}";
      units = [ ];
    }
    // settings;

  restic = service: "${program} restic --repository ${backup.services.${service}.repository} --";
  script =
    service: user: restoreCmd:
    shb.contracts.backup.mkRestoreScript {
      name = scriptOf service;
      inherit user restoreCmd;
      backupCmd = "systemctl start --wait restic-backups-${service}.service";
      # Oldest first, as restic lists them.
      listCmd = ''${program} list ${service} --json | ${lib.getExe pkgs.jq} -r 'reverse | .[] | "\(.id) \(.time)"' '';
      execCmd = "exec ${restic service}";
    };
in
{
  options.shb.atelier-backup = {
    instances =
      provider shb.contracts.backup ofFiles
        "Files to back up by the [backup contract](./shb.contracts-backup.html).";
    databases =
      provider shb.contracts.databasebackup ofDatabase
        "Databases to back up by the [database backup contract](./shb.contracts-databasebackup.html).";
  };

  config = lib.mkIf backup.enable {
    atelier.backup.services =
      mapAttrs files cfg.instances
      // mapAttrs' (name: value: nameValuePair (ofDatabase name) (database name value)) cfg.databases;

    environment.systemPackages =
      mapAttrsToList (
        name: { request, ... }:
        script name request.user ''exec ${program} restore ${name} --snapshot "$snapshot" --in-place --yes''
      ) cfg.instances
      ++ mapAttrsToList (
        name:
        { request, ... }:
        let
          service = ofDatabase name;
        in
        script service request.user (
          "${restic service} dump --host ${backup.host} --tag service:${service} \"$snapshot\" "
          + "${escapeShellArg "${folderOf name}/${request.backupName}"} | ${as "root" request.restoreCmd}"
        )
      ) cfg.databases;
  };
}
