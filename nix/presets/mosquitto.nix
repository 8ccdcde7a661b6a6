{ config, ... }:
let
  cfg = config.services.mosquitto;
in
{
  description = "Whether to back up Mosquitto (`services.mosquitto`): retained messages, subscriptions and queues, as it last wrote them (by default every half hour and when it stops). Leaves out nothing. Without `persistence` it has no state.";
  enabled = config.services.mosquitto.enable or false && cfg.persistence;
  backup = {
    paths = [ cfg.dataDir ];
  };
}
