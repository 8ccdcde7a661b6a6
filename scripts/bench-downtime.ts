// For how long a service is down while it is saved: on a test host, whose systemd stops and starts it, on three kinds of disk.

import type { TestHost } from '../test/lib/host.ts'
import { makeNixosHost, mountDiskOn, rebuild } from '../test/machine/nixos.ts'

const password = 'bench'

/** One way to hold data still. Each call measures with data that no repository has seen. Seconds. */
export interface Held {
  /** How, and on what. */
  way: string
  /** The downtime that our record tells, and how long that whole backup took. */
  ours(): Promise<{ down: number; whole: number }>
  /** From before the stop to after the start, with restic in between. */
  stopped(): Promise<number>
}

const ways: [way: string, folder: string][] = [
  ['a btrfs subvolume', '/mnt/btrfs/app'],
  ['reflink copies (xfs)', '/mnt/xfs/app'],
  ['neither', '/srv/app'],
]

/** `megabytes` of new data in each round. The host ends with `remove`. */
export async function holdingStill(megabytes: number): Promise<{ held: Held[]; remove(): Promise<void> }> {
  const host = await makeNixosHost(declared('/srv/app'))
  for (const type of ['btrfs', 'xfs'] as const) mountDiskOn(host, type, 1024)
  host.write('/etc/systemd/system/app.service', '[Service]\nExecStart=sleep infinity\n')
  // A key that costs what a real one costs, at the place of the test's.
  for (const file of ['password', 'secrets/password']) host.write(`/srv/${file}`, `${password}\n`, 0o600)
  await host.boot()
  await host.sh(`btrfs subvolume create /mnt/btrfs/app; mkdir /mnt/xfs/app /srv/app; systemctl start app
    rm -r /srv/repository; ${bare} init; mv /srv/repository /srv/empty`)
  /** New data, on disk, and nothing of it saved. */
  const renew = (folder: string) =>
    host.sh(`rm -rf /srv/repository ${folder}/*; cp -a /srv/empty /srv/repository
      for i in {1..${megabytes}}; do head -c 1M /dev/urandom >${folder}/$i; done; sync -f ${folder}`)
  const held = ways.map(
    ([way, folder]): Held => ({
      way,
      async ours() {
        await rebuild(host, declared(folder))
        await renew(folder)
        await host.sh('systemctl start restic-backups-app')
        const { runs } = JSON.parse(host.read('/var/lib/atelier-backup/records/app.json'))
        return { down: runs.at(-1).downtimeSeconds, whole: runs.at(-1).seconds }
      },
      async stopped() {
        await renew(folder)
        return seconds(host, `systemctl stop app; ${bare} backup --json ${folder}; systemctl start app`)
      },
    }),
  )
  return { held, remove: () => host.remove() }
}

const bare = 'RESTIC_REPOSITORY=/srv/repository RESTIC_PASSWORD_FILE=/srv/password RESTIC_CACHE_DIR=/var/cache/bare restic'

/** By the host's own clock: how a command comes into the host isn't measured. */
async function seconds(host: TestHost, script: string): Promise<number> {
  const said = await host.sh(`before=$EPOCHREALTIME; { ${script}; } >/dev/null; echo $before $EPOCHREALTIME`)
  const [before = Number.NaN, after = Number.NaN] = said.split(' ').map(Number)
  return after - before
}

function declared(folder: string): string {
  return `[ {
    networking.hostName = "bench";
    atelier.backup = {
      enable = true;
      schedule = { onCalendar = "yearly"; randomizedDelaySec = "0"; };
      services.app = { stopForBackup = true; shrinkThreshold = null; paths = [ "${folder}" ]; };
    };
  } ]`
}
