import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { configDefaults, defineConfig } from 'vitest/config'

// The restic under test comes first on PATH, for us and for all that tests start: the oldest that a supported system carries.
const [restic = '.cache/tools/restic-trixie/restic'] = process.env.ATELIER_RESTICS?.split(':') ?? []
if (existsSync(restic)) process.env.PATH = `${dirname(resolve(restic))}:${process.env.PATH}`

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A complete NixOS: scripts/nixos.
    exclude: [...configDefaults.exclude, ...(process.env.NIXPKGS ? [] : ['test/nix/nixos/**'])],
    globalSetup: 'test/lib/setup.ts',
    // Tests start real processes: one worker a core, and time for a restic whose keys cost a second each.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 240_000,
    hookTimeout: 300_000,
    // One second, its default, is short for a process to start on a busy machine.
    expect: { poll: { timeout: 30_000 } },
    // Real processes race on a machine that others load: what fails must fail three times in a row. At hand each failure shows at once.
    retry: process.env.CI === 'true' ? 2 : 0,
  },
})
