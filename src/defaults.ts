// Default paths.
export const defaultManifest = '/etc/atelier/backup-manifest.json'
export const defaultState = '/var/lib/atelier-backup'
export const defaultCache = '/var/cache/atelier-backup'
