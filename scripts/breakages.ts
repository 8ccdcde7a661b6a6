// Runs breakages in a copy of the work tree: node scripts/run.mjs scripts/breakages.ts TREE [ID | PATCH]… | --sample N
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import { type Breakage, breakages } from '../test/breakages/index.ts'
import { applyPatch, type BreakagePatch, breakText, readPatches, readSource, titlePattern } from '../test/lib/breakages.ts'

const [tree = '', ...args] = process.argv.slice(2)
const all: (Breakage | BreakagePatch)[] = [...breakages, ...readPatches()]
const isSample = args[0] === '--sample'
const failed: string[] = []
const chosen = isSample ? sample(Number(args[1])) : args.length > 0 ? args.map(named) : all.filter(isRunnable)
for (const breakage of chosen) {
  const problem = problemOf(breakage)
  if (problem) failed.push(breakage.id)
  console.log(problem ? `✗ ${breakage.id}: ${breakage.breaks}\n${problem}` : `✓ ${breakage.id}: ${breakage.breaks}`)
}
console.log(`${chosen.length - failed.length} passed, ${failed.length} failed`)
process.exitCode = failed.length === 0 ? 0 : 1

/** Whether what its test needs is here: scripts/nixos. */
function isRunnable({ red }: Breakage | BreakagePatch): boolean {
  return Boolean(process.env.NIXPKGS) || !red.file.startsWith('test/nix/nixos/')
}

function named(name: string): Breakage | BreakagePatch {
  const id = basename(name, '.patch')
  const found = all.find((breakage) => breakage.id === id)
  if (!found) throw new Error(`no breakage is called ${id}: see test/breakages`)
  return found
}

/** The same for one commit, others for the next: BREAKAGES_SEED=N repeats it. */
function sample(count: number): (Breakage | BreakagePatch)[] {
  const head = () => execFileSync('git', ['rev-parse', '--short=7', 'HEAD'], { encoding: 'utf8' })
  const seed = Number(process.env.BREAKAGES_SEED ?? Number.parseInt(head(), 16))
  console.log(`BREAKAGES_SEED=${seed}`)
  // A test on the test host takes minutes: those are left to scripts/soak, which runs all.
  const quick = all.filter(isRunnable).filter(({ red }) => !readFileSync(red.file, 'utf8').includes('/lib/host.ts'))
  return fc.sample(fc.shuffledSubarray(quick, { minLength: count, maxLength: count }), { seed, numRuns: 1 }).flat()
}

/** Why this breakage proves nothing, or null. */
function problemOf(breakage: Breakage | BreakagePatch): string | null {
  try {
    if (!isSample) {
      const { good, bad, crashed, output } = run(breakage)
      if (bad + crashed > 0 || good === 0) return `  unbroken: ${good} passed, ${bad} failed\n${output}`
    }
    const mend = doBreak(breakage)
    const { good, bad, output } = run(breakage, '--retry=0', '--bail=1')
    mend()
    // A tree that doesn't build proves nothing: tests must have run, and one must have failed.
    return bad > 0 ? null : `  broken: ${good} passed, ${bad} failed: the test doesn't see what is broken\n${output}`
  } catch (error) {
    return `  ${error instanceof Error ? error.message : error}`
  }
}

/** Breaks the copied tree; the result mends it. */
function doBreak(breakage: Breakage | BreakagePatch): () => void {
  if ('patch' in breakage) {
    applyPatch(breakage, tree)
    return () => applyPatch(breakage, tree, '--reverse')
  }
  const { file, text } = breakText(breakage, readSource(tree))
  const whole = readFileSync(join(tree, file))
  writeFileSync(join(tree, file), text)
  return () => writeFileSync(join(tree, file), whole)
}

function run({ red }: Breakage | BreakagePatch, ...options: string[]): { good: number; bad: number; crashed: number; output: string } {
  const log = join(tree, '.output')
  const script = '. scripts/suite.sh; suite "$@" >.output 2>&1; echo "$good $bad $crashed"'
  const { stdout } = spawnSync('bash', ['-c', script, 'bash', red.file, '-t', titlePattern(red), ...options], { cwd: tree, encoding: 'utf8' })
  const [good = 0, bad = 0, crashed = 0] = stdout.trim().split(' ').map(Number)
  const output = existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(-40).join('\n') : ''
  return { good, bad, crashed, output }
}
