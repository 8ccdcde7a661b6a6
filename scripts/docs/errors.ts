// What each code means and what to do about it: for the manual and for errors.md. A code of src/errors.ts that lacks here doesn't compile.
import type { Code } from '../../src/errors.ts'

export const errors: Record<Code, [means: string, remedy: string]> = {
  // The command line
  usage: ['The command line is wrong.', 'Look at: atelier-backup COMMAND --help'],
  'no-terminal': ['An answer is needed, and nobody sits at a terminal.', 'Give the option that the message names.'],
  'unknown-service': ['The manifest declares no such service.', 'The message names the nearest; all of them: atelier-backup status'],
  'unknown-repository': ['The manifest declares no such repository.', 'The message names the nearest.'],
  'unknown-host': ['The repository holds nothing of that host.', 'The message names the hosts that it knows: --host NAME'],
  'unknown-snapshot': ['No snapshot is called so, or none is that old.', 'See: atelier-backup list SERVICE. Of another host: --host NAME'],
  'not-found': ['No snapshot holds anything that is called so.', 'Try another pattern: * stands for anything.'],
  'unknown-path': ["The snapshot doesn't hold that path.", 'See what it holds: atelier-backup list SERVICE --snapshot ID'],
  'target-exists': ['A restore for a look goes into a new folder alone.', 'Remove the folder, or name another with --target.'],
  declined: ['The confirmation was not what was asked for; nothing was touched.', 'Type the name as it is shown, or give --yes.'],
  left: ['A question was left by Esc; nothing was done.', 'Nothing.'],
  interrupted: [
    'It was interrupted, by Ctrl-C or by a signal.',
    'Run it again. What status or the menu calls an unfinished restore, and dr: --resume.',
  ],
  'needs-root': ['This user may not read the secrets or the state folder.', 'Run it as root, for example with sudo.'],
  'bad-argument': ['An argument holds a NUL byte.', 'Look at paths and patterns in the manifest.'],
  'too-many-arguments': ['More paths and patterns than one command line takes.', 'Declare folders in place of their files.'],
  failed: ['Something that was not foreseen.', 'With DEBUG=1 it shows where; please report it.'],

  // Manifest and secrets
  'manifest-missing': ['There is no manifest at that place.', 'nixos-rebuild writes it; --manifest names another.'],
  'manifest-unreadable': ["The manifest can't be read.", 'Run it as root; look at the file and its disk.'],
  'manifest-invalid': ['The manifest says something that cannot be.', 'Mend what the message names in the flake, and rebuild.'],
  'manifest-not-stored': [
    'A warning: the backup is made, but the manifest could not be saved beside it.',
    'dr --from-repository would miss the latest changes; the next backup tries again.',
  ],
  'not-given': [
    'The service is saved in another repository than the one that dr --from-repository was given.',
    'Type the command that the message names, with what opens that one; at a terminal dr asks for it.',
  ],
  'no-manifest': ['The repository holds no stored manifest.', "Take the flake's, or write one by hand: dr --manifest FILE"],
  'secrets-unreadable': [
    "The repository's location, password or credentials can't be read.",
    'Place the secret where the message says (agenix, sops-nix), or correct its path.',
  ],

  // The repository
  'no-repository': [
    'There is no repository, or it has vanished.',
    'New: initialize = true, or atelier-backup restic -- init. Vanished: mount its disk or bring it back; gone for good: atelier-backup adopt --repository NAME',
  ],
  'other-repository': [
    'The repository that answers is not the one that was known before; nothing was written.',
    'Correct the location; if it is meant: atelier-backup adopt --repository NAME',
  ],
  'repository-unreachable': ["The repository doesn't answer.", 'Look at its disk, the network and the credentials; then: atelier-backup doctor'],
  'repository-inside': [
    "The repository and a service's data stand one inside the other.",
    'Move one of them, or leave the repository out with exclude.',
  ],
  'not-mounted': ["The repository's disk should be mounted there, and isn't.", 'Mount it.'],
  'wrong-password': [
    "The password doesn't open the repository.",
    'Put the one there that the repository was created with, or another that opens it.',
  ],
  locked: ['Another restic holds the repository.', 'Wait. If nothing runs there: atelier-backup unlock'],
  'append-only': ['The storage forbids deleting.', 'Prune where deleting is allowed.'],
  'parent-missing': ["The repository doesn't hold the snapshot that was made last.", 'Is it another one? atelier-backup doctor'],
  'restic-missing': ['restic is not on PATH.', 'Install restic 0.17 or newer.'],
  'restic-too-old': ['This restic is too old.', 'Install restic 0.17 or newer.'],
  'restic-garbled': ["What restic printed isn't an answer.", 'Look which restic is on PATH: atelier-backup doctor'],
  'restic-failed': ['restic failed; its own words stand in the message.', 'atelier-backup doctor; then atelier-backup restic -- check'],
  'too-much-output': ['A program printed more than any answer has.', 'Look which program stands on PATH under that name.'],

  // The host
  'missing-tool': ['A program that is needed is not on PATH.', 'Install it.'],
  'disk-full': ['A filesystem is full, or a quota reached.', 'Make room where the message says, then run it again.'],
  'no-space': ['Room would run out; nothing was begun.', 'Make room, name another stagingDir, or restore a part with --path.'],
  'read-only': ['A filesystem is mounted read-only.', 'Look why (dmesg), mount it writable, run it again.'],
  'link-loop': ['Symbolic links lead in a circle.', 'Mend the links.'],
  'in-use': ['A program has files open in what is to be replaced.', 'End what the message names, and try again.'],
  'mount-point': [
    'What is mounted at or below the path is a file here and a folder in the snapshot, or the other way round: what is mounted can become no other kind.',
    'Unmount it, or restore without --in-place and copy from there.',
  ],
  'would-empty': [
    'Something is mounted in the data, and the snapshot knows nothing of it: in place it would be left empty.',
    'Unmount it, choose parts with --path, or allow it: --empty-mounts. What is in it moves aside and is kept.',
  ],
  'copy-failed': [
    "A file with a mount of its own can't be copied: before it is overwritten both sides are copied into the state folder.",
    'Look at what the message says. Before it was overwritten nothing is lost; after that, --rollback.',
  ],
  'unsafe-path': [
    "A link stands on the way to a path, in a folder that isn't root's alone: its owner could lead a restore elsewhere.",
    "Declare where it leads to, or make the folder around it root's.",
  ],
  'not-a-folder': ['A file, or a link that leads nowhere, stands where a folder must be.', 'Move aside what the message names.'],
  'remove-failed': ["A folder of this program can't be removed.", 'Look at what the message says, and remove it by hand.'],
  'lock-failed': ["The service's lock can't be taken.", 'Look at the state folder and its disk.'],
  busy: ['Another run of this service is at work.', 'Wait, or look: atelier-backup status SERVICE'],

  // Units
  'unknown-unit': ["systemd doesn't know a unit that is declared or needed.", 'Correct units in the manifest, or start the service once.'],
  'no-systemd': ['Units are declared, and no systemd runs here.', 'Declare units = [ ], or run it on the host.'],
  'masked-unit': ['A unit runs although it is masked; it could not be started again.', 'Unmask it, or stop it, first.'],
  'stops-itself': ['Stopping the units would stop this run, too.', 'Order the units with After= alone.'],
  'stop-failed': ["A unit doesn't stop, or not in time.", 'See: systemctl status UNIT. One that needs so long: stopTimeoutSec'],
  'start-failed': ["A unit doesn't start again.", 'See: journalctl -u UNIT -n 50'],
  'not-started': ['Units stay stopped, for the data is partly old and partly new.', 'atelier-backup restore SERVICE --rollback'],
  'systemd-failed': ['systemd refused something.', 'See: systemctl status, and the journal.'],
  'unit-failed': ["The backup's unit failed.", 'See: journalctl -u restic-backups-SERVICE -n 50'],

  // Backups
  skipped: ['preBackup found nothing to do (exit code 75).', 'Nothing.'],
  'hook-failed': ['preBackup, postBackup or healthCheck failed.', 'Its output stands above, or in the journal.'],
  'hook-timeout': ['A hook took longer than hookTimeoutSec.', 'Look why it hangs, or set a longer time.'],
  'missing-path': [
    "A declared path isn't there; the rest was saved.",
    'If it was lost: atelier-backup restore SERVICE. Else create it, or take it out of the manifest.',
  ],
  unreadable: [
    "Something could not be read, and isn't in the snapshot.",
    'Look at the disk and at the rights; saved again: atelier-backup backup SERVICE',
  ],
  excluded: ['A declared path is left out by exclude.', 'Correct paths or exclude.'],
  'bad-pattern': ['A pattern of exclude is malformed; restic would leave everything in, or nothing.', 'Mend the pattern that the message names.'],
  'nothing-to-save': ['Nothing of what is declared could be read; no snapshot was made.', 'Look at the paths: atelier-backup doctor'],
  shrunk: [
    'The data fell by more than shrinkThreshold; it was saved all the same.',
    'If something is missing: atelier-backup restore SERVICE. If that is right: atelier-backup adopt SERVICE',
  ],
  killed: ['A run was killed before its end.', 'atelier-backup backup SERVICE'],
  'view-failed': ["The data can't be held still by its filesystem.", 'See the message; without stopForBackup no view is needed.'],
  'staging-unsafe': ['The folder for copies belongs to somebody else.', 'Remove it, or name another stagingDir.'],
  'tag-failed': [
    "A warning: a snapshot can't be marked, for its storage takes no changes.",
    'The record here knows; mark it where deleting is allowed.',
  ],
  'sqlite-locked': ['The database stayed locked.', 'Something holds a long transaction: end it, or back up at another time.'],
  'sqlite-not-a-database': ['The file is no SQLite database, or is encrypted.', 'Declare it under paths.'],
  'sqlite-corrupt': ['The database is corrupt.', 'Restore an older one: atelier-backup list SERVICE'],
  'sqlite-replaced': ['The application replaced its database during the backup.', 'Run it at another time.'],
  'sqlite-other-name': ['The database is open under another name.', 'Declare it under that name, or undo the link.'],
  'sqlite-unchecked': ["A warning: the database is saved, but sqlite3 can't check it.", 'Check it with the application.'],
  'sqlite-failed': ["The database can't be copied.", "sqlite3's own words stand in the message."],
  'postgres-missing': ["PostgreSQL's programs are not on PATH.", 'Install them.'],
  'postgres-unreachable': [
    "The server doesn't answer; while it recovers from a crash it is waited for, up to ten minutes.",
    'Does it run? Is postgresql.socketDir its socket?',
  ],
  'postgres-rights': ['The role may not bring databases back.', 'postgresql.user must name a superuser.'],
  'server-files': [
    'A path of the service holds the files of the PostgreSQL server, which must run while its databases are exchanged.',
    'Restore the databases alone, with --path and the folder of dumps.',
  ],
  'server-too-old': ['The databases were saved from a newer PostgreSQL; nothing was touched.', 'Upgrade the server first.'],
  'foreign-dump': [
    'The snapshot holds dumps of an engine whose databases are not restored in place, or that a newer version of this program knows: the files alone would be brought back.',
    "Choose the files with --path, or restore it to look at, and load the dumps with the engine's own program.",
  ],
  'no-dump': ['The snapshot holds no dump of the databases.', 'Choose another: atelier-backup list SERVICE'],
  'dump-damaged': ["A dump can't be loaded.", 'Restore an older snapshot: atelier-backup list SERVICE'],
  'postgres-failed': ['A dump failed; there is no snapshot without it.', "PostgreSQL's own words stand in the message."],

  // Restores
  'unfinished-restore': ['A restore in place was interrupted.', 'atelier-backup restore SERVICE --resume; --rollback takes it back'],
  'nothing-to-resume': ['Nothing is unfinished.', 'Nothing.'],
  'nothing-to-roll-back': [
    'No restore is unfinished, and no old data is kept (with --at: none of that time or before it).',
    'Look at what status names, or restore an older snapshot.',
  ],
  'old-data-missing': ["What a restore had replaced isn't there any more.", 'Restore a snapshot of that time.'],
  'data-missing': [
    'What should be exchanged has been taken away or unmounted; nothing was put in its place.',
    'Look at the folders that the message names; mount again what was mounted.',
  ],
  unadopted: [
    'The backup was made and does not count yet: the repository holds backups of the service from elsewhere, and nobody has said that the data here is the truth.',
    'Bring those back (`atelier-backup dr --only SERVICE`), or keep what is here (`atelier-backup adopt SERVICE`).',
  ],
  'undo-failed': ["Something failed, and couldn't be taken back.", 'Mend what the message says, then: atelier-backup restore SERVICE --rollback'],
  'flush-failed': ["What was restored can't be brought to disk.", 'Look at the disk (dmesg).'],
  'carry-failed': ["What backups exclude can't be carried over.", 'Make room, or remove it.'],
  'not-carried': ['A warning: something that backups exclude was not carried over.', 'It stands in the old data, where the plan says.'],
  'special-files': [
    'The snapshot holds device nodes or setuid files that are not there now.',
    'Restore without --in-place, and move by hand what you trust.',
  ],
  'not-declared': [
    "The snapshot holds paths that the manifest doesn't declare.",
    'Declare them, choose a part with --path, or restore without --in-place.',
  ],
  'state-inside': ["The path holds this program's own state.", 'Restore a part with --path, or without --in-place.'],

  // Disaster recovery
  protected: ['The service lives here already: it was left alone.', 'If it shall be replaced: dr --overwrite'],
  'only-partial': ['Only snapshots exist that something is missing from.', 'If they will do: dr --partial'],
  waits: ["A service that comes first isn't recovered.", 'Mend that one, then: atelier-backup dr --resume'],

  // What is remembered
  'record-damaged': ["A service's record can't be read.", 'atelier-backup backup SERVICE sets it aside and begins a new one.'],
  'record-failed': ["A warning: the record can't be written.", 'Look at the state folder and its disk.'],
  'journal-damaged': [
    "A restore is unfinished, and its journal can't be read.",
    'Old data stands in .atelier-backup-SERVICE-* beside the paths: put it in order by hand, then remove the journal.',
  ],
  'state-damaged': ["Something in the state folder can't be read.", 'Type what the message names; see also: atelier-backup doctor'],
}
