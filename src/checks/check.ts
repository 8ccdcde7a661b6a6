// One check of `doctor`: its shape, and the checks that a disaster recovery runs too, before it begins.
import type { Failure } from '../errors.ts'
import { access, constants, stat } from '../fs.ts'
import { run } from '../host/shell.ts'
import { hasSystemd } from '../host/systemd.ts'
import type { Snapshot } from '../restic/types.ts'
import type { Site } from '../site.ts'
import { isInFuture } from '../snapshots/select.ts'

/** `message`: what was found; `remedy`: what to do about it, null where `ok`. */
export interface Check {
  name: string
  ok: boolean
  message: string
  remedy: string | null
}

export function good(name: string, message: string): Check {
  return { name, ok: true, message, remedy: null }
}

export function bad(name: string, message: string, remedy: string): Check {
  return { name, ok: false, message, remedy }
}

/** One check for each secret file of a repository. */
export async function checkSecrets(site: Site, name: string): Promise<Check[]> {
  const repository = site.manifest.repositories[name]
  if (!repository) return []
  const { repositoryFile, passwordFile, environmentFile, rcloneConfigFile } = repository
  const files = [repository.repository === null ? repositoryFile : null, passwordFile, environmentFile, rcloneConfigFile]
  return Promise.all(files.filter((file) => file !== null).map((file) => checkSecret(name, file)))
}

async function checkSecret(repository: string, file: string): Promise<Check> {
  try {
    await access(file, constants.R_OK)
    const { mode } = await stat(file)
    if ((mode & 0o077) === 0) return good('secrets', `${file} is readable by its owner only`)
    return bad('secrets', `${file} is readable by other users`, `chmod 600 ${file}`)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return bad(
      'secrets',
      `${file} of repository ${repository} ${code === 'ENOENT' ? "doesn't exist" : "can't be read"}`,
      code === 'EACCES' ? 'run this as root' : placeSecret,
    )
  }
}

/** Whether a repository answers and its password opens it. `failure`: of a call to restic that needs both; null: it succeeded. */
export function judgeRepository(name: string, location: string, failure: Failure | null): Check[] {
  const answers = good('repository', `${name} (${location}) answers`)
  if (failure === null) return [answers, good('password', `the password opens ${name}`)]
  const { code, message } = failure
  if (code !== 'wrong-password') return [bad('repository', message, remedies[code] ?? 'check the location, the network and the credentials')]
  return [answers, bad('password', message, 'write a password of this repository into its password file')]
}

export const installRestic = 'install restic 0.17 or newer'
const placeSecret = 'place the secret (agenix, sops-nix) or correct its path in the manifest'
const remedies: Record<string, string> = {
  'no-repository': 'correct its location; for a new repository set initialize = true, or type: atelier-backup restic -- init',
  'secrets-unreadable': placeSecret,
  'not-given': 'give it at a terminal, or type what is said for its services',
  'restic-missing': installRestic,
  'restic-too-old': installRestic,
}

/** With a wrong clock the ages of snapshots are wrong, and with a slow one new snapshots look old. `snapshots`: all known, none may be later than now. */
export async function checkClock(snapshots: Snapshot[]): Promise<Check[]> {
  const now = new Date()
  const setClock = 'set the clock: timedatectl set-ntp true'
  if (now < new Date('2025-01-01')) return [bad('clock', `the clock says ${now.toISOString()}`, setClock)]
  const later = snapshots.find((snapshot) => isInFuture(snapshot, now))
  if (later) return [bad('clock', `the clock says ${now.toISOString()}, but a snapshot is dated ${later.time}`, setClock)]
  if (!hasSystemd()) return [good('clock', 'the clock is plausible (without systemd it is unknown whether it is synchronised)')]
  const { stdout } = await run(['timedatectl', 'show', '--property=NTPSynchronized', '--value']).catch(() => ({ stdout: '' }))
  return [
    stdout.trim() === 'no' ? bad('clock', "the clock isn't synchronised", 'timedatectl set-ntp true') : good('clock', 'the clock is synchronised'),
  ]
}
