// Something else in the place of what we keep: told in one line with what to do, never waited for, never taken for nothing.
import { mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { output } from '../lib/live.ts'
import { type World, world } from '../lib/world.ts'

let w: World
beforeAll(async () => {
  w = await world()
  w.manifest({ services: { notes: { paths: [w.write('notes/a', 'a')] } } })
  expect((await w.cli(['run', 'notes'])).exit).toBe(0)
})
afterAll(() => w.cleanup())

const strangers: Record<string, (file: string) => void> = {
  'a pipe': (file) => output(['mkfifo', file]),
  'a folder': (file) => mkdirSync(file),
  'a link to itself': (file) => symlinkSync(file, file),
  'a link that leads nowhere': (file) => symlinkSync('/nowhere', file),
}
/** Runs `look` while something else stands in the entry's place. */
async function inPlaceOf(entry: string, what: string, look: (file: string) => Promise<void>): Promise<void> {
  const file = w.path('state', entry)
  const aside = w.path('aside')
  renameSync(file, aside)
  strangers[what]?.(file)
  try {
    await look(file)
  } finally {
    rmSync(file, { recursive: true, force: true })
    renameSync(aside, file)
  }
}
const told = (file: string) => `${file} is not a regular file: move it away, then run this again`

test.each(Object.keys(strangers).flatMap((what) => ['locks/notes.lock', 'running/notes.ndjson'].map((entry) => [what, entry] as const)))(
  '[state.13] %s in place of %s ends a run at once, and doctor names it',
  async (what, entry) => {
    await inPlaceOf(entry, what, async (file) => {
      const { exit, stderr } = await w.cli(['run', 'notes'])
      expect([exit, stderr]).toEqual([1, expect.stringContaining(told(file))])
      expect(stderr.trim().split('\n')).toHaveLength(1)
      if (what === 'a pipe')
        expect((await w.cli(['doctor', '--json'])).json().checks).toContainEqual(
          expect.objectContaining({ name: 'state', ok: false, message: told(file) }),
        )
    })
  },
)

test.each(['records/notes.json', 'journals/notes.json', 'repositories/main.json', 'install-id'])(
  '[state.13] a link that leads nowhere in place of %s isn’t nothing',
  async (entry) => {
    const isThere = entry !== 'journals/notes.json'
    if (!isThere) w.write(`state/${entry}`, '')
    await inPlaceOf(entry, 'a link that leads nowhere', async (file) => {
      expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 1, stderr: expect.stringContaining(told(file)) })
      expect((await w.cli(['status', '--local'])).exit).toBe(1)
    })
    if (!isThere) rmSync(w.path('state', entry))
  },
)

test.each(['a pipe', 'a link to itself', 'a link that leads nowhere'])(
  '[state.13] %s in place of a folder of the state isn’t “never backed up”',
  async (what) => {
    await inPlaceOf('records', what, async (folder) => {
      const words = `the state folder ${folder} is not a folder: move the file away and put the folder back`
      for (const command of [['status'], ['run', 'notes']])
        expect(await w.cli(command)).toMatchObject({ exit: 1, stderr: expect.stringContaining(words) })
    })
  },
)

test('[state.13] what notes a run, and is no file, is set aside by the next one', async () => {
  w.write('state/running/notes.json', '')
  for (const what of Object.keys(strangers))
    await inPlaceOf('running/notes.json', what, async () => {
      expect(await w.cli(['run', 'notes'])).toMatchObject({ exit: 0, stderr: expect.stringContaining('set aside as') })
      w.write('state/running/notes.json', '')
    })
  rmSync(w.path('state/running/notes.json'))
})
