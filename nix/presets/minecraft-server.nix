{ config, ... }:
let
  cfg = config.services.minecraft-server;
in
{
  description = "Whether to back up the Minecraft server (`services.minecraft-server`): worlds and players. It stops while they are read, because it writes parts of a world at different times; `stopForBackup = false` lets it run. Leaves out logs, and libraries that it unpacks anew.";
  backup = {
    paths = [ cfg.dataDir ];
    exclude = map (folder: "${cfg.dataDir}/${folder}") [
      "cache"
      "libraries"
      "logs"
      "versions"
    ];
    stopForBackup = true;
    units = [
      "minecraft-server.service"
      "minecraft-server.socket"
    ];
  };
}
