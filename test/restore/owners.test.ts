// Owners by name: users and groups have other numbers on another host, or after a reinstall.
import { chmodSync, lchownSync, linkSync, lstatSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { expect, test } from 'vitest'
import { cliFile, start } from '../lib/cli.ts'
import { isRoot } from '../lib/needs.ts'
import { world } from '../lib/world.ts'

test.skipIf(!isRoot)('[restore.17] files belong to the users and groups of the same name, whatever their numbers are here', async (t) => {
  const w = await world()
  t.onTestFinished(w.cleanup)
  /** As on a host with these users and groups; each `name:number`. */
  const as = (users: string[], groups: string[], args: string[]) => {
    w.write('passwd', ['root:x:0:0::/root:/bin/sh', ...users.map((user) => `${user.replace(':', ':x:')}:0::/:/bin/sh`), ''].join('\n'))
    w.write('group', ['root:x:0:', ...groups.map((group) => `${group.replace(':', ':x:')}:`), ''].join('\n'))
    const script = `mount --bind ${w.path('passwd')} /etc/passwd; mount --bind ${w.path('group')} /etc/group; exec "$@"`
    const argv = ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh', process.execPath, cliFile, ...args]
    return start(argv, { env: w.env }).ended
  }
  const data = (name = '') => w.path('srv/data', name)
  w.manifest({ services: { s: { paths: [data()] } } })
  for (const name of ['one', 'two', 'gone', 'setuid', 'root']) w.write(`srv/data/${name}`, name)
  symlinkSync('nowhere', data('link'))
  const own = (name: string, uid: number, gid: number) => lchownSync(data(name), uid, gid)
  own('one', 5001, 6001)
  own('two', 5002, 6002)
  own('gone', 5003, 6003)
  own('link', 5001, 6002)
  own('setuid', 5002, 6001)
  chmodSync(data('setuid'), 0o6755)
  linkSync(data('one'), data('twin'))
  own('', 5001, 6001)
  expect(await as(['one:5001', 'two:5002', 'gone:5003'], ['one:6001', 'two:6002', 'gone:6003'], ['run', 's'])).toMatchObject({ exit: 0 })
  // `one` and `two` have changed places, and one group has a new number.
  const users = ['one:5002', 'two:5001']
  const groups = ['one:7001', 'two:6002']
  const { exit, stdout } = await as(users, groups, ['restore', 's', '--in-place', '--yes', '--allow-privileged'])
  expect([exit, stdout]).toEqual([0, expect.stringMatching(/unknown on this host.*: gone/)])
  const ownerOf = (name: string) => `${lstatSync(data(name)).uid}:${lstatSync(data(name)).gid}`
  expect(Object.fromEntries(['', 'one', 'twin', 'two', 'gone', 'link', 'setuid', 'root'].map((name) => [name, ownerOf(name)]))).toEqual({
    '': '5002:7001',
    one: '5002:7001',
    twin: '5002:7001',
    two: '5001:6002',
    gone: '5003:6003',
    link: '5002:6002',
    setuid: '5001:7001',
    root: '0:0',
  })
  expect(statSync(data('setuid')).mode & 0o7777).toBe(0o6755)
  expect(readFileSync(data('root'), 'utf8')).toBe('root')
})
