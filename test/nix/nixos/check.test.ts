// What a rebuild checks by running the command and systemd: errors in the words that they have at run time.
import { expect, test } from 'vitest'
import { build, debian } from './nixos.ts'

/** The check that the module adds to a rebuild, with what it checks made by the module: Debian's programs take nixpkgs' places only in running it. */
const check = (config: string) =>
  build(`
    let
      host = import ./test/nix/nixos/eval.nix { inherit nixpkgs; modules = [ { atelier.backup = { enable = true; ${config} }; } ]; };
      pkgs = ${debian()};
    in
    pkgs.callPackage ./nix/check.nix { } {
      package = pkgs.callPackage ./nix/package.nix { };
      manifest = (pkgs.formats.json { }).generate "backup-manifest.json" host.manifest;
      timers = host.lib.filterAttrs (name: _: host.lib.hasPrefix "restic-" name) host.config.systemd.timers;
    }`)

test('[nix.2] a good configuration passes, whichever way it says its times', async () => {
  await check(`
    schedule.onCalendar = "Mon..Fri *-*-* 03:30:00 Europe/Berlin";
    services.a = { paths = [ "/a" ]; schedule.onCalendar = "hourly"; };
    services.b.paths = [ "/b" ];`)
})

test('[nix.2] a wrong time is refused with its timer, each of them', async () => {
  const said = await check(`
    prune.onCalendar = "sometimes";
    schedule.onCalendar = "02:60";
    services.a.paths = [ "/a" ];
    services.b = { paths = [ "/b" ]; schedule.onCalendar = "02:00 Europe/Berln"; };
    services.c = { paths = [ "/c" ]; schedule.onCalendar = "02:00 Europe"; };`).catch((error: Error) => error.message)
  expect(said?.match(/onCalendar = .*?: systemd/g)?.sort()).toEqual([
    'onCalendar = "02:00 Europe" (restic-backups-c.timer): systemd',
    'onCalendar = "02:00 Europe/Berln" (restic-backups-b.timer): systemd',
    'onCalendar = "02:60" (restic-backups-a.timer): systemd',
    'onCalendar = "sometimes" (restic-prune.timer): systemd',
  ])
})

test('[nix.2] a manifest that the command refuses is refused in its words', async () => {
  await expect(check('services.a = { paths = [ "/a" ]; repository = "offsite"; };')).rejects.toThrow('there is no repository "offsite"')
})
