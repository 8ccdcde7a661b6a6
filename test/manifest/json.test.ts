import { expect, test } from 'vitest'
import { JsonError, parseJson } from '../../src/manifest/json.ts'
import fc from '../lib/fuzz.ts'

test.each([
  ['', 'line 1, column 1: expected a value, found the end of the file'],
  ['{', 'line 1, column 2: expected a key in quotes, found the end of the file'],
  ['{"a": 1,}', 'line 1, column 9: expected a key in quotes, found "}"'],
  ['{\n  "version": 2,\n  "host" "x"\n}', 'line 3, column 10: expected ":", found a string'],
  ['{"a": 1 "b": 2}', 'line 1, column 9: expected "," or "}", found a string'],
  ['[1 2]', 'line 1, column 4: expected "," or "]", found "2"'],
  ['[1]]', 'line 1, column 4: expected the end of the file, found "]"'],
  ['{"é": "ü", "a": tru}', 'line 1, column 17: expected a value, found "tru"'],
  ['{"a": "x', `line 1, column 7: expected a value, found a string that isn't closed, or holds a line break or an unknown escape`],
  ['["a\nb"]', `line 1, column 2: expected a value, found a string that isn't closed, or holds a line break or an unknown escape`],
  ['{"a": 1, "b": 2, "a": 3}', 'line 1, column 18: duplicate key "a"'],
  ['{"a": {"\\u0061": 1, "a": 2}}', 'line 1, column 21: duplicate key "a"'],
  ['{"__proto__": {}}', `line 1, column 2: "__proto__" can't be a key`],
  ['['.repeat(100_000), 'line 1, column 102: nested more than 100 levels deep'],
])('%.40j is refused with line and column', (text, message) => {
  expect(() => parseJson(text)).toThrow(new JsonError(message))
})

test('what is JSON is read as JSON.parse reads it, and what it refuses is refused', () => {
  const edits = fc.array(
    fc.tuple(fc.nat(), fc.nat(3), fc.constantFrom('', '"', '{', '}', ',', ':', '\\', '0', '-', '.', 'e', ' ', '\n', 'null', '\u0000')),
    { maxLength: 3 },
  )
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), edits, (json, changes) => {
      const text = changes.reduce((before, [at, cut, put]) => {
        const place = at % (before.length + 1)
        return before.slice(0, place) + put + before.slice(place + cut)
      }, json)
      const theirs = outcome(() => JSON.parse(text))
      const ours = outcome(() => parseJson(text))
      if (typeof ours.error === 'string' && /twice|__proto__/.test(ours.error)) return
      expect(ours.value).toEqual(theirs.value)
      expect(ours.error === undefined).toBe(theirs.error === undefined)
    }),
    { numRuns: 2000 },
  )
})

function outcome(read: () => unknown): { value?: unknown; error?: unknown } {
  try {
    return { value: read() }
  } catch (error) {
    return { error: error instanceof Error ? error.message : error }
  }
}
