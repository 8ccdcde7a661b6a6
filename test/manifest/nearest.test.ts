import { expect, test } from 'vitest'
import { nearest } from '../../src/manifest/nearest.ts'

const known = ['notes', 'photos', 'wiki', 'paths', 'passwordFile', 'a']

test.each([
  ['notse', 'notes'],
  ['note', 'notes'],
  ['Notes', 'notes'],
  ['photo', 'photos'],
  ['phtos', 'photos'],
  ['path', 'paths'],
  ['pasworfFile', 'passwordFile'],
  ['b', null],
  ['database', null],
  ['', null],
  ['n'.repeat(100_000), null],
])('for %.20s the nearest known name is %s', (word, found) => {
  expect(nearest(word, known)).toBe(found)
})
