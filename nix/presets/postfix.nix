{
  lib,
  config,
  presets,
  ...
}:
let
  cfg = config.services.postfix;
  spool = lib.removeSuffix "/" (cfg.settings.main.mail_spool_directory or "/var/spool/mail");
in
{
  description = "Whether to back up Postfix (`services.postfix`): the mailboxes of local users in /var/spool/mail, unless the preset of Dovecot saves them. Leaves out the queue: restored, it would send mail again that was delivered since. Maps and caches are made when it starts.";
  backup = {
    paths = lib.subtractLists (presets.dovecot.backup.paths or [ ]) [ spool ];
    units = [
      "postfix.service"
      "postfix-setup.service"
    ];
  };
}
