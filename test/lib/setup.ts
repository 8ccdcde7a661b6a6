// Before all tests: the tools are there, and the CLI is built once, apart from dist/.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'

export default function setup(): () => void {
  for (const tool of ['restic', 'sqlite3', 'setpriv']) present(tool)
  mkdirSync('.cache', { recursive: true })
  const outdir = mkdtempSync(resolve('.cache/test-dist-'))
  if (existsSync('src/cli.ts')) execFileSync('node', ['scripts/build.mjs', outdir], { stdio: 'inherit' })
  process.env.ATELIER_TEST_CLI = `${outdir}/atelier-backup.mjs`
  return () => rmSync(outdir, { recursive: true })
}

function present(tool: string): void {
  try {
    execFileSync('sh', ['-c', `command -v ${tool}`])
  } catch {
    throw new Error(`${tool} is missing: scripts/tools fetches what tests need`)
  }
}
