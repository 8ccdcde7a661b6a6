// Bundle src/cli.ts and the npm packages it uses into one file, whose modules run when a command needs them, beside what starts it.
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
  // Loaded in half the time that ES modules take.
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
  // Modules before CommonJS: what isn't used falls away.
  mainFields: ['module', 'main'],
  define: { __VERSION__: JSON.stringify(version) },
  // commander would start processes for commands in other files, of which there are none here: it asks for what takes longer to load than all
  // else of --help.
  banner: {
    js: `require = ((load) => (name) => name === 'node:child_process' ? { get spawn() { return load(name).spawn } } : load(name))(require);`,
  },
  // Half the bytes to read at each start. With DEBUG a stack tells lines of src/ all the same.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'linked',
  sourcesContent: false,
})
await requireAscii(join(outdir, 'cli.cjs'))
await compile(join(outdir, 'cli.cjs'), join(outdir, `cli-${process.arch}.cache`))

/** One byte for each sign is read, and kept, in half the time. esbuild writes all others as escapes, but for those in patterns. */
async function requireAscii(bundle) {
  const [stranger] = /.{0,40}[\u0080-\uffff].{0,40}/.exec(await readFile(bundle, 'utf8')) ?? []
  if (stranger !== undefined) throw new Error(`write it as an escape: ${stranger}`)
}

/** Keeps what V8 compiles of the bundle for the status of a host whose repository isn't there: most of what every command needs. */
async function compile(bundle, cache) {
  const host = await mkdtemp(join(tmpdir(), 'atelier-build-'))
  const services = Object.fromEntries(['a', 'b'].map((name) => [name, { paths: [host], units: [] }]))
  const repositories = { main: { repository: join(host, 'none'), passwordFile: join(host, 'none'), environmentFile: null } }
  const manifest = join(host, 'manifest.json')
  await writeFile(manifest, JSON.stringify({ version: 2, host: 'build', repositories, services }))
  const run = `(${keepCompiled})(...process.argv.splice(1, 2))`
  execFileSync(process.execPath, ['--eval', run, '--', bundle, cache, 'atelier-backup', 'status', '--manifest', manifest, '--state-dir', host], {
    stdio: 'ignore',
  })
  await rm(host, { recursive: true })
}

function keepCompiled(bundle, cache) {
  const { readFileSync, writeFileSync } = require('node:fs')
  const { createRequire, wrap } = require('node:module')
  const { dirname } = require('node:path')
  const { Script } = require('node:vm')
  // To the letter as src/start.ts reads it.
  const script = new Script(wrap(readFileSync(bundle, 'latin1')), { filename: bundle })
  process.on('exit', () => {
    writeFileSync(cache, script.createCachedData())
    process.exitCode = 0
  })
  script.runInThisContext()({}, createRequire(bundle), {}, bundle, dirname(bundle))
}
