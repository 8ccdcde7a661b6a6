// `status` on the terminal: one line for each service, and below it what needs attention, with the command to type.
import { basename } from 'node:path'
import type { Iso } from '../core.ts'
import type { State } from '../status/judge.ts'
import type { ServiceStatus, Status } from '../status/query.ts'
import { printable } from '../text.ts'
import { formatAge, formatBytes, formatTime, timesInWords } from '../ui/format.ts'
import { type Column, displayWidth, hanging, pad, tableLines } from '../ui/table.ts'
import { columns, hasUnicode, type Sign, sign, styled } from '../ui/terminal.ts'

const signOf: Record<State, Sign> = {
  'unfinished-restore': 'bad',
  running: 'waiting',
  unknown: 'unknown',
  failed: 'bad',
  never: 'bad',
  unadopted: 'warn',
  overdue: 'bad',
  partial: 'warn',
  ok: 'good',
  disabled: 'waiting',
}

/** `detail`: further lines, where one service was named. */
export function statusView({ host, repositories, services }: Status, now: Date, detail: string[] = []): string[] {
  if (services.length === 0) return [styled('bold', host), '', 'No service is declared: add one under atelier.backup.services and rebuild.']
  const table = tableOf(services, now)
  const errors = new Set(repositories.map(({ error }) => error))
  const broken = repositories.flatMap(({ error }) => (error === null ? [] : advice('', error, null, 0)))
  const width = Math.min(columns() < 70 ? 12 : 20, Math.max(...services.map(({ name }) => name.length)))
  const kept = services.flatMap(({ name, old, oldDatabases }) => [
    ...old.flatMap(({ folder, since }) => keptLines(name, since, folder, width, now, basename(folder) === 'new')),
    ...oldDatabases.flatMap(({ kept, since, slots }) => [
      ...keptLines(name, since, `database ${kept}`, width, now),
      ...slots.flatMap((slot) => {
        const message = `${kept} has the replication slot ${slot}: PostgreSQL keeps its log of changes for it, and the disk fills; once the old data isn't needed:`
        return entry(name, width, message, `psql -c "SELECT pg_drop_replication_slot('${slot}')" postgres`)
      }),
    ]),
  ])
  const bad = services.flatMap(({ name, state, message }) =>
    message === null || errors.has(message)
      ? []
      : advice(name, timesInWords(message.replace(`${name}: `, ''), now), nextOf(name, state, detail.length > 0), width),
  )
  // The most important lines come last, right above the prompt.
  return [...heading(host, repositories, displayWidth(table[0] ?? '')), '', ...table, ...[detail, kept, broken, bad].flatMap(block)]
}

function block(lines: string[]): string[] {
  return lines.length > 0 ? ['', ...lines] : []
}

/** The repositories are right-aligned on the host's line if they fit. */
function heading(host: string, repositories: Status['repositories'], width: number): string[] {
  const each = repositories.map(
    ({ name, location, reachable, error }) =>
      `${name}  ${printable(location ?? '')} ${reachable === null ? '(not asked)' : signOfRepository(reachable, error)}`,
  )
  const all = each.join('   ')
  const room = Math.max(width, Math.min(columns(), 80)) - displayWidth(host) - 2
  return displayWidth(all) <= room ? [`${styled('bold', host)}  ${pad(all, room, true)}`] : [styled('bold', host), ...each.map((line) => `  ${line}`)]
}

/** Not reachable and no error: the first backup creates it. */
function signOfRepository(reachable: boolean, error: string | null): string {
  return sign(reachable ? 'good' : error === null ? 'waiting' : 'bad')
}

function tableOf(services: ServiceStatus[], now: Date): string[] {
  const hasNext = columns() >= 70 && services.some(({ nextRun }) => nextRun !== null)
  const head: Column[] = [
    { title: '  SERVICE', shrink: 'cut' },
    { title: 'STATE' },
    { title: 'LAST', align: 'right' },
    { title: 'SIZE', align: 'right' },
    ...(hasNext ? [{ title: 'NEXT', align: 'right' as const }] : []),
  ]
  const rows = services.map((service) => [
    `${sign(signOf[service.state])} ${service.name}`,
    service.state,
    service.latest ? formatAge(service.latest.time, now) : '–',
    service.latest ? formatBytes(service.latest.bytes) : '–',
    ...(hasNext ? [service.nextRun ? formatAge(service.nextRun, now) : '–'] : []),
  ])
  // As many days as fit beside the full names, at least a week.
  const widest = tableLines(head, rows, Number.POSITIVE_INFINITY).reduce((most, line) => Math.max(most, displayWidth(line)), 0)
  const count = [30, 14].find((days) => widest + 2 + days <= columns()) ?? 7
  return tableLines(
    [...head, { title: `${count} DAYS` }],
    rows.map((row, n) => [...row, strip(services[n] as ServiceStatus, count)]),
    columns(),
  )
}

/** "herald  no backup since …", and below it the command that the message names, or else `next`. */
function advice(name: string, message: string, next: string | null, width: number): string[] {
  if (message === 'interrupted') return entry(name, width, 'its latest backup was interrupted', next)
  const [, words, command] = /^(.*?): ((?:atelier-backup|journalctl|systemctl|timedatectl) [^;]*)$/s.exec(message) ?? []
  return entry(name, width, words ?? message, command ?? (message.includes('atelier-backup ') ? null : next))
}

/** `isStaged`: it isn't old data, but what was staged for a restore. */
function keptLines(name: string, since: Iso, what: string, width: number, now: Date, isStaged = false): string[] {
  const then = isStaged ? 'it could not be removed: restore --discard-old tries again' : 'restore --rollback puts it back, --discard-old deletes it'
  return entry(name, width, `kept from the restore of ${formatTime(since, now)} (${then})`, what)
}

/** A message behind the service's name (on a line of its own if it is longer than `width`), and below it a command or a path, which isn't wrapped. */
function entry(name: string, width: number, message: string, below: string | null): string[] {
  const indent = width === 0 ? 0 : width + 2
  const isLong = name.length > width
  return [
    ...(isLong ? [name] : []),
    ...hanging(isLong ? '' : name, printable(message), indent, columns()),
    ...(below === null ? [] : [' '.repeat(indent) + printable(below)]),
  ]
}

/** The detail of a partial service lists all files that couldn't be read. */
function nextOf(name: string, state: State, isDetailed: boolean): string | null {
  if (state === 'partial' && !isDetailed) return `atelier-backup status ${name}`
  return state === 'failed' || state === 'partial' ? `atelier-backup backup ${name}` : null
}

/** One character for each day, today last: full block ok, half block partial, cross failed, dot no backup. */
function strip({ days }: ServiceStatus, count: number): string {
  const [good, part, failed, none] = hasUnicode() ? ['▆', '▄', '✗', '·'] : ['#', '+', 'x', '.']
  const mark = { ok: good, skipped: good, partial: part, interrupted: failed, 'rolled-back': failed, failed }
  return days
    .slice(-count)
    .map((day) => (day === null ? none : mark[day]))
    .join('')
}
