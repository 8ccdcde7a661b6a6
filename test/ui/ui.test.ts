// What people read: sizes, times and ages in words, columns that fit.
import { afterEach, expect, test, vi } from 'vitest'
import { printable } from '../../src/text.ts'
import { dayAndClock, formatAge, formatBytes, formatCount, formatSeconds, formatTime, timesInWords } from '../../src/ui/format.ts'
import { cut, cutStart, displayWidth, pad, tableLines } from '../../src/ui/table.ts'
import { columns, typeset } from '../../src/ui/terminal.ts'

afterEach(() => void vi.unstubAllEnvs())

test.each([
  [null, '–'],
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [9_949, '9.9 kB'],
  [9_950, '10 kB'],
  [999_499, '999 kB'],
  [999_500, '1.0 MB'],
  [412_345_678, '412 MB'],
  [1.25e9, '1.3 GB'],
  [5e18, '5000 PB'],
])('%s bytes are %s', (bytes, words) => {
  expect(formatBytes(bytes)).toBe(words)
})

test.each([
  [0, '0.0 s'],
  [9.94, '9.9 s'],
  [12.4, '12 s'],
  [59.6, '1 min 0 s'],
  [252, '4 min 12 s'],
  [7_500, '2 h 5 min'],
])('%s seconds are %s', (seconds, words) => {
  expect(formatSeconds(seconds)).toBe(words)
})

const now = new Date(2026, 10, 23, 8, 30)
const ago = (seconds: number) => new Date(now.getTime() - seconds * 1000).toISOString()
test.each([
  [0, 'just now'],
  [59, 'just now'],
  [60, '1 min ago'],
  [3_599, '59 min ago'],
  [3_600, '1 h ago'],
  [47 * 3_600, '47 h ago'],
  [48 * 3_600, '2 d ago'],
  [400 * 86_400, '400 d ago'],
  [-30, 'in a moment'],
  [-5 * 3_600, 'in 5 h'],
])('what was %s seconds ago was %s', (seconds, words) => {
  expect(formatAge(ago(seconds), now)).toBe(words)
})

test.each([
  [new Date(2026, 10, 23, 4, 12), 'today 04:12'],
  [new Date(2026, 10, 22, 23, 59), 'yesterday 23:59'],
  [new Date(2026, 10, 20, 2, 44), 'Fri 20 Nov 02:44'],
  [new Date(2025, 10, 20, 2, 44), 'Thu 20 Nov 2025 02:44'],
  [new Date(2026, 10, 24, 2, 44), 'Tue 24 Nov 02:44'],
])('%s is %s', (time, words) => {
  expect(formatTime(time.toISOString(), now)).toBe(words)
  expect(dayAndClock(time.toISOString(), now).join(' ')).toBe(words)
})

test('times in a message are said in words', () => {
  const text = `of ${new Date(2026, 10, 22, 3, 51).toISOString()}; due by ${new Date(2026, 10, 23, 4, 0).toISOString()}, v2.0`
  expect(timesInWords(text, now)).toBe('of yesterday 03:51; due by today 04:00, v2.0')
})

test('thousands are grouped', () => {
  expect(formatCount(20412)).toBe('20,412')
})

test.each([
  ['plain', 5],
  ['日本', 4],
  ['🗄 box', 5],
  ['📦', 2],
  ['gru\u0308n', 4],
  ['✓ ✗ · …', 7],
  ['· é ▆ … –', 9],
  ['✅ ok', 5],
  ['\x1b[31mred\x1b[39m', 3],
])('%j takes %i columns', (text, width) => {
  expect(displayWidth(text)).toBe(width)
})

test('a text is cut to its width, between characters, and its colour ends where it ended', () => {
  expect(cut('abcdef', 6)).toBe('abcdef')
  expect(cut('abcdef', 5)).toBe('abcd…')
  expect(cut('日本語', 5)).toBe('日本…')
  expect(cut('日本語', 4)).toBe('日…')
  expect(cut('\x1b[31mabcdef\x1b[39m', 4)).toBe('\x1b[31mabc…\x1b[39m')
  for (let width = 1; width < 20; width++) expect(displayWidth(cut('a日b本c語 \x1b[1mgru\u0308n\x1b[22m📦', width))).toBeLessThanOrEqual(width)
})

test('a path is cut at its beginning', () => {
  expect(cutStart('/var/lib/notes', 14)).toBe('/var/lib/notes')
  expect(cutStart('/var/lib/notes', 8)).toBe('…b/notes')
  expect(cutStart('/日本語', 5)).toBe('…本語')
  expect(cutStart('/日本語', 4)).toBe('…語')
})

test('a table aligns numbers right, and its one soft column gives way', () => {
  const head = [
    { title: 'NAME', shrink: 'cut' as const },
    { title: 'SIZE', align: 'right' as const },
  ]
  const rows = [
    ['notes', '58 kB'],
    ['a-much-longer-name', '4.0 MB'],
  ]
  expect(tableLines(head, rows, 80)).toEqual(['NAME                  SIZE', 'notes                58 kB', 'a-much-longer-name  4.0 MB'])
  expect(tableLines(head, rows, 20)).toEqual(['NAME            SIZE', 'notes          58 kB', 'a-much-long…  4.0 MB'])
  expect(tableLines([{ title: '' }, { title: '' }], [['a', '']], 80)).toEqual(['a'])
  const why = [{ title: 'NAME' }, { title: 'WHY', shrink: 'wrap' as const }]
  const told = [
    ['notes', 'kept as last, daily, weekly'],
    ['wiki', ''],
  ]
  expect(tableLines(why, told, 80)).toEqual(['NAME   WHY', 'notes  kept as last, daily, weekly', 'wiki'])
  expect(tableLines(why, told, 22)).toEqual(['NAME   WHY', 'notes  kept as last,', '       daily, weekly', 'wiki'])
  expect(pad('日', 4)).toBe('日  ')
})

test('what could fake a terminal’s output is written out', () => {
  expect(printable('a\x1b[31m\u202eb\u200b\n\u2028\ud800é日')).toBe('a\\u{1b}[31m\\u{202e}b\\u{200b}\\u{a}\\u{2028}\\u{d800}é日')
})

test('without UTF-8 our typography is ASCII of the same width, and names stay', () => {
  vi.stubEnv('LC_ALL', undefined)
  vi.stubEnv('LANG', 'C')
  expect(typeset('a – b · c → d… Müller')).toBe('a - b - c > d~ Müller')
  vi.stubEnv('LANG', 'de_DE.UTF-8')
  expect(typeset('a – b')).toBe('a – b')
})

test('columns: COLUMNS where there is no terminal, and never too few for a table', () => {
  vi.stubEnv('COLUMNS', '132')
  expect(columns()).toBe(132)
  vi.stubEnv('COLUMNS', '10')
  expect(columns()).toBe(40)
  vi.stubEnv('COLUMNS', '')
  expect(columns()).toBe(200)
})
