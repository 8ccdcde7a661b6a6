// Which of our modules and which packages the built CLI really loads.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cli } from './cli.ts'

/** Names of npm packages and paths of source files in the chunks that `atelier-backup ARGUMENTS` loads. */
export async function loadedBy(args: string[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-loaded-'))
  try {
    // Node writes down every script it ran.
    await cli(args, { env: { NODE_V8_COVERAGE: folder } })
    const scripts = readdirSync(folder).flatMap((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')).result as { url: string }[])
    const chunks = scripts.filter(({ url }) => url.startsWith('file:')).map(({ url }) => fileURLToPath(url))
    const sources = chunks.flatMap((chunk) => JSON.parse(readFileSync(`${chunk}.map`, 'utf8')).sources as string[])
    return sources.map((source) => source.replace(/^.*node_modules\//, '').replace(/^(\.\.\/)+/, ''))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
