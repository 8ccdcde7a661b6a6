{ config, ... }:
let
  cfg = config.services.radicale;
  folder = cfg.settings.storage.filesystem_folder or "/var/lib/radicale/collections";
in
{
  description = "Whether to back up Radicale (`services.radicale`): calendars and address books. Leaves out its caches, which it makes anew. A file of users and passwords (`auth.htpasswd_filename`) is yours: declare it where it isn't part of your configuration.";
  backup = {
    paths = [ folder ];
    exclude = [ "${folder}/**/.Radicale.cache" ];
  };
}
