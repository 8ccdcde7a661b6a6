// Promises and tests belong together: each promise of contracts.md is cited by a test's title, each cited id is a promise.
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const promises = readFileSync('test/contracts.md', 'utf8')
const promised = idsIn(promises, /^- \[([a-z]+\.\d+)\] \S.*\.$/gm)
const cited = new Set(
  readdirSync('test', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .flatMap((file) => readFileSync(`test/${file}`, 'utf8').split('\n'))
    .filter((line) => !/^\s*(\/\/|\/?\*)/.test(line))
    .flatMap((line) => idsIn(line, /\[([a-z]+\.\d+)\]/g)),
)

test('every promise has an id of its own and is one sentence', () => {
  expect(promises.match(/^- /gm)).toHaveLength(promised.length)
  expect(new Set(promised)).toHaveLength(promised.length)
})

test('every promise is cited by a test', () => {
  expect(promised.filter((id) => !cited.has(id))).toEqual([])
})

test('every id that a test cites is a promise', () => {
  expect([...cited].filter((id) => !promised.includes(id))).toEqual([])
})

function idsIn(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, id = '']) => id)
}
