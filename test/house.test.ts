// The house's own rules, read from the import graph and the source.
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))

test.each(files)('src/%s opens with a line that says what it is for', (file) => {
  expect(readFileSync(`src/${file}`, 'utf8').replace(/^#!.*\n/, '')).toMatch(/^\/\/ \S/)
})
