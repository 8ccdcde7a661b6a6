// How each service stands.
import { joinExits } from '../core.ts'
import type { State } from '../status/judge.ts'
import { queryStatus, type ServiceStatus, type Status } from '../status/query.ts'
import { printable } from '../text.ts'
import { formatAge, formatBytes, timesInWords } from '../ui/format.ts'
import { tableLines } from '../ui/table.ts'
import { columns, hasUnicode, print, printJson, type Sign, sign, styled } from '../ui/terminal.ts'
import { type Input, isSet } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const status = await queryStatus(site, { services: input.args, local: isSet(input, 'local'), signal: input.signal })
  if (input.json) printJson(status, true)
  else print(...view(status, site.now()))
  return joinExits([...status.services.map(({ exit }) => exit), ...status.repositories.map(({ exit }) => exit)])
}

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

function view({ host, repositories, services }: Status, now: Date): string[] {
  const where = repositories.map(
    ({ name, location, reachable, error }) =>
      `${name}  ${printable(location ?? '')} ${reachable === null ? '(not asked)' : sign(error === null ? 'good' : 'bad')}`,
  )
  if (services.length === 0) return [styled('bold', host), '', 'No service is declared: add one under atelier.backup.services and rebuild.']
  const wide = columns() >= 100
  const rows = services.map((service) => [
    `${sign(signOf[service.state])} ${service.name}`,
    service.state,
    service.latest ? formatAge(service.latest.time, now) : '–',
    service.latest ? formatBytes(service.latest.bytes) : '–',
    service.nextRun ? formatAge(service.nextRun, now) : '–',
    strip(service, wide ? 30 : 14),
  ])
  const table = tableLines(
    [
      { title: '  SERVICE', shrink: true },
      { title: 'STATE' },
      { title: 'LAST', align: 'right' },
      { title: 'SIZE', align: 'right' },
      { title: 'NEXT', align: 'right' },
      { title: wide ? '30 DAYS' : '14 DAYS' },
    ],
    rows,
    columns(),
  )
  // What needs a person comes last, right above the prompt.
  const width = Math.max(0, ...services.map(({ name }) => name.length))
  const errors = new Set(repositories.map(({ error }) => error))
  const troubled = services.filter(({ message }) => message !== null && !errors.has(message))
  const bad = [
    ...repositories.flatMap(({ error }) => error ?? []),
    ...troubled.map(({ name, message }) => `${name.padEnd(width)}  ${timesInWords((message ?? '').replace(`${name}: `, ''), now)}`),
  ]
  const kept = services.flatMap(({ name, old, oldDatabases }) => [
    ...old.map(({ folder, since }) => `${name.padEnd(width)}  data replaced by the restore of ${since.slice(0, 10)} is kept in ${folder}`),
    ...oldDatabases.map(({ kept, since }) => `${name.padEnd(width)}  a database replaced by the restore of ${since.slice(0, 10)} is kept as ${kept}`),
  ])
  const footer = [...kept, ...bad].map(printable)
  return [`${styled('bold', host)}  ${where.join('   ')}`, '', ...table, ...(footer.length > 0 ? ['', ...footer] : [])]
}

/** The latest days, today last: full for good, half for partial, a cross for failed, a dot for none. */
function strip({ days }: ServiceStatus, count: number): string {
  const [good, part, failed, none] = hasUnicode() ? ['▆', '▄', '✗', '·'] : ['#', '+', 'x', '.']
  const mark = { ok: good, skipped: good, partial: part, interrupted: failed, 'rolled-back': failed, failed }
  return days
    .slice(-count)
    .map((day) => (day === null ? none : mark[day]))
    .join('')
}
