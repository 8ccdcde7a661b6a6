import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, expect, it } from 'vitest'
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

it('what ends at once is told in full', async () => {
  const read: string[] = []
  const listing = async () => {
    for await (const line of lines(['seq', '3'])) read.push(line)
  }
  const [ended, missing] = await Promise.all([run(['false']), run(['no-such-program']).catch((error) => error.code), listing()])
  expect(ended).toEqual({ exit: 1, stdout: '', stderr: '', interrupted: false, timedOut: false })
  expect([missing, read]).toEqual(['missing-tool', ['1', '2', '3']])
})

it('[cli.10] ZX_ variables of the caller change nothing, and neither bash nor ps is needed', async () => {
  const bundle = join(folder, 'shell.cjs')
  await build({ entryPoints: ['src/host/shell.ts'], bundle: true, platform: 'node', format: 'cjs', outfile: bundle })
  const tools = join(folder, 'tools')
  mkdirSync(tools)
  for (const tool of ['setpriv', 'sleep', 'sh']) symlinkSync((await run(['which', tool])).stdout.trim(), join(tools, tool))
  const script = `(async ({ run }) => {
    const results = await Promise.all([
      run(['sh', '-c', 'sleep 0.7; pwd; echo $PATH; echo err >&2; exit 3']),
      run(['sh', '-c', 'sleep 60 & wait'], { timeoutSeconds: 0.3, group: true }),
    ])
    console.log(JSON.stringify(results))
  })(require(${JSON.stringify(bundle)}))`
  const variables = {
    ...{ ZX_TIMEOUT: '100ms', ZX_TIMEOUT_SIGNAL: 'SIGKILL', ZX_KILL_SIGNAL: 'SIGKILL', ZX_SHELL: 'false', ZX_CWD: '/nowhere' },
    ...{ ZX_PREFIX: 'exit 9;', ZX_POSTFIX: '; exit 9', ZX_VERBOSE: 'true', ZX_QUIET: 'false', ZX_DETACHED: 'true', ZX_PREFER_LOCAL: 'true' },
  }
  const { exit, stdout, stderr } = await run([process.execPath, '--eval', script], { env: { PATH: tools, ...variables } })
  expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' })
  expect(JSON.parse(stdout)).toEqual([
    { exit: 3, stdout: `/\n${tools}\n`, stderr: 'err\n', interrupted: false, timedOut: false },
    { exit: 143, stdout: '', stderr: '', interrupted: false, timedOut: true },
  ])
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
  await expect.poll(() => stateOf(pids[0])).toMatch(/^[Z-]$/)
})

it('leaving the lines early ends the process', async () => {
  const output = lines(['sh', '-c', 'echo $$; exec sleep 62'])
  let pid = 0
  for await (const line of output) {
    pid = Number(line)
    break
  }
  expect(pid).toBeGreaterThan(0)
  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
})

it('inherited files stay open in the child', async () => {
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
