// How the built command starts: with what V8 made of it at build time, or without.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { cliFile, start } from './lib/cli.ts'

const summary = 'Restic backups of the services of this host'
/** As long as the other: V8 compares nothing but lengths. */
const other = summary.toUpperCase()

function built(): { help(env?: Record<string, string>): Promise<string>; bundle: string; cache: string } {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-start-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  cpSync(dirname(cliFile), folder, { recursive: true })
  const bundle = join(folder, 'cli.cjs')
  writeFileSync(bundle, readFileSync(bundle, 'utf8').replace(summary, other))
  return {
    ...{ bundle, cache: join(folder, `cli-${process.arch}.cache`) },
    async help(env = {}) {
      const { exit, stdout, stderr } = await start([process.execPath, join(folder, 'atelier-backup.cjs'), '--help'], { env }).ended
      expect([exit, stderr]).toEqual([0, ''])
      return stdout
    },
  }
}

test('[cli.20] what was compiled at build time isn’t compiled again', async () => {
  const { help } = built()
  expect(await help()).toContain(summary)
  expect(await help({ DEBUG: '1' })).toContain(other)
})

test.each<[string, (cache: string, content: Buffer) => void]>([
  ['missing', (cache) => rmSync(cache)],
  ['empty', (cache) => writeFileSync(cache, '')],
  ['cut off', (cache, content) => writeFileSync(cache, content.subarray(0, content.length / 2))],
  ['of another V8', (cache, content) => writeFileSync(cache, content.fill(content.subarray(0, 4), 4, 8))],
  ['of a longer bundle', (_, __) => {}],
])('[cli.20] %s, it is done without', async (how, change) => {
  const { help, bundle, cache } = built()
  change(cache, readFileSync(cache))
  if (how === 'of a longer bundle') writeFileSync(bundle, readFileSync(bundle, 'utf8').trimEnd())
  expect(await help()).toContain(other)
})
