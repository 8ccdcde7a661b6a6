// What is known, wanted and planned before a disaster recovery begins: the types that its files share.
import type { Check } from '../checks/check.ts'
import type { Iso, Path } from '../core.ts'
import type { Code } from '../errors.ts'
import type { Snapshot } from '../restic/types.ts'
import type { PlannedRestore } from '../restore/inplace.ts'
import type { Size } from '../snapshots/select.ts'

/**
 * What was asked for on the command line. `at`: the newest snapshot not later than this time. `only`: no names means all services.
 * `partial`: take a partial snapshot where there is no complete one. `withoutUnits`: ignore units that systemd doesn't know.
 * `emptyMounts`: empty filesystems that are mounted inside the data but are not in the snapshot. `ontoUnmounted`: restore data whose disk isn't
 * mounted onto the disk below. `allowPrivileged`: restore privileged files (setuid, setgid, file capabilities, device nodes). `allowCorrupt`:
 * restore SQLite databases that are corrupt. `ignoreSpace`: begin although there seems to be too little room.
 */
export interface RecoveryWish {
  host: string
  at: Iso | null
  only: string[]
  except: string[]
  overwrite: boolean
  partial: boolean
  withoutUnits: boolean
  emptyMounts: boolean
  ontoUnmounted: boolean
  allowPrivileged: boolean
  allowCorrupt: boolean
  ignoreSpace: boolean
}

/**
 * What will happen to one service. `skip`: why it is not restored; `of`: whether the repository or the service is at fault; `next`: the command
 * that restores it all the same; `host`: another host that has snapshots of it.
 */
export interface Choice {
  name: string
  snapshot: Snapshot | null
  skip: { code: Code; message: string; of: 'repository' | 'service'; next?: string; host?: string } | null
  /** Services of this recovery that must be restored first. */
  after: string[]
  notes: string[]
  /** Mount points that are restored in another way than by renames; missing before the restore is planned. */
  mounts?: string[]
  /** Privileged files that aren't there now; missing before the restore is planned. */
  privileged?: string[]
  /** Its size, and that of the complete snapshot before it, where it is smaller by more than `shrinkThreshold`. */
  shrunk?: Size & { before: Size & { id: string } }
  /** Why newer snapshots were not chosen; missing where none is chosen. */
  passed?: string[]
}

export interface RecoveryFacts {
  choices: Choice[]
  checks: PreflightCheck[]
  /** Bytes that are written to each filesystem, and bytes that are free there. */
  room: { mount: Path; needed: number; free: number }[]
  /** The oldest and the newest of the chosen snapshots of enabled services; null: none is chosen. */
  spread: { oldest: Iso; newest: Iso; farApart: boolean } | null
  /** By service, of those that will be restored. */
  planned: Map<string, PlannedRestore>
}

/** `service`: which one it concerns; null: all. */
export interface PreflightCheck extends Check {
  service: string | null
}

/** What an interrupted recovery had chosen, and the services that it had restored. */
export interface Earlier {
  chosen: Choice[]
  done: string[]
}
