// A disaster recovery on the terminal: the plan before the confirmation, and the report at the end.
import type { Result } from '../core.ts'
import type { Choice } from '../recovery/facts.ts'
import type { PlannedRecovery, Recovered, Recovery } from '../recovery/recover.ts'
import { type Site, serviceOf } from '../site.ts'
import { pluralize, printable } from '../text.ts'
import { formatAge, formatBytes, formatSeconds, formatTime, timesInWords } from '../ui/format.ts'
import { type Column, tableLines } from '../ui/table.ts'
import { columns, sign, styled } from '../ui/terminal.ts'
import { declaredData, shownPath, unusualLines } from './places.ts'
import { figures } from './report.ts'

/** Services that are skipped come last, with the reason: they need a decision. */
export function recoveryPlanView({ site, recovery, planned }: PlannedRecovery): string[] {
  const { wish, choices, done } = recovery
  const now = site.now()
  const isDone = (name: string) => done.some((result) => result.name === name)
  const wanted = choices.flatMap(({ snapshot, skip, ...choice }) => (snapshot === null || skip !== null ? [] : [{ ...choice, snapshot }]))
  const rows = wanted.map(({ name, snapshot, after, notes }) => [
    name,
    formatTime(snapshot.time, now),
    formatBytes(snapshot.bytes),
    snapshot.shortId,
    isDone(name)
      ? 'done already'
      : [...notes.map((note) => timesInWords(note, now)), ...(after.length > 0 ? [`after ${after.join(', ')}`] : [])].join('; '),
  ])
  const titles = ['SERVICE', 'SNAPSHOT OF', 'SIZE', 'ID', '']
  const head = titles.map((title, i) => ({
    title,
    ...(title === 'SIZE' ? { align: 'right' as const } : {}),
    ...(i === 4 ? { shrink: 'wrap' as const } : {}),
  }))
  const whose = wish.host === site.manifest.host ? '' : ` of ${printable(wish.host)}`
  const bytes = formatBytes(wanted.reduce((sum, { snapshot }) => sum + (snapshot.bytes ?? 0), 0))
  const open = wanted.filter(({ name }) => !isDone(name))
  const heading =
    open.length > 0
      ? `Recover ${wanted.length} of ${choices.length} services${whose} on ${site.manifest.host} (${bytes})`
      : `${nothingToDo(choices, done.length)}${whose} on ${site.manifest.host}: nothing would be touched`
  return [
    styled('bold', heading),
    '',
    ...(rows.length > 0
      ? [
          ...tableLines(
            head,
            rows.map((row) => row.map(printable)),
            columns(),
          ),
          '',
        ]
      : []),
    ...written(
      site,
      open.map(({ name }) => name),
      planned,
    ),
    ...(open.length > 0 ? outlook(recovery, now) : []),
    ...complaints(recovery, now),
    ...(open.length > 0 ? ['Data that is there now is moved aside and kept.'] : []),
  ]
}

/** Every path and database that would be written, none of them cut: what lies outside of the usual places of data first. */
function written(site: Site, names: string[], planned: PlannedRecovery['planned']): string[] {
  const rows = names.flatMap((name) => {
    const facts = planned.get(name)?.facts
    // An unfinished restore goes by its journal, which is of the declared data.
    const data = facts
      ? [...facts.roots.map(({ path }) => shownPath(path)), ...(facts.postgres?.databases ?? []).map((database) => `postgres ${database.name}`)]
      : declaredData(serviceOf(site, name))
    return data.map((each, i) => [i === 0 ? name : '', each])
  })
  const paths = names.flatMap((service) =>
    (planned.get(service)?.facts.roots ?? serviceOf(site, service).paths.map((path) => ({ path }))).map(({ path }) => ({ service, path })),
  )
  return [...unusualLines(paths), ...(rows.length > 0 ? [...tableLines([{ title: 'WRITES' }, { title: '' }], rows, columns()), ''] : [])]
}

/** Why no service will be restored, in a few words; the reason of each is printed below. */
function nothingToDo(choices: Choice[], done: number): string {
  const open = choices.length - done
  if (choices.every(({ skip }) => skip === null || skip.code === 'protected'))
    return choices.length === 1 ? 'The service lives here already' : `All ${choices.length} services live here already`
  return open === 1 ? "The service can't be recovered" : `None of the ${open} services can be recovered`
}

/** The times of the snapshots, the space needed, the duration, and the checks that passed. */
function outlook({ spread, room, estimate, checks }: Recovery, now: Date): string[] {
  const times = spread && [formatTime(spread.oldest, now), formatTime(spread.newest, now)]
  const names = [...new Set(checks.map(({ name }) => name))].filter((name) => checks.every((check) => check.name !== name || check.ok))
  const lines: [string, string][] = [
    ...(times ? [['snapshots', times[0] === times[1] ? `of ${times[0]}` : `from ${times[0]} to ${times[1]}`] as [string, string]] : []),
    ...room.map(({ mount, needed, free }): [string, string] => ['room', `${formatBytes(needed)} needed on ${mount}; ${formatBytes(free)} free`]),
    [
      'time',
      estimate
        ? `about ${formatSeconds(estimate.seconds)}, at the ${formatBytes(estimate.bytesPerSecond)}/s of earlier restores here`
        : 'unknown: no large restore was made here yet',
    ],
    ...(names.length > 0 ? [['checks ok', names.join(', ')] as [string, string]] : []),
  ]
  return [...lines.map(([word, text]) => `  ${word.padEnd(9)}  ${printable(text)}`), '']
}

/** Problems and warnings; a reason that several services share is printed once, with its remedy. */
function complaints({ choices, checks, spread }: Recovery, now: Date): string[] {
  const isSkipped = (name: string | null) => choices.some((choice) => choice.name === name && choice.skip !== null)
  const others = checks.filter(({ ok, service }) => !ok && !isSkipped(service))
  const reasonOf = ({ name, skip }: Choice) => skip?.message.replace(`${name}: `, '')
  const reasons = [...new Set(choices.flatMap((choice) => reasonOf(choice) ?? []))]
  const alone = reasons.flatMap((reason) => {
    const names = choices.filter((choice) => reasonOf(choice) === reason).map(({ name }) => name)
    // A reason that names a flag needs no remedy.
    const remedy = reason.includes(' --') ? null : checks.find(({ service, ok }) => service === names[0] && !ok)?.remedy
    return [`${sign('waiting')} ${printable(`${names.join(', ')}: ${timesInWords(reason, now)}`)}`, ...(remedy ? [indented(remedy)] : [])]
  })
  const apart = spread?.farApart
    ? [
        `${sign('warn')} the snapshots are far apart in time (${formatAge(spread.oldest, new Date(spread.newest)).replace(' ago', '')}): data of services that refer to each other may disagree`,
      ]
    : []
  const lines = [
    ...others.flatMap(({ message, remedy }) => [`${sign('bad')} ${printable(timesInWords(message, now))}`, ...(remedy ? [indented(remedy)] : [])]),
    ...apart,
    ...choices.flatMap(({ name, skip, shrunk }) =>
      skip || !shrunk
        ? []
        : `${sign('warn')} ${printable(`${name}: ${sizeWords(shrunk)}, where ${shrunk.before.id.slice(0, 8)} before it has ${sizeWords(shrunk.before)}: is something missing in it?`)}`,
    ),
    ...choices.flatMap(({ name, skip, privileged = [] }) =>
      skip || privileged.length === 0
        ? []
        : [`${sign('warn')} ${printable(`${name}: restores privileged files that aren't there now:`)}`, ...privileged.map(indented)],
    ),
    ...choices.flatMap(({ name, skip, passed = [], mounts = [] }) =>
      skip ? [] : [...passed, ...mounts].map((note) => `${sign('warn')} ${printable(`${name}: ${note}`)}`),
    ),
    ...alone,
  ]
  return lines.length > 0 ? [...lines, ''] : []
}

/** The line of a finished service in the progress view; failures are explained in the report. */
export function describeRecovered({ outcome, bytes, seconds }: Result): string {
  return outcome === 'ok' ? `recovered  ${figures(bytes, seconds)}` : outcome
}

export function recoveryReportView({ site }: PlannedRecovery, results: Recovered[], seconds: number, report: string): string[] {
  const good = results.filter(({ exit }) => exit === 0)
  const bytes = results.reduce((sum, result) => sum + (result.bytes ?? 0), 0)
  const rows = good.map(({ name, snapshotId, bytes, seconds, units, health, next }) => [
    `${sign(next === null ? 'good' : 'warn')} ${name}`,
    snapshotId?.slice(0, 8) ?? '',
    formatBytes(bytes),
    formatSeconds(seconds),
    [...new Set(units.map(({ state }) => state))].join(', ') || '–',
    health ?? '',
  ])
  const head: Column[] = [
    { title: '  SERVICE', shrink: 'cut' },
    { title: 'SNAPSHOT' },
    { title: 'SIZE', align: 'right' },
    { title: 'TIME', align: 'right' },
    { title: 'UNITS' },
    { title: 'HEALTH' },
  ]
  const bad = results.filter(({ exit }) => exit !== 0)
  const commands = results.every(({ code }) => code === 'protected') ? [] : results.flatMap(({ next }) => next ?? [])
  return [
    '',
    styled(
      'bold',
      `Recovered ${good.length} of ${results.length} services on ${site.manifest.host} in ${formatSeconds(seconds)} (${formatBytes(bytes)})`,
    ),
    '',
    ...(rows.length > 0 ? [...tableLines(head, rows, columns()), ''] : []),
    ...bad.map((result) => {
      const words = [timesInWords(result.message ?? result.name, site.now()), ...stateOf(result)].join('; ')
      return `${sign(result.outcome === 'skipped' ? 'waiting' : 'bad')} ${printable(words)}`
    }),
    ...(bad.length > 0 ? [''] : []),
    ...[...new Set(commands)].map((command, i) => `${i === 0 ? 'Next:    ' : '         '}${printable(command)}`),
    `Report:  ${report}`,
  ]
}

/** The units of a service that wasn't recovered. */
function stateOf({ units }: Recovered): string[] {
  return units.map(({ unit, state }) => `${unit} is ${state}`)
}

function indented(remedy: string): string {
  return `    ${printable(remedy)}`
}

function sizeWords({ files, bytes }: { files: number | null; bytes: number | null }): string {
  return [files === null ? [] : pluralize(files, 'file'), bytes === null ? [] : formatBytes(bytes)].flat().join(' with ')
}
