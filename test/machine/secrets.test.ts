// Secrets on a host: whatever its units do, and however that ends, what others can read holds nothing of them.
import { createHash } from 'node:crypto'
import { copyFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { canServe, serverProgram } from '../lib/server.ts'
import { makeNixosHost } from './nixos.ts'
import { notes } from './notes.ts'

/** Words that nothing else has: each is found in whatever form it is told. */
const secrets = {
  password: 'Repository/Zinnober+Quitte',
  wrong: 'Mistaken/Zinnsoldat',
  url: 'Location/Wacholder+Holunder=Eibisch@Salbei',
  changed: 'Changed/Kornelkirsche@Mispel',
  key: 'Access-Berberitze',
  access: 'Secret/Schlehdorn+Felsenbirne==',
}
const forms = Object.values(secrets).flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  encodeURI(secret),
  Buffer.from(secret).toString('base64').replace(/=+$/, ''),
  // A part is too much, too.
  ...secret
    .split(/[/+=@-]/)
    .filter((part) => part.length > 4 && !['Repository', 'Mistaken', 'Location', 'Changed', 'Access', 'Secret'].includes(part)),
])
const found = (text: string) => forms.filter((form) => text.includes(form))

const service = 'restic-backups-notes'
const location = (password: string) => `rest:http://hearth:${encodeURIComponent(password)}@127.0.0.1:8000/\n`

/** What is told of processes, as it is written: by restic of itself and all around it, by hooks of all that they are given. */
const look = `{ tr '\\0' ' ' </proc/self/cmdline; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; } >>/srv/seen/arguments 2>/dev/null`
const watch = `while test -e /srv/seen; do ${look}; done`
const heldRestic = `#!/usr/bin/bash\n${look}\necho "restic $*" >>/srv/seen/arguments\nexec /usr/bin/restic "$@"\n`
const hook = `{ echo "$1"; env; for pid in $$ $PPID; do tr '\\0' '\\n' </proc/$pid/environ; ls -l /proc/$pid/fd; done; } >>/srv/seen/hooks; echo "the hook $1"`

describe.skipIf(!canHost || !canServe)('secrets on a host', { timeout: 180_000 }, () => {
  let host: TestHost
  const said: string[] = []
  beforeAll(async () => {
    const hooks = ['pre', 'post'].map((when) => `${when}Backup = "/usr/bin/bash /opt/hook ${when}";`).join(' ')
    host = await makeNixosHost(notes(`atelier.backup.services.notes = { ${hooks} healthCheck = "/usr/bin/bash /opt/hook health"; };`), {
      password: secrets.password,
    })
    host.write('/opt/notes', 'sleep infinity')
    host.write('/opt/hook', hook)
    host.write('/opt/watch', watch)
    copyFileSync(serverProgram, host.path('/opt/rest-server'))
    host.write('/srv/htpasswd', `hearth:{SHA}${createHash('sha1').update(secrets.url).digest('base64')}\n`)
    host.write(
      '/etc/systemd/system/server.service',
      '[Service]\nExecStart=/opt/rest-server --path /srv/repository --listen 127.0.0.1:8000 --htpasswd-file /srv/htpasswd\n',
    )
    host.write('/srv/secrets/repo', location(secrets.url), 0o600)
    host.write('/srv/secrets/env', `AWS_ACCESS_KEY_ID=${secrets.key}\nAWS_SECRET_ACCESS_KEY='${secrets.access}'\n`, 0o600)
    host.write('/etc/sysusers.d/notes.conf', 'u notes -\n')
    await host.boot()
    await host.sh(`mkdir -p /srv/seen; systemctl start server; sqlite3 /var/lib/notes/notes.db 'CREATE TABLE IF NOT EXISTS note (n)'
      rm /nix/store/restic/bin/restic`)
    host.write('/nix/store/restic/bin/restic', heldRestic, 0o755)
    await host.sh('systemd-run --quiet --unit=watch --nice=10 bash /opt/watch')
    await host.until('test -s /srv/seen/arguments && </dev/tcp/127.0.0.1/8000')
  }, imageTimeout)
  afterAll(() => host?.remove())

  const journal = () => host.sh('journalctl --sync; journalctl --all --output=export --no-pager')
  const cli = async (...args: string[]) => {
    const { exit, stdout, stderr } = await host.cli(args)
    said.push(stdout, stderr)
    return exit
  }
  const unit = async (name = service) => (await host.run(['systemctl', 'start', name])).exit
  const lastRun = () => JSON.parse(host.read('/var/lib/atelier-backup/records/notes.json')).runs.at(-1)
  /** With another secret in place of one, for as long as `work` takes. */
  const withSecret = async (name: string, text: string, work: () => Promise<void>) => {
    const place = (content: string) => {
      host.write(`/srv/secrets/${name}`, content, 0o600)
      return host.sh(`cp /srv/secrets/${name} /run/agenix/restic/`)
    }
    const before = host.read(`/srv/secrets/${name}`)
    await place(text)
    await work()
    await place(before)
  }

  test('[unit.20] [secret.2] [secret.3] whatever its units do, and however that ends, journal, command lines, hooks, records and JSON hold nothing of a secret', async () => {
    expect(await unit()).toBe(0)
    expect(lastRun()).toMatchObject({ outcome: 'ok' })
    await withSecret('password', `${secrets.wrong}\n`, async () => {
      expect(await unit()).toBe(1)
      expect(lastRun()).toMatchObject({ code: 'wrong-password' })
    })
    await withSecret('repo', location(secrets.changed), async () => {
      expect(await unit()).toBe(1)
      expect(lastRun()).toMatchObject({ outcome: 'failed' })
      expect(await unit('restic-prune')).toBe(1)
      expect(await cli('status', '--json')).not.toBe(0)
    })
    // Forgotten to be percent-encoded.
    await withSecret('repo', location('').replace(':@', `:${secrets.url.replace('@', '')}@`), async () => {
      expect(await unit()).toBe(1)
      expect(lastRun()).toMatchObject({ message: expect.stringContaining('percent-encoded') })
    })
    // Without its server restic tries again for a quarter of an hour.
    await host.sh(`systemctl stop server; systemctl start --no-block ${service}`)
    await host.until('grep -qsx restic /proc/[0-9]*/comm')
    await host.sh(`systemctl stop ${service}; systemctl start server`)
    expect(lastRun()).toMatchObject({ outcome: 'interrupted' })
    await host.sh('until </dev/tcp/127.0.0.1/8000; do sleep 0.1; done 2>/dev/null; mv /srv/repository/config /srv/config')
    expect(await unit()).toBe(1)
    expect(await cli('doctor')).toBe(1)
    await host.sh('mv /srv/config /srv/repository/config')
    expect(await unit()).toBe(0)
    for (const name of ['restic-prune', 'atelier-backup-recover-notes']) expect(await unit(name)).toBe(0)
    for (const args of [
      ['status', '--json'],
      ['list', 'notes', '--json'],
      ['prune', '--dry-run', '--json'],
      ['find', 'notes', '--json'],
    ])
      expect([args, await cli(...args)]).toEqual([args, 0])
    await cli('doctor', '--json')
    expect(await cli('backup', 'notes', '--json')).toBe(0)
    expect(await cli('restore', 'notes', '--in-place', '--yes', '--json')).toBe(0)
    expect(await cli('restore', 'notes', '--rollback', '--yes', '--json')).toBe(0)
    expect(await cli('dr', '--overwrite', '--yes', '--json')).toBe(0)
    await host.sh('systemctl stop watch')

    // Each of these is there, and was looked through.
    const log = await journal()
    for (const words of ['the hook post', "the password in /run/agenix/restic/password doesn't open it", 'percent-encoded', '_CMDLINE='])
      expect(log).toContain(words)
    const seen = host.read('/srv/seen/arguments')
    for (const words of ['restic backup --json', 'restic prune', 'restic restore', 'atelier-backup.cjs run notes', 'prune --repository main'])
      expect(seen).toContain(words)
    const hooks = host.read('/srv/seen/hooks')
    for (const when of ['pre', 'post', 'health']) expect(hooks).toContain(`${when}\n`)
    expect(hooks).not.toMatch(/^(RESTIC|AWS)_/m)
    const state = await host.sh('cat $(find /var/lib/atelier-backup -type f ! -path "*/cache/*")')
    expect(state).toContain('"kind":"restore"')
    expect(said.join('')).toContain('"outcome":"ok"')
    expect({ log: found(log), seen: found(seen), hooks: found(hooks), state: found(state), said: found(said.join('\n')) }).toEqual({
      ...{ log: [], seen: [], hooks: [], state: [], said: [] },
    })
  })
})
