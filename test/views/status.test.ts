// The status as a person reads it, at every width: inline, as it stands on the screen.
import { afterEach, expect, test, vi } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import type { Site } from '../../src/site.ts'
import type { Run } from '../../src/state/record.gen.ts'
import type { ServiceStatus, Status } from '../../src/status/query.ts'
import { displayWidth } from '../../src/ui/table.ts'
import { typeset } from '../../src/ui/terminal.ts'
import { statusView } from '../../src/views/status.ts'
import { detailView } from '../../src/views/status-detail.ts'

afterEach(() => void vi.unstubAllEnvs())

const now = new Date(2026, 10, 23, 8, 30)
const at = (day: number, hour: number, minute = 0) => new Date(2026, 10, day, hour, minute).toISOString()
const ok = Array.from({ length: 30 }, () => 'ok' as const)
function service(name: string, changes: Partial<ServiceStatus> = {}): ServiceStatus {
  return {
    name,
    state: 'ok',
    latest: { id: 'a', time: at(23, 5), host: 'terebithia', bytes: 412e6, files: 3 },
    nextRun: at(24, 2, 30),
    lastRun: null,
    message: null,
    exit: 0,
    days: ok,
    old: [],
    oldDatabases: [],
    ...changes,
  }
}
const status: Status = {
  host: 'terebithia',
  repositories: [{ name: 'main', location: 'b2:terebithia-backup', reachable: true, error: null, exit: 0 }],
  services: [
    service('cachet'),
    service('notes', { old: [{ folder: '/var/lib/.atelier-backup-notes-20261121T021400Z-3f9c2a/old', since: at(21, 2, 14) }] }),
    service('paperless', {
      state: 'partial',
      latest: { id: 'b', time: at(23, 5), host: 'terebithia', bytes: 9.8e9, files: 3 },
      days: [...ok.slice(2), 'partial', 'partial'],
      message: 'paperless: saved in part: /var/lib/paperless/media/lost+found: permission denied (and 1 more)',
    }),
    service('herald', {
      state: 'overdue',
      latest: { id: 'c', time: at(21, 2, 14), host: 'terebithia', bytes: 38e6, files: 3 },
      days: [...ok.slice(2), null, null],
      message: `the newest backup is from ${at(21, 2, 14)}; one was due by ${at(22, 6, 14)}: journalctl -u restic-backups-herald -n 50`,
    }),
  ],
}
const shown = (columns: number, given = status) => {
  vi.stubEnv('COLUMNS', String(columns))
  return statusView(given, now).map(typeset)
}

test('[cli.19] at 80 columns', () => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  expect(shown(80)).toEqual([
    'terebithia                                          main  b2:terebithia-backup ✓',
    '',
    '  SERVICE    STATE       LAST    SIZE     NEXT  30 DAYS',
    '✓ cachet     ok       3 h ago  412 MB  in 18 h  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆',
    '✓ notes      ok       3 h ago  412 MB  in 18 h  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆',
    '! paperless  partial  3 h ago  9.8 GB  in 18 h  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▄▄',
    '✗ herald     overdue  2 d ago   38 MB  in 18 h  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆··',
    '',
    'notes      kept from the restore of Sat 21 Nov 02:14 (restore --rollback puts it',
    '           back, --discard-old deletes it)',
    '           /var/lib/.atelier-backup-notes-20261121T021400Z-3f9c2a/old',
    '',
    'paperless  saved in part: /var/lib/paperless/media/lost+found: permission denied',
    '           (and 1 more)',
    '           atelier-backup status paperless',
    'herald     the newest backup is from Sat 21 Nov 02:14; one was due by yesterday',
    '           06:14',
    '           journalctl -u restic-backups-herald -n 50',
  ])
})

test('[cli.19] at 60 columns', () => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  expect(shown(60).slice(0, 7)).toEqual([
    'terebithia                      main  b2:terebithia-backup ✓',
    '',
    '  SERVICE    STATE       LAST    SIZE  14 DAYS',
    '✓ cachet     ok       3 h ago  412 MB  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆',
    '✓ notes      ok       3 h ago  412 MB  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆',
    '! paperless  partial  3 h ago  9.8 GB  ▆▆▆▆▆▆▆▆▆▆▆▆▄▄',
    '✗ herald     overdue  2 d ago   38 MB  ▆▆▆▆▆▆▆▆▆▆▆▆··',
  ])
})

test('where the locale takes no more, all of it is ASCII, in the same columns', () => {
  vi.stubEnv('LC_ALL', 'C')
  const lines = shown(80)
  expect(lines.join('\n')).toMatch(/^[\n\x20-\x7e]*$/)
  expect(lines.slice(2, 7)).toEqual([
    '  SERVICE     STATE       LAST    SIZE     NEXT  30 DAYS',
    'ok cachet     ok       3 h ago  412 MB  in 18 h  ##############################',
    'ok notes      ok       3 h ago  412 MB  in 18 h  ##############################',
    '!  paperless  partial  3 h ago  9.8 GB  in 18 h  ############################++',
    'x  herald     overdue  2 d ago   38 MB  in 18 h  ############################..',
  ])
})

test.each([60, 80, 120, 200])('[cli.19] at %i columns nothing is wider, but what is to be copied', (columns) => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  const long = {
    ...status,
    services: [...status.services, service('a-service-with-a-name-that-is-longer-than-most', { state: 'unfinished-restore' })],
  }
  for (const line of shown(columns, long)) expect(displayWidth(line.includes('/old') ? '' : line)).toBeLessThanOrEqual(columns)
})

const run = (day: number, changes: Partial<Run> = {}): Run => ({
  run: `run-${day}`,
  kind: 'backup',
  started: at(day, 2, 14),
  seconds: 12.3,
  outcome: 'ok',
  code: null,
  message: null,
  snapshotId: 'c0ffee11'.repeat(8),
  downtimeSeconds: null,
  bytes: 9.8e9,
  files: 3,
  addedBytes: 3.1e6,
  view: 'live',
  warnings: [],
  ...changes,
})
const runs = [
  run(20, { outcome: 'failed', code: 'hook-failed', snapshotId: null, bytes: null, addedBytes: null, seconds: 1 }),
  run(21, { kind: 'restore', addedBytes: null, downtimeSeconds: 0.4 }),
  run(23, {
    outcome: 'partial',
    warnings: [1, 2].map((n) => ({ code: 'unreadable', message: `paperless: /var/lib/paperless/media/${n}: permission denied` })),
  }),
]
const site = {
  manifest: readManifest(
    JSON.stringify({
      ...{ version: 2, host: 'terebithia', repositories: { main: { repository: 'b2:x' } } },
      services: { paperless: { paths: ['/var/lib/paperless'], sqlite: ['/var/lib/paperless/db.sqlite3'], exclude: ['cache'], stopForBackup: true } },
    }),
    'manifest.json',
  ),
  now: () => now,
} as Site

const paperless = { name: 'paperless', nextRun: now.toISOString() }

test('[cli.19] the detail says where a schedule has no timer', () => {
  const whenOf = (nextRun: string | null) => detailView(site, { ...paperless, nextRun }, []).find((line) => line.includes('when'))
  expect([whenOf(null), whenOf(paperless.nextRun)]).toEqual([
    '  when      02:00, up to 2h later, but no timer is active here',
    '  when      02:00, up to 2h later',
  ])
})

test('[cli.19] one service in detail, newest run first, and what could not be read', () => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  vi.stubEnv('COLUMNS', '80')
  expect(
    statusView({ ...status, services: status.services.slice(2, 3) }, now, detailView(site, paperless, runs))
      .map(typeset)
      .slice(4),
  ).toEqual([
    '',
    '  paths     /var/lib/paperless',
    '  sqlite    /var/lib/paperless/db.sqlite3',
    '  excludes  cache',
    '  units     paperless.service: stopped for each backup',
    '  when      02:00, up to 2h later',
    '  keeps     the last 3, 7 daily, 5 weekly, 12 monthly',
    '',
    '  RUN                         OUTCOME            TOOK    SIZE      NEW  SNAPSHOT',
    '  today       02:14  backup   partial            12 s  9.8 GB  +3.1 MB  c0ffee11',
    '  Sat 21 Nov  02:14  restore  ok                 12 s  9.8 GB        –  c0ffee11',
    '  Fri 20 Nov  02:14  backup   failed (hook-fa…  1.0 s       –        –  –',
    '',
    '  warned    /var/lib/paperless/media/1: permission denied',
    '            /var/lib/paperless/media/2: permission denied',
    '',
    'paperless  saved in part: /var/lib/paperless/media/lost+found: permission denied',
    '           (and 1 more)',
    '           atelier-backup backup paperless',
  ])
})

test.each([60, 80, 120, 200])('[cli.19] the detail at %i columns', (columns) => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  vi.stubEnv('COLUMNS', String(columns))
  for (const line of detailView(site, paperless, runs).map(typeset)) expect(displayWidth(line)).toBeLessThanOrEqual(columns)
})

test('no column where nothing stands, and what all lack is told once', () => {
  vi.stubEnv('LC_ALL', 'C.UTF-8')
  const error = "repository main (b2:x) can't be reached: dial tcp; look with: atelier-backup doctor"
  const services = ['notes', 'wiki'].map((name) => service(name, { state: 'unknown', latest: null, nextRun: null, message: error }))
  expect(shown(80, { host: 'h', repositories: [{ name: 'main', location: 'b2:x', reachable: false, error, exit: 1 }], services })).toEqual([
    'h                                                                   main  b2:x ✗',
    '',
    '  SERVICE  STATE    LAST  SIZE  30 DAYS',
    '? notes    unknown     –     –  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆',
    '? wiki     unknown     –     –  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆',
    '',
    "repository main (b2:x) can't be reached: dial tcp; look with",
    'atelier-backup doctor',
  ])
})
