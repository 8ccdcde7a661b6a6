// At boot, before the services start, what a crash left of a restore is ended: entirely new, or as if it had not begun.
import { expect, test } from 'vitest'
import { has, isRoot } from '../lib/needs.ts'
import { notes } from './notes.ts'

test.skipIf(!isRoot || !has('strace') || !has('sqlite3'))(
  '[restore.14] the boot unit’s command ends an interrupted restore, and takes nothing for one',
  async () => {
    const w = await notes()
    try {
      const looks = () => ({ paths: w.look(), rows: w.rows() })
      const old = looks()
      const { changes } = await w.changesOf('--in-place', '--yes')
      const fresh = looks()
      expect(fresh).not.toEqual(old)
      const renames = changes.filter(({ call }) => call.startsWith('rename'))
      let finished = 0
      for (const change of [renames[0], renames.at(Math.floor(renames.length / 2)), renames.at(-2)]) {
        if (!change) continue
        w.reset()
        expect(await w.killedAt(change, '--in-place', '--yes')).toBe(true)
        const open = w.journal()
        const { exit, stderr } = await w.cli(['boot'])
        expect(exit).toBe(0)
        expect(w.journal()).toBe(null)
        const isNew = JSON.stringify(looks()) === JSON.stringify(fresh)
        expect(looks()).toEqual(isNew ? fresh : old)
        // --rollback would take an older restore back.
        if (open !== null) expect(stderr).toContain(isNew ? '--rollback' : 'had replaced nothing yet')
        if (open !== null && isNew) finished += 1
      }
      expect(finished).toBeGreaterThan(0)
      expect(await w.cli(['boot'])).toMatchObject({ exit: 0, stdout: '', stderr: '' })
    } finally {
      w.cleanup()
    }
  },
)
