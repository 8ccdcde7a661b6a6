import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bytesOf, fileUri, TextReader, textOf } from '../src/bytes.ts'
import * as fs from '../src/fs.ts'
import { run } from '../src/host/shell.ts'
import { harmlessJson, nameRead, printable, printableName, shellWord } from '../src/text.ts'
import fc from './lib/fuzz.ts'

/** Bytes as names have them: mostly the ones of which UTF-8 is made, whole and in pieces. */
const names = fc
  .array(fc.oneof(fc.constantFrom(0xe9, 0xc3, 0xa9, 0xed, 0xa0, 0x80, 0xf0, 0x9f, 0x98, 0xff, 0x0a, 0x5c, 0x27), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 40,
  })
  .map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0x2f)))
  .filter((bytes) => bytes.length > 0 && !['.', '..'].includes(bytes.toString()))

test('[bytes.1] text keeps all bytes, also when a stream cuts it, and JSON does', () => {
  fc.assert(
    fc.property(names, fc.nat(40), (bytes, cut) => {
      const text = textOf(bytes)
      expect(bytesOf(JSON.parse(JSON.stringify(text)))).toEqual(bytes)
      const reader = new TextReader()
      expect(reader.write(bytes.subarray(0, cut)) + reader.write(bytes.subarray(cut)) + reader.end()).toBe(text)
    }),
  )
  expect(textOf(Buffer.from('é€😀 \ufffd'))).toBe('é€😀 \ufffd')
  expect(fileUri(`/a b?/${textOf(Buffer.from([0xe9]))}é`)).toBe('file:///a%20b%3f/%e9%c3%a9')
})

test('[bytes.2] what is printed of a name can be typed', () => {
  fc.assert(
    fc.property(names, (bytes) => {
      const text = textOf(bytes)
      expect(printable(text)).not.toMatch(/[\p{Cc}\p{Cs}]/u)
      expect(nameRead(printableName(text))).toBe(text)
    }),
  )
  const latin1 = textOf(Buffer.from('caf\xe9', 'latin1'))
  expect([printableName(latin1), printableName('caf\\xe9')]).toEqual(['caf\\xe9', 'caf\\u{5c}xe9'])
  expect(JSON.parse(harmlessJson([latin1, 'caf\\xe9', '\\udce9 😀']))).toEqual(['caf\\xe9', 'caf\\xe9', '\\udce9 😀'])
  expect(shellWord(latin1)).toBe("$'caf\\xe9'")
})

test('[bytes.1] files and programs are given the bytes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-bytes-'))
  const all = [...fc.sample(names, 30), Buffer.from('caf\xe9\n', 'latin1'), Buffer.from([0x2d, 0xc3])]
  const texts = [...new Set(all.map(textOf))].sort()
  try {
    for (const name of texts) await fs.writeFile(join(folder, name), name)
    expect((await fs.readdir(folder)).sort()).toEqual(texts)
    expect(readdirSync(folder, 'buffer').map(textOf).sort()).toEqual(texts)
    const found = await run(['stat', '--printf=%n\\0', '--', ...texts], { cwd: folder })
    expect(found.stdout.split('\0')).toEqual([...texts, ''])
    const echoed = await run(['printf', '%s\\0', 'plain %', '=', '', ...texts])
    expect(echoed.stdout.split('\0')).toEqual(['plain %', '=', '', ...texts, ''])
    expect((await run(['cat'], { input: texts.join('\0') })).stdout).toBe(texts.join('\0'))
    mkdirSync(join(folder, 'deep'))
    const link = join(folder, 'deep', textOf(Buffer.from([0xe9])))
    await fs.symlink(texts[0] ?? '', link)
    expect(await fs.readlink(link)).toBe(texts[0])
    expect((await fs.readdir(folder, { recursive: true })).length).toBe(texts.length + 2)
    writeFileSync(Buffer.from(`${folder}/\xe8`, 'latin1'), 'x')
    await fs.rename(join(folder, textOf(Buffer.from([0xe8]))), join(folder, textOf(Buffer.from([0xe7]))))
    await fs.rm(join(folder, textOf(Buffer.from([0xe7]))))
  } finally {
    rmSync(folder, { recursive: true })
  }
})
