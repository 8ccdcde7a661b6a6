// Node's own crypto, for whoever needs checksums and random names.
import { createRequire } from 'node:module'

/** Node's own. Loaded at its first use: that takes 2 ms, a tenth of what Node takes to start, and most commands can do so while a repository answers. */
export function crypto(): typeof import('node:crypto') {
  return createRequire('/')('node:crypto')
}
