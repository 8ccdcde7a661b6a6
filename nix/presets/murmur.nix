{ config, ... }:
let
  cfg = config.services.murmur;
  folder = cfg.stateDir or "/var/lib/murmur";
in
{
  description = "Whether to back up Murmur (`services.murmur`): channels, users, rights and certificate in its folder, and its SQLite database. Leaves out nothing.";
  backup = {
    paths = [ folder ];
    sqlite = [ "${folder}/murmur.sqlite" ];
  };
}
