// Bundle src/cli.ts and the npm packages it uses: an entry, and chunks that are loaded when a command needs them.
// Usage: node scripts/build.mjs [FOLDER]   (default: dist)
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = resolve(root, process.argv[2] ?? 'dist')
const { version } = JSON.parse(await readFile(resolve(root, 'package.json'), 'utf8'))

await rm(outdir, { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: { 'atelier-backup': 'src/cli.ts' },
  outdir,
  outExtension: { '.js': '.mjs' },
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.12',
  // Modules before CommonJS: what isn't used falls away.
  mainFields: ['module', 'main'],
  define: { __VERSION__: JSON.stringify(version) },
  // CommonJS packages (commander) require Node's own modules.
  banner: { js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);" },
  logLevel: 'warning',
})
const entry = resolve(outdir, 'atelier-backup.mjs')
await writeFile(entry, `#!/usr/bin/env node\n${await readFile(entry, 'utf8')}`)
await chmod(entry, 0o755)
