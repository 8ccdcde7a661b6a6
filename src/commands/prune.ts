// `prune`: forgets snapshots by the retention policy, then prunes the repositories.
import { joinExits } from '../core.ts'
import { asFailure } from '../errors.ts'
import { discardExpired, type Pruned, pruneRepository } from '../retention/prune.ts'
import type { Site } from '../site.ts'
import { manifestsKept } from '../snapshots/manifests.ts'
import { tags } from '../snapshots/select.ts'
import { pluralize, printable } from '../text.ts'
import { formatTime } from '../ui/format.ts'
import { tableLines } from '../ui/table.ts'
import { columns, print, printJson, sign } from '../ui/terminal.ts'
import { type Input, isSet, textFlag } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const dryRun = isSet(input, 'dryRun')
  const only = textFlag(input, 'repository')
  const used = [...new Set(Object.values(site.manifest.services).map(({ repository }) => repository))]
  const repositories = only === undefined ? used : [only]
  const exits: number[] = []
  for (const name of repositories) {
    try {
      const pruned = await pruneRepository(site, name, { dryRun, signal: input.signal })
      if (input.json) printJson(jsonOf(name, dryRun, pruned))
      else print(...view(name, dryRun, pruned, site.now()))
    } catch (error) {
      exits.push(complain(error))
    }
  }
  if (!dryRun && !input.signal.aborted) await discard(site, repositories)
  return joinExits(exits)
}

/** Deletes expired old data of restores. An error here doesn't fail the command: the next prune tries again. */
async function discard(site: Site, repositories: string[]): Promise<void> {
  for (const [name, { repository }] of Object.entries(site.manifest.services)) {
    if (!repositories.includes(repository)) continue
    try {
      for (const folder of await discardExpired(site, name))
        process.stderr.write(`${name}: the old data of a restore in ${folder} was no longer needed and is deleted\n`)
    } catch (error) {
      complain(error)
    }
  }
}

function complain(error: unknown): number {
  const { message, exit } = asFailure(error)
  process.stderr.write(`atelier-backup: ${printable(message)}\n`)
  return exit
}

function jsonOf(repository: string, dryRun: boolean, { retained, manifests, futureManifests, unknown }: Pruned) {
  return {
    repository,
    dryRun,
    services: retained.map(({ name, kept, first, forgotten, strangers }) => ({
      name,
      message: kept,
      keep: (forgotten?.keep ?? []).map(({ snapshot, reasons }) => ({ id: snapshot.id, time: snapshot.time, reasons })),
      remove: [...first, ...(forgotten?.remove ?? [])].map(({ id, time }) => ({ id, time })),
      strangers,
    })),
    manifests: {
      remove: manifests.map(({ id, time }) => ({ id, time })),
      future: futureManifests.map(({ id, time }) => ({ id, time })),
      unknown: unknown.map(({ id, time }) => ({ id, time })),
    },
  }
}

function view(repository: string, dryRun: boolean, { retained, manifests, futureManifests, unknown }: Pruned, now: Date): string[] {
  const gone = dryRun ? 'would be forgotten' : 'forgotten'
  const rows = retained.flatMap(({ name, kept, first, forgotten, strangers }) => {
    const others = strangers === 0 ? [] : [[name, '', '', strangerWords(name, strangers)]]
    if (kept !== null) return [[name, '', '', `everything kept: ${kept}`], ...others]
    const keep = (forgotten?.keep ?? []).map(({ snapshot, reasons }) => [
      name,
      snapshot.shortId,
      formatTime(snapshot.time, now),
      `kept: ${reasons.map((reason) => reason.replace(/ snapshot$/, '')).join(', ')}`,
    ])
    const remove = (forgotten?.remove ?? []).map(({ shortId, time }) => [
      name,
      shortId,
      formatTime(time, now),
      dryRun ? 'would be forgotten: no rule keeps it' : 'forgotten',
    ])
    const passed = first.map(({ shortId, time, tags: has }) => [
      name,
      shortId,
      formatTime(time, now),
      `${gone}: ${has.includes(tags.failed) ? 'its run failed' : 'unadopted'}`,
    ])
    return [...passed, ...keep, ...remove, ...others]
  })
  for (const { shortId, time } of manifests)
    rows.push(['(manifest)', shortId, formatTime(time, now), `${gone}: ${manifestsKept} newer ones are kept`])
  for (const { shortId, time } of futureManifests)
    rows.push(['(manifest)', shortId, formatTime(time, now), 'kept, and passed over: it is dated in the future'])
  for (const { shortId, time } of unknown)
    rows.push([
      '(manifest)',
      shortId,
      formatTime(time, now),
      'kept: it has the id of this install, which has no note of storing it: is there a clone?',
    ])
  const removed = retained.reduce((sum, { first, forgotten }) => sum + first.length + (forgotten?.remove.length ?? 0), manifests.length)
  const end = dryRun
    ? `${repository}: ${pluralize(removed, 'snapshot')} would be forgotten; nothing was changed`
    : `${sign('good')} ${repository}: ${removed === 0 ? 'nothing to forget' : `${pluralize(removed, 'snapshot')} forgotten`}, pruned`
  return [...tableLines([{ title: 'SERVICE' }, { title: 'SNAPSHOT' }, { title: 'OF' }, { title: 'WHY', shrink: 'wrap' }], rows, columns()), '', end]
}

function strangerWords(name: string, count: number): string {
  const which =
    count === 1
      ? '1 snapshot of another install is there: it neither counts nor is'
      : `${count} snapshots of other installs are there: they neither count nor are`
  return `${which} forgotten (if they are yours: atelier-backup adopt ${name})`
}
