// Alone on a terminal: what would you like to do? Unfinished restores come first.
import { openSite, type Site } from '../site.ts'
import { readJournal } from '../state/journal.ts'
import { choose } from '../ui/prompt.ts'
import type { Input } from './command.ts'
import { commands } from './index.ts'

interface Entry {
  command: string
  args: string[]
  flags: Input['flags']
}

export async function menu(signal: AbortSignal): Promise<number> {
  const site = await openSite({})
  const unfinished = await unfinishedRestores(site)
  const plain = (name: string, command: string) => ({ name, value: { command, args: [], flags: {} } as Entry | null })
  const chosen = await choose(
    site.manifest.host,
    [
      ...unfinished.flatMap((name) => [
        { name: `Finish the restore of ${name}`, value: { command: 'restore', args: [name], flags: { resume: true } } as Entry | null },
        { name: `Take back the restore of ${name}`, value: { command: 'restore', args: [name], flags: { rollback: true } } as Entry | null },
      ]),
      plain('Status', 'status'),
      plain('List snapshots and their files', 'list'),
      plain('Back up now', 'backup'),
      plain('Restore', 'restore'),
      plain('Disaster recovery', 'dr'),
      plain('Doctor: is everything in order?', 'doctor'),
      { name: 'Leave', value: null },
    ],
    'a command',
  )
  if (chosen === null) return 0
  const spec = commands.find(({ name }) => name === chosen.command)
  const input: Input = { args: chosen.args, flags: chosen.flags, json: false, signal, site: async () => site }
  return spec ? (await spec.load()).run(input) : 0
}

async function unfinishedRestores(site: Site): Promise<string[]> {
  const names = Object.keys(site.manifest.services)
  const open = await Promise.all(names.map((name) => readJournal(site.state, name).then(Boolean, () => true)))
  return names.filter((_, i) => open[i])
}
