// What the module sees of other modules that mount and keep: impermanence and preservation as they are.
import { expect, test } from 'vitest'
import { evaluate, hasInput } from './nixos.ts'

const host = (more: string) => `{
  atelier.backup = { enable = true; services.notes = { paths = [ "/var/lib/notes" ]; units = [ "notes.socket" ]; }; };
  systemd.sockets.notes = { listenStreams = [ "/run/notes" ]; socketConfig.Service = "server.service"; };
  fileSystems = { "/" = { device = "none"; fsType = "tmpfs"; }; "/keep" = { device = "/dev/vdb"; fsType = "ext4"; neededForBoot = true; }; };
  boot.initrd.systemd.enable = true;
  ${more}
}`

test.for([
  ['impermanence', 'nixos.nix', 'environment.persistence."/keep"', '"/etc/machine-id"'],
  ['preservation', 'module.nix', 'preservation.preserveAt."/keep"', '{ file = "/etc/machine-id"; inInitrd = true; }'],
] as const)('[unit.22] [unit.23] %s', async ([name, file, option, machineId], { skip }) => {
  if (!hasInput(name)) skip()
  const of = async (directories: string, files = '') => {
    const { warnings, units } = await evaluate(
      `[ "\${inputs}/${name}/${file}" ${host(`${option} = { directories = [ "/var/lib/notes" ${directories} ]; files = [ ${files} ]; }; ${name === 'preservation' ? 'preservation.enable = true;' : ''}`)} ]`,
    )
    return { units, lost: warnings.filter((warning) => warning.startsWith('atelier.backup: ')) }
  }
  const { lost, units } = await of('')
  expect(lost).toEqual([
    expect.stringContaining(`add ${option}.directories = [ "/var/lib/atelier-backup" ];`),
    expect.stringContaining(`add ${option}.files = [ ${machineId} ];`),
  ])
  const unit = units['atelier-backup-recover-notes.service']
  expect(unit).toMatch(/^After=.*\bvar-lib-notes\.mount$/m)
  expect(unit).toMatch(/^Before=.*\bserver\.service$/m)
  expect(unit).not.toMatch(/^(Wants|Requires|RequiresMountsFor)=/m)
  expect((await of('"/var/lib/atelier-backup"', machineId)).lost).toEqual([])
})
