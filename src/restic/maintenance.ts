// restic's subcommands that tidy and check a repository: forget, prune, check, unlock and the list of locks.
import { hasCode } from '../errors.ts'
import type { Caller } from './call.ts'
import { failure } from './errors.ts'
import { forgottenOf, isMessage, lockOf, messages } from './json.ts'
import type { CallOptions, Restic } from './types.ts'

type Maintenance = 'forget' | 'forgetSnapshots' | 'prune' | 'check' | 'locks' | 'unlock'

export function maintenanceCalls(caller: Caller, { snapshots }: Pick<Restic, 'snapshots'>): Pick<Restic, Maintenance> {
  const { repository, retryLock } = caller

  const forget = async (args: string[], options: CallOptions): Promise<string> => {
    const result = await caller.finish(['forget', ...args], options)
    // When the storage forbids deleting, 0.18 exits 0 and 0.19 exits 3.
    const refused = /^unable to remove .*/m.exec(result.stderr)?.[0]
    if (refused && /\b403\b|forbidden/i.test(result.stderr)) throw failure('append-only', repository, 'nothing can be deleted from here')
    if (refused) throw failure('restic-failed', repository, `${refused}: does the storage allow deleting?`)
    if (result.exit !== 0) throw caller.failureOf(result, options)
    return result.stdout
  }

  return {
    async forget({ service, host, keep, dryRun, ...options }) {
      const rules = Object.entries(keep).flatMap(([rule, count]) => (count > 0 ? [`--keep-${rule}`, String(count)] : []))
      if (rules.length === 0) {
        // restic fails without a rule. For us it means that every snapshot is kept.
        const kept = (await snapshots(options)).filter((snapshot) => snapshot.host === host && snapshot.tags.includes(`service:${service}`))
        return { keep: kept.map((snapshot) => ({ snapshot, reasons: ['no rule'] })), remove: [] }
      }
      const args = ['--json', ...retryLock, '--tag', `service:${service}`, '--host', host, '--group-by', 'host', ...rules]
      const stdout = await forget([...args, ...(dryRun ? ['--dry-run'] : [])], options)
      // 0.18 prints nothing if no snapshot matches.
      return caller.parse(stdout.trim() || '[]', forgottenOf)
    },

    async forgetSnapshots(ids, options = {}) {
      if (ids.length > 0) await forget([...retryLock, '--', ...ids], options)
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
