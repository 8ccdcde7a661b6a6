// Bundle src/cli.ts and the npm packages it uses: an entry, and chunks that are loaded when a command needs them.
// Usage: node scripts/build.mjs [FOLDER]   (default: dist)
import { chmod, readFile, rm } from 'node:fs/promises'
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
  // CommonJS packages require Node's own modules. commander would need to start processes only for commands in other files, of which there are
  // none here: loading that takes longer than all else of --help.
  banner: {
    js: `import { createRequire as createRequire$ } from 'node:module'
const require$ = createRequire$(import.meta.url), require = (name) => (name === 'node:child_process' ? {} : require$(name));`,
  },
  // Half the bytes to read at each start. With DEBUG a stack tells lines of src/ all the same, but for the entry's own.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'linked',
  sourcesContent: false,
  logLevel: 'warning',
})
await chmod(resolve(outdir, 'atelier-backup.mjs'), 0o755)
