// The plan of a restore in place, shown before the confirmation.
import type { Plan, RestoreStep } from '../core.ts'
import type { PostgresFacts, RestoreFacts } from '../restore/facts.ts'
import { databaseNeeds } from '../restore/room.ts'
import { type Site, serviceOf } from '../site.ts'
import { printable } from '../text.ts'
import { formatAge, formatBytes, formatCount, formatTime } from '../ui/format.ts'
import { hanging, wrapped } from '../ui/table.ts'
import { columns, styled } from '../ui/terminal.ts'

export function restorePlanView(site: Site, { plan, facts }: { plan: Plan<RestoreStep>; facts: RestoreFacts }): string[] {
  const now = site.now()
  const { snapshot, roots, units, running, databases, postgres, excluded, free, privileged } = facts
  const { healthCheck } = serviceOf(site, plan.service)
  const brought = postgres?.databases ?? []
  const bytes = [...roots, ...brought].reduce((sum, { bytes }) => sum + bytes, 0)
  // A file that is overwritten needs room for a copy of its old content, too.
  const beside = roots.reduce((sum, { overwritten, live }) => sum + (overwritten ? (live?.bytes ?? 0) : 0), 0)
  const written = roots.reduce((sum, { written }) => sum + written, 0)
  const needed = databaseNeeds(postgres).reduce((sum, need) => sum + need.bytes, written + beside)
  const host = snapshot.host === site.manifest.host ? '' : ` · of ${printable(snapshot.host)}`
  const from = `${snapshot.shortId} · ${formatTime(snapshot.time, now)} (${formatAge(snapshot.time, now)})${host} · ${formatBytes(bytes)}`
  const checks = [
    ...databases.map((database) => `${database} integrity`),
    ...(plan.steps.some((step) => step.do === 'health') ? [healthCheck ?? ''] : []),
  ]
  const lines: [string, string][] = [
    ...roots.map(({ path, bytes, files, live, entriesOnly, overwritten, emptied }): [string, string] => [
      emptied ? 'empties' : overwritten ? 'rewrites' : live ? 'replaces' : 'restores',
      `${path}${entriesOnly ? '/*' : ''}   ${live ? `${formatBytes(live.bytes)} → ` : ''}${formatBytes(bytes)}, ${formatCount(files)} ${files === 1 ? 'entry' : 'entries'}`,
    ]),
    ...privileged.map((path): [string, string] => [
      'privileged',
      `${path}   setuid, setgid, capabilities or a device, and not present with the same rights now`,
    ]),
    ...brought.map(({ name, bytes, live }): [string, string] => [
      live ? 'replaces' : 'restores',
      `the database ${name}   ${live ? `${formatBytes(live.bytes)} → ` : ''}a dump of ${formatBytes(bytes)}`,
    ]),
    ...(postgres === null ? [] : [['server', `PostgreSQL ${postgres.versions.server}${dumpedFrom(postgres)}`] as [string, string]]),
    ...(postgres?.roles ?? []).map((role): [string, string] => ['creates', `the role ${role}, with its password and memberships`]),
    [
      'room',
      `needs ${formatBytes(needed)}; ${Object.entries(free)
        .map(([mount, left]) => `${formatBytes(left)} free on ${mount}`)
        .join(', ')}`,
    ],
    ...units.map((unit): [string, string] => [
      'stops',
      `${unit}   ${running.includes(unit) ? 'running now; started again at the end' : 'not running'}`,
    ]),
    ...(brought.length > 0 ? [['closes', `every connection to ${brought.map(({ name }) => name).join(', ')}`] as [string, string]] : []),
    ...checks.map((check): [string, string] => ['checks', check]),
    ['keeps', `the old data for at least ${site.manifest.restore.keepOldDays} days, and until a newer complete backup exists`],
    ...excluded.slice(0, 5).map(({ path, bytes }): [string, string] => ['excluded', `${path}   ${formatBytes(bytes)}, kept as it is`]),
    ...(excluded.length > 5 ? [['excluded', `and ${excluded.length - 5} more`] as [string, string]] : []),
    ...plan.notes.map((note): [string, string] => ['note', note]),
    ['undo', `atelier-backup restore ${plan.service} --rollback`],
  ]
  return [
    ...wrapped(`Restore ${plan.service} in place from ${from}`, columns()).map((line) => styled('bold', line)),
    '',
    ...lines.flatMap(([label, text]) => hanging(`  ${label}`, printable(text), 12, columns())),
    '',
    'Anything written since then is not in the snapshot.',
  ]
}

function dumpedFrom({ versions }: PostgresFacts): string {
  return versions.dump === null || versions.dump === versions.server ? '' : `; dumped from ${versions.dump}`
}
