// Is everything in order? The manifest's own mistakes come as a check too.
import { asFailure } from '../errors.ts'
import { printable } from '../text.ts'
import { sign } from '../ui/terminal.ts'
import { type Check, examine } from '../upkeep/doctor.ts'
import type { Input } from './command.ts'

export async function run(input: Input): Promise<number> {
  const checks = await input.site().then(
    (site) => examine(site, input.signal),
    (error): Check[] => [{ name: 'manifest', ok: false, message: asFailure(error).message, remedy: 'mend the manifest (nixos-rebuild writes it)' }],
  )
  if (input.json) process.stdout.write(`${JSON.stringify({ checks }, null, 2)}\n`)
  else {
    for (const { name, ok, message, remedy } of [...checks].sort((a, b) => Number(b.ok) - Number(a.ok))) {
      process.stdout.write(`${sign(ok ? 'good' : 'bad')} ${name.padEnd(10)}  ${printable(message)}\n`)
      if (remedy !== null) process.stdout.write(`${' '.repeat(14)}${printable(remedy)}\n`)
    }
  }
  return checks.every(({ ok }) => ok) ? 0 : 1
}
