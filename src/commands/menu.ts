// The menu of `atelier-backup` without a command at a terminal. Unfinished restores come first; after an action the menu is shown again.
import { asFailure } from '../errors.ts'
import { isRecoveryOpen } from '../recovery/recover.ts'
import type { Site } from '../site.ts'
import { isRestoreOpen } from '../state/journal.ts'
import { readRecord } from '../state/records.ts'
import { oneLine, printable } from '../text.ts'
import { choose, unlessCancelled } from '../ui/prompt.ts'
import type { Input } from './command.ts'
import { commands } from './index.ts'

interface Entry {
  command: string
  args?: string[]
  flags?: Input['flags']
}

/** Returns the exit code of the last action. */
export async function run(input: Input): Promise<number> {
  const site = await input.site()
  let exit = 0
  for (;;) {
    const chosen = await unlessCancelled(choose(site.manifest.host, await entries(site), 'a command'))
    if (!chosen) return exit
    exit = (await runEntry(chosen, { ...input, site: async () => site })) ?? exit
    input.signal.throwIfAborted()
    process.stdout.write('\n')
  }
}

async function entries(site: Site): Promise<{ name: string; value: Entry | null }[]> {
  const unfinished = await unfinishedRestores(site)
  const isRecovering = await isRecoveryOpen(site)
  const recovery = { name: 'Disaster recovery', value: { command: 'dr' } }
  // On a fresh install the user may have lost the previous host.
  const first = !isRecovering && unfinished.length === 0 && (await isFresh(site)) ? [recovery] : []
  return [
    ...(isRecovering ? [{ name: 'Continue the disaster recovery', value: { command: 'dr', flags: { resume: true } } }] : []),
    ...unfinished.flatMap((name) => [
      { name: `Finish the restore of ${name}`, value: { command: 'restore', args: [name], flags: { resume: true } } },
      { name: `Undo the restore of ${name}`, value: { command: 'restore', args: [name], flags: { rollback: true } } },
    ]),
    ...first,
    { name: 'Status', value: { command: 'status' } },
    { name: 'List snapshots and their files', value: { command: 'list' } },
    { name: 'Back up now', value: { command: 'backup' } },
    { name: 'Restore', value: { command: 'restore' } },
    { name: 'Find a file in all snapshots', value: { command: 'find' } },
    ...(first.length === 0 ? [recovery] : []),
    { name: 'Doctor: check this host and its repositories', value: { command: 'doctor' } },
    { name: 'Leave', value: null },
  ]
}

/** Runs an entry; its failure is printed. Null: it was cancelled with Esc. @throws Failure `interrupted` */
async function runEntry({ command, args = [], flags = {} }: Entry, input: Input): Promise<number | null> {
  const spec = commands.find(({ name }) => name === command)
  try {
    return (await (await spec?.load())?.run({ ...input, args, flags: { ...input.flags, ...flags } })) ?? 0
  } catch (error) {
    const failure = asFailure(error)
    if (failure.code === 'interrupted') throw failure
    if (failure.code === 'left') return null
    process.stderr.write(`${printable(oneLine(failure.message))}\n`)
    return failure.exit
  }
}

async function unfinishedRestores(site: Site): Promise<string[]> {
  const names = Object.keys(site.manifest.services)
  const open = await Promise.all(names.map((name) => isRestoreOpen(site.state, name)))
  return names.filter((_, i) => open[i])
}

async function isFresh(site: Site): Promise<boolean> {
  const names = Object.keys(site.manifest.services)
  const records = await Promise.all(names.map((name) => readRecord(site.state, name).catch(() => null)))
  return records.every((record) => record !== null && record.origin === null && record.runs.length === 0)
}
