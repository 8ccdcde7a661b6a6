// Breakages follow the code that they break: an entry or a patch that no longer fits fails here, at once, not in a soak.
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { breakages, type RedTest } from './breakages/index.ts'
import { applyPatch, breakText, readPatches, readSource } from './lib/breakages.ts'

const patches = readPatches()
const all = [...breakages, ...patches]

test('the `find` of each breakage occurs exactly once, and `put` changes it', () => {
  const source = readSource()
  expect(breakages.flatMap((breakage) => problemsOf(() => void breakText(breakage, source)))).toEqual([])
  expect(breakages.filter(({ find, put }) => find === put).map(({ id }) => `${id}: \`put\` is the same as \`find\``)).toEqual([])
})

test('each patch applies', () => {
  expect(patches.flatMap((patch) => problemsOf(() => applyPatch(patch, '.', '--check')))).toEqual([])
})

test('the test of each breakage is where it says', () => {
  expect(all.flatMap(({ id, red }) => problemsOf(() => requireTest(red), `${id}: correct its \`red\`: `))).toEqual([])
})

test('each breakage has an id of its own, and breaks a promise or a rule of the house', () => {
  const promises = new Set(readFileSync('test/contracts.md', 'utf8').match(/(?<=^- \[)[a-z]+\.\d+(?=\] )/gm))
  const ids = all.map(({ id }) => id)
  expect(ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `${id} is there twice: name the second way, as in restore.5-unlinked`)).toEqual([])
  const strange = ids.filter((id) => !promises.has(id.split('-')[0] ?? '') && !id.startsWith('house.'))
  expect(strange.map((id) => `${id} is no promise of test/contracts.md: take one's id`)).toEqual([])
})

/** @throws Error if the file is missing or doesn't hold the title */
function requireTest({ file, title }: RedTest): void {
  if (!existsSync(file)) throw new Error(`there is no ${file}`)
  const text = readFileSync(file, 'utf8')
  for (const part of [title].flat()) if (!text.includes(part)) throw new Error(`no title in ${file} has “${part}”`)
}

function problemsOf(check: () => void, prefix = ''): string[] {
  try {
    check()
    return []
  } catch (error) {
    return [`${prefix}${error instanceof Error ? error.message : error}`]
  }
}
