// The details of one service, below its status line: what is backed up, how, and its latest runs.
import { retentionOf, scheduleOf, unitsOf } from '../manifest/resolve.ts'
import type { Retention } from '../manifest/types.gen.ts'
import { type Site, serviceOf } from '../site.ts'
import type { Run } from '../state/record.gen.ts'
import type { ServiceStatus } from '../status/query.ts'
import { printable } from '../text.ts'
import { dayAndClock, formatBytes, formatPause, formatSeconds } from '../ui/format.ts'
import { type Column, hanging, tableLines } from '../ui/table.ts'
import { columns } from '../ui/terminal.ts'

/** How many runs are shown, and how many warnings of the newest backup. */
const runsShown = 10
const warningsShown = 20

/** `runs`: oldest first; null: the record can't be read. `nextRun`: of its timer; null: the timer isn't active. */
export function detailView(site: Site, { name, nextRun }: Pick<ServiceStatus, 'name' | 'nextRun'>, runs: Run[] | null): string[] {
  const latest = [...(runs ?? [])].reverse().slice(0, runsShown)
  const warnings = latest.find(({ kind }) => kind === 'backup')?.warnings ?? []
  return [
    ...factsOf(site, name, nextRun !== null).flatMap(([label, text]) => labelled(label, text)),
    ...(latest.length > 0 ? ['', ...runLines(latest, site.now())] : []),
    ...(warnings.length > 0 ? [''] : []),
    ...warnings.slice(0, warningsShown).flatMap(({ message }, n) => labelled(n === 0 ? 'warned' : '', message.replace(`${name}: `, ''))),
    ...(warnings.length > warningsShown ? labelled('', `and ${warnings.length - warningsShown} more: see its record`) : []),
  ]
}

function factsOf(site: Site, name: string, hasTimer: boolean): [string, string][] {
  const service = serviceOf(site, name)
  const { onCalendar, randomizedDelaySec } = scheduleOf(site.manifest, service)
  const units = unitsOf(name, service)
  const when =
    onCalendar.length === 0
      ? 'not by timer: it has no calendar event'
      : `${onCalendar.join(' and ')}, up to ${randomizedDelaySec} later${hasTimer ? '' : ', but no timer is active here'}`
  return [
    ...service.paths.map((path, n): [string, string] => [n === 0 ? 'paths' : '', path]),
    ...service.sqlite.map((path): [string, string] => ['sqlite', path]),
    ...service.postgres.map((database): [string, string] => ['postgres', database]),
    ...(service.exclude.length > 0 ? [['excludes', service.exclude.join('  ')] as [string, string]] : []),
    ...(units.length > 0
      ? [['units', `${units.join(', ')}${service.stopForBackup ? ': stopped for each backup' : ': not stopped for backups'}`] as [string, string]]
      : []),
    ['when', service.enable ? when : 'not by timer: it is disabled'],
    ['keeps', retentionWords(retentionOf(site.manifest, service))],
  ]
}

function retentionWords({ last, daily, weekly, monthly }: Retention): string {
  return `the last ${last}, ${daily} daily, ${weekly} weekly, ${monthly} monthly`
}

function runLines(runs: Run[], now: Date): string[] {
  const parts: { column: Column; cell(run: Run): string; least?: number }[] = [
    { column: { title: '  RUN' }, cell: ({ started }) => `  ${dayAndClock(started, now)[0]}` },
    { column: { title: '' }, cell: ({ started }) => dayAndClock(started, now)[1] },
    { column: { title: '' }, cell: ({ kind }) => kind },
    {
      column: { title: 'OUTCOME', shrink: 'cut' },
      cell: ({ outcome, code }) => (code === null || outcome === 'ok' ? outcome : `${outcome} (${code})`),
    },
    { column: { title: 'TOOK', align: 'right' }, cell: ({ seconds }) => formatSeconds(seconds) },
    {
      column: { title: 'STOPPED', align: 'right' },
      cell: ({ downtimeSeconds }) => (downtimeSeconds === null ? '–' : formatPause(downtimeSeconds)),
      least: 90,
    },
    { column: { title: 'SIZE', align: 'right' }, cell: ({ bytes }) => formatBytes(bytes), least: 65 },
    { column: { title: 'NEW', align: 'right' }, cell: ({ addedBytes }) => (addedBytes === null ? '–' : `+${formatBytes(addedBytes)}`), least: 75 },
    { column: { title: 'SNAPSHOT' }, cell: ({ snapshotId }) => snapshotId?.slice(0, 8) ?? '–' },
  ]
  const shown = parts.filter(({ least = 0 }) => columns() >= least)
  return tableLines(
    shown.map(({ column }) => column),
    runs.map((run) => shown.map(({ cell }) => cell(run))),
    columns(),
  )
}

function labelled(label: string, text: string): string[] {
  return hanging(`  ${label}`, printable(text), 12, columns())
}
