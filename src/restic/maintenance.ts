// restic's subcommands that tidy and check a repository: forget, prune, check, unlock and the list of locks.
import { hasCode } from '../errors.ts'
import type { Caller } from './call.ts'
import { failure } from './errors.ts'
import { isMessage, lockOf, messages } from './json.ts'
import type { Restic } from './types.ts'

type Maintenance = 'forgetSnapshots' | 'prune' | 'check' | 'locks' | 'unlock'

export function maintenanceCalls(caller: Caller): Pick<Restic, Maintenance> {
  const { repository, retryLock } = caller

  return {
    async forgetSnapshots(ids, options = {}) {
      // As many ids as a command line surely takes.
      for (let from = 0; from < ids.length; from += 5000) {
        const result = await caller.finish(['forget', ...retryLock, '--', ...ids.slice(from, from + 5000)], options)
        // When the storage forbids deleting, 0.18 exits 0 and 0.19 exits 3.
        const refused = /^unable to remove .*/m.exec(result.stderr)?.[0]
        if (refused && /\b403\b|forbidden/i.test(result.stderr)) throw failure('append-only', repository, 'nothing can be deleted from here')
        if (refused) throw failure('restic-failed', repository, `${refused}: does the storage allow deleting?`)
        if (result.exit !== 0) throw caller.failureOf(result, options)
      }
    },

    async prune({ dryRun, ...options }) {
      return caller.output(['prune', ...retryLock, ...(dryRun ? ['--dry-run'] : [])], options)
    },

    async check(options = {}) {
      const result = await caller.finish(['check', '--json', ...((await caller.isReadOnly()) ? ['--no-lock'] : retryLock)], options)
      const errors = messages(result.stdout).find((message) => isMessage(message, 'summary'))?.num_errors ?? 0
      // restic counts a locked repository as an error too; its exit code (11) tells the two apart.
      if (result.exit !== 0 && (result.exit !== 1 || errors === 0)) throw caller.failureOf(result, options)
      return { errors }
    },

    async locks(options = {}) {
      const ids = (await caller.output(['list', 'locks', '--no-lock'], options)).split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line))
      const read = async (id: string) => {
        // The lock may be gone since it was listed: its process has finished.
        const text = await caller.output(['cat', 'lock', id, '--no-lock', '--json'], options).catch((error) => {
          if (hasCode(error, 'restic-failed')) return null
          throw error
        })
        return text === null ? [] : [caller.parse(text, (value) => lockOf(id, value))]
      }
      return (await Promise.all(ids.map(read))).flat()
    },

    async unlock({ all, ...options } = {}) {
      return Number(/removed (\d+) lock/.exec(await caller.output(['unlock', ...(all ? ['--remove-all'] : [])], options))?.[1] ?? 0)
    },
  }
}
