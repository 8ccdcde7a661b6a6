// Secrets reach restic alone: they stand in no command line, output, record, nor in a hook's world.
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { instead, living, resticBefore, sql, until, waitingRestic } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { canServe, serve } from '../lib/server.ts'
import { type World, world } from '../lib/world.ts'

const secrets = { password: 'pw-S3cr3t-of-the-repository', key: 'AKIA-S3cr3t-key', access: 'access+S3cr3t/key==', url: 'url-S3cr3t' }
let w: World
beforeAll(async () => {
  w = await world()
  w.write('data/file', 'x')
  w.write('secrets/env', `AWS_ACCESS_KEY_ID=${secrets.key}\nAWS_SECRET_ACCESS_KEY='${secrets.access}'\nRESTIC_COMPRESSION=max\n`)
})
afterAll(() => w.cleanup())

/** Whatever could be read in a process's arguments, or in the files of a folder. */
const told = (text: string) => Object.entries(secrets).flatMap(([name, secret]) => (text.includes(secret) ? [name] : []))
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name}`)
    .filter((file) => statSync(file).isFile())
}
function commandLines(): string {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      } catch {
        return ''
      }
    })
    .join('\n')
}

test('[secret.1] restic’s environment is made of the parsed file and ours; of the caller’s only what it needs', async () => {
  w.manifest({
    services: { notes: { paths: [w.path('data')] } },
    repositories: { main: { ...w.repository, environmentFile: w.path('secrets/env') } },
  })
  const restic = waitingRestic(w)
  const foreign = {
    RESTIC_REPOSITORY: '/nowhere',
    RESTIC_PASSWORD: 'nonsense',
    RESTIC_READ_CONCURRENCY: '1',
    AWS_SESSION_TOKEN: 'foreign',
    LD_PRELOAD: '',
    SOMETHING: 'else',
    TMPDIR: w.root,
  }
  const { ended } = w.startCli(['run', 'notes'], { env: { ...foreign, ...restic.env } })
  const pid = await restic.waits()
  const { environment } = living(w).find((process) => process.pid === pid) ?? { environment: '' }
  restic.go()
  expect(await ended).toMatchObject({ exit: 0 })
  // What a shell adds by itself.
  const own = ['SHLVL', '_', 'PWD', 'OLDPWD']
  const variables = Object.fromEntries(
    environment
      .split('\0')
      .filter(Boolean)
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)
      .filter(([name]) => !own.includes(name)),
  )
  expect(variables).toEqual({
    PATH: restic.env.PATH,
    HOME: process.env.HOME ?? '/root',
    TMPDIR: w.root,
    LANG: 'C.UTF-8',
    AWS_ACCESS_KEY_ID: secrets.key,
    AWS_SECRET_ACCESS_KEY: secrets.access,
    RESTIC_COMPRESSION: 'max',
    RESTIC_REPOSITORY: w.repository.repository,
    RESTIC_PASSWORD_FILE: w.repository.passwordFile,
    RESTIC_CACHE_DIR: w.path('cache'),
    RESTIC_PROGRESS_FPS: '2',
  })
})

test('[secret.2] [secret.3] no secret stands in a command line, in output, records or events, nor where a hook can see it', async () => {
  const other = await world()
  try {
    other.write('data/file', 'x')
    other.write('secrets/env', readFileSync(w.path('secrets/env')))
    other.write('secrets/location', `rest:http://user:${secrets.url}@127.0.0.1:1/x\n`)
    const seen = other.path('seen')
    mkdirSync(seen)
    const look = (when: string) =>
      `env >${seen}/${when}; for pid in $PPID $$ $(cut -d ' ' -f 4 /proc/$PPID/stat); do tr '\\0' '\\n' </proc/$pid/environ; ls -l /proc/$pid/fd; done >>${seen}/${when}; echo "from the hook"`
    other.manifest({
      services: { notes: { paths: [other.path('data')], preBackup: look('pre'), postBackup: look('post') } },
      repositories: {
        main: { ...other.repository, repository: null, repositoryFile: other.path('secrets/location'), environmentFile: other.path('secrets/env') },
      },
    })
    // A repository that doesn't answer, whose complaint names all it was given.
    const { env } = resticBefore(
      other,
      'if [ "$command" != version ]; then env >&2; cat "$RESTIC_REPOSITORY_FILE" >&2; echo "Fatal: unable to open repository at $(cat "$RESTIC_REPOSITORY_FILE") with $AWS_SECRET_ACCESS_KEY" >&2; sleep 0.3; exit 1; fi',
    )
    const { ended } = other.startCli(['run', 'notes', '--json'], { env })
    const lines = [commandLines()]
    const timer = setInterval(() => lines.push(commandLines()), 20)
    const run = await ended
    clearInterval(timer)
    expect(run.exit).toBe(1)
    expect(run.stdout).toContain('http://user:***@127.0.0.1')
    expect(told(lines.join('\n'))).toEqual([])
    expect(told(run.stdout + run.stderr)).toEqual([])
    expect(filesBelow(seen).map((file) => file.slice(seen.length + 1))).toEqual(['post'])
    for (const file of [...filesBelow(seen), ...filesBelow(other.path('state'))]) expect(told(readFileSync(file, 'utf8')), file).toEqual([])
    expect(readFileSync(`${seen}/post`, 'utf8')).toContain('ATELIER_OUTCOME=failed')
    expect(readFileSync(`${seen}/post`, 'utf8')).not.toMatch(/^(RESTIC_REPOSITORY|RESTIC_PASSWORD|AWS_)/m)
  } finally {
    other.cleanup()
  }
})

test('[secret.2] [secret.3] nor in a run that goes well', async () => {
  const seen = w.path('seen')
  const look = `env >>${seen}; tr '\\0' '\\n' </proc/$PPID/environ >>${seen}; tr '\\0' '\\n' </proc/$(cut -d ' ' -f 4 /proc/$PPID/stat)/environ >>${seen}`
  w.manifest({
    services: { well: { paths: [w.path('data')], preBackup: look, postBackup: look } },
    repositories: { main: { ...w.repository, environmentFile: w.path('secrets/env') } },
  })
  const restic = waitingRestic(w)
  // Of the run before.
  await until(() => living(w).length === 0)
  const { ended } = w.startCli(['run', 'well', '--json'], restic)
  await restic.waits()
  expect(told(commandLines())).toEqual([])
  restic.go()
  const run = await ended
  expect(run.exit).toBe(0)
  expect(told(run.stdout + run.stderr)).toEqual([])
  for (const file of [seen, ...filesBelow(w.path('state'))]) expect(told(readFileSync(file, 'utf8')), file).toEqual([])
  expect(readFileSync(seen, 'utf8')).not.toMatch(/^RESTIC_(REPOSITORY|PASSWORD)/m)
  if (isRoot) for (const file of filesBelow(w.path('state'))) expect(statSync(file).mode & 0o077, file).toBe(0)
})

test.skipIf(!canServe || !isRoot)(
  '[secret.2] [secret.3] nor while a server is asked whose password stands in the location, databases are copied and hooks run',
  async (test) => {
    const other = await world(test)
    const serving = await serve(other, { user: { name: 'us', password: secrets.url } })
    test.onTestFinished(() => void serving.kill())
    const database = other.write('data/app.db', '')
    sql(database, 'CREATE TABLE t(x)')
    // Whoever looks at everything that runs, and at what each of them was given, but restic itself.
    const spied = other.path('spied')
    const spy = `cat /proc/[0-9]*/cmdline $(grep -Lsx restic /proc/[0-9]*/comm | sed s/comm/environ/) >>${spied} 2>/dev/null; true`
    const path = instead(other, process.env.PATH ?? '', 'sqlite3', `${spy}; exec "$real" "$@"`)
    other.manifest({
      services: { notes: { paths: [other.path('data')], sqlite: [database], preBackup: spy, postBackup: spy } },
      repositories: {
        main: {
          ...other.repository,
          repository: null,
          repositoryFile: other.write('secrets/location', serving.repository),
          environmentFile: other.write('secrets/env', readFileSync(w.path('secrets/env'))),
        },
      },
    })
    const lines: string[] = []
    const timer = setInterval(() => lines.push(commandLines()), 50)
    const runs = [
      await other.cli(['backup', 'notes', '--json'], { env: { PATH: path } }),
      await other.cli(['prune', '--json']),
      await other.cli(['status', '--json']),
    ]
    runs.push(await other.cli(['doctor', '--json']))
    clearInterval(timer)
    expect(runs.slice(0, 3).map(({ exit }) => exit)).toEqual([0, 0, 0])
    expect(lines.join(), 'restic was seen').toContain('restic\0backup')
    expect(readFileSync(spied, 'utf8')).toContain('ATELIER_OUTCOME=ok')
    expect(told([...lines, readFileSync(spied, 'utf8'), ...runs.map(({ stdout, stderr }) => stdout + stderr)].join('\n'))).toEqual([])
    for (const file of filesBelow(other.path('state'))) expect(told(readFileSync(file, 'utf8')), file).toEqual([])
  },
  60_000,
)

// In each of these a part of the password is what restic complains of.
test.each(['S3cr3t-one/S3cr3t-two', 'S3cr3t-one%2FS3cr3t-two%zz', 'S3cr3t-one#S3cr3t-two'])(
  '[secret.2] nor where the password within the location isn’t percent-encoded as it must be: %s',
  async (password) => {
    const other = await world()
    try {
      other.write('data/file', 'x')
      other.write('secrets/location', `rest:http://user:${password}@127.0.0.1:1/x\n`)
      other.manifest({
        services: { notes: { paths: [other.path('data')] } },
        repositories: { main: { ...other.repository, repository: null, repositoryFile: other.path('secrets/location') } },
      })
      const run = await other.cli(['run', 'notes', '--json'])
      expect(run.exit).toBe(1)
      expect(run.stdout).toContain("its location can't be read")
      expect(run.stdout).toContain('percent-encoded')
      const files = filesBelow(other.path('state')).map((file) => readFileSync(file, 'utf8'))
      expect([run.stdout, run.stderr, ...files].join('\n')).not.toMatch(/S3cr3t|-one|-two|%zz/)
    } finally {
      other.cleanup()
    }
  },
)
