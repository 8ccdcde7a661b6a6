// Names that aren't UTF-8, through everything that a service's data goes through: they are bytes, and stay the same ones.
import { expect, type TestContext, test } from 'vitest'
import { cliFile, start } from '../lib/cli.ts'
import { output } from '../lib/live.ts'
import { isRoot } from '../lib/needs.ts'
import { fingerprint } from '../lib/tree.ts'
import { type World, world } from '../lib/world.ts'

const latin1 = 'caf\\xe9'

/** Runs a script of bash, in which $'…' writes any bytes. */
function sh(w: World, script: string): string {
  return output(['bash', '-euc', `cd ${w.root}; ${script}`])
}

async function scratch(t: TestContext): Promise<World> {
  const w = await world(t)
  sh(
    w,
    `mkdir -p srv/data/$'caf\\xe9' srv/data/$'caf\\xe8' srv/data/'caf\\xe9' srv/$'r\\xe9al\\n'; cd srv/data; echo of e9 >$'caf\\xe9'/f; echo of e8 >$'caf\\xe8'/f`,
  )
  sh(w, `cd srv/data; echo literal >'caf\\xe9'/f; echo old >$'caf\\xe9.cache'; ln -s $'caf\\xe9/f' $'l\\xefnk'; ln $'caf\\xe9/f' $'tw\\xefn'`)
  sh(w, `cd srv/$'r\\xe9al\\n'; echo content >$'f\\xe9'; sqlite3 app.db 'CREATE TABLE t (a); INSERT INTO t VALUES (1)'; ln -s $'r\\xe9al\\n' ../link`)
  const paths = [w.path('srv/data'), w.path('srv/link')]
  w.manifest({ services: { s: { paths, sqlite: [w.path('srv/link/app.db')], exclude: ['*.cache'] } } })
  return w
}

test.skipIf(!isRoot)('[bytes.4] data with such names, links to them and mounts in them come back in place', async (t) => {
  const w = await scratch(t)
  sh(w, `chown -R daemon:daemon srv/data; echo x >srv/data/$'setu\\xefd'; chmod 4755 srv/data/$'setu\\xefd'`)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  const saved = fingerprint(w.path('srv'), { times: false })
  sh(w, `cd srv; echo newer >data/$'caf\\xe9.cache'; rm -r data/$'caf\\xe8'; echo changed >data/$'caf\\xe9'/f; echo since >data/$'since\\xe9'`)
  sh(w, `cd srv; echo changed >$'r\\xe9al\\n'/$'f\\xe9'; sqlite3 link/app.db 'INSERT INTO t VALUES (2)'`)
  const restored = await w.cli(['restore', 's', '--in-place', '--yes'])
  expect(restored).toMatchObject({ exit: 0, stderr: '' })
  expect(sh(w, `cat srv/data/$'caf\\xe9.cache'; sqlite3 srv/link/app.db 'SELECT a FROM t'`)).toBe('newer\n1')
  sh(w, `echo old >srv/data/$'caf\\xe9.cache'`)
  const ours = (path: string) => path.includes('/.atelier-backup-') || path.endsWith('/app.db')
  const live = () => fingerprint(w.path('srv'), { times: false }).filter(({ path }) => !ours(path))
  expect(live()).toEqual(saved.filter(({ path }) => !ours(path)))
  // The same with another number for the owner, and something mounted in such a folder.
  sh(w, `sed 's/^daemon:x:1:1:/daemon:x:4242:4242:/' /etc/passwd >passwd; sed 's/^daemon:x:1:/daemon:x:4242:/' /etc/group >group; mkdir disk`)
  const script = [
    `cd ${w.root}; mount --bind passwd /etc/passwd; mount --bind group /etc/group; mkdir srv/data/$'caf\\xe9'/$'m\\xf1t'`,
    `mount --bind disk srv/data/$'caf\\xe9'/$'m\\xf1t'; echo stays >disk/here; echo changed >srv/data/$'caf\\xe9'/f`,
    `"$@" restore s --in-place --yes --empty-mounts --allow-privileged; "$@" restore s --rollback --yes; cat srv/data/$'caf\\xe9'/f`,
    `"$@" restore s --in-place --yes --empty-mounts --allow-privileged; stat -c %u srv/data/$'caf\\xe9'/f; cat srv/data/$'caf\\xe9'/f`,
  ].join('\n')
  const ended = await start(['unshare', '--mount', 'bash', '-ec', script, 'bash', process.execPath, cliFile], { env: w.env }).ended
  expect(ended).toMatchObject({ exit: 0, stdout: expect.stringMatching(/\nchanged\n[\s\S]*\n4242\nof e9\n$/) })
})

test.skipIf(!isRoot)('[bytes.2] `--path` and `find` take names as `list` prints them, and as they are', async (t) => {
  const w = await scratch(t)
  expect(await w.cli(['run', 's'])).toMatchObject({ exit: 0 })
  const listed = await w.cli(['list', 's', '--snapshot', 'latest'])
  const printed = (await w.cli(['list', 's', '--snapshot', 'latest', '--json'])).json().map(({ path }: { path: string }) => path)
  expect(printed).toContain(w.path('srv/data', latin1, 'f'))
  const look = async (paths: string[], target: string) => {
    const script = `exec "$@" restore s --target ${w.path(target)} ${paths.map((path) => `--path ${path}`).join(' ')}`
    expect(await start(['bash', '-c', script, 'bash', process.execPath, cliFile], { env: w.env }).ended).toMatchObject({ exit: 0 })
    return sh(w, `cd ${target}${w.path('srv')}; find . -name f -exec cat {} +`)
  }
  const data = w.path('srv/data')
  const folders = listed.stdout.split('\n').flatMap((line) => /\S+caf\S+$/.exec(line.replace(/\/f$/, ''))?.[0] ?? [])
  expect([...new Set(folders)].sort()).toEqual([`${data}/caf\\u{5c}xe9`, `${data}/caf\\xe8`, `${data}/${latin1}`])
  expect(await look([`'${data}/${latin1}'`], 'one')).toBe('of e9')
  expect(await look([`'${data}/caf\\u{5c}xe9'`], 'two')).toBe('literal')
  expect(await look([`${data}/$'caf\\xe8'`], 'three')).toBe('of e8')
  expect((await w.cli(['list', 's', '--path', `${data}/caf\\xe8`, '--json'])).json()).toHaveLength(2)
  expect((await w.cli(['find', 'caf\\xe8', '--json'])).json()).toEqual([expect.objectContaining({ path: `${data}/caf\\xe8` })])
})
