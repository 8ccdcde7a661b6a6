// A renamed service (formerNames) forgets nothing that the state folder holds under its former names.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { makeState } from '../../src/state/install.ts'
import { type RestoreJournal, readJournal, writeJournal } from '../../src/state/journal.ts'
import { lockService } from '../../src/state/lock.ts'
import { readRecord, updateRecord } from '../../src/state/records.ts'
import { world } from '../lib/world.ts'

/** A service `memos` with a backup and the old data of a restore, `rename`d to `notes`. */
async function renamed(t: TestContext) {
  const w = await world(t)
  const declare = (services: Record<string, object>) => w.manifest({ services, retention: { last: 1, daily: 0, weekly: 0, monthly: 0 } })
  declare({ memos: { paths: [w.path('data')] } })
  w.write('data/a', 'saved')
  expect((await w.cli(['run', 'memos'])).exit).toBe(0)
  w.write('data/a', 'replaced')
  expect(await w.cli(['restore', 'memos', '--in-place', '--yes'])).toMatchObject({ exit: 0 })
  const rename = () => declare({ notes: { paths: [w.path('data')], formerNames: ['memos'] } })
  const status = async () => (await w.cli(['status', '--json'])).json().services[0]
  return { w, rename, status, leftovers: () => readdirSync(w.root).filter((name) => name.startsWith('.atelier-backup-')) }
}

/** Of a restore that had only begun: what it would do is undone by doing nothing. */
function begun(state: string, run = '20261120T020000Z-abcdef'): Promise<void> {
  return writeJournal(state, {
    ...{ version: 1, run, service: 'memos', started: '2026-11-20T02:00:00.000Z', snapshot: 'ab'.repeat(32), putsBack: null, paths: [] },
    ...{ recovers: false, phase: 'staging', folders: [], moves: [], databases: [], emptied: [], dumps: null, units: [], masked: [] },
  } satisfies RestoreJournal)
}

test('[state.14] old data of a restore under a former name is shown, put back and deleted', async (t) => {
  const { w, rename, status, leftovers } = await renamed(t)
  rename()
  expect(await status()).toMatchObject({ name: 'notes', state: 'ok', lastRun: { outcome: 'ok' }, old: [{ folder: expect.any(String) }] })
  expect(await w.cli(['restore', 'notes', '--rollback', '--yes'])).toMatchObject({ exit: 0 })
  expect(readFileSync(w.path('data/a'), 'utf8')).toBe('replaced')
  expect(leftovers()).not.toEqual([])
  expect(await w.cli(['restore', 'notes', '--discard-old', '--yes'])).toMatchObject({ exit: 0 })
  expect(leftovers()).toEqual([])
  expect(readdirSync(w.path('state/records'))).toEqual(['notes.json'])
})

test('[state.14] a restore that is unfinished under a former name is the service’s: no backup, nothing forgotten, ended at boot', async (t) => {
  const { w, rename, status } = await renamed(t)
  expect((await w.cli(['run', 'memos'])).exit).toBe(0)
  await begun(w.path('state'))
  rename()
  expect(await status()).toMatchObject({ name: 'notes', state: 'unfinished-restore' })
  expect((await w.cli(['doctor'])).stdout).toContain('notes: a restore is unfinished')
  expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 1, stderr: expect.stringContaining('restore notes --resume') })
  expect((await w.cli(['prune', '--json'])).json().services[0]).toMatchObject({ message: 'a restore is unfinished', remove: [] })
  expect(await w.cli(['boot'])).toMatchObject({ exit: 0, stderr: expect.stringContaining('notes: an interrupted restore') })
  expect([await status(), readdirSync(w.path('state/journals'))]).toMatchObject([{ state: 'ok', old: [{}] }, []])
  // What was saved under the former name counts as before.
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
  expect((await w.cli(['prune', '--json'])).json().services[0].remove).toHaveLength(2)
})

test('[state.14] what both names know is joined, once, and a run under the former name is waited for', async (t) => {
  const w = await world(t)
  const state = w.path('state')
  await makeState(state)
  const run = (name: string, started: string) => ({
    ...{ run: name, kind: 'backup' as const, started, seconds: 1, outcome: 'ok' as const, code: null, message: null, snapshotId: name },
    ...{ downtimeSeconds: null, bytes: 1, files: 1, addedBytes: 1, view: 'live' as const, warnings: [] },
  })
  const old = { run: 'r', since: '2026-11-20T02:00:00Z', folder: '/x/old-r', paths: ['/x/a'], absent: [], folders: [], copied: [] }
  const remember = (service: string, name: string, started: string, olds: (typeof old)[] = []) =>
    updateRecord(state, service, (record) => {
      record.runs.push(run(name, started))
      record.old.push(...olds)
      record.stopped.push({ unit: `${service}.service`, since: started, down: false })
      record.undropped.push(`atelier-new-${service}`)
      record.lastSnapshot = { id: name, time: started, repositoryId: 'f'.repeat(64) }
    })
  // Its clock was ahead.
  await remember('memos', 'first', '2030-01-01T00:00:00Z', [old])
  await remember('notes', 'second', '2026-11-20T02:00:00Z')
  const before = readFileSync(`${state}/records/memos.json`)
  const busy = await lockService(state, 'memos')
  await expect(lockService(state, 'notes', ['memos'])).rejects.toMatchObject({ code: 'busy' })
  busy.release()
  const joined = {
    ...{ runs: [{ run: 'first' }, { run: 'second' }], old: [old], lastSnapshot: { id: 'second' } },
    ...{ stopped: [{ unit: 'notes.service' }, { unit: 'memos.service' }], undropped: ['atelier-new-memos', 'atelier-new-notes'] },
  }
  for (let time = 0; time < 2; time++) {
    // As after a crash between the two records.
    writeFileSync(`${state}/records/memos.json`, before)
    ;(await lockService(state, 'notes', ['memos'])).release()
    expect(await readRecord(state, 'notes')).toMatchObject(joined)
    expect(existsSync(`${state}/records/memos.json`)).toBe(false)
  }
  // Of two unfinished restores the service's own is ended first.
  await begun(state, 'theirs')
  const { service: _, ...theirs } = (await readJournal(state, 'memos')) as RestoreJournal
  await writeJournal(state, { ...theirs, run: 'own', service: 'notes' })
  ;(await lockService(state, 'notes', ['memos'])).release()
  expect([await readJournal(state, 'notes'), await readJournal(state, 'memos')]).toMatchObject([{ run: 'own' }, { run: 'theirs' }])
  rmSync(`${state}/journals/notes.json`)
  ;(await lockService(state, 'notes', ['memos'])).release()
  expect([await readJournal(state, 'notes'), await readJournal(state, 'memos')]).toMatchObject([{ run: 'theirs', service: 'notes' }, null])
})
