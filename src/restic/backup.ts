// restic's subcommands that write snapshots: backup, tag.
import { existsSync } from 'node:fs'
import type { Caller } from './call.ts'
import { failure, redacted } from './errors.ts'
import { isMessage, isSummary, type Message, messages, parseLine, progressOf } from './json.ts'
import type { BackupSummary, Restic } from './types.ts'

/** How many unreadable files are listed by name. All are counted. */
const unreadableListed = 1000

export function backupCalls(caller: Caller, { snapshots }: Pick<Restic, 'snapshots'>): Pick<Restic, 'backup' | 'tag'> {
  const { repository, retryLock } = caller
  return {
    async backup({ paths, exclude, tags, host, time, parent, prefix = [], onProgress, ...options }) {
      const unreadable: BackupSummary['unreadable'] = []
      let unreadableCount = 0
      let summary: (Message & { snapshot_id: string }) | undefined
      const addUnreadable = (path: string, message: string) => {
        unreadableCount += 1
        if (unreadable.length < unreadableListed) unreadable.push({ path, message: redacted(message, repository.secrets) })
      }
      const args = [
        ...['backup', '--json', '--host', host, ...retryLock],
        ...tags.flatMap((tag) => ['--tag', tag]),
        // Not --exclude-file: the snapshot would not record its patterns, and a restore in place must carry the excluded files over.
        ...exclude.map((pattern) => `--exclude=${pattern}`),
        ...(parent === undefined ? [] : ['--parent', parent]),
        ...(time === undefined ? [] : ['--time', time.toISOString().slice(0, 19).replace('T', ' ')]),
        ...['--', ...paths],
      ]
      const { env, folder } = await caller.opened()
      const result = await caller.finish(args, options, {
        prefix,
        // restic reads --time as local time, without a zone.
        ...(time === undefined ? {} : { env: { ...env, TZ: 'UTC' } }),
        onLine(line) {
          const message = parseLine(line)
          if (isMessage(message, 'status')) onProgress?.(progressOf(message))
          if (isSummary(message)) summary = message
        },
        onErrorLine(line) {
          const message = parseLine(line)
          // restic reports an unreadable file twice: in the scan for the progress, and in the backup.
          if (isMessage(message, 'error') && message.during !== 'scan') addUnreadable(message.item ?? '', message.error?.message ?? '')
          // 0.18 reports a missing path as plain text and exits 0.
          const missing = /^(\/.*) does not exist, skipping$/s.exec(line)?.[1]
          if (missing) addUnreadable(missing, 'does not exist')
        },
      })
      // 3: the snapshot was saved without the unreadable files.
      if (result.exit !== 0 && result.exit !== 3) throw caller.failureOf(result, options, parent)
      if (!summary) throw caller.garbled()
      // restic silently recreates a repository folder that was deleted or unmounted during the backup. What it wrote before is lost then.
      if (folder !== null && !existsSync(`${folder}/config`)) throw failure('repository-unreachable', repository, 'it vanished during the backup')
      if (result.exit === 3 && unreadableCount === 0) addUnreadable(paths[0] ?? '', 'restic says that something could not be read')
      return {
        snapshotId: summary.snapshot_id,
        time: time?.toISOString() ?? summary.backup_start ?? new Date().toISOString(),
        bytes: summary.total_bytes_processed ?? 0,
        files: summary.total_files_processed ?? 0,
        addedBytes: summary.data_added_packed ?? 0,
        unreadable,
        unreadableCount,
      }
    },

    async tag(snapshot, add, options = {}) {
      const result = await caller.finish(['tag', '--json', ...retryLock, ...add.flatMap((tag) => ['--add', tag]), '--', snapshot], options)
      if (result.exit !== 0) throw caller.failureOf(result, options)
      // restic exits 0 when the snapshot is missing or can't be replaced, and only prints a line.
      const complaint = /^(Ignoring|unable to modify the tags).*/m.exec(result.stderr)?.[0]
      if (complaint) throw failure(complaint.startsWith('Ignoring') ? 'unknown-snapshot' : 'restic-failed', repository, complaint)
      const printed = messages(result.stdout)
      if (printed.length > 0) return printed.find((message) => isMessage(message, 'changed'))?.new_snapshot_id ?? snapshot
      // 0.17 prints no JSON: the list of snapshots has the new id.
      const changed = (await snapshots(options)).find(({ id, original }) => id === snapshot || original === snapshot)
      if (!changed) throw failure('restic-failed', repository, `snapshot ${snapshot.slice(0, 8)} was tagged, but its new id isn't known`)
      return changed.id
    },
  }
}
