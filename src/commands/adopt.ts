// `adopt`: from now on the backups of this host count, even if the repository holds snapshots of another install.

import { Failure } from '../errors.ts'
import { createIfAllowed } from '../repository/identity.ts'
import { lockOf, type Site, serviceOf } from '../site.ts'
import { fromElsewhere } from '../snapshots/select.ts'
import { makeState } from '../state/install.ts'
import { boundInstallId } from '../state/machine.ts'
import { pinnedRepository, pinRepository, readRecord, updateRecord } from '../state/records.ts'
import { withTimeout } from '../timeouts.ts'
import { chooseMany, requireTerminal, typeToConfirm } from '../ui/prompt.ts'
import { isInteractive, print, printJson } from '../ui/terminal.ts'
import { findEntries } from './choose.ts'
import { type Input, isSet, textFlag } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const repository = textFlag(input, 'repository')
  const names = repository === undefined || input.args.length > 0 || isSet(input, 'all') ? await wanted(site, input) : []
  const what = [...names, ...(repository === undefined ? [] : [`the repository ${repository}`])].join(', ')
  if (!isSet(input, 'yes')) {
    requireTerminal('--yes')
    if (names.length > 0)
      process.stderr.write(
        `From now on the backups of this host count as current for: ${names.join(', ')}.\nOlder snapshots are kept, and expire by the retention policy.\n`,
      )
    if (repository !== undefined)
      process.stderr.write(`From now on ${await site.restic(repository).location()} is accepted as the repository ${repository}.\n`)
    if (!(await typeToConfirm('Type "adopt" to continue:', 'adopt', '--yes'))) throw new Failure('declined', 'nothing was adopted', { exit: 130 })
  }
  await makeState(site.state)
  // The state folder of another machine: this one becomes an install of its own first.
  await boundInstallId(site.state)
  if (repository !== undefined) await adoptRepository(site, repository, input)
  const inherited = await snapshotsThere(site, names, input.signal)
  for (const name of names) await adopt(site, name, inherited.get(name) ?? null)
  if (input.json) printJson({ adopted: names, repository: repository ?? null })
  else print(`Adopted: ${what}`)
  return 0
}

async function wanted(site: Site, input: Input): Promise<string[]> {
  if (isSet(input, 'all') && input.args.length > 0) throw new Failure('usage', "--all and names of services can't be used together")
  for (const name of input.args) serviceOf(site, name)
  if (input.args.length > 0) return [...new Set(input.args)]
  const all = Object.keys(site.manifest.services)
  if (isSet(input, 'all')) return all
  const open = await Promise.all(all.map(async (name) => ((await readRecord(site.state, name)).origin === null ? [name] : [])))
  if (isInteractive() && open.flat().length === 0) throw new Failure('usage', 'nothing to adopt: every service is adopted or recovered already')
  return chooseMany(
    'Adopt',
    open.flat().map((name) => ({ name, value: name })),
    'the names of services, or --all',
    false,
  )
}

/** `inherited`: null, if the repository didn't answer: the next prune finds them. */
async function adopt(site: Site, name: string, inherited: string[] | null): Promise<void> {
  const lock = await lockOf(site, name)
  try {
    const { setAside } = await updateRecord(site.state, name, (record) => {
      // A recovered service stays `recovered`: with `adopted`, the empty backups from before the recovery would count.
      const how = record.origin?.how ?? 'adopted'
      record.origin = { how, since: site.now().toISOString() }
      record.inherited = inherited
    })
    if (setAside !== null) process.stderr.write(`${name}: its record was damaged and is set aside as ${setAside}\n`)
  } finally {
    lock.release()
  }
}

/** Full ids of the snapshots that other installs have made until now, by service. A service whose repository doesn't answer is missing. */
async function snapshotsThere(site: Site, names: string[], signal: AbortSignal): Promise<Map<string, string[]>> {
  const repositories = new Set(names.map((name) => serviceOf(site, name).repository))
  const entries = await Promise.all(
    [...repositories].map((repository) => {
      const its = names.filter((name) => serviceOf(site, name).repository === repository)
      return findEntries(site, its, undefined, withTimeout(signal)).catch(() => [])
    }),
  )
  return new Map(entries.flat().map(({ subject, snapshots }) => [subject.name, fromElsewhere(snapshots, subject.install).map(({ id }) => id)]))
}

/** Pins the repository that is at its location now: after a move, or after the loss of the old one. */
async function adoptRepository(site: Site, name: string, { signal }: Input): Promise<void> {
  const id = await site
    .restic(name)
    .repositoryId({ signal })
    .catch((error: unknown) => createIfAllowed(site, name, error, { signal }))
  if ((await pinnedRepository(site.state, name).catch(() => null)) !== id) await pinRepository(site.state, name, id, site.now().toISOString())
}
