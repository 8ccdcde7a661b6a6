# What `nixos-rebuild` checks before a configuration becomes the system's: the CLI loads the manifest, with the words that it would have at
# run time, and systemd understands the times of the timers. A derivation that can't be built otherwise.
# timers: the configuration's own, by name
{
  lib,
  runCommand,
  systemd,
  tzdata,
}:
{
  package,
  manifest,
  timers,
}:
let
  # calendar -> names of the timers that have it
  calendars = builtins.zipAttrsWith (_: names: names) (
    lib.concatLists (
      lib.mapAttrsToList (
        name: timer:
        map (calendar: { ${calendar} = "${name}.timer"; }) (lib.toList (timer.timerConfig.OnCalendar or [ ]))
      ) timers
    )
  );
in
runCommand "atelier-backup-check" { nativeBuildInputs = [ systemd ]; } (
  ''
    # Exit code 4: it is loaded, and nothing has been backed up on this machine.
    ${lib.getExe package} --manifest ${manifest} --state-dir $TMPDIR/state status --local > status || [ $? = 4 ]

    # Time zones aren't where systemd looks for them during a build.
    understood() {
      local calendar=$1
      [ ! -f ${tzdata}/share/zoneinfo/"''${calendar##* }" ] || calendar="''${calendar% *}"
      systemd-analyze calendar -- "$calendar" > /dev/null && return
      echo "onCalendar = \"$1\" ($2): systemd doesn't understand this time; see systemd.time(7), and try: systemd-analyze calendar '$1'" >&2
      wrong=1
    }
  ''
  + lib.concatStrings (
    lib.mapAttrsToList (calendar: names: ''
      understood ${lib.escapeShellArg calendar} ${lib.escapeShellArg (lib.concatStringsSep ", " names)}
    '') calendars
  )
  + ''
    [ -z "''${wrong-}" ]
    touch $out
  ''
)
