// Converts manifests of the earlier shell version to version 2.
import { dirname } from 'node:path'
import type { Version1 } from './version1.gen.ts'

/** Whether the shell version wrote it. Its earliest manifests had no `version`; a version 2 manifest without one has other keys. */
export function isVersion1(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if ('version' in value) return value.version === 1
  return 'services' in value && Object.keys(value).every((key) => ['generated', 'host', 'services'].includes(key))
}

/**
 * As a version 2 manifest, not yet validated. The shell version backed up the folder of a database, not the file.
 * It had no `units`: the field stays absent, which means NAME.service; a restore in place fails if systemd doesn't know that unit.
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
