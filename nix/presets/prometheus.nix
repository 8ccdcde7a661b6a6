{ config, tools, ... }:
let
  cfg = config.services.prometheus;
in
{
  description = "Whether to back up Prometheus (`services.prometheus`): its time series. It goes on while they are read, so up to the last two hours can be missing after a restore; `stopForBackup` saves them, too. Leaves out the lock and the list of queries that run.";
  backup = {
    paths = [ "/var/lib/${cfg.stateDir}" ];
    exclude = [
      "/var/lib/${cfg.stateDir}/data/lock"
      "/var/lib/${cfg.stateDir}/data/queries.active"
    ];
    healthCheck =
      if cfg.webExternalUrl == null && cfg.webConfigFile == null then
        tools.answers (tools.http cfg.listenAddress cfg.port "/-/healthy")
      else
        null;
  };
}
