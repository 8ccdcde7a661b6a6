// Units of awkward shapes, on a machine: after a backup for which they stop, and after a restore in place, each is in the state that it was in.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canHost, imageTimeout, type TestHost } from '../lib/host.ts'
import { makeNixosHost } from '../machine/nixos.ts'
import { groups } from './sample.ts'
import { type UnitShape, units } from './units.ts'

/** On one machine, one after the other. */
const shapes = [...new Set(groups(units, 2).flatMap(([, drawn]) => drawn))]
const nameOf = (shape: UnitShape) => `u${units.indexOf(shape)}`
const filled = (text: string, name: string) => text.replaceAll('NAME', name).replaceAll('DATA', `/srv/${name}`)

describe.skipIf(!canHost)('units', () => {
  let host: TestHost
  beforeAll(async () => {
    const services = shapes.map((shape) => {
      const name = nameOf(shape)
      const declared = shape.units.map((unit) => JSON.stringify(filled(unit, name))).join(' ')
      return `services.${name} = { paths = [ "/srv/${name}" ]; units = [ ${declared} ]; stopForBackup = true; };`
    })
    const schedule = 'schedule = { onCalendar = "yearly"; randomizedDelaySec = "0"; };'
    host = await makeNixosHost(`[ { networking.hostName = "hearth"; atelier.backup = { enable = true; ${schedule} ${services.join(' ')} }; } ]`)
    for (const shape of shapes) {
      const name = nameOf(shape)
      host.write(`/srv/${name}/file`, 'saved\n')
      for (const [file, text] of Object.entries(shape.files))
        host.write(filled(file.startsWith('/') ? file : `/etc/systemd/system/${file}`, name), filled(text, name))
    }
    await host.boot()
  }, imageTimeout)
  afterAll(() => host?.remove())

  test.each(shapes.map((shape) => [shape.title, shape] as const))('[stop.3] [unit.10] %s', async (_, shape) => {
    const name = nameOf(shape)
    const all = [...shape.units, ...(shape.around ?? [])].map((unit) => `'${filled(unit, name)}'`).join(' ')
    const ask = `systemctl show --property=Id,LoadState,ActiveState,SubState,UnitFileState ${all}; ${filled(shape.look ?? 'true', name)}`
    await host.run(['bash', '-c', filled(shape.begin, name)])
    const before = await host.sh(ask)
    expect(before).toContain('ActiveState=active')
    for (const command of [
      ['backup', name],
      ['restore', name, '--in-place', '--yes'],
    ]) {
      host.write(`/srv/${name}/file`, `${command[0]}\n`)
      const { exit, stderr } = await host.cli(command)
      expect(exit, stderr).toBe(0)
      await host.until(`test "$(${ask})" = '${before}'`, 10).catch(() => {})
      expect(await host.sh(ask)).toBe(before)
    }
    expect(host.read(`/srv/${name}/file`)).toBe('backup\n')
  })
})
