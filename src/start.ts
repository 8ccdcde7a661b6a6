#!/usr/bin/env node
// Starts the bundle of cli.ts with the V8 code cache that scripts/build.mjs wrote: compiling takes longer than most commands.
import { readFileSync } from 'node:fs'
import { wrap } from 'node:module'
import { join } from 'node:path'
import { Script } from 'node:vm'

const file = join(__dirname, 'cli.cjs')
if (process.env.DEBUG) {
  // Node applies source maps only to files that `require` loads.
  process.setSourceMapsEnabled(true)
  require(file)
} else {
  const script = new Script(wrap(readFileSync(file, 'utf8')), { filename: file, ...codeCache() })
  script.runInThisContext()(exports, require, module, file, __dirname)
}

/**
 * The code cache stands beside the bundle, so whoever can change the cache can change the bundle. V8 ignores a cache of another version; a missing
 * one, and one of another architecture, is not passed.
 */
function codeCache(): { cachedData?: Buffer } {
  try {
    return { cachedData: readFileSync(join(__dirname, `cli-${process.arch}.cache`)) }
  } catch {
    return {}
  }
}
