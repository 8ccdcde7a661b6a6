{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.openssh;
  keys = tools.stateful (map (key: key.path) cfg.hostKeys);
in
{
  description = "Whether to back up the keys of this host's SSH server (`services.openssh.hostKeys`): clients know it by them, and agenix and sops-nix open secrets with them. Leaves out the rest of /etc/ssh, which NixOS makes. On a new machine restore them first, by hand: the repository's own secrets may need them.";
  backup = {
    paths = lib.concatMap (key: [
      key
      "${key}.pub"
    ]) keys;
    # Connections that are open outlive a restart.
    units = lib.optional (!cfg.startWhenNeeded) "sshd.service";
  };
}
