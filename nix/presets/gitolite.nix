{ config, ... }:
let
  cfg = config.services.gitolite;
in
{
  description = "Whether to back up Gitolite (`services.gitolite`): all repositories, with the one that holds its users and rights. Leaves out nothing. It has no server: a push during a restore fails.";
  backup = {
    paths = [ cfg.dataDir ];
    units = [ "gitolite-init.service" ];
  };
}
