// Runs a TypeScript file of ours: node scripts/run.mjs FILE.ts [ARGS…]. Node 20 can't by itself.
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [entry, ...args] = process.argv.slice(2)
if (!entry) throw new Error('usage: node scripts/run.mjs FILE.ts [ARGS…]')
const outfile = resolve(import.meta.dirname, `../node_modules/.cache/scripts/${basename(entry, '.ts')}-${process.pid}.mjs`)
await build({ entryPoints: [entry], bundle: true, platform: 'node', format: 'esm', packages: 'external', outfile, logLevel: 'error' })
process.argv = [process.argv[0], resolve(entry), ...args]
try {
  await import(pathToFileURL(outfile).href)
} finally {
  const { rm } = await import('node:fs/promises')
  await rm(outfile, { force: true })
}
