#!/usr/bin/env node
// Starts the bundle of cli.ts with what V8 made of it when it was built (scripts/build.mjs): compiling takes longer than most commands do.
import { readFileSync } from 'node:fs'
import { wrap } from 'node:module'
import { join } from 'node:path'
import { Script } from 'node:vm'

const file = join(__dirname, 'cli.cjs')
if (process.env.DEBUG) {
  // Stack traces name the lines of src/; Node does that for what it loads by itself.
  process.setSourceMapsEnabled(true)
  require(file)
} else {
  const script = new Script(wrap(readFileSync(file, 'latin1')), { filename: file, ...compiled() })
  script.runInThisContext()(exports, require, module, file, __dirname)
}

/** It lies beside its bundle, so who could change it could change that. Missing, of another kind of machine or of another V8, it is done without. */
function compiled(): { cachedData?: Buffer } {
  try {
    return { cachedData: readFileSync(join(__dirname, `cli-${process.arch}.cache`)) }
  } catch {
    return {}
  }
}
