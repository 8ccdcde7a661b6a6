// The client of one repository: typed results of restic's subcommands, exit codes as Failures.
import { backupCalls } from './backup.ts'
import { type ClientOptions, callerOf } from './call.ts'
import { idOf } from './json.ts'
import { maintenanceCalls } from './maintenance.ts'
import { readCalls } from './read.ts'
import { restoreCalls } from './restore.ts'
import type { Restic } from './types.ts'

export type { ClientOptions }

export function openRestic(options: ClientOptions): Restic {
  const caller = callerOf(options)
  const reads = readCalls(caller)
  return {
    name: options.name,

    async location() {
      await caller.opened()
      return caller.repository.location ?? ''
    },

    async version(options = {}) {
      return caller.version(options)
    },

    async init(options = {}) {
      return caller.ask(['init', '--json'], (initialized) => idOf((initialized as { id: unknown }).id), options)
    },

    ...reads,
    ...backupCalls(caller, reads),
    ...restoreCalls(caller),
    ...maintenanceCalls(caller),

    async passthrough(args, options = {}) {
      return (await caller.finish(args, options, { terminal: true, cwd: '/proc/self/cwd' })).exit
    },
  }
}
