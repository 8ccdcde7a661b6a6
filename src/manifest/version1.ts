// Manifests of the earlier shell version, as version 2.
import { dirname } from 'node:path'
import type { Version1 } from './version1.gen.ts'

/** Whether it was written by the shell version, whose earliest manifests had no version; a version 2 that lacks it has other keys. */
export function isVersion1(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if ('version' in value) return value.version === 1
  return 'services' in value && Object.keys(value).every((key) => ['generated', 'host', 'services'].includes(key))
}

/**
 * The same as a version 2 manifest, not yet validated. It saved the folder of a database, not the file.
 * It knew no units: `units` stays absent, so that NAME.service is meant, and a restore in place ends where systemd doesn't know that unit.
 */
export function upgraded(manifest: Version1, hostname: string): unknown {
  const services = Object.entries(manifest.services).map(([name, { paths, exclude, data }]) => [
    name,
    {
      paths: [...new Set([...paths, ...some(data.sqlite).map(dirname), ...data.files])],
      sqlite: some(data.sqlite),
      postgres: some(data.postgres),
      exclude: [...exclude, ...data.exclude],
    },
  ])
  return { version: 2, host: manifest.host ?? hostname, services: Object.fromEntries(services) }
}

function some<T>(value: T | null): T[] {
  return value === null ? [] : [value]
}
