// Which of our modules and which packages the built CLI really runs.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { cli, cliFile } from './cli.ts'

interface Coverage {
  result: { url: string; functions: { functionName: string; ranges: { count: number }[] }[] }[]
}

/** Names of npm packages' files and paths of our source files that `atelier-backup ARGUMENTS` runs the code of. */
export async function loadedBy(args: string[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-loaded-'))
  try {
    // Node writes down every function that it ran, of modules that it loads by itself.
    await cli(args, { env: { NODE_V8_COVERAGE: folder, DEBUG: '1' } })
    const scripts = readdirSync(folder).flatMap((file) => (JSON.parse(readFileSync(join(folder, file), 'utf8')) as Coverage).result)
    const functions = scripts.filter(({ url }) => url.endsWith('/cli.cjs')).flatMap((script) => script.functions)
    const ran = new Set(functions.filter(({ ranges }) => (ranges[0]?.count ?? 0) > 0).map(({ functionName }) => functionName))
    const { waiting, all } = modulesOf(join(dirname(cliFile), 'cli.cjs'))
    return all.filter((name) => ran.has(name) || !waiting.has(name)).map((name) => name.replace(/^.*node_modules\//, ''))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** `waiting`: each is in a function of its name, which runs when the module is asked for. The others run at once. */
function modulesOf(bundle: string): { waiting: Set<string>; all: string[] } {
  const waiting = new Set([...readFileSync(bundle, 'utf8').matchAll(/__(?:esm|commonJS)\(\{"([^"]+)"/g)].map(([, name = '']) => name))
  const sources = (JSON.parse(readFileSync(`${bundle}.map`, 'utf8')).sources as string[]).map((source) => source.replace(/^(\.\.\/)+/, ''))
  // A package's own map may name files that it doesn't bring along.
  return { waiting, all: [...new Set([...waiting, ...sources.filter((source) => existsSync(source))])] }
}
