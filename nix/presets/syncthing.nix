{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.syncthing;
in
{
  description = "Whether to back up Syncthing (`services.syncthing`): the device's identity and its configuration. Leaves out the index, which it makes anew from the folders, and the folders themselves: they are your data, so declare those that you want saved. With `systemService = false` it runs in its users' homes, and nothing is saved.";
  enabled = config.services.syncthing.enable or false && cfg.systemService;
  backup = {
    paths = [ cfg.configDir ];
    exclude = [ "${cfg.databaseDir}/index-*" ];
    units = [ "syncthing.service" ] ++ tools.existing [ "syncthing-init.service" ];
    healthCheck =
      if lib.hasPrefix "unix://" cfg.guiAddress || lib.hasPrefix "/" cfg.guiAddress then
        null
      else
        tools.answers "http://${cfg.guiAddress}/rest/noauth/health";
  };
}
