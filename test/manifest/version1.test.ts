import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { unitsOf } from '../../src/manifest/resolve.ts'

const read = (manifest: unknown) => readManifest(JSON.stringify(manifest), 'old.json', 'cellar')
const declared = {
  dataDir: '/var/lib/notes',
  data: { sqlite: '/var/lib/notes/db/notes.db', postgres: null, files: ['/srv/notes'], exclude: ['*.log'] },
}

test.each([
  [
    'a database, whose folder was saved, and files',
    declared,
    { paths: ['/var/lib/notes/db', '/srv/notes'], sqlite: ['/var/lib/notes/db/notes.db'], exclude: ['*.log'] },
  ],
  ['PostgreSQL', { dataDir: '/x', data: { sqlite: null, postgres: 'notes', files: [], exclude: [] } }, { paths: [], postgres: ['notes'] }],
  [
    'a service that was registered by hand',
    { paths: ['/home/me/'], exclude: ['.cache'], manual: true },
    { paths: ['/home/me'], exclude: ['.cache'], sqlite: [] },
  ],
  [
    'a database beside the files',
    { data: { sqlite: '/srv/notes/n.db', files: ['/srv/notes'] } },
    { paths: ['/srv/notes'], sqlite: ['/srv/notes/n.db'] },
  ],
])('[manifest.1] version 1: %s', (_, old, service) => {
  const { notes } = read({ version: 1, generated: 'nixos-rebuild', services: { notes: old } }).services
  expect(notes).toMatchObject({ enable: true, units: null, tags: [], ...service })
})

test('[manifest.1] version 1: secrets at the default paths, the default retention, units named after the service', () => {
  const manifest = read({ version: 1, services: { notes: declared } })
  expect(manifest.repositories.main).toMatchObject({ repository: null, passwordFile: '/run/agenix/restic/password' })
  expect(manifest.retention).toEqual({ last: 3, daily: 7, weekly: 5, monthly: 12 })
  expect(unitsOf('notes', manifest.services.notes as never)).toEqual(['notes.service'])
})

test('[manifest.1] version 1: the host is the one named, else this machine', () => {
  expect(read({ services: { notes: declared } }).host).toBe('cellar')
  expect(read({ version: 1, host: 'attic', services: {} }).host).toBe('attic')
  expect(readManifest('{"version": 1, "services": {}}', 'old.json').host).toBe(hostname())
})

test.each([
  [{ version: 1 }, 'services: missing, expected an object', ' (version 1)'],
  [
    { version: 1, services: { n: { data: { sqlite: 'n.db' } } } },
    'services.n.data.sqlite: found "n.db", expected an absolute path such as "/var/lib/notes/notes.db", or null',
    ' (version 1)',
  ],
  [{ services: { n: { pahts: ['/a'] } } }, 'services.n.pahts: unknown key, did you mean "paths"?', ' (version 1)'],
  [{ version: 1, services: { n: { data: {} } } }, 'services.n: nothing to back up: name paths, sqlite or postgres, or set enable to false', ''],
  [{ host: 'cellar', retention: {}, services: {} }, 'version: missing, expected 2 (or 1, as the earlier shell version wrote it)', ''],
])('[manifest.2] version 1: a wrong one is reported with its place: %#', (manifest, line, suffix) => {
  expect(() => read(manifest)).toThrow(`old.json${suffix}: ${line}`)
})
