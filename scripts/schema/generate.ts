// Which committed files come from which schema.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expectationsSource } from './expectations.ts'
import { lint } from './lint.ts'
import type { Schema } from './schema.ts'
import { typesSource } from './types.ts'
import { zodSource } from './zod.ts'

type Writer = (schema: Schema) => string | Promise<string>
const sources: Record<string, Record<string, Writer[]>> = {
  'schema/backup-manifest.schema.json': { 'src/manifest/types.gen.ts': [typesSource], 'src/manifest/schema.gen.ts': [zodSource, expectationsSource] },
  'schema/backup-manifest-1.schema.json': { 'src/manifest/version1.gen.ts': [zodSource, expectationsSource, typesSource] },
  'schema/run-record.schema.json': { 'src/state/record.gen.ts': [zodSource, typesSource] },
}

/**
 * Each generated file's content, by its path below `root`.
 * @throws Error that lists the rules a schema breaks
 */
export async function generated(root: string): Promise<Map<string, string>> {
  const files = new Map<string, string>()
  for (const [source, targets] of Object.entries(sources)) {
    const schema = JSON.parse(await readFile(join(root, source), 'utf8')) as Schema
    const broken = lint(schema)
    if (broken.length > 0) throw new Error(broken.map((line) => `${source}${line}`).join('\n'))
    for (const [target, writers] of Object.entries(targets)) {
      const written = await Promise.all(writers.map((writer) => writer(schema)))
      files.set(target, `// Written by scripts/generate from ${source}; edit that one.\n${written.join('\n')}`)
    }
  }
  return files
}

/** The generated files that aren't what their schema gives. */
export async function stale(root: string): Promise<Map<string, string>> {
  const files = await generated(root)
  for (const [path, content] of files) {
    const found = await readFile(join(root, path), 'utf8').catch(() => null)
    if (found === content) files.delete(path)
  }
  return files
}
