// Promises broken on purpose, an entry each: README.md says how one is written.
import { backups } from './backups.ts'
import { cli } from './cli.ts'
import { databases } from './databases.ts'
import { nix } from './nix.ts'
import { rebuild } from './rebuild.ts'
import { recovery } from './recovery.ts'
import { repository } from './repository.ts'
import { restore } from './restore.ts'
import { state } from './state.ts'
import { units } from './units.ts'

export interface Breakage {
  /** A promise of contracts.md; each further way to break it adds a word: `restore.5-unlinked`. */
  id: string
  /** What is broken, in words. */
  breaks: string
  /** The file or folder in which `find` occurs exactly once. In a folder it is found wherever it moves. */
  in: string
  /** Part of a line or several lines. The indentation of all lines but the first is ignored. */
  find: string
  /** What takes the place of `find`. Lines after the first are indented as the line in which `find` begins. If '' leaves a blank line, that line is removed. */
  put: string
  red: RedTest
}

/** The test that must fail. */
export interface RedTest {
  file: string
  /** A part of its title, with those of its `describe`, as the file has it. Several parts, in their order, where the title is composed (`test.each`). */
  title: string | string[]
}

export const breakages: Breakage[] = [
  ...backups,
  ...databases,
  ...units,
  ...repository,
  ...restore,
  ...recovery,
  ...state,
  ...cli,
  ...nix,
  ...rebuild,
]
