// A disaster recovery as a person reads it: the plan before the host's name is typed, and the report at the end.
import type { Result } from '../core.ts'
import type { Choice, Recovery } from '../restore/dr.ts'
import { type Site, serviceOf } from '../site.ts'
import { printable } from '../text.ts'
import { formatBytes, formatSeconds, formatTime, timesInWords } from '../ui/format.ts'
import { tableLines } from '../ui/table.ts'
import { columns, sign, styled } from '../ui/terminal.ts'

/** What is left alone comes last, with its reason: that is what needs a person. */
export function planView(site: Site, { wish: { host }, choices, done }: Recovery): string[] {
  const wanted = choices.flatMap((choice) => (choice.snapshot === null ? [] : [{ ...choice, snapshot: choice.snapshot }]))
  const rows = wanted.map(({ name, snapshot, after, notes }) => [
    name,
    formatTime(snapshot.time, site.now()),
    formatBytes(snapshot.bytes),
    snapshot.shortId,
    done.includes(name)
      ? 'done already'
      : [...notes.map((note) => timesInWords(note, site.now())), ...(after.length > 0 ? [`after ${after.join(', ')}`] : [])].join('; '),
  ])
  const titles = ['SERVICE', 'SNAPSHOT OF', 'SIZE', 'ID', '']
  const head = titles.map((title, i) => ({ title, ...(title === 'SIZE' ? { align: 'right' as const } : {}), shrink: i === 4 }))
  const reasonOf = ({ name, skip }: Choice) => skip?.message.replace(`${name}: `, '')
  const reasons = [...new Set(choices.flatMap((choice) => reasonOf(choice) ?? []))]
  const alone = reasons.map((reason) => {
    const names = choices.filter((choice) => reasonOf(choice) === reason).map(({ name }) => name)
    return `${sign('waiting')} ${names.join(', ')}: ${printable(reason)}`
  })
  const whose = host === site.manifest.host ? '' : ` of ${host}`
  const bytes = formatBytes(wanted.reduce((sum, { snapshot }) => sum + (snapshot.bytes ?? 0), 0))
  return [
    styled('bold', `Recover ${wanted.length} of ${choices.length} services${whose} on ${site.manifest.host} (${bytes})`),
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
    ...(alone.length > 0 ? [...alone, ''] : []),
    ...(rows.length > 0 ? ['Data that is there now is moved aside and kept.'] : []),
  ]
}

export function reportView(site: Site, results: Result[], seconds: number, report: string): string[] {
  const good = results.filter(({ exit }) => exit === 0).map(({ name }) => name)
  const bytes = results.reduce((sum, result) => sum + (result.bytes ?? 0), 0)
  const unchecked = good.filter((name) => serviceOf(site, name).healthCheck === null)
  const bad = results.filter(({ exit }) => exit !== 0)
  return [
    '',
    styled(
      'bold',
      `Recovered ${good.length} of ${results.length} services on ${site.manifest.host} in ${formatSeconds(seconds)} (${formatBytes(bytes)})`,
    ),
    '',
    ...(good.length > unchecked.length ? [`${sign('good')} ${good.length - unchecked.length} healthy`] : []),
    ...(unchecked.length > 0 ? [`${sign('good')} ${unchecked.join(', ')}: restored; no healthCheck is declared`] : []),
    ...bad.map(({ name, message, code }) => `${sign(code === 'waits' || code === 'protected' ? 'waiting' : 'bad')} ${printable(message ?? name)}`),
    '',
    ...(bad.some(({ code }) => code !== 'protected') ? ['Go on:   atelier-backup dr --resume'] : []),
    `Report:  ${report}`,
  ]
}
