// `unlock`: removes stale locks.
import { Failure } from '../errors.ts'
import { printable } from '../text.ts'
import { formatAge } from '../ui/format.ts'
import { requireTerminal, typeToConfirm } from '../ui/prompt.ts'
import { print, printJson } from '../ui/terminal.ts'
import { type Input, isSet, textFlag } from './command.ts'

export async function run(input: Input): Promise<number> {
  const site = await input.site()
  const name = textFlag(input, 'repository') ?? 'main'
  const restic = site.restic(name)
  const call = { signal: input.signal }
  const locks = await restic.locks(call)
  const all = isSet(input, 'all')
  if (!input.json)
    for (const { host, pid, time, exclusive } of locks)
      print(`${exclusive ? 'exclusive' : 'shared'} lock of ${printable(host)}, pid ${pid}, ${formatAge(time, site.now())}`)
  if (all && locks.length > 0 && !isSet(input, 'yes')) {
    requireTerminal('--yes')
    process.stderr.write('A lock that is in use protects a running restic: if it is removed, prune may delete data that a backup needs.\n')
    if (!(await typeToConfirm('Type "unlock" to remove all of them:', 'unlock', '--yes')))
      throw new Failure('declined', 'no lock was removed', { exit: 130 })
  }
  const removed = locks.length === 0 ? 0 : await restic.unlock({ ...call, all })
  const remaining = locks.length - removed
  const text =
    locks.length === 0
      ? `${name} isn't locked`
      : `${removed} of ${locks.length} locks removed${remaining > 0 ? `; ${remaining} may be in use: wait, or remove them with --all` : ''}`
  if (input.json) printJson({ repository: name, locks, removed })
  else print(text)
  return 0
}
