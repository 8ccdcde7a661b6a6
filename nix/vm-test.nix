# A NixOS test: a virtual machine backs up a service while it writes, loses all its data, and restores it.
{ package }:
{
  name = "atelier-backup";

  nodes.machine = { pkgs, ... }: {
    imports = [ ./module.nix ];
    environment.systemPackages = [ pkgs.sqlite ];

    atelier.backup = {
      enable = true;
      inherit package;
      repositories.main = {
        repository = "/srv/repository";
        # The option refuses a path in the store, so environment.etc puts the test's password in place.
        passwordFile = "/etc/restic-password";
        environmentFile = null;
        initialize = true;
      };
      services.notes = {
        paths = [ "/var/lib/notes" ];
        sqlite = [ "/var/lib/notes/notes.db" ];
        healthCheck = "systemctl is-active notes.service";
      };
    };
    environment.etc.restic-password.text = "a test's password";

    systemd.services.notes = {
      wantedBy = [ "multi-user.target" ];
      path = [ pkgs.sqlite ];
      serviceConfig.StateDirectory = "notes";
      # Writes all the time; the backup must still be consistent.
      script = ''
        cd /var/lib/notes
        sqlite3 notes.db 'PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS note (text);'
        while true; do sqlite3 notes.db "INSERT INTO note VALUES (datetime());"; sleep 0.1; done
      '';
    };
  };

  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.succeed("systemctl list-timers --all | grep restic-backups-notes.timer")
    machine.succeed("systemctl list-timers --all | grep restic-prune.timer")

    with subtest("the unit backs up while the service writes"):
        machine.wait_until_succeeds("test $(sqlite3 /var/lib/notes/notes.db 'SELECT count(*) FROM note') -gt 10")
        machine.succeed("echo kept > /var/lib/notes/file")
        machine.succeed("systemctl start restic-backups-notes.service")
        machine.succeed("atelier-backup status --json | grep '\"ok\"'")
        machine.succeed("mountpoint -q /var/lib/notes/notes.db && exit 1 || true")

    with subtest("everything is deleted and restored"):
        machine.succeed("systemctl stop notes.service")
        machine.succeed("rm -rf /var/lib/notes /var/lib/atelier-backup /var/cache/atelier-backup")
        machine.succeed("atelier-backup dr --yes")
        machine.succeed("systemctl is-active notes.service")
        machine.succeed("grep kept /var/lib/notes/file")
        machine.succeed("test $(sqlite3 /var/lib/notes/notes.db 'SELECT count(*) FROM note') -gt 10")
        machine.succeed("test \"$(sqlite3 /var/lib/notes/notes.db 'PRAGMA integrity_check')\" = ok")

    with subtest("the unit prunes the repository"):
        machine.succeed("systemctl start restic-prune.service")

    with subtest("how far systemd confines the units"):
        print(machine.succeed("systemd-analyze security restic-backups-notes.service restic-prune.service"))
  '';
}
