import { closeSync, existsSync, lstatSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, expect, it, vi } from 'vitest'
import { lines, plainEnvironment, run } from '../../src/host/shell.ts'

const folder = mkdtempSync(join(tmpdir(), 'atelier-shell-'))
afterAll(() => rmSync(folder, { recursive: true }))

it('arguments arrive as they are', async () => {
  const args = ['', ' ', '-n', '$HOME', '`id`', "it's", '"', 'a\nb', '\\', '*', 'ä😀', '!', '~', '#', ';', '\t\r\x01']
  const file = join(folder, 'args')
  await run(['sh', '-c', `printf '%s\\0' "$@" > ${file}`, 'sh', ...args])
  expect(readFileSync(file, 'utf8').slice(0, -1).split('\0')).toEqual(args)
})

it('a megabyte of arguments arrives', async () => {
  const args = Array.from({ length: 10_000 }, (_, i) => `${"it's ".repeat(20)}${i}`)
  expect((await run(['printf', '%s\n', ...args])).stdout).toBe(`${args.join('\n')}\n`)
})

it('exit code, output and last words come back', async () => {
  expect(await run(['sh', '-c', 'echo out; echo err >&2; exit 7'])).toEqual({
    exit: 7,
    stdout: 'out\n',
    stderr: 'err\n',
    interrupted: false,
    timedOut: false,
  })
})

it('output is as it was printed, and its lines end with a line feed alone: anything else may stand in a name', async () => {
  const printed = 'a\rb\u2028c\u0085d\n\nlast'
  expect((await run(['printf', '%s', printed])).stdout).toBe(printed)
  const told: string[] = []
  await run(['printf', '%s', printed], { onLine: (line) => told.push(line) })
  const read: string[] = []
  for await (const line of lines(['printf', '%s', printed])) read.push(line)
  expect([told, read]).toEqual([
    ['a\rb\u2028c\u0085d', '', 'last'],
    ['a\rb\u2028c\u0085d', '', 'last'],
  ])
})

it('what ends before the library that waits for it is loaded is told in full', async () => {
  vi.resetModules()
  vi.doMock('zx/core', async (original) => {
    await setTimeout(300)
    return original()
  })
  const fresh = await import('../../src/host/shell.ts')
  expect(fresh.run).not.toBe(run)
  const read: string[] = []
  const listing = async () => {
    for await (const line of fresh.lines(['seq', '3'])) read.push(line)
  }
  const [ended, missing, elsewhere] = await Promise.all([
    fresh.run(['sh', '-c', 'echo out; echo err >&2; exit 7']),
    fresh.run(['no-such-program']).catch((error) => error.code),
    fresh.run(['true'], { cwd: '/no/such/folder' }).catch((error) => error),
    listing(),
  ])
  vi.doUnmock('zx/core')
  expect(ended).toEqual({ exit: 7, stdout: 'out\n', stderr: 'err\n', interrupted: false, timedOut: false })
  expect([missing, read]).toEqual(['missing-tool', ['1', '2', '3']])
  expect(elsewhere).toEqual(await run(['true'], { cwd: '/no/such/folder' }).catch((error) => error))
})

it('one that ends before it has read its input is told as it ended, and empty input is none', async () => {
  expect(await run(['head', '--bytes', '1'], { input: 'x'.repeat(4 << 20) })).toMatchObject({ exit: 0, stdout: 'x' })
  expect(await run(['false'], { input: 'x'.repeat(4 << 20) })).toMatchObject({ exit: 1 })
  expect(await run(['cat'], { input: '' })).toMatchObject({ exit: 0, stdout: '' })
  await expect(run(['true'], { cwd: '/no/such/folder' })).rejects.toMatchObject({
    code: 'failed',
    message: expect.stringContaining("can't be started"),
  })
})

it('what can’t be started is said', async () => {
  await expect(run(['no-such-program'])).rejects.toMatchObject({ code: 'missing-tool', message: 'no-such-program is not installed, or not on PATH' })
  await expect(run(['echo', 'a\0b'])).rejects.toMatchObject({ code: 'bad-argument' })
  // One that is too long; too many.
  await expect(run(['echo', 'x'.repeat(200_000)])).rejects.toMatchObject({
    code: 'too-many-arguments',
    message: expect.stringMatching(/^echo can't/),
  })
  await expect(lines(['echo', ...Array(100_000).fill('x'.repeat(100))]).next()).rejects.toMatchObject({ code: 'too-many-arguments' })
})

it('the environment is built from nothing, and standard input is empty', async () => {
  process.env.OURS = 'x'
  const { stdout } = await run(['sh', '-c', 'env; cat'])
  const names = stdout.split('\n').map((line) => line.split('=')[0])
  expect(names).not.toContain('OURS')
  expect(names).toEqual(expect.arrayContaining(Object.keys(plainEnvironment())))
  expect((await run(['cat'], { input: 'given' })).stdout).toBe('given')
})

it('aborted: ended by SIGTERM, and by SIGKILL if that doesn’t help', async () => {
  const soon = () => AbortSignal.timeout(300)
  expect(await run(['sleep', '60'], { signal: soon() })).toMatchObject({ exit: 143, interrupted: true })
  expect(await run(['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'], { signal: soon(), graceSeconds: 0.5 })).toMatchObject({ exit: 137 })
  expect(await run(['sleep', '60'], { timeoutSeconds: 0.3 })).toMatchObject({ timedOut: true, interrupted: false })
})

it('a group is ended as a whole', async () => {
  const pids: number[] = []
  await run(['sh', '-c', 'sleep 61 & echo $!; wait'], { group: true, signal: AbortSignal.timeout(500), onLine: (line) => pids.push(Number(line)) })
  expect(pids).toHaveLength(1)
  // Ended, even if nobody has asked for its exit code yet.
  await vi.waitFor(() => expect(stateOf(pids[0])).toMatch(/^[Z-]$/))
})

it('leaving the lines early ends the process', async () => {
  const output = lines(['sh', '-c', 'echo $$; exec sleep 62'])
  let pid = 0
  for await (const line of output) {
    pid = Number(line)
    break
  }
  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
})

it('held files stay open in the child', async () => {
  const file = join(folder, 'lock')
  const fd = openSync(file, 'w')
  let open: string[] = []
  const onLine = (pid: string) => {
    // What the shell has open for itself goes as it becomes sleep.
    open = readdirSync(`/proc/${pid}/fd`).flatMap((each) => {
      const link = `/proc/${pid}/fd/${each}`
      return lstatSync(link, { throwIfNoEntry: false }) ? readlinkSync(link) : []
    })
  }
  await run(['sh', '-c', 'echo $$; exec sleep 1'], { inheritFds: [fd], onLine })
  closeSync(fd)
  expect(open).toContain(file)
})

function stateOf(pid = 0): string {
  const file = `/proc/${pid}/stat`
  return existsSync(file) ? readFileSync(file, 'utf8').replace(/.*\) (.).*/s, '$1') : '-'
}
