// The table of commands. Nothing else of a command is loaded until it runs.
import type { CommandSpec, Option } from './command.ts'

const host: Option = { flags: '--host <name>', description: 'look at the snapshots of another host' }
const repository: Option = { flags: '--repository <name>', description: 'one repository of the manifest (default: main)' }
const yes: Option = { flags: '--yes', description: 'answer the confirmation' }
const emptyMounts: Option = {
  flags: '--empty-mounts',
  description: 'also empty what is mounted where the snapshot knows of nothing; it is kept aside',
}
const dryRun: Option = { flags: '--dry-run', description: 'show the plan and stop' }

export const globalOptions: Option[] = [
  { flags: '--manifest <file>', description: 'the manifest (ATELIER_BACKUP_MANIFEST; default /etc/atelier/backup-manifest.json)' },
  { flags: '--state-dir <folder>', description: 'records, locks and journals (STATE_DIRECTORY; default /var/lib/atelier-backup)' },
  { flags: '--json', description: 'machine-readable output: one value, or one event a line for long work' },
  { flags: '--no-color', description: 'no colours (NO_COLOR)' },
]

export const commands: CommandSpec[] = [
  {
    name: 'status',
    arguments: '[service...]',
    summary: 'how each service stands: state, age, size, next run',
    description:
      'How each service stands: state, age, size, next run. Of one that is named also what is saved, when, and how its latest runs went, with all that could not be read.',
    options: [{ flags: '--local', description: 'from the records alone, without asking a repository' }],
    load: () => import('./status.ts'),
  },
  {
    name: 'list',
    arguments: '[service]',
    summary: 'the snapshots of a service, down to their files',
    options: [
      { flags: '--snapshot <id>', description: 'list what is in a snapshot ("latest": the newest)' },
      { flags: '--path <path>', description: 'only below this path of the snapshot' },
      host,
    ],
    load: () => import('./list.ts'),
  },
  {
    name: 'find',
    arguments: '[pattern] [service...]',
    summary: 'find a file through all snapshots',
    description:
      'Find a file or folder through all snapshots of this host, newest first, and restore one of its versions. The pattern is a part of a name, in any case, or, with one of "*?[/" in it, what restic find takes: "*.txt", "/var/lib/**/notes.db". Exit code 1: nothing is called so.',
    options: [host],
    load: () => import('./find.ts'),
  },
  {
    name: 'backup',
    arguments: '[service...]',
    summary: 'back up one service, several, or all',
    options: [
      { flags: '--all', description: 'every service that is enabled' },
      { flags: '--jobs <number>', description: 'services side by side (default: 2)' },
    ],
    reports: true,
    load: () => import('./backup.ts'),
  },
  {
    name: 'restore',
    arguments: '[service]',
    summary: 'bring back a snapshot: to look at, or in place',
    description:
      'Without --in-place the snapshot is restored below a new folder (/tmp/restore-SERVICE-SNAPSHOT), to look at; nothing live is touched.',
    options: [
      { flags: '--snapshot <id>', description: 'which snapshot ("latest": the newest, be it partial; the default)' },
      { flags: '--at <time>', description: 'the newest snapshot not later than this time (a date: its end)' },
      { flags: '--path <path>', description: 'only this path of the snapshot', repeatable: true },
      { flags: '--target <folder>', description: 'restore below this folder, which must not exist yet' },
      { flags: '--in-place', description: 'replace the live data; what is replaced is kept' },
      emptyMounts,
      { flags: '--resume', description: 'finish a restore in place that was interrupted' },
      { flags: '--rollback', description: 'take back a restore in place: the unfinished one, or the newest (--at: the newest until then)' },
      { flags: '--discard-old', description: 'delete the data that restores in place have kept' },
      yes,
      dryRun,
      host,
    ],
    reports: true,
    load: () => import('./restore.ts'),
  },
  {
    name: 'dr',
    aliases: ['disaster-recovery'],
    summary: 'disaster recovery: bring back every service on a fresh install',
    options: [
      { flags: '--at <time>', description: 'for each service the newest snapshot not later than this time (a date: its end)' },
      { flags: '--only <service>', description: 'this service', repeatable: true },
      { flags: '--except <service>', description: 'not this service', repeatable: true },
      { flags: '--overwrite', description: 'replace also the data of services that live here' },
      { flags: '--partial', description: 'take partial snapshots where there is no complete one' },
      { flags: '--without-units', description: "pass over units that systemd doesn't know, as on a rescue system" },
      emptyMounts,
      { flags: '--resume', description: 'go on with a recovery that was interrupted' },
      { flags: '--from-repository', description: 'take the manifest from the repository: nothing else is needed than what opens it' },
      { flags: '--repository <location>', description: 'with --from-repository: where it is, as restic takes it (asked for on a terminal)' },
      { flags: '--password-file <file>', description: "with --from-repository: the repository's password (asked for on a terminal)" },
      { flags: '--environment-file <file>', description: "with --from-repository: the storage's credentials (asked for on a terminal)" },
      { flags: '--run-commands', description: "with --from-repository: let the manifest's health checks run here" },
      { flags: '--save-manifest <file>', description: 'with --from-repository: write the manifest into this new file' },
      { flags: '--jobs <number>', description: 'services side by side (default: 2)' },
      yes,
      dryRun,
      host,
    ],
    reports: true,
    load: () => import('./dr.ts'),
  },
  {
    name: 'adopt',
    arguments: '[service...]',
    summary: "say that this install's data is the truth from now on",
    options: [
      { flags: '--all', description: 'every service' },
      { flags: '--repository <name>', description: 'accept the repository that is there now in place of the one known before' },
      yes,
    ],
    load: () => import('./adopt.ts'),
  },
  {
    name: 'run',
    arguments: '<service>',
    summary: "the timers' command: back up one service in this process",
    options: [{ flags: '--cleanup', description: 'only tidy up after a run that was killed' }],
    reports: true,
    load: () => import('./run.ts'),
  },
  {
    name: 'prune',
    summary: 'forget old snapshots by the retention, then free their space',
    options: [{ flags: '--repository <name>', description: 'one repository of the manifest (default: all)' }, dryRun],
    load: () => import('./prune.ts'),
  },
  {
    name: 'unlock',
    summary: 'remove locks that a dead restic left in the repository',
    options: [repository, { flags: '--all', description: 'remove live locks too' }, yes],
    load: () => import('./unlock.ts'),
  },
  {
    name: 'doctor',
    summary: 'check manifest, secrets, repository, paths, state and clock',
    options: [],
    load: () => import('./doctor.ts'),
  },
  {
    name: 'restic',
    arguments: '[args...]',
    summary: "restic with this host's repository, secrets and cache: restic -- ARGS",
    options: [repository],
    load: () => import('./restic.ts'),
  },
  {
    name: 'boot',
    arguments: '[service...]',
    summary: "the boot unit's command: end restores in place that a crash interrupted",
    options: [],
    hidden: true,
    load: () => import('./boot.ts'),
  },
  {
    name: 'complete',
    arguments: '[words...]',
    summary: "candidates for the shells' completions",
    options: [],
    hidden: true,
    load: () => import('./complete.ts'),
  },
]
