// Bundles src/cli.ts with the npm packages it uses into cli.cjs, and src/start.ts, which starts it, into atelier-backup.cjs.
// Usage: node scripts/build.mjs [FOLDER]   (default: dist)
import { execFileSync } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = resolve(root, process.argv[2] ?? 'dist')
const { version } = JSON.parse(await readFile(resolve(root, 'package.json'), 'utf8'))

const options = {
  absWorkingDir: root,
  outdir,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  // CommonJS loads in half the time of ES modules.
  format: 'cjs',
  platform: 'node',
  target: 'node20.12',
  supported: { 'dynamic-import': false },
  logLevel: 'warning',
}

await rm(outdir, { recursive: true, force: true })
await build({ ...options, entryPoints: { 'atelier-backup': 'src/start.ts' } })
await chmod(join(outdir, 'atelier-backup.cjs'), 0o755)
await build({
  ...options,
  entryPoints: { cli: 'src/cli.ts' },
  // esbuild drops unused code of ES modules only.
  mainFields: ['module', 'main'],
  define: { __VERSION__: JSON.stringify(version) },
  // Halves the bytes that each start reads. With DEBUG=1 stack traces still name lines of src/.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'linked',
  sourcesContent: false,
})
await compile(join(outdir, 'cli.cjs'), join(outdir, `cli-${process.arch}.cache`))

/** Writes V8's code cache: the functions that `status` compiles on a host whose repository is missing, which most commands need too. */
async function compile(bundle, cache) {
  const host = await mkdtemp(join(tmpdir(), 'atelier-build-'))
  const services = Object.fromEntries(['a', 'b'].map((name) => [name, { paths: [host], units: [] }]))
  const repositories = { main: { repository: join(host, 'none'), passwordFile: join(host, 'none'), environmentFile: null } }
  const manifest = join(host, 'manifest.json')
  await writeFile(manifest, JSON.stringify({ version: 2, host: 'build', repositories, services }))
  const run = `(${runAndCache})(...process.argv.splice(1, 2))`
  execFileSync(process.execPath, ['--eval', run, '--', bundle, cache, 'atelier-backup', 'status', '--manifest', manifest, '--state-dir', host], {
    stdio: 'ignore',
  })
  await rm(host, { recursive: true })
}

function runAndCache(bundle, cache) {
  const { readFileSync, writeFileSync } = require('node:fs')
  const { createRequire, wrap } = require('node:module')
  const { dirname } = require('node:path')
  const { Script } = require('node:vm')
  // Exactly the text that src/start.ts compiles: V8 rejects the cache otherwise.
  const script = new Script(wrap(readFileSync(bundle, 'utf8')), { filename: bundle })
  process.on('exit', () => {
    writeFileSync(cache, script.createCachedData())
    process.exitCode = 0
  })
  script.runInThisContext()({}, createRequire(bundle), {}, bundle, dirname(bundle))
}
