// Stands in for the npm package `esbuild` where there is only the program (nixpkgs builds that from source, but has no JavaScript API for it):
// so scripts/build.mjs stays the one place that says how we are bundled.
// biome-ignore lint/style/noRestrictedImports: a build tool, outside of src/.
const { execFileSync } = require('node:child_process')

exports.build = async ({ absWorkingDir, entryPoints, ...options }) => {
  const entries = Object.entries(entryPoints).map(([name, file]) => `${name}=${file}`)
  execFileSync('esbuild', [...entries, ...Object.entries(options).flatMap(flags)], { cwd: absWorkingDir, stdio: 'inherit' })
}

/** `mainFields: ['module', 'main']` → `--main-fields=module,main`, `define: { A: '1' }` → `--define:A=1`, `bundle: true` → `--bundle`. */
function flags([option, value]) {
  const flag = `--${option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  if (value === true) return [flag]
  if (Array.isArray(value)) return [`${flag}=${value.join(',')}`]
  if (typeof value === 'object') return Object.entries(value).map(([key, text]) => `${flag}:${key}=${text}`)
  return [`${flag}=${value}`]
}
