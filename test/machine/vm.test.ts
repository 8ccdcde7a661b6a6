// The script of the NixOS VM test, line by line: it can't be run where there is no nixpkgs, and must not rot meanwhile.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, makeHost, type TestHost } from '../lib/host.ts'
import { evaluate } from '../nix/nix.ts'
import { rebuild } from './nixos.ts'

const store = '/nix/store/00000000000000000000000000000000-atelier-backup'
const vm = `(import ./nix/vm-test.nix { package = { type = "derivation"; outPath = "${store}"; meta.mainProgram = "atelier-backup"; }; })`
/** The PATH of a root shell in the VM: the system's packages. */
const path = `PATH=$PATH:${store}/bin;`

describe.skipIf(!canHost)('nix/vm-test.nix', () => {
  let host: TestHost
  beforeAll(async () => {
    host = await makeHost()
    await host.boot()
    await rebuild(host, `[ ${vm}.nodes.machine ]`)
  }, imageTimeout)
  afterAll(() => host?.remove())

  /** What the VM test's driver does with a method of `machine`. */
  const driver: Record<string, (word: string) => Promise<unknown>> = {
    succeed: (script) => host.sh(path + script),
    fail: async (script) => expect((await host.run(['bash', '-c', path + script])).exit).not.toBe(0),
    wait_for_unit: (unit) => host.until(`systemctl is-active ${unit}`),
    wait_until_succeeds: (script) => host.until(path + script),
  }

  test('[unit.24] each line of its script does what it says', async () => {
    const script = (await evaluate(`${vm}.testScript`)) as string
    const lines = script.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('with subtest('))
    expect(lines.length).toBeGreaterThan(10)
    for (const line of lines) {
      const [, method = '', word = ''] = /^ *(?:print\()?machine\.(\w+)\((".*")\)+$/.exec(line) ?? []
      const act = driver[method] ?? expect.fail(`the stand-in for the driver doesn't know this line: ${line}`)
      // A string of Python's, written so that JSON reads it, too.
      await act(JSON.parse(word))
    }
  })

  test('[dr.26] of a service whose units neither ran nor are enabled nothing is started, and its check is skipped and said so', async () => {
    await host.sh('rm /etc/systemd/system/multi-user.target.wants/notes.service; systemctl daemon-reload; systemctl stop notes')
    await host.sh('rm -rf /var/lib/notes /var/lib/atelier-backup')
    const { exit, stdout, stderr } = await host.cli(['dr', '--yes', '--json'])
    const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
    expect([exit, stderr, report]).toMatchObject([0, '', { services: [{ health: 'unchecked', next: 'systemctl start notes.service' }] }])
    expect(stdout).toContain('none of its units ran, so none was started, and healthCheck is skipped: systemctl start notes.service')
    expect(await host.sh('cat /var/lib/notes/file; systemctl is-active notes || true')).toBe('kept\ninactive')
    // The same in place, where a check that fails would take the data back.
    expect(await host.cli(['restore', 'notes', '--in-place', '--yes'])).toMatchObject({ exit: 0, stderr: expect.stringContaining('is skipped') })
  })
})
