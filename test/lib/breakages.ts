// What breakages do to the source: an entry of the table replaces one text, a patch the rest. Used by scripts/breakages.ts and breakages.test.ts.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import type { Breakage, RedTest } from '../breakages/index.ts'

export interface BreakagePatch {
  id: string
  breaks: string
  /** The patch file. */
  patch: string
  red: RedTest
}

/** The patches of test/breakages. @throws Error if one lacks its two lines of header */
export function readPatches(folder = 'test/breakages'): BreakagePatch[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.patch'))
  return names.map((name) => {
    const patch = join(folder, name)
    const [, breaks, file, title] = /^# breaks: (.+)\n# red: (\S+) -t "(.+)"\n/.exec(readFileSync(patch, 'utf8')) ?? []
    if (!breaks || !file || !title) throw new Error(`${patch} must begin with two lines: # breaks: WHAT, and # red: FILE -t "PART OF A TITLE"`)
    return { id: basename(name, '.patch'), breaks, patch, red: { file, title } }
  })
}

/** The text of every file that breakages may change, by its path in `root`. */
export function readSource(root = '.'): Map<string, string> {
  const names = ['src', 'nix'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  )
  const files = names.filter((name) => statSync(join(root, name)).isFile())
  return new Map(files.map((name) => [name, readFileSync(join(root, name), 'utf8')]))
}

/**
 * The file that `breakage` changes, and its text afterwards.
 * @throws Error if `find` occurs nowhere, or more than once
 */
export function breakText(breakage: Breakage, source: Map<string, string>): { file: string; text: string } {
  const pattern = new RegExp(breakage.find.split('\n').map(lineOfPattern).join('\n'), 'g')
  const files = [...source].filter(([file]) => file === breakage.in || file.startsWith(`${breakage.in}/`))
  const matches = files.flatMap(([file, text]) => [...text.matchAll(pattern)].map(({ 0: found, index }) => ({ file, text, found, index })))
  const [match, ...others] = matches
  if (!match) throw new Error(`${breakage.id}: its \`find\` is no longer in ${breakage.in}: write the code of today there`)
  if (others.length > 0)
    throw new Error(
      `${breakage.id}: its \`find\` occurs ${matches.length} times (${matches.map(({ file }) => file).join(', ')}): lengthen it, or narrow \`in\``,
    )
  return { file: match.file, text: replaced(match.text, match.index, match.found, breakage.put) }
}

function lineOfPattern(line: string, index: number): string {
  return index === 0 ? escaped(line) : `[ \\t]*${escaped(line.trimStart())}`
}

function replaced(text: string, start: number, found: string, put: string): string {
  const end = start + found.length
  const lineStart = text.lastIndexOf('\n', start - 1) + 1
  const before = text.slice(lineStart, start)
  if (put === '' && before.trim() === '' && text[end] === '\n') return text.slice(0, lineStart) + text.slice(end + 1)
  const [indent = ''] = /^[ \t]*/.exec(text.slice(lineStart)) ?? []
  const lines = put.split('\n').map((line, i) => (i === 0 || line === '' ? line : indent + line))
  return text.slice(0, start) + lines.join('\n') + text.slice(end)
}

/** Runs `git apply` with these options. @throws Error if the patch no longer applies */
export function applyPatch({ patch }: BreakagePatch, root: string, ...options: string[]): void {
  try {
    execFileSync('git', ['apply', '-C1', ...options, resolve(patch)], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] })
  } catch {
    throw new Error(`${patch} no longer applies: make it anew with git diff`)
  }
}

/** The pattern by which vitest finds the test. */
export function titlePattern({ title }: RedTest): string {
  return [title].flat().map(escaped).join('.*')
}

/** `text` as a part of a regular expression. */
function escaped(text: string): string {
  return text.replace(/[\][\\.*^$+?(){}|]/g, '\\$&')
}
