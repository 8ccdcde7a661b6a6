{
  lib,
  config,
  tools,
  ...
}:
let
  cfg = config.services.dovecot2;
  text =
    name:
    let
      value = cfg.settings.${name} or null;
    in
    if lib.isString value then value else "";
  # `maildir:/var/vmail/%d/%n:INDEX=…`, or with Dovecot 2.4 the path alone.
  path =
    location: lib.elemAt (builtins.match "([a-z]+:)?([^:]*)(:.*)?" location) 1;
  mail =
    if !cfg ? settings then
      path cfg.mailLocation
    else if text "mail_path" != "" then
      text "mail_path"
    else
      path (text "mail_location");
  isInHome = builtins.match "(~|%h|%\\{home}).*" mail != null;
  # What all mailboxes have in common: the folders before the first variable.
  common = builtins.match "(/[^/%]+/[^%]*[^/%])(/[^/%]*%.*|/?)" (
    if isInHome then text "mail_home" else mail
  );
in
{
  description = "Whether to back up Dovecot (`services.dovecot2`): the folder in which the settings put all mailboxes (`mail_path` or `mail_location`, or `mail_home` where they lie in homes of its own). Leaves out nothing: indexes, too, hold what was read. Mailboxes in the homes of the system's users aren't saved.";
  enabled = config.services.dovecot2.enable or false;
  backup = {
    paths = lib.optional (common != null) (lib.head common);
    units = tools.existing [
      "dovecot.service"
      "dovecot2.service"
    ];
  };
  lacks = lib.optional (
    common == null
  ) "mailboxes: the settings of services.dovecot2 don't put all of them into one folder (`${mail}`)";
}
