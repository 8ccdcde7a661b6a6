{ config, ... }:
let
  userborn = config.services.userborn or { enable = false; };
in
{
  description = "Whether to back up /var/lib/nixos: the numbers that NixOS gave to users and groups. With them a new machine gives the same ones, so that files restored by other means keep their owners. Leaves out nothing. Hosts whose users systemd-sysusers or Userborn makes don't have it.";
  enabled =
    !(config.systemd.sysusers.enable or false)
    && (!userborn.enable || userborn.passwordFilesLocation or "" == "/var/lib/nixos");
  backup = {
    paths = [ "/var/lib/nixos" ];
    units = [ ];
  };
}
