// Privileged files come out of a snapshot only where the same ones are there now, or by consent.
import { chmodSync, copyFileSync, existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { expect, type TestContext, test } from 'vitest'
import { output } from '../lib/live.ts'
import { has, isRoot } from '../lib/needs.ts'
import { world } from '../lib/world.ts'

const needs = isRoot && has('setcap') && has('getfattr')

/** A service whose newest snapshot `make` had a part in, while its live data is what it was before. */
async function saved(t: TestContext, make: (program: string) => void, live: (program: string) => void = () => {}) {
  const w = await world(t)
  w.manifest({ services: { s: { paths: [w.path('data')] } } })
  w.write('data/file', 'saved')
  symlinkSync('nowhere', w.path('data/dangling'))
  const program = w.path('data/a\nb\\c\u2028d')
  live(program)
  make(program)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  rmSync(program)
  live(program)
  return { w, program }
}

const inPlace = ['restore', 's', '--in-place', '--yes']
const dr = ['dr', '--yes', '--overwrite']

test.skipIf(!needs)('[restore.48] a program with file capabilities is let in by consent alone', async (t) => {
  const { w, program } = await saved(t, (at) => {
    copyFileSync('/bin/true', at)
    output(['setcap', 'cap_setuid+ep', at])
  })
  expect(await w.cli(inPlace)).toMatchObject({ exit: 1, stderr: expect.stringContaining('--allow-privileged') })
  expect(existsSync(program)).toBe(false)
  expect(await w.cli(dr)).toMatchObject({ exit: 1, stdout: expect.stringMatching(/Next:.*--allow-privileged/) })
  expect(existsSync(program)).toBe(false)
  expect(await w.cli([...inPlace, '--allow-privileged'])).toMatchObject({ exit: 0 })
  expect(output(['getcap', program])).toContain('cap_setuid')
  // The same is there now.
  expect(await w.cli(inPlace)).toMatchObject({ exit: 0 })
  // Other capabilities are something else.
  output(['setcap', 'cap_chown+ep', program])
  expect(await w.cli(inPlace)).toMatchObject({ exit: 1 })
})

test.skipIf(!needs)('[restore.48] a setuid program is the same by its content and owner, not by its mode', async (t) => {
  const setuid = (at: string) => chmodSync(at, 0o4755)
  const { w, program } = await saved(
    t,
    (at) => {
      writeFileSync(at, 'other')
      setuid(at)
    },
    (at) => {
      writeFileSync(at, 'owned')
      setuid(at)
    },
  )
  const refused = { exit: 1, stderr: expect.stringContaining('--allow-privileged') }
  expect(await w.cli(inPlace)).toMatchObject(refused)
  expect(readFileSync(program, 'utf8')).toBe('owned')
  writeFileSync(program, 'other')
  output(['chown', '4242', program])
  setuid(program)
  expect(await w.cli(inPlace)).toMatchObject(refused)
  output(['chown', '0', program])
  setuid(program)
  expect(await w.cli(inPlace)).toMatchObject({ exit: 0 })
})

test.skipIf(!needs)('[restore.48] a backup and a recovery tell of setuid files and devices, and what to type', async (t) => {
  const { w, program } = await saved(t, (at) => output(['mknod', at, 'c', '1', '3']))
  expect(await w.cli(['status', 's'])).toMatchObject({ stdout: expect.stringContaining('--allow-privileged') })
  expect(await w.cli(dr)).toMatchObject({ exit: 3, stdout: expect.stringMatching(/Next:.*--only s --allow-privileged/) })
  expect(existsSync(program)).toBe(false)
  const planned = await w.cli([...dr, '--allow-privileged', '--dry-run'])
  expect(planned).toMatchObject({ exit: 0, stdout: expect.stringContaining('data/a\\u{a}b') })
  expect(await w.cli([...dr, '--allow-privileged'])).toMatchObject({ exit: 0 })
  expect(existsSync(program)).toBe(true)
})
