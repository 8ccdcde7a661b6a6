// The only place that reads files with secrets. No error quotes what is in them.
import { isUtf8 } from 'node:buffer'
import { randomUUID } from 'node:crypto'
import { existsSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import type { Path } from '../core.ts'
import { Failure } from '../errors.ts'
import { readAtMost } from '../read-at-most.ts'
import { printable } from '../text.ts'

/** `password` and `location`: as restic reads its own files. `variables`: an EnvironmentFile, which systemd takes as UTF-8 only; it may be empty. */
export type SecretKind = 'password' | 'location' | 'variables'

/** `text`: as restic decodes it, without blanks around it; of variables the whole text. `bytes`: the file as it is. */
export interface Secret {
  bytes: Buffer
  text: string
}

/** @throws Failure `secrets-unreadable`, which names the file and quotes nothing of it */
export async function readSecret(file: Path, kind: SecretKind): Promise<Secret> {
  const unreadable = (why: string, cause?: unknown) => new Failure('secrets-unreadable', `${printable(file)} ${why}`, { cause })
  const bytes = await readAtMost(file, mostBytes).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(reasons[error.code ?? ''] ?? `can't be read (${error.code})`, error)
  })
  if (bytes.length > mostBytes) throw unreadable('holds more than 1 MiB: no secret is that large')
  if (kind === 'variables' && !isUtf8(bytes)) throw unreadable("isn't UTF-8 text")
  const text = kind === 'variables' ? decoded(bytes) : trimmed(decoded(bytes))
  if (kind !== 'variables' && text === '') throw unreadable('is empty')
  // Neither a location nor a variable can hold a NUL. restic takes a password with one.
  if (kind !== 'password' && text.includes('\0')) throw unreadable("isn't text")
  return { bytes, text }
}

const reasons: Record<string, string> = {
  ENOENT: "doesn't exist: place the secret there, or correct its path in the manifest",
  EACCES: "isn't ours to read: run this as root",
}
const mostBytes = 1 << 20

/** A byte order mark goes, and UTF-16 that begins with one is decoded. Source: Decode() in restic's internal/textfile/read.go. */
function decoded(bytes: Buffer): string {
  const [first, second] = bytes
  const encoding = first === 0xfe && second === 0xff ? 'utf-16be' : first === 0xff && second === 0xfe ? 'utf-16le' : 'utf-8'
  return new TextDecoder(encoding).decode(bytes)
}

/** As Go's strings.TrimSpace, which restic uses. JavaScript's trim() differs in U+0085 and U+FEFF. */
function trimmed(text: string): string {
  return text.replace(/^\p{White_Space}+/u, '').replace(/\p{White_Space}+$/u, '')
}

/**
 * A file without a name that holds `bytes`, for a child of this user to open by its path in /proc. An environment variable can't carry every
 * password: none holds a NUL, and Node writes only UTF-8. The file is gone when this process ends.
 */
export function heldFile(bytes: Buffer): Path {
  const file = `${existsSync('/dev/shm') ? '/dev/shm' : tmpdir()}/atelier-backup-${randomUUID()}`
  const fd = openSync(file, 'wx+', 0o600)
  unlinkSync(file)
  writeSync(fd, bytes)
  return `/proc/${process.pid}/fd/${fd}`
}
