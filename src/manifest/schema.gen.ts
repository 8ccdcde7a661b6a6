// Written by scripts/generate from schema/backup-manifest.schema.json; edit that one.
import * as z from 'zod/mini'

const atLeast = (length: number) => z.refine<string>((text) => [...text].length >= length)

const atMost = (length: number) => z.refine<string>((text) => text.length <= length || [...text].length <= length)

const listOf = <T extends z.core.$ZodType<unknown, unknown>>(list: T) => z.pipe(z.transform((one: unknown) => (typeof one === 'string' ? [one] : one)), list)

const different = () => z.refine<unknown[]>((list) => new Set(list).size === list.length)

const named = (pattern: RegExp) =>
  z.check<Record<string, unknown>>(({ value, issues }) => {
    for (const key of Object.keys(value)) if (!pattern.test(key)) issues.push({ code: 'invalid_key', origin: 'record', issues: [], input: value, path: [key] })
  })

const repository = z.strictObject({
  repository: z._default(z.nullable(z.string().check(z.regex(/^[^\n]+$/u), atLeast(1), atMost(4096))), null),
  repositoryFile: z._default(z.string().check(z.regex(/^\/[^\n]*$/u)), "/run/agenix/restic/repo"),
  passwordFile: z._default(z.string().check(z.regex(/^\/[^\n]*$/u)), "/run/agenix/restic/password"),
  environmentFile: z._default(z.nullable(z.string().check(z.regex(/^\/[^\n]*$/u))), "/run/agenix/restic/env"),
  rcloneConfigFile: z._default(z.nullable(z.string().check(z.regex(/^\/[^\n]*$/u))), null),
  extraOptions: z._default(z.array(z.string().check(z.regex(/^[a-z0-9.-]+=[^\n]*$/u), atMost(4096))).check(z.maxLength(100)), []),
  initialize: z._default(z.boolean(), false),
  retryLock: z._default(z.string().check(z.regex(/^[0-9]+(s|m|h)$/u)), "10m"),
})

const serviceSchedule = z.strictObject({
  onCalendar: z._default(z.nullable(listOf(z.array(z.string().check(z.regex(/^[A-Za-z0-9*:/.,~ _+-]+$/u), atMost(256))).check(z.maxLength(100)))), null),
  randomizedDelaySec: z._default(z.nullable(z.string().check(z.regex(/^[0-9][0-9A-Za-z. ]*$/u), atMost(64))), null),
  fixedRandomDelay: z._default(z.nullable(z.boolean()), null),
  persistent: z._default(z.nullable(z.boolean()), null),
})

const serviceRetention = z.strictObject({
  last: z._default(z.nullable(z.int().check(z.minimum(0), z.maximum(100000))), null),
  daily: z._default(z.nullable(z.int().check(z.minimum(0), z.maximum(100000))), null),
  weekly: z._default(z.nullable(z.int().check(z.minimum(0), z.maximum(100000))), null),
  monthly: z._default(z.nullable(z.int().check(z.minimum(0), z.maximum(100000))), null),
})

const service = z.strictObject({
  enable: z._default(z.boolean(), true),
  repository: z._default(z.string().check(z.regex(/^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$/u)), "main"),
  paths: z._default(z.array(z.string().check(z.regex(/^\/[^\n]*$/u))).check(z.maxLength(1000), different()), []),
  sqlite: z._default(z.array(z.string().check(z.regex(/^\/[^\n]*$/u))).check(z.maxLength(1000), different()), []),
  postgres: z._default(z.array(z.string().check(z.regex(/^[A-Za-z_][A-Za-z0-9_$-]{0,62}$/u))).check(z.maxLength(1000), different()), []),
  exclude: z._default(z.array(z.string().check(z.regex(/^[^\n]+$/u), atLeast(1), atMost(4096))).check(z.maxLength(1000)), []),
  tags: z._default(z.array(z.string().check(z.regex(/^[A-Za-z0-9_.=/+@:-]{1,128}$/u))).check(z.maxLength(100), different()), []),
  units: z._default(z.nullable(z.array(z.string().check(z.regex(/^[A-Za-z0-9:_.@\\-]+[.](service|socket|timer|target|path|mount)$/u))).check(z.maxLength(100), different())), null),
  stopForBackup: z._default(z.boolean(), false),
  preBackup: z._default(z.nullable(z.string().check(atMost(65536))), null),
  postBackup: z._default(z.nullable(z.string().check(atMost(65536))), null),
  partialIsFailure: z._default(z.boolean(), false),
  hookTimeoutSec: z._default(z.int().check(z.minimum(1), z.maximum(604800)), 3600),
  stopTimeoutSec: z._default(z.int().check(z.minimum(1), z.maximum(604800)), 600),
  stallTimeoutSec: z._default(z.int().check(z.minimum(1), z.maximum(604800)), 3600),
  shrinkThreshold: z._default(z.nullable(z.int().check(z.minimum(1), z.maximum(99))), 50),
  restoreAfter: z._default(z.array(z.string().check(z.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/u))).check(z.maxLength(1000), different()), []),
  healthCheck: z._default(z.nullable(z.string().check(atMost(65536))), null),
  formerNames: z._default(z.array(z.string().check(z.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/u))).check(z.maxLength(100), different()), []),
  schedule: z.prefault(serviceSchedule, {}),
  retention: z.prefault(serviceRetention, {}),
})

const schedule = z.strictObject({
  onCalendar: z._default(listOf(z.array(z.string().check(z.regex(/^[A-Za-z0-9*:/.,~ _+-]+$/u), atMost(256))).check(z.maxLength(100))), ["02:00"]),
  randomizedDelaySec: z._default(z.string().check(z.regex(/^[0-9][0-9A-Za-z. ]*$/u), atMost(64)), "2h"),
  fixedRandomDelay: z._default(z.boolean(), false),
  persistent: z._default(z.boolean(), true),
})

const retention = z.strictObject({
  last: z._default(z.int().check(z.minimum(0), z.maximum(100000)), 3),
  daily: z._default(z.int().check(z.minimum(0), z.maximum(100000)), 7),
  weekly: z._default(z.int().check(z.minimum(0), z.maximum(100000)), 5),
  monthly: z._default(z.int().check(z.minimum(0), z.maximum(100000)), 12),
})

const prune = z.strictObject({
  onCalendar: z._default(listOf(z.array(z.string().check(z.regex(/^[A-Za-z0-9*:/.,~ _+-]+$/u), atMost(256))).check(z.maxLength(100))), ["Sun 05:00"]),
  randomizedDelaySec: z._default(z.string().check(z.regex(/^[0-9][0-9A-Za-z. ]*$/u), atMost(64)), "1h"),
})

const restore = z.strictObject({
  keepOldDays: z._default(z.int().check(z.minimum(7), z.maximum(3650)), 7),
})

const postgresql = z.strictObject({
  user: z._default(z.string().check(z.regex(/^[a-z_][a-z0-9_-]{0,31}$/u)), "postgres"),
  socketDir: z._default(z.string().check(z.regex(/^\/[^\n]*$/u)), "/run/postgresql"),
  port: z._default(z.int().check(z.minimum(1), z.maximum(65535)), 5432),
})

export const manifestSchema = z.strictObject({
  version: z.literal(2),
  host: z.string().check(z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/u)),
  repositories: z.prefault(z.catchall(z.object({
    main: z.prefault(repository, {}),
  }), repository).check(named(/^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$/u)), {}),
  services: z.record(z.string().check(z.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/u)), service),
  schedule: z.prefault(schedule, {}),
  retention: z.prefault(retention, {}),
  prune: z.prefault(prune, {}),
  restore: z.prefault(restore, {}),
  postgresql: z.prefault(postgresql, {}),
  stagingDir: z._default(z.nullable(z.string().check(z.regex(/^\/[^\n]*$/u))), null),
})

export const manifestExpectations: Record<string, string> = {
  "": "an object",
  "version": "2 (or 1, as the earlier shell version wrote it)",
  "host": "a host name such as \"cellar\"",
  "repositories": "an object",
  "repositories.main": "an object",
  "repositories.main.repository": "text of at most 4096 characters such as \"/mnt/backup/restic\", or null",
  "repositories.main.repositoryFile": "the absolute path of a file such as \"/run/secrets/restic-repository\"",
  "repositories.main.passwordFile": "the absolute path of a file such as \"/run/secrets/restic-password\"",
  "repositories.main.environmentFile": "the absolute path of a file such as \"/run/secrets/restic-env\", or null",
  "repositories.main.rcloneConfigFile": "the absolute path of a file such as \"/root/.config/rclone/rclone.conf\", or null",
  "repositories.main.extraOptions": "a list of at most 100 entries",
  "repositories.main.extraOptions[]": "an option as name=value such as \"sftp.args=-p 2222\"",
  "repositories.main.initialize": "true or false",
  "repositories.main.retryLock": "a time in seconds, minutes or hours such as \"30m\"",
  "repositories.(name)": "a name of at most 63 letters, digits, _ and - such as \"main\"",
  "repositories.*": "an object",
  "repositories.*.repository": "text of at most 4096 characters such as \"/mnt/backup/restic\", or null",
  "repositories.*.repositoryFile": "the absolute path of a file such as \"/run/secrets/restic-repository\"",
  "repositories.*.passwordFile": "the absolute path of a file such as \"/run/secrets/restic-password\"",
  "repositories.*.environmentFile": "the absolute path of a file such as \"/run/secrets/restic-env\", or null",
  "repositories.*.rcloneConfigFile": "the absolute path of a file such as \"/root/.config/rclone/rclone.conf\", or null",
  "repositories.*.extraOptions": "a list of at most 100 entries",
  "repositories.*.extraOptions[]": "an option as name=value such as \"sftp.args=-p 2222\"",
  "repositories.*.initialize": "true or false",
  "repositories.*.retryLock": "a time in seconds, minutes or hours such as \"30m\"",
  "services": "an object",
  "services.(name)": "a name of at most 63 letters, digits, _, - and . such as \"notes\"",
  "services.*": "an object",
  "services.*.enable": "true or false",
  "services.*.repository": "a repository's name such as \"main\"",
  "services.*.paths": "a list of at most 1000 different entries",
  "services.*.paths[]": "an absolute path such as \"/var/lib/notes\"",
  "services.*.sqlite": "a list of at most 1000 different entries",
  "services.*.sqlite[]": "an absolute path such as \"/var/lib/notes/notes.db\"",
  "services.*.postgres": "a list of at most 1000 different entries",
  "services.*.postgres[]": "a database's name such as \"notes\"",
  "services.*.exclude": "a list of at most 1000 entries",
  "services.*.exclude[]": "text of at most 4096 characters such as \"/var/lib/notes/cache\"",
  "services.*.tags": "a list of at most 100 different entries",
  "services.*.tags[]": "a tag of at most 128 letters, digits and _.=/+@:- such as \"important\"",
  "services.*.units": "a list of at most 100 different entries, or null",
  "services.*.units[]": "a unit's name with its suffix such as \"notes.service\"",
  "services.*.stopForBackup": "true or false",
  "services.*.preBackup": "shell commands such as \"notes-cli export /var/lib/notes/export\", or null",
  "services.*.postBackup": "shell commands such as \"rm -rf /var/lib/notes/export\", or null",
  "services.*.partialIsFailure": "true or false",
  "services.*.hookTimeoutSec": "a whole number from 1 to 604800",
  "services.*.stopTimeoutSec": "a whole number from 1 to 604800",
  "services.*.stallTimeoutSec": "a whole number from 1 to 604800",
  "services.*.shrinkThreshold": "a whole number from 1 to 99, or null",
  "services.*.restoreAfter": "a list of at most 1000 different entries",
  "services.*.restoreAfter[]": "a service's name such as \"postgresql\"",
  "services.*.healthCheck": "shell commands such as \"curl -fsS http://localhost:8080/health\", or null",
  "services.*.formerNames": "a list of at most 100 different entries",
  "services.*.formerNames[]": "a service's name such as \"memos\"",
  "services.*.schedule": "an object",
  "services.*.schedule.onCalendar": "a list of calendar events, or null",
  "services.*.schedule.onCalendar[]": "a calendar event such as \"hourly\"",
  "services.*.schedule.randomizedDelaySec": "a time span such as \"5min\", or null",
  "services.*.schedule.fixedRandomDelay": "true or false, or null",
  "services.*.schedule.persistent": "true or false, or null",
  "services.*.retention": "an object",
  "services.*.retention.last": "a whole number from 0 to 100000, or null",
  "services.*.retention.daily": "a whole number from 0 to 100000, or null",
  "services.*.retention.weekly": "a whole number from 0 to 100000, or null",
  "services.*.retention.monthly": "a whole number from 0 to 100000, or null",
  "schedule": "an object",
  "schedule.onCalendar": "a list of calendar events",
  "schedule.onCalendar[]": "a calendar event such as \"Mon..Fri 03:30\"",
  "schedule.randomizedDelaySec": "a time span such as \"30min\"",
  "schedule.fixedRandomDelay": "true or false",
  "schedule.persistent": "true or false",
  "retention": "an object",
  "retention.last": "a whole number from 0 to 100000",
  "retention.daily": "a whole number from 0 to 100000",
  "retention.weekly": "a whole number from 0 to 100000",
  "retention.monthly": "a whole number from 0 to 100000",
  "prune": "an object",
  "prune.onCalendar": "a list of calendar events",
  "prune.onCalendar[]": "a calendar event such as \"Sat 12:00\"",
  "prune.randomizedDelaySec": "a time span such as \"30min\"",
  "restore": "an object",
  "restore.keepOldDays": "a whole number from 7 to 3650",
  "postgresql": "an object",
  "postgresql.user": "a user's name such as \"backup\"",
  "postgresql.socketDir": "an absolute path such as \"/run/postgresql-16\"",
  "postgresql.port": "a whole number from 1 to 65535",
  "stagingDir": "an absolute path such as \"/srv/scratch\", or null"
}
