// Written by scripts/generate from schema/backup-manifest.schema.json; edit that one.
/**
 * What is backed up on this host, where to, and how.
 */
export interface Manifest {
  /**
   * Version of the manifest's format. Set by the module.
   */
  version: 2
  /**
   * Name under which this host's snapshots are kept. Set by the module from `networking.hostName`.
   */
  host: string
  /**
   * The restic repositories of this host. `main` is always there; declaring another one doesn't remove it.
   */
  repositories: {
    main: Repository
    [k: string]: Repository
  }
  /**
   * What to back up, by service. The name gives the units' names (`restic-backups-NAME.service` and `.timer`) and the snapshots' tag (`service:NAME`).
   */
  services: {
    [k: string]: Service
  }
  schedule: Schedule
  retention: Retention
  prune: Prune
  restore: Restore
  postgresql: Postgresql
  /**
   * Folder for the copies of databases that a backup makes. They take as much room as the databases for as long as the backup runs. Null: below the state folder.
   */
  stagingDir: string | null
}
/**
 * A restic repository and the secrets that open it.
 */
export interface Repository {
  /**
   * Location of the repository in plain text, as restic takes it. It is readable by everyone on the host: a location that holds credentials belongs into `repositoryFile`. Null: it is read from `repositoryFile`.
   */
  repository: string | null
  /**
   * File that holds the location of the repository. Used unless `repository` is set.
   */
  repositoryFile: string
  /**
   * File that holds the repository's password.
   */
  passwordFile: string
  /**
   * File with the storage's credentials as environment variables, in the format of `EnvironmentFile=` in {manpage}`systemd.exec(5)`. Null: the storage needs none.
   */
  environmentFile: string | null
  /**
   * rclone's configuration file, for a location that begins with `rclone:`. rclone writes renewed tokens into it. Null: rclone's own default.
   */
  rcloneConfigFile: string | null
  /**
   * Options of the storage for each call of restic, as its `--option` takes them. They are readable by everyone on the host.
   *
   * @maxItems 100
   */
  extraOptions: string[]
  /**
   * Whether the first backup may create the repository where restic finds none. A repository that was there once is never created anew.
   */
  initialize: boolean
  /**
   * How long to wait for a repository that another restic holds locked.
   */
  retryLock: string
}
/**
 * One service's data.
 */
export interface Service {
  /**
   * Whether to back up this service by timer. A disabled service stays known, so that it can be restored.
   */
  enable: boolean
  /**
   * Name of the repository under `repositories`.
   */
  repository: string
  /**
   * Files and folders to back up. A symbolic link is saved together with what it points at.
   *
   * @maxItems 1000
   */
  paths: string[]
  /**
   * SQLite databases, which are saved consistently while the service runs. They needn't stand under `paths`.
   *
   * @maxItems 1000
   */
  sqlite: string[]
  /**
   * Names of PostgreSQL databases: dumped while they are in use, and exchanged by a restore in place together with the files.
   *
   * @maxItems 1000
   */
  postgres: string[]
  /**
   * Patterns of what to leave out, as restic's `--exclude` takes them. A restore in place keeps what they match.
   *
   * @maxItems 1000
   */
  exclude: string[]
  /**
   * Further tags for this service's snapshots. `service:NAME` and `install:ID` are always there.
   *
   * @maxItems 100
   */
  tags: string[]
  /**
   * systemd units that use this data: a restore in place stops them and starts those that ran. Null: `NAME.service`. An empty list: nothing uses the data while it is restored. PostgreSQL itself is never stopped for databases declared under `postgres`.
   *
   * @maxItems 100
   */
  units: string[] | null
  /**
   * Whether to stop the units while the data is read. Not needed for databases declared under `sqlite` and `postgres`.
   */
  stopForBackup: boolean
  /**
   * Shell commands run before the data is read. If they fail there is no backup. They don't see the repository's secrets.
   */
  preBackup: string | null
  /**
   * Shell commands run at the end, whatever happened: `ATELIER_OUTCOME`, `ATELIER_SERVICE` and `ATELIER_SNAPSHOT` tell what.
   */
  postBackup: string | null
  /**
   * Whether the unit of a backup that is partial counts as failed, so that `OnFailure=` of {manpage}`systemd.unit(5)` is started. The snapshot is kept in any case.
   */
  partialIsFailure: boolean
  /**
   * Seconds after which `preBackup`, `postBackup` or `healthCheck` is ended and counts as failed.
   */
  hookTimeoutSec: number
  /**
   * Seconds that the units may take to stop, where a restore in place or `stopForBackup` stops them. One that takes longer is given up: nothing is touched, and what was stopped starts again.
   */
  stopTimeoutSec: number
  /**
   * Seconds without progress after which the copy of a database, or its dump, is ended and the backup fails; `status` tells of any run that has made none for so long.
   */
  stallTimeoutSec: number
  /**
   * Percentage by which the number of files or bytes may fall from one backup to the next; one that falls by more is saved, and flagged. Null: any.
   */
  shrinkThreshold: number | null
  /**
   * Services that disaster recovery brings back before this one.
   *
   * @maxItems 1000
   */
  restoreAfter: string[]
  /**
   * Shell commands that succeed if the service works. Run after a restore in place; if they fail the restore is undone.
   */
  healthCheck: string | null
  /**
   * Names under which this service's older snapshots were made.
   *
   * @maxItems 100
   */
  formerNames: string[]
  schedule: ServiceSchedule
  retention: ServiceRetention
}
/**
 * When this service's backup starts. A field that is null takes the host's value.
 */
export interface ServiceSchedule {
  /**
   * When to back up this service. An empty list: no timer. Null: as the host's `schedule.onCalendar`.
   *
   * @maxItems 100
   */
  onCalendar: string[] | null
  /**
   * Longest random delay of the start. Null: as the host's `schedule.randomizedDelaySec`.
   */
  randomizedDelaySec: string | null
  /**
   * Whether the random delay is the same each time. Null: as the host's `schedule.fixedRandomDelay`.
   */
  fixedRandomDelay: boolean | null
  /**
   * Whether a missed start is made up for. Null: as the host's `schedule.persistent`.
   */
  persistent: boolean | null
}
/**
 * How many snapshots of this service are kept. A field that is null takes the host's value.
 */
export interface ServiceRetention {
  /**
   * Newest snapshots to keep. Null: as the host's `retention.last`.
   */
  last: number | null
  /**
   * Days of which the newest snapshot is kept. Null: as the host's `retention.daily`.
   */
  daily: number | null
  /**
   * Weeks of which the newest snapshot is kept. Null: as the host's `retention.weekly`.
   */
  weekly: number | null
  /**
   * Months of which the newest snapshot is kept. Null: as the host's `retention.monthly`.
   */
  monthly: number | null
}
/**
 * When backups start.
 */
export interface Schedule {
  /**
   * When to back up, as `OnCalendar=` in {manpage}`systemd.timer(5)`; several make one timer that elapses at each of them. An empty list: no timer, backups are started by hand or by other units, and none is ever overdue.
   *
   * @maxItems 100
   */
  onCalendar: string[]
  /**
   * Longest random delay of the start, as `RandomizedDelaySec=` in {manpage}`systemd.timer(5)`.
   */
  randomizedDelaySec: string
  /**
   * Whether the random delay is the same each time, as `FixedRandomDelay=` in {manpage}`systemd.timer(5)`.
   */
  fixedRandomDelay: boolean
  /**
   * Whether a start missed while the host was off is made up for.
   */
  persistent: boolean
}
/**
 * How many snapshots of each service are kept, as restic's `forget --keep-*`.
 */
export interface Retention {
  /**
   * Newest snapshots to keep.
   */
  last: number
  /**
   * Days of which the newest snapshot is kept.
   */
  daily: number
  /**
   * Weeks of which the newest snapshot is kept.
   */
  weekly: number
  /**
   * Months of which the newest snapshot is kept.
   */
  monthly: number
}
/**
 * When old snapshots are forgotten and the space they used is freed.
 */
export interface Prune {
  /**
   * When to prune, as `OnCalendar=` in {manpage}`systemd.timer(5)`. An empty list: no timer.
   *
   * @maxItems 100
   */
  onCalendar: string[]
  /**
   * Longest random delay of the start.
   */
  randomizedDelaySec: string
}
/**
 * How restores in place treat the data they replace.
 */
export interface Restore {
  /**
   * Days for which the replaced data is kept at least, and in any case until a newer complete backup exists.
   */
  keepOldDays: number
}
/**
 * How to reach the PostgreSQL server whose databases services declare under `postgres`.
 */
export interface Postgresql {
  /**
   * System user and role that dumps the databases and brings them back: to dump, it needs to be allowed to read all of them; to restore in place, to be a superuser.
   */
  user: string
  /**
   * Folder of the server's socket.
   */
  socketDir: string
  /**
   * The server's port, which is part of the socket's name.
   */
  port: number
}
