// Is everything in order? The manifest's own mistakes come as a check too.
import { asFailure } from '../errors.ts'
import { printable } from '../text.ts'
import { print, printJson, sign } from '../ui/terminal.ts'
import { type Check, examine } from '../upkeep/doctor.ts'
import type { Input } from './command.ts'

export async function run(input: Input): Promise<number> {
  const checks = await input.site().then(
    (site) => examine(site, input.signal),
    (error): Check[] => [{ name: 'manifest', ok: false, message: asFailure(error).message, remedy: 'mend the manifest (nixos-rebuild writes it)' }],
  )
  if (input.json) printJson({ checks }, true)
  else {
    for (const { name, ok, message, remedy } of [...checks].sort((a, b) => Number(b.ok) - Number(a.ok))) {
      print(`${sign(ok ? 'good' : 'bad')} ${name.padEnd(10)}  ${printable(message)}`)
      if (remedy !== null) print(`${' '.repeat(14)}${printable(remedy)}`)
    }
  }
  return checks.every(({ ok }) => ok) ? 0 : 1
}
