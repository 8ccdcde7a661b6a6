{ config, ... }:
let
  cfg = config.services.znc;
in
{
  description = "Whether to back up ZNC (`services.znc`): its configuration, certificate, and what its modules keep, logs of channels, too. Leaves out the link to the modules themselves.";
  backup = {
    paths = [ cfg.dataDir ];
    exclude = [ "${cfg.dataDir}/modules" ];
  };
}
