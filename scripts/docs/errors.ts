// What each code means and what to do about it: for the manual and for errors.md. A code of src/errors.ts that lacks here doesn't compile.
import type { Code } from '../../src/errors.ts'

export const errors: Record<Code, [means: string, remedy: string]> = {
  // The command line
  usage: ['The command line is wrong.', 'See: atelier-backup COMMAND --help'],
  'no-terminal': ['The command has to ask a question, and there is no terminal.', 'Give the option that the message names.'],
  'unknown-service': ['The manifest declares no service of that name.', 'The message names a similar one. For all services: atelier-backup status'],
  'unknown-repository': ['The manifest declares no repository of that name.', 'The message names a similar one.'],
  'unknown-host': ['The repository holds no snapshots of that host.', 'Give one of the hosts that the message names with --host NAME.'],
  'unknown-snapshot': ['There is no snapshot with that id, or none that old.', 'See: atelier-backup list SERVICE. Of another host: --host NAME'],
  'not-found': ['No snapshot holds a file that matches.', 'Try another pattern: * matches anything.'],
  'unknown-path': ["The snapshot doesn't hold that path.", 'See what it holds: atelier-backup list SERVICE --snapshot ID'],
  'target-exists': ['Without --in-place a restore writes into a new folder only.', 'Remove the folder, or name another with --target.'],
  declined: ['The confirmation was not given; nothing was changed.', 'Type the name as it is shown, or give --yes.'],
  left: ['A question was cancelled with Esc; nothing was done.', 'Nothing needs to be done.'],
  interrupted: [
    'The command was interrupted, by Ctrl-C or by a signal.',
    'Run it again. An unfinished restore in place (status and the menu name it) and dr: with --resume.',
  ],
  'needs-root': ['This user may not read the secrets or the state folder.', 'Run it as root, for example with sudo.'],
  'bad-argument': ['An argument holds a NUL byte.', 'Check the paths and patterns in the manifest.'],
  'too-many-arguments': ['There are more paths and patterns than one command line can hold.', 'Declare folders instead of single files.'],
  failed: ['An unexpected error happened.', 'Run it with DEBUG=1 for a stack trace, and report it.'],

  // Manifest and secrets
  'manifest-missing': ['There is no manifest at that path.', 'nixos-rebuild writes it; --manifest names another file.'],
  'manifest-unreadable': ["The manifest can't be read.", 'Run it as root; look at the file and its disk.'],
  'manifest-invalid': ['The manifest is not valid.', 'Correct what the message names in the flake, and rebuild.'],
  'manifest-not-stored': [
    'A warning: the backup was made, but the manifest could not be saved in the repository.',
    'dr --from-repository would not know the latest changes; the next backup tries again.',
  ],
  'not-given': [
    'The service uses another repository than the one that dr --from-repository was given.',
    'Type the command that the message names, with the password of that repository; at a terminal dr asks for it.',
  ],
  'no-manifest': ['The repository holds no stored manifest.', 'Take the one of the flake, or write one by hand: dr --manifest FILE'],
  'secrets-unreadable': [
    "The repository's location, password or credentials can't be read.",
    'Place the secret where the message says (agenix, sops-nix), or correct its path.',
  ],

  // The repository
  'no-repository': [
    'No repository was found at its location.',
    'New: initialize = true, or atelier-backup restic -- init. It was there before: mount its disk, or restore it; if it is lost for good: atelier-backup adopt --repository NAME',
  ],
  'other-repository': [
    'The repository at this location is not the one that was used before; nothing was written.',
    'Correct the location; if it was replaced on purpose: atelier-backup adopt --repository NAME',
  ],
  'repository-unreachable': ["The repository doesn't answer.", 'Check its disk, the network and the credentials, then run: atelier-backup doctor'],
  'repository-inside': [
    "The repository is inside a service's data, or the other way round.",
    'Move one of them, or leave the repository out with exclude.',
  ],
  'not-mounted': [
    "A disk isn't mounted that fstab, or a mount unit of systemd, would mount: the repository's, or that of a service's data.",
    'Mount it. Where the data belongs onto the disk below: restore --onto-unmounted',
  ],
  'wrong-password': ["The password doesn't open the repository.", 'Write a password of this repository into its password file.'],
  locked: ['Another restic has locked the repository.', 'Wait. If no restic is running: atelier-backup unlock'],
  'append-only': ['The storage forbids deleting.', 'Prune where deleting is allowed.'],
  'parent-missing': ["The repository doesn't hold the snapshot that was made last.", 'It may be another repository, see: atelier-backup doctor'],
  'restic-missing': ['restic is not on PATH.', 'Install restic 0.17 or newer.'],
  'restic-too-old': ['This restic is too old.', 'Install restic 0.17 or newer.'],
  'restic-garbled': ["The output of restic can't be parsed.", 'Check which restic is on PATH: atelier-backup doctor'],
  'restic-failed': ['restic failed; the message holds its output.', 'atelier-backup doctor; then atelier-backup restic -- check'],
  'too-much-output': ['A program printed far more output than expected.', 'Check which program of that name is on PATH.'],

  // The host
  'missing-tool': ['A required program is not on PATH.', 'Install it.'],
  'disk-full': ['A filesystem is full, or a quota is reached.', 'Free space where the message says, then run it again.'],
  'no-space': [
    'There is not enough free space; nothing was started.',
    'Free space, name another stagingDir, or restore a part with --path; --ignore-space begins all the same.',
  ],
  'read-only': ['A filesystem is mounted read-only.', 'Find the reason (dmesg), mount it writable, run it again.'],
  'link-loop': ['Symbolic links form a loop.', 'Correct the links.'],
  'in-use': ['A process has files open in the data that is to be replaced.', 'Stop the process that the message names, and try again.'],
  'mount-point': [
    'A mount point is a file here and a folder in the snapshot, or the other way round.',
    'Unmount it, or restore without --in-place and copy from there.',
  ],
  'would-empty': [
    'A filesystem is mounted inside the data and is not in the snapshot: a restore in place would empty it.',
    'Unmount it, choose parts with --path, or allow it: --empty-mounts. The data that is in it is moved aside and kept.',
  ],
  'copy-failed': [
    "A file with a mount of its own can't be copied: before it is overwritten both sides are copied into the state folder.",
    'The message holds the reason. Before the file is overwritten nothing is lost; after that, use --rollback.',
  ],
  'unsafe-path': [
    'A path goes through a symbolic link in a folder that not only root can write, or something else took its place meanwhile: another user could redirect what root reads or writes.',
    'Declare the path that it points to, or give its parent folder to root.',
  ],
  'not-a-folder': ['A file or a dangling link is where a folder is needed.', 'Move aside what the message names.'],
  'remove-failed': ["A folder of this program can't be removed.", 'The message holds the reason; remove it by hand.'],
  'lock-failed': ["The service's lock can't be taken.", 'Check the state folder and its disk.'],
  busy: ['Another run of this service is active.', 'Wait, or see: atelier-backup status SERVICE'],

  // Units
  'unknown-unit': ["systemd doesn't know a declared or required unit.", 'Correct units in the manifest, or start the service once.'],
  'no-systemd': ['Units are declared, and no systemd runs here.', 'Declare units = [ ], or run it on the host.'],
  'masked-unit': ['A unit runs although it is masked; it could not be started again.', 'Unmask it, or stop it, first.'],
  'refuses-manual': [
    'A unit runs that nobody may stop or start by hand (RefuseManualStop=, RefuseManualStart=); nothing was stopped.',
    'Remove that setting, or name other units.',
  ],
  'conditions-unmet': [
    "A condition or assertion of a running unit (ConditionPathExists= and the like) isn't met now, so the unit could not be started again; nothing was stopped.",
    'See to what it asks for, remove the condition, or name other units.',
  ],
  'stops-itself': ['Stopping the units would also stop this run.', 'Order the units with After= only.'],
  'stop-failed': ["A unit doesn't stop, or not in time.", 'See: systemctl status UNIT. One that needs so long: stopTimeoutSec'],
  'start-failed': [
    "A unit that ran doesn't start again, or doesn't keep running.",
    'See: systemctl status UNIT. Once it has been started, this is over.',
  ],
  'not-started': ['Units stay stopped, because the data is partly old and partly new.', 'atelier-backup restore SERVICE --rollback'],
  'systemd-failed': ['systemd refused something.', 'See: systemctl status, and the journal.'],
  'unit-failed': ["The backup's unit failed.", 'See: journalctl -u restic-backups-SERVICE -n 50'],

  // Backups
  skipped: ['preBackup found nothing to back up (exit code 75).', 'Nothing needs to be done.'],
  'health-skipped': [
    'A warning: the data is restored, but none of the units that use it was started, because none of them ran, so healthCheck was not run.',
    'Start them (systemctl start, the warning names them), and look.',
  ],
  'hook-failed': ['preBackup, postBackup or healthCheck failed.', 'Its output is above, or in the journal.'],
  stalled: [
    'The copy of a database, or its dump, wrote nothing for stallTimeoutSec, and was ended.',
    'Find out what holds it: a process that its owner stopped, a lock in the database, a disk that does not answer. Or set a longer time.',
  ],
  'hook-timeout': ['A hook took longer than hookTimeoutSec.', 'Find out why it hangs, or set a longer time.'],
  'missing-path': [
    "A declared path isn't there; the rest was saved.",
    'If it was lost: atelier-backup restore SERVICE. Else create it, or remove it from the manifest.',
  ],
  unreadable: [
    "Some files could not be read, and aren't in the snapshot.",
    'Check the disk and the permissions, then: atelier-backup backup SERVICE',
  ],
  excluded: ['A declared path is excluded by exclude.', 'Correct paths or exclude.'],
  'bad-pattern': ['A pattern of exclude is malformed; restic would exclude nothing, or everything.', 'Correct the pattern that the message names.'],
  'nothing-to-save': ['None of the declared data could be read; no snapshot was made.', 'Check the paths: atelier-backup doctor'],
  shrunk: [
    'The data shrank by more than shrinkThreshold; it was saved anyway.',
    'If something is missing: atelier-backup restore SERVICE. If the new size is right: atelier-backup adopt SERVICE',
  ],
  killed: ['A run was killed before its end.', 'atelier-backup backup SERVICE'],
  'view-failed': [
    "A frozen copy of the data (a btrfs snapshot or a reflink copy) can't be made or removed.",
    'See the message. Without stopForBackup no frozen copy is needed.',
  ],
  'staging-unsafe': [
    'Other users than root can write to the staging folder, or to a folder above it.',
    'Name a folder in stagingDir that root alone can write to, with all folders above it.',
  ],
  'tag-failed': [
    "A warning: a snapshot can't be tagged, because its storage is append-only.",
    'The record of this host holds the tag; set it from a host that may delete.',
  ],
  'sqlite-locked': ['The database stayed locked.', 'A program holds a long transaction: end it, or back up at another time.'],
  'sqlite-not-a-database': ['The file is not a SQLite database, or it is encrypted. What is a file is saved as that.', 'Declare it under paths.'],
  'sqlite-corrupt': [
    'The database is corrupt. A backup saves it as it is; as a warning of a restore: it was allowed.',
    'Restore an older one: atelier-backup list SERVICE. If there is none, --allow-corrupt restores it as it is.',
  ],
  'sqlite-replaced': ['The application replaced its database during the backup.', 'Run it at another time.'],
  'sqlite-other-name': ['A program has the database open by another name (a link).', 'Declare it by that name, or remove the link.'],
  'sqlite-unchecked': [
    "A warning: the database is saved, or restored, but sqlite3 can't tell whether it is whole.",
    'Check it with the application.',
  ],
  'sqlite-failed': ["The database can't be copied. Its file is saved as it is.", 'The message holds the output of sqlite3.'],
  'postgres-client': [
    "PostgreSQL's programs are newer than the server, which could not load what they write.",
    "Put the programs of the server's own version on PATH.",
  ],
  'restore-lacks': [
    'A warning: it is saved, but a restore in place on this host would fail, for want of an extension, or because one lives in a database of one name alone.',
    'The message names it; atelier-backup doctor looks again.',
  ],
  'postgres-missing': ["PostgreSQL's programs are not on PATH.", 'Install them.'],
  'postgres-unreachable': [
    "The server doesn't answer; if it is recovering from a crash, atelier-backup waits up to ten minutes.",
    'Does it run? Is postgresql.socketDir its socket?',
  ],
  'postgres-rights': [
    'The role may not restore databases, or the server lets no role without rights in, as which the code in a dump runs.',
    'postgresql.user must name a superuser, and pg_hba.conf must let the role root in: local all root peer.',
  ],
  'server-files': [
    'A path of the service holds the files of the PostgreSQL server, which must run while its databases are exchanged.',
    'Restore the databases alone, with --path and the folder of dumps.',
  ],
  'server-too-old': ['The databases were saved from a newer PostgreSQL; nothing was touched.', 'Upgrade the server first.'],
  'foreign-dump': [
    'The snapshot holds dumps of an engine whose databases are not restored in place, or that a newer version of this program knows: the files alone would be brought back.',
    "Choose the files with --path, or restore without --in-place, and load the dumps with the engine's own program.",
  ],
  'no-dump': ['The snapshot holds no dump of the databases.', 'Choose another: atelier-backup list SERVICE'],
  'dump-damaged': ["A dump can't be loaded.", 'Restore an older snapshot: atelier-backup list SERVICE'],
  'postgres-failed': ['A dump failed; there is no snapshot without it.', 'The message holds the output of PostgreSQL.'],

  // Restores
  'unfinished-restore': ['A restore in place was interrupted.', 'atelier-backup restore SERVICE --resume; --rollback undoes it'],
  'nothing-to-resume': ['No restore is unfinished.', 'Nothing needs to be done.'],
  'nothing-to-roll-back': [
    'No restore is unfinished, and no old data is kept (with --at: none up to that time).',
    'See: atelier-backup status SERVICE. Or restore an older snapshot.',
  ],
  'old-data-missing': ["The old data of a restore isn't there any more.", 'Restore a snapshot of that time.'],
  'data-missing': [
    'Data that should be exchanged was removed or unmounted; nothing was put in its place.',
    'Check the folders that the message names; mount again what was mounted.',
  ],
  unadopted: [
    'The backup was made but does not count yet: the repository holds snapshots of the service from another install, and nobody has decided which data is current.',
    'Restore those (`atelier-backup dr --only SERVICE`), or keep the data of this host (`atelier-backup adopt SERVICE`).',
  ],
  'undo-failed': ["A step failed, and couldn't be undone.", 'Correct what the message names, then: atelier-backup restore SERVICE --rollback'],
  'flush-failed': ["The restored data can't be flushed to disk.", 'Check the disk (dmesg).'],
  'carry-failed': ["Excluded files can't be kept in the restored data.", 'Free space, or remove them.'],
  'not-carried': ['A warning: an excluded file was not kept in the restored data.', 'It is in the old data, where the plan says.'],
  'special-files': [
    'The snapshot holds privileged files (setuid, setgid, file capabilities, device nodes) that are not there now. As a warning: it was allowed.',
    'If you trust it, allow it: --allow-privileged. Or restore without --in-place, and move the files that you trust by hand.',
  ],
  'not-declared': [
    "The snapshot holds paths that the manifest doesn't declare.",
    'Declare them, choose a part with --path, or restore without --in-place.',
  ],
  'state-inside': ['The path holds the state folder of atelier-backup.', 'Restore a part with --path, or without --in-place.'],

  // Disaster recovery
  protected: ['The service was adopted or recovered here already: it was left alone.', 'To replace its data: dr --overwrite'],
  'only-partial': ['Only partial snapshots exist.', 'To restore the newest of them: dr --partial'],
  waits: ["A service that must come first isn't recovered.", 'Repair that one, then: atelier-backup dr --resume'],

  // State
  'record-damaged': ["A service's record can't be read.", 'atelier-backup backup SERVICE moves it aside and starts a new one.'],
  'record-failed': ["A warning: the record can't be written.", 'Check the state folder and its disk.'],
  'journal-damaged': [
    "A restore is unfinished, and its journal can't be read.",
    'The old data is in .atelier-backup-SERVICE-* beside the paths: put it in order by hand, then remove the journal.',
  ],
  'state-damaged': ["A file in the state folder can't be read.", 'Type the command that the message names; see also: atelier-backup doctor'],
}
