// The effective settings of one service: its own value, or the host's.
import { declaredDatabases, engines } from './engines.ts'
import type { Manifest, Retention, Schedule, Service } from './types.gen.ts'

export function retentionOf(manifest: Manifest, service: Service): Retention {
  return filled(service.retention, manifest.retention)
}

export function scheduleOf(manifest: Manifest, service: Service): Schedule {
  return filled(service.schedule, manifest.schedule)
}

/** The units to stop for a service, without those of a declared database server, which must run for dumps and restores. */
export function unitsOf(name: string, service: Service): string[] {
  const units = service.units ?? [`${name}.service`]
  const servers = declaredDatabases(service).map(({ engine }) => engines[engine].server)
  return units.filter((unit) => !servers.some((server) => server.test(unit)))
}

function filled<T extends object>(own: { [K in keyof T]: T[K] | null }, host: T): T {
  const fields = Object.keys(host) as (keyof T)[]
  return Object.fromEntries(fields.map((field) => [field, own[field] ?? host[field]])) as T
}
