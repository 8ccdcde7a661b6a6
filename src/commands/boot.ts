// `boot`, for the boot units: finishes restores in place that a crash interrupted, before the services start.
import { joinExits } from '../core.ts'
import { endInterrupted } from '../restore/inplace.ts'
import { serviceOf } from '../site.ts'
import { printable } from '../text.ts'
import type { Input } from './command.ts'

export async function run({ args, signal, site: open }: Input): Promise<number> {
  const site = await open()
  const output = (line: string) => void process.stderr.write(`${printable(line)}\n`)
  const exits: number[] = []
  for (const name of args.length > 0 ? args : Object.keys(site.manifest.services)) {
    serviceOf(site, name)
    const result = await endInterrupted(site, name, { signal, output, emit: () => {} })
    // A restore that is running is left alone: this command also runs on a rebuild.
    if (result === null || result.code === 'busy') continue
    const ended =
      result.outcome === 'skipped'
        ? 'an interrupted restore was cleaned up; it had replaced nothing yet'
        : `an interrupted restore was completed; undo it with: atelier-backup restore ${name} --rollback`
    output(result.message ?? `${name}: ${ended}`)
    exits.push(result.exit)
  }
  return joinExits(exits)
}
