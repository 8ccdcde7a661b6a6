// What opens a repository: read as restic reads it, and never shown.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { redacted, redactedLocation, secretsOf } from '../../src/restic/errors.ts'
import { heldFile, readSecret } from '../../src/restic/secrets.ts'

const folder = mkdtempSync(join(tmpdir(), 'secrets-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (bytes: Buffer | string) => {
  writeFileSync(join(folder, 'secret'), bytes)
  return join(folder, 'secret')
}
const utf16 = (text: string) => Buffer.from(`\ufeff${text}`, 'utf16le')

describe('[secret.6] a secret is read as restic reads it', () => {
  it.each<[string, Buffer | string, string]>([
    ['plain', 'secret\n', 'secret'],
    ['blanks of Unicode around it', ' \u0085secret\u00a0\r\n', 'secret'],
    ['a byte order mark', '\ufeffsecret', 'secret'],
    ['only one byte order mark goes', '\ufeff\ufeffsecret', '\ufeffsecret'],
    ['UTF-16, little-endian', utf16('secret\r\n'), 'secret'],
    ['UTF-16, big-endian', utf16('secret\r\n').swap16(), 'secret'],
    ['a NUL', 'sec\0ret', 'sec\0ret'],
  ])('%s', async (_, bytes, text) => {
    const secret = await readSecret(file(bytes), 'password')
    expect(secret).toEqual({ bytes: Buffer.from(bytes), text })
    expect(readFileSync(heldFile(secret.bytes))).toEqual(Buffer.from(bytes))
  })

  it.each<[string, Buffer | string, Parameters<typeof readSecret>[1], RegExp]>([
    ['an empty password', utf16(' \n'), 'password', /secret is empty$/],
    ['a location with a NUL', 'rest:TOPSECRET\0', 'location', /isn't text$/],
    ['variables in UTF-16', utf16('A=TOPSECRET'), 'variables', /isn't UTF-8 text$/],
    ['too large a file', 'TOPSECRET'.repeat(1 << 18), 'password', /more than 1 MiB/],
  ])('%s is refused, and not quoted', async (_, bytes, kind, words) => {
    const error = await readSecret(file(bytes), kind).catch((error: Error) => error)
    expect(error).toMatchObject({ code: 'secrets-unreadable', message: expect.stringMatching(words) })
    expect(String((error as Error).message)).not.toContain('TOPSECRET')
  })

  it('a device that never ends is refused', async () => {
    await expect(readSecret('/dev/zero', 'password')).rejects.toMatchObject({ code: 'secrets-unreadable' })
  })
})

/** The words HIDDEN and SECRET are parts of each password; what is shown otherwise stays. */
describe('[secret.7] of a location no part of its password is shown, nor of what restic says of it', () => {
  it.each<[string, string]>([
    ['rest:http://u:HIDDEN@host:8000/r', 'rest:http://u:***@host:8000/r'],
    ['rest:http://u:HIDDEN@SECRET@host/r', 'rest:http://u:***@host/r'],
    ['rest:http://u:HIDDEN%40SECRET@host/a@b', 'rest:http://u:***@host/a@b'],
    ['rest:http://u:a%z@SECRET/x@127.0.0.1:1/r', 'rest:http://u:***@127.0.0.1:1/r'],
    ['rest:http://u:HIDDEN/SECRET@host/r', 'rest:http://u:***@host/r'],
    ['rest:http://u:HIDDEN?SECRET#SECRET@host/r', 'rest:http://u:***@host/r'],
    ['rest:http://u:12/SECRET@host/r', 'rest:http://u:***@host/r'],
    ['rest:http://u:HIDDEN SECRET@host/r', 'rest:http://u:***@host/r'],
    ['rest:http://u:HID"DEN\\SECRET@host/r', 'rest:http://u:***@host/r'],
    ['rest:http://u:HIDDEN@[fe80::1%25eth0]:8000/r', 'rest:http://u:***@[fe80::1%25eth0]:8000/r'],
    ['rest:https://HIDDEN-SECRET@host/r', 'rest:https://***@host/r'],
    ['rest:https://u:x@host/r', 'rest:https://u:***@host/r'],
    ['s3:http://HIDDENKEY:SECRET@host:9000/bucket', 's3:http://HIDDENKEY:***@host:9000/bucket'],
    ['s3:http://u:SECRET/HIDDEN@host:9000/bucket', 's3:http://u:***@host:9000/bucket'],
    ['swift:u:HIDDEN@container:/path', 'swift:u:***@container:/path'],
    ['sftp://u:HIDDEN@SECRET@host:22//srv', 'sftp://u:***@host:22//srv'],
    ['sftp:u:HIDDEN@SECRET@host:/srv', 'sftp:u:***@host:/srv'],
    ['sftp://backup@host:22//srv/x', 'sftp://backup@host:22//srv/x'],
    ['sftp:backup@host:/srv/a@b', 'sftp:backup@host:/srv/a@b'],
    ['rclone:remote,user=me,pass=HIDDEN:path', 'rclone:remote,user=me,pass=***:path'],
    ["rclone::webdav,url='http://u:HIDDEN@h/',bearer_token='SEC,RET:':x", "rclone::webdav,url='http://u:***@h/',bearer_token=***:x"],
    ['/srv/a:b@c', '/srv/a:b@c'],
    ['b2:bucket:path', 'b2:bucket:path'],
    ['rest:https://host:8000/', 'rest:https://host:8000/'],
  ])('%s', (location, shown) => {
    const secrets = secretsOf(location, {})
    expect(redactedLocation(location, secrets)).toBe(shown)
    const url = location.replace(/^(rest|s3):/, '')
    const said = [
      `unable to open repository at ${location}: dial tcp`,
      `parsing repository location failed: parse ${JSON.stringify(`${url}/`)}: net/url: invalid userinfo`,
      `parse "x": invalid port ${JSON.stringify(`:${/u:([^/]*)/.exec(location)?.[1] ?? ''}`)} after host`,
      `dial tcp: lookup ${/[/?#@](SECRET)@/.exec(location)?.[1] ?? 'host'}: no such host`,
      `parse "x": invalid URL escape ${JSON.stringify(/%z.*/.exec(location)?.[0] ?? '%zz')}`,
    ]
    // What stands in the user's place of s3 isn't a password.
    for (const text of said) expect(redacted(text, secrets).replace('HIDDENKEY', '')).not.toMatch(/HID|DEN|SEC|RET|a%z/)
  })
})
