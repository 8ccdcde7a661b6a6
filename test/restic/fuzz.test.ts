// Whatever stands in restic's place may say anything: cut, doubled, foreign, of other types, without end.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Failure } from '../../src/errors.ts'
import { openRestic } from '../../src/restic/client.ts'
import type { Restic } from '../../src/restic/types.ts'
import fc, { fuzzTimeout, runs } from '../lib/fuzz.ts'

const folder = mkdtempSync(join(tmpdir(), 'atelier-fuzz-'))
afterAll(() => rmSync(folder, { recursive: true }))
writeFileSync(join(folder, 'password'), 'secret')
mkdirSync(join(folder, 'repository'))
writeFileSync(join(folder, 'repository/config'), '')

/** A restic that prints this, and exits so. */
function saying(script: string): Restic {
  const program = join(folder, 'restic')
  writeFileSync(program, `#!/bin/sh\n[ "$1" = version ] && exec echo 'restic 0.18.0 compiled with go1.24.4'\n${script}\n`)
  chmodSync(program, 0o755)
  const repository = {
    repository: join(folder, 'repository'),
    repositoryFile: '/none',
    passwordFile: join(folder, 'password'),
    environmentFile: null,
  }
  return openRestic({ name: 'main', repository: { ...repository, retryLock: '0s' }, cacheDir: folder, program })
}
function printing(output: string, errors = '', exit = 0): Restic {
  writeFileSync(join(folder, 'output'), output)
  writeFileSync(join(folder, 'errors'), errors)
  return saying(`cat '${folder}/output'; cat '${folder}/errors' >&2; exit ${exit}`)
}

const id = 'ab'.repeat(32)
const time = '2026-11-20T01:02:03.000000004+01:00'
const snapshot = {
  time,
  tree: id,
  paths: ['/srv/a'],
  hostname: 'h',
  tags: ['service:a'],
  id,
  short_id: id.slice(0, 8),
  summary: { total_bytes_processed: 5 },
}
const node = { struct_type: 'node', message_type: 'node', type: 'file', path: '/srv/a', size: 3, mtime: time, mode: 420, uid: 1, gid: 1 }
const status = { message_type: 'status', percent_done: 0.5, total_bytes: 10, bytes_done: 5, seconds_remaining: 1, seconds_elapsed: 1 }
const summary = { message_type: 'summary', snapshot_id: id, total_bytes_processed: 10, total_files_processed: 2, backup_start: time, total_bytes: 10 }
const error = { message_type: 'error', error: { message: 'open /srv/a: permission denied' }, during: 'archival', item: '/srv/a' }
const exitError = { message_type: 'exit_error', code: 1, message: 'Fatal: no' }
const said: Record<string, unknown[]> = {
  snapshots: [[snapshot, { ...snapshot, id: 'cd'.repeat(32) }]],
  ls: [{ ...snapshot, struct_type: 'snapshot', message_type: 'snapshot' }, node, { ...node, path: '/srv/b', type: 'dir' }],
  backup: [status, status, summary],
  restore: [status, summary],
  diff: [{ message_type: 'change', path: '/srv/a', modifier: 'M' }, { message_type: 'statistics' }],
  cat: [{ version: 2, id }],
  init: [{ message_type: 'initialized', id }],
  tag: [{ message_type: 'changed', new_snapshot_id: id }],
  check: [{ message_type: 'summary', num_errors: 0 }],
}
const calls: Record<string, (restic: Restic) => Promise<unknown>> = {
  snapshots: (restic) => restic.snapshots(),
  ls: (restic) => all(restic.ls('abc')),
  backup: (restic) => restic.backup({ paths: ['/srv/a'], exclude: [], tags: [], host: 'h', onProgress: requireNumbers }),
  restore: (restic) => restic.restore({ snapshot: id, target: '/none', include: ['/srv/a'], onProgress: requireNumbers }),
  diff: (restic) => all(restic.diff('abc', 'abd')),
  cat: (restic) => restic.repositoryId(),
  init: (restic) => restic.init(),
  tag: (restic) => restic.tag(id, ['x']),
  check: (restic) => restic.check(),
}

function requireNumbers(progress: object): void {
  for (const [name, value] of Object.entries(progress)) expect([name, value === null || Number.isFinite(value)]).toEqual([name, true])
}

async function all<T>(items: AsyncGenerator<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

/** Lines as restic prints them, with some changed, cut, doubled, gone, or from elsewhere. */
function damaged(lines: unknown[]): fc.Arbitrary<string> {
  const odd = fc.oneof(fc.constantFrom(null, true, 0, -1, 1e308, '', 'x', [], {}, [null], { message: 7 }, 'NaN', '2026-13-45'), fc.jsonValue())
  const change = fc.tuple(
    fc.nat(),
    fc.constantFrom('field', 'field', 'field', 'cut', 'byte', 'double', 'drop', 'foreign'),
    odd,
    fc.string({ unit: 'binary' }),
  )
  return fc.array(change, { maxLength: 3 }).map((changes) => {
    const values = structuredClone(lines)
    for (const [at, how, put] of changes) {
      const spots = [...spotsOf(values)]
      const [parent, field] = spots[at % spots.length] ?? []
      if (how === 'field' && parent && field !== undefined) parent[field] = put
    }
    let texts = values.map((value) => JSON.stringify(value))
    for (const [at, how, , text] of changes) {
      const n = at % (texts.length + 1)
      const line = texts[n] ?? ''
      if (how === 'cut') texts[n] = line.slice(0, at % (line.length + 1))
      if (how === 'byte') texts[n] = line.slice(0, at % (line.length + 1)) + text + line.slice((at % (line.length + 1)) + 1)
      if (how === 'double') texts.splice(n, 0, line)
      if (how === 'drop') texts = texts.filter((_, i) => i !== n)
      if (how === 'foreign') texts.splice(n, 0, text)
    }
    return texts.join('\n')
  })
}

function* spotsOf(value: unknown): Generator<[Record<string, unknown>, string]> {
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    yield [value as Record<string, unknown>, key]
    yield* spotsOf(inner)
  }
}

describe('[restic.1] whatever restic prints', () => {
  test.each(Object.keys(calls))('%s gives what its type says, or a failure in one line', { timeout: fuzzTimeout }, async (name) => {
    const outcomes = new Set<boolean>()
    await fc.assert(
      fc.asyncProperty(damaged(said[name] ?? []), damaged([error, exitError]), fc.constantFrom(0, 0, 0, 1, 3), async (output, errors, exit) => {
        const answer = await calls[name]?.(printing(output, errors, exit)).catch((thrown: unknown) => {
          if (!(thrown instanceof Failure)) throw thrown
          expect(thrown.code).not.toBe('failed')
          expect(thrown.message).toMatch(/^[^\n]{1,5000}$/)
          return thrown
        })
        outcomes.add(answer instanceof Failure)
        if (!(answer instanceof Failure)) requireShape(answer)
      }),
      { numRuns: runs(25) },
    )
    expect([...outcomes].sort()).toEqual([false, true])
  })

  test('nothing but what is known is ever taken for a snapshot, its times compare', async () => {
    for (const [field, value] of Object.entries({ id: 'latest', time: 'yesterday', hostname: 7, tags: 'service:a', paths: [7], short_id: null }))
      await expect(printing(JSON.stringify([{ ...snapshot, [field]: value }])).snapshots()).rejects.toMatchObject({ code: 'restic-garbled' })
  })

  test('a listing from which something is missing is a failure, not a shorter listing', async () => {
    const line = JSON.stringify(node)
    await expect(all(printing(`${line}\n${line.slice(0, 40)}\n${line}\n`).ls('abc'))).rejects.toMatchObject({ code: 'restic-garbled' })
    await expect(all(printing(`${line}\n${JSON.stringify({ ...node, path: undefined })}\n`).ls('abc'))).rejects.toMatchObject({
      code: 'restic-garbled',
    })
    await expect(all(printing(`${line}\nplain text\n${line}\n`).ls('abc'))).resolves.toHaveLength(2)
  })
})

/** Numbers are numbers, texts are texts, wherever they stand. */
function requireShape(value: unknown, name = ''): void {
  const texts = ['id', 'shortId', 'time', 'host', 'path', 'type', 'mtime', 'modifier', 'snapshotId', 'message']
  const numbers = ['bytes', 'files', 'addedBytes', 'mode', 'uid', 'gid', 'errors', 'unreadableCount']
  if (texts.includes(name)) expect([name, typeof value]).toEqual([name, 'string'])
  if (numbers.includes(name)) expect([name, value === null || Number.isFinite(value)]).toEqual([name, true])
  if (typeof value === 'object' && value !== null)
    for (const [key, inner] of Object.entries(value)) requireShape(inner, Array.isArray(value) ? '' : key)
}

describe('[restic.2] however much it prints', () => {
  /** Of this process, meanwhile. MiB. */
  async function growth(work: () => Promise<unknown>): Promise<number> {
    const now = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
    writeFileSync('/proc/self/clear_refs', '5')
    const before = now()
    await work()
    return now() - before
  }
  const long = `head -c 100000000 /dev/zero | tr '\\0' x`

  test('a line of 100 MB between others is passed over in little memory', async () => {
    writeFileSync(join(folder, 'output'), `${JSON.stringify(summary)}\n`)
    const progressing = saying(`printf '{"message_type":"'; ${long}; echo; ${long} >&2; cat '${folder}/output'`)
    let made: unknown
    expect(await growth(async () => (made = await progressing.backup({ paths: ['/srv/a'], exclude: [], tags: [], host: 'h' })))).toBeLessThan(100)
    expect(made).toMatchObject({ snapshotId: id })
  })

  test('in a listing it is a failure', async () => {
    const listing = all(saying(`printf '{"message_type":"node","path":"'; ${long}`).ls('abc'))
    expect(await growth(() => expect(listing).rejects.toMatchObject({ code: 'restic-garbled' }))).toBeLessThan(100)
  })

  test('an answer without end is a failure', async () => {
    const endless = saying('head -c 400000000 /dev/zero').snapshots()
    expect(await growth(() => expect(endless).rejects.toMatchObject({ code: 'too-much-output' }))).toBeLessThan(700)
    const wide = saying('head -c 400000000 /dev/zero').find({ pattern: '*', host: 'h', tags: [] })
    await expect(wide).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('"*" matches more than can be shown') })
  })
})
