# Backs up what the modules of a clan declare as their state (clan.core.state), each as a service of its own, and is a provider of
# `clan backups` beside clan's own borgbackup and localbackup. A backup there is one snapshot of one service: `SERVICE::ID`.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    concatStringsSep
    filterAttrs
    mapAttrs
    mapAttrs'
    mapAttrsToList
    nameValuePair
    ;

  cfg = config.atelier.backup;
  states = filterAttrs (_: state: state.folders != [ ]) config.clan.core.state;
  names = concatStringsSep " " (mapAttrsToList (_: state: state.name) states);
  program = lib.getExe cfg.package;
  command =
    name: text:
    pkgs.writeShellApplication {
      name = "atelier-backup-clan-${name}";
      inherit text;
    };
in
{
  config = lib.mkIf cfg.enable {
    atelier.backup.services = mapAttrs' (
      _: state:
      nameValuePair state.name (
        mapAttrs (_: lib.mkDefault) {
          paths = lib.unique state.folders;
          preBackup = state.preBackupCommand;
          postBackup = state.postBackupCommand;
          # The state doesn't say which units use it.
          units = if config.systemd.services ? ${state.name} then null else [ ];
        }
      )
    ) states;

    clan.core.backups.providers = lib.mkIf (states != { }) {
      atelier-backup = {
        list = "atelier-backup-clan-list";
        create = "atelier-backup-clan-create";
        restore = "atelier-backup-clan-restore";
      };
    };
    environment.systemPackages = lib.mkIf (states != { }) [
      (command "create" "exec ${program} backup ${names}")
      (command "list" ''
        for service in ${names}; do
          ${program} list "$service" --json |
            ${lib.getExe pkgs.jq} --arg service "$service" 'map({ name: ($service + "::" + .id) })'
        done | ${lib.getExe pkgs.jq} -s add
      '')
      # Clan asks with each service's FOLDERS for the same NAME, and runs its hooks around it.
      (command "restore" ''
        service=''${NAME%%::*}
        case $service in
        ${concatStringsSep "\n" (
          mapAttrsToList (
            _: state: "${state.name}) own=${lib.escapeShellArg (concatStringsSep ":" state.folders)} ;;"
          ) states
        )}
        *) echo "$NAME names no service of clan.core.state" >&2; exit 1 ;;
        esac
        IFS=: read -ra folders <<<"$FOLDERS"
        for folder in "''${folders[@]}"; do
          if [[ :$own: == *:"$folder":* ]]; then
            exec ${program} restore "$service" --snapshot "''${NAME##*::}" --in-place --yes
          fi
        done
        echo "$NAME holds nothing of $FOLDERS"
      '')
    ];
  };
}
