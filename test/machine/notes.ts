// The service that the test hosts back up: a program of its own user that writes rows all the time, and closes its database each time.
import type { TestHost } from '../lib/host.ts'
import { makeNixosHost } from './nixos.ts'

/** The host's configuration; `more` are further attributes of the module. */
export function notes(more = ''): string {
  return `[ {
    networking.hostName = "hearth";
    atelier.backup = {
      enable = true;
      schedule = { onCalendar = "yearly"; randomizedDelaySec = "0"; };
      services.notes = { paths = [ "/var/lib/notes" ]; sqlite = [ "/var/lib/notes/notes.db" ]; tags = [ "kept" ]; };
    };
    systemd.services.notes = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig = { User = "notes"; StateDirectory = "notes"; StateDirectoryMode = "0750"; ExecStart = "/usr/bin/bash /opt/notes"; };
    };
  } { ${more} } ]`
}

const program = `
cd /var/lib/notes
sqlite3 notes.db 'PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS note (n INTEGER PRIMARY KEY);'
while true; do
  sqlite3 -cmd '.timeout 10000' notes.db 'INSERT INTO note DEFAULT VALUES'
  sleep 0.1
done`

/** A booted host whose service is at work. */
export async function makeNotesHost(more = ''): Promise<TestHost> {
  const host = await makeNixosHost(notes(more))
  host.write('/opt/notes', program)
  host.write('/etc/sysusers.d/notes.conf', 'u notes -\n')
  await host.boot()
  await host.until(`test "$(sqlite3 /var/lib/notes/notes.db 'SELECT count(*) FROM note')" -gt 3`)
  return host
}

export interface Saved {
  id: string
  hostname: string
  paths: string[]
  tags: string[] | null
}

/** What the repository holds of services, asked past the CLI. */
export async function snapshots(host: TestHost): Promise<Saved[]> {
  const all = (JSON.parse(await restic(host, 'snapshots --json --no-lock')) ?? []) as Saved[]
  return all.filter(({ tags }) => !tags?.includes('atelier:manifest'))
}

export function restic(host: TestHost, command: string): Promise<string> {
  return host.sh(`RESTIC_REPOSITORY=/srv/repository RESTIC_PASSWORD_FILE=/srv/password restic --no-cache ${command}`)
}

/** Enough for a backup to take a while. */
export function makeBulk(host: TestHost): Promise<string> {
  return host.sh('head -c 100M /dev/urandom >/var/lib/notes/bulk; chown notes: /var/lib/notes/bulk')
}

/** Shell: the pids of all processes of a name. */
export function pidsOf(name: string): string {
  return `$(grep -slx ${name} /proc/[0-9]*/comm | cut -d / -f 3)`
}

/** Holds restic still once it has told how far it is, until `goOn`: little by little, or a fast machine would be done. */
export function holdMidway(host: TestHost): Promise<string> {
  return host.sh(`
    until test "$(ls /srv/repository/locks)"; do sleep 0.01; done
    until grep -q '"doneBytes":[1-9]' /var/lib/atelier-backup/running/notes.ndjson; do
      kill -CONT ${pidsOf('restic')}; sleep 0.05; kill -STOP ${pidsOf('restic')}
    done`)
}
export function goOn(host: TestHost): Promise<string> {
  return host.sh(`kill -CONT ${pidsOf('restic')}`)
}

/** What `status` says of notes. */
export async function statusOf(host: TestHost): Promise<{ state: string; message: string | null; nextRun: string | null }> {
  return (await host.cli(['status', '--json'])).json().services[0]
}
