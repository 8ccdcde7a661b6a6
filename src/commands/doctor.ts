// `doctor`: prints all checks. Errors of the manifest are a check too.

import type { Check } from '../checks/check.ts'
import { examine } from '../checks/doctor.ts'
import { asFailure } from '../errors.ts'
import { printable } from '../text.ts'
import { timesInWords } from '../ui/format.ts'
import { isInteractive, print, printJson, sign } from '../ui/terminal.ts'
import type { Input } from './command.ts'

export async function run(input: Input): Promise<number> {
  const checks = await input.site().then(
    (site) => examine(site, input.signal),
    (error): Check[] => {
      const { code, message } = asFailure(error)
      const rights = code === 'needs-root' || code === 'manifest-unreadable'
      // At a terminal cli.ts offers to run the command again with sudo.
      if (rights && isInteractive()) throw error
      return [
        rights
          ? { name: 'rights', ok: false, message, remedy: 'run this as root' }
          : { name: 'manifest', ok: false, message, remedy: 'correct the declaration, then rebuild (nixos-rebuild writes the manifest)' },
      ]
    },
  )
  if (input.json) printJson({ checks }, true)
  else {
    for (const { name, ok, message, remedy } of [...checks].sort((a, b) => Number(b.ok) - Number(a.ok))) {
      print(`${sign(ok ? 'good' : 'bad')} ${name.padEnd(10)}  ${printable(timesInWords(message, new Date()))}`)
      if (remedy !== null) print(`${' '.repeat(14)}${printable(remedy)}`)
    }
  }
  return checks.every(({ ok }) => ok) ? 0 : 1
}
