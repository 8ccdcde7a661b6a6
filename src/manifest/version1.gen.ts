// Written by scripts/generate from schema/backup-manifest-1.schema.json; edit that one.
import * as z from 'zod/mini'

const data = z.strictObject({
  sqlite: z._default(z.nullable(z.string().check(z.regex(/^\/[^\n]*$/u))), null),
  postgres: z._default(z.nullable(z.string().check(z.regex(/^[A-Za-z_][A-Za-z0-9_$-]{0,62}$/u))), null),
  files: z._default(z.array(z.string().check(z.regex(/^\/[^\n]*$/u))), []),
  exclude: z._default(z.array(z.string().check(z.regex(/^[^\n]+$/u))), []),
})

const service = z.strictObject({
  manual: z._default(z.boolean(), false),
  dataDir: z._default(z.nullable(z.string()), null),
  data: z.prefault(data, {}),
  paths: z._default(z.array(z.string().check(z.regex(/^\/[^\n]*$/u))), []),
  exclude: z._default(z.array(z.string().check(z.regex(/^[^\n]+$/u))), []),
})

export const version1Schema = z.strictObject({
  version: z._default(z.literal(1), 1),
  generated: z._default(z.string(), "nixos-rebuild"),
  host: z._default(z.nullable(z.string().check(z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/u))), null),
  services: z.record(z.string().check(z.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/u)), service),
})

export const version1Expectations: Record<string, string> = {
  "": "an object",
  "version": "1",
  "generated": "text such as \"nixos-rebuild\"",
  "host": "a host name such as \"cellar\", or null",
  "services": "an object",
  "services.(name)": "a name of at most 63 letters, digits, _, - and . such as \"notes\"",
  "services.*": "an object",
  "services.*.manual": "true or false",
  "services.*.dataDir": "text, or null",
  "services.*.data": "an object",
  "services.*.data.sqlite": "an absolute path such as \"/var/lib/notes/notes.db\", or null",
  "services.*.data.postgres": "a database's name such as \"notes\", or null",
  "services.*.data.files": "a list",
  "services.*.data.files[]": "an absolute path such as \"/var/lib/notes/attachments\"",
  "services.*.data.exclude": "a list",
  "services.*.data.exclude[]": "text such as \"*.log\"",
  "services.*.paths": "a list",
  "services.*.paths[]": "an absolute path such as \"/var/lib/notes\"",
  "services.*.exclude": "a list",
  "services.*.exclude[]": "text such as \"*.log\""
}

/**
 * The manifest that the earlier shell version wrote.
 */
export interface Version1 {
  /**
   * Version of the manifest's format.
   */
  version: 1
  /**
   * What wrote it.
   */
  generated: string
  /**
   * Name under which this host's snapshots are kept. Null: the machine's own.
   */
  host: string | null
  /**
   * What to back up, by service.
   */
  services: {
    [k: string]: Version1Service
  }
}
/**
 * One service: `data` where its module declared it, `paths` and `exclude` where it was registered by hand.
 */
export interface Version1Service {
  /**
   * Whether it was registered by hand.
   */
  manual: boolean
  /**
   * Folder of the service's data, which wasn't saved for itself.
   */
  dataDir: string | null
  data: Version1Data
  /**
   * Files and folders.
   */
  paths: string[]
  /**
   * Patterns of what was left out.
   */
  exclude: string[]
}
/**
 * What a service's module declared.
 */
export interface Version1Data {
  /**
   * SQLite database, whose folder was saved.
   */
  sqlite: string | null
  /**
   * PostgreSQL database.
   */
  postgres: string | null
  /**
   * Further files and folders.
   */
  files: string[]
  /**
   * Patterns of what was left out.
   */
  exclude: string[]
}
