// The table of commands. The code of a command is loaded when it runs.
import type { CommandSpec, Option } from './command.ts'

const host: Option = { flags: '--host <name>', description: 'use the snapshots of another host' }
const repository: Option = { flags: '--repository <name>', description: 'one repository of the manifest (default: main)' }
const yes: Option = { flags: '--yes', description: "don't ask for confirmation" }
const emptyMounts: Option = {
  flags: '--empty-mounts',
  description: 'also empty filesystems that are mounted inside the data and not in the snapshot; their data is kept',
}
const ontoUnmounted: Option = {
  flags: '--onto-unmounted',
  description: "also restore data whose disk should be mounted and isn't: onto the disk below, where mounting it hides the data",
}
const allowPrivileged: Option = {
  flags: '--allow-privileged',
  description: 'also restore privileged files that are not there now: setuid, setgid, file capabilities, device nodes',
}
const allowCorrupt: Option = {
  flags: '--allow-corrupt',
  description: 'also restore SQLite databases that the check of this host calls corrupt',
}
const ignoreSpace: Option = {
  flags: '--ignore-space',
  description:
    'begin although there seems to be too little room: it may take long and end in vain, and fill the disk up to a small reserve meanwhile',
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
    summary: 'the state of each service: age, size, next run',
    description:
      'The state of each service: age, size, next run. With one service named, also what is backed up, when, and its latest runs, with everything that could not be read.',
    options: [{ flags: '--local', description: 'use the local records only, without asking a repository' }],
    load: () => import('./status.ts'),
  },
  {
    name: 'list',
    arguments: '[service]',
    summary: 'the snapshots of a service, down to their files',
    options: [
      { flags: '--snapshot <id>', description: 'list the files of a snapshot ("latest": the newest)' },
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
      'Find a file or folder through all snapshots of this host, newest first, and restore one of its versions. The pattern is a part of a name, in any case, or, with one of "*?[/" in it, what restic find takes: "*.txt", "/var/lib/**/notes.db". Exit code 1: nothing matches.',
    options: [host],
    load: () => import('./find.ts'),
  },
  {
    name: 'backup',
    arguments: '[service...]',
    summary: 'back up one service, several, or all',
    options: [
      { flags: '--all', description: 'every enabled service' },
      { flags: '--jobs <number>', description: 'services at the same time (default: 2)' },
    ],
    reports: true,
    load: () => import('./backup.ts'),
  },
  {
    name: 'restore',
    arguments: '[service]',
    summary: 'restore a snapshot: into a new folder, or in place',
    description: 'Without --in-place the snapshot is restored into a new folder (/tmp/restore-SERVICE-SNAPSHOT); live data is not touched.',
    options: [
      { flags: '--snapshot <id>', description: 'the snapshot to restore ("latest", the default: the newest, even a partial one)' },
      { flags: '--at <time>', description: 'the newest snapshot not later than this time (a minute or a date means its end)' },
      { flags: '--path <path>', description: 'only this path of the snapshot', repeatable: true },
      { flags: '--target <folder>', description: 'restore into this folder, which must not exist yet' },
      { flags: '--in-place', description: 'replace the live data; the old data is kept' },
      emptyMounts,
      ontoUnmounted,
      allowPrivileged,
      allowCorrupt,
      ignoreSpace,
      { flags: '--resume', description: 'finish an interrupted restore in place' },
      { flags: '--rollback', description: 'undo a restore in place: the unfinished one, or the newest (with --at: the newest up to that time)' },
      { flags: '--discard-old', description: 'delete the old data that restores in place have kept' },
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
    summary: 'disaster recovery: restore every service on a fresh install',
    options: [
      { flags: '--at <time>', description: 'for each service the newest snapshot not later than this time (a minute or a date means its end)' },
      { flags: '--only <service>', description: 'only this service', repeatable: true },
      { flags: '--except <service>', description: 'not this service', repeatable: true },
      { flags: '--overwrite', description: 'also replace data of services that were adopted or recovered here' },
      { flags: '--partial', description: 'restore a partial snapshot where there is no complete one' },
      { flags: '--without-units', description: "ignore units that systemd doesn't know, as on a rescue system" },
      emptyMounts,
      ontoUnmounted,
      allowPrivileged,
      allowCorrupt,
      ignoreSpace,
      { flags: '--resume', description: 'continue an interrupted recovery' },
      { flags: '--from-repository', description: 'read the manifest from the repository: only its location, password and credentials are needed' },
      { flags: '--repository <location>', description: 'with --from-repository: its location, as restic takes it (asked for at a terminal)' },
      { flags: '--password-file <file>', description: "with --from-repository: the repository's password (asked for at a terminal)" },
      { flags: '--environment-file <file>', description: "with --from-repository: the storage's credentials (asked for at a terminal)" },
      { flags: '--run-commands', description: "with --from-repository: allow the manifest's health checks on this host" },
      {
        flags: '--save-manifest <file>',
        description:
          'with --from-repository: write the manifest into this new file, without commands that were not allowed (--run-commands allows all)',
      },
      { flags: '--jobs <number>', description: 'services at the same time (default: 2)' },
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
    summary: 'accept the data of this host as current: its backups count from now on',
    options: [
      { flags: '--all', description: 'every service' },
      { flags: '--repository <name>', description: 'accept the repository that is found at its location now, in place of the previous one' },
      yes,
    ],
    load: () => import('./adopt.ts'),
  },
  {
    name: 'run',
    arguments: '<service>',
    summary: "the timers' command: back up one service in this process",
    options: [{ flags: '--cleanup', description: 'only clean up after a run that was killed' }],
    reports: true,
    load: () => import('./run.ts'),
  },
  {
    name: 'prune',
    summary: 'forget old snapshots by the retention policy, then prune the repository',
    options: [{ flags: '--repository <name>', description: 'one repository of the manifest (default: all)' }, dryRun],
    load: () => import('./prune.ts'),
  },
  {
    name: 'unlock',
    summary: 'remove stale locks from the repository',
    options: [repository, { flags: '--all', description: 'remove all locks, even non-stale ones' }, yes],
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
    summary: "run restic with this host's repository, secrets and cache: restic -- ARGS",
    options: [repository],
    load: () => import('./restic.ts'),
  },
  {
    name: 'boot',
    arguments: '[service...]',
    summary: "the boot unit's command: finish restores in place that a crash interrupted",
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
