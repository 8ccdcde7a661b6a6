import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { defineConfig } from 'vitest/config'

// The oldest restic that a supported system carries comes first on PATH, for us and for all that tests start.
const restic = resolve('.cache/tools/restic-trixie')
if (existsSync(restic)) process.env.PATH = `${restic}:${process.env.PATH}`

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/lib/setup.ts',
    // Tests start real processes: one worker a core, and time for a restic whose keys cost a second each.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
