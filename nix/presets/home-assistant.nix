{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.home-assistant;
  folder = cfg.configDir;
  # Null: the configuration isn't NixOS's.
  settings = if cfg.config == null then { default_config = { }; } else cfg.config;
  records = settings ? recorder || settings ? default_config || settings ? history;
  recorder = settings.recorder or null;
  # As it is usually written for the local server: postgresql://@/hass
  url =
    if lib.isAttrs recorder then
      toString (recorder.db_url or default)
    else
      default;
  default = "sqlite:///${folder}/home-assistant_v2.db";
  file = builtins.match "sqlite:///(/[^?]*).*" url;
  postgres = tools.databaseOfUrl url;
  # Devices and keys of the radio network.
  zigbee = lib.optional (
    settings ? zha || lib.elem "zha" cfg.extraComponents
  ) (settings.zha.database_path or "${folder}/zigbee.db");
in
{
  description = "Whether to back up Home Assistant (`services.home-assistant`): `configDir` with users, devices and automations, the recorder's database, SQLite or PostgreSQL on this host, and that of Zigbee devices where `zha` is among `extraComponents` or in `config`. Leaves out logs, speech that it can make anew, Python packages that it installs, and its own backups: copies of all that.";
  backup = {
    paths = [ folder ];
    sqlite = lib.optionals (records && file != null) file ++ zigbee;
    inherit postgres;
    exclude = [
      "${folder}/backups"
      "${folder}/deps"
      "${folder}/tts"
      "${folder}/home-assistant.log*"
    ];
  };
  lacks = lib.optional (
    file == null && postgres == [ ]
  ) "the recorder's database, which isn't one of this host's PostgreSQL server";
}
