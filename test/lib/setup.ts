// Before all tests: the tools are there, and the CLI is built once, apart from dist/.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { has } from './needs.ts'

export default function setup(): () => void {
  const missing = ['restic', 'sqlite3', 'setpriv'].filter((tool) => !has(tool))
  if (missing.length > 0) throw new Error(`${missing.join(', ')} not found: scripts/tools fetches what tests need`)
  mkdirSync('.cache', { recursive: true })
  const outdir = mkdtempSync(resolve('.cache/test-dist-'))
  // What doesn't build fails the tests that start the CLI, and no others.
  spawnSync('node', ['scripts/build.mjs', outdir], { stdio: ['ignore', 'ignore', 'inherit'] })
  // Inherited by all workers: see fuzz.ts.
  // In CI the same each time: what fails there is the change's doing. At hand and in a soak others are tried.
  process.env.FC_SEED ??= process.env.CI === 'true' ? '1' : String(Date.now() % 2 ** 31)
  process.stdout.write(`FC_SEED=${process.env.FC_SEED}\n`)
  process.env.ATELIER_TEST_CLI = `${outdir}/atelier-backup.cjs`
  return () => rmSync(outdir, { recursive: true, force: true })
}
