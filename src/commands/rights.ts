// Missing permissions: at a terminal the command runs again with sudo, otherwise it fails.
import { join } from 'node:path'
import { asFailure, Failure } from '../errors.ts'
import { access, constants } from '../fs.ts'
import type { Site } from '../site.ts'
import { requireFolder } from '../state/install.ts'
import { printable } from '../text.ts'
import { isInteractive } from '../ui/terminal.ts'

/** Checks access to the state folder and the secrets before a command starts. @throws Failure `needs-root` */
export async function requireRights({ state, manifest, credentials }: Site): Promise<void> {
  const repositories = [...new Set(Object.values(manifest.services).map(({ repository }) => repository))]
  const secrets = repositories.flatMap((name) => {
    if (credentials.has(name)) return []
    const declared = manifest.repositories[name]
    if (!declared) return []
    const { repository, repositoryFile, passwordFile, environmentFile, rcloneConfigFile } = declared
    return [repository === null ? repositoryFile : null, passwordFile, environmentFile, rcloneConfigFile].filter((file) => file !== null)
  })
  await requireFolder(state)
  await requireAccess(state, constants.R_OK | constants.W_OK | constants.X_OK)
  for (const file of secrets) await requireAccess(file, constants.R_OK)
}

async function requireAccess(path: string, mode: number): Promise<void> {
  // For root a refusal has other reasons than permissions.
  if (process.getuid?.() === 0) return
  await access(path, mode).catch((error: NodeJS.ErrnoException) => {
    if (lackOfRights.includes(error.code ?? ''))
      throw new Failure('needs-root', `no permission to use ${path}: run this as root, for example with sudo`)
    // A missing file is reported by the code that needs it.
  })
}
const lackOfRights = ['EACCES', 'EPERM']

/**
 * Runs the command again with sudo after a failure for missing permissions, and returns its exit code. Null: another failure, no terminal, or no
 * sudo. sudo drops the environment, so its variables are passed as flags.
 */
export async function asRoot(error: unknown, argv: string[]): Promise<number | null> {
  const { code, cause, message } = asFailure(error)
  const lacking = code === 'needs-root' || lackOfRights.includes((cause as NodeJS.ErrnoException | undefined)?.code ?? '')
  if (!lacking || process.getuid?.() === 0 || !isInteractive() || !(await isOnPath('sudo'))) return null
  const { run } = await import('../host/shell.ts')
  process.stderr.write(`${printable(message.split(': ')[0] ?? '')}: trying again with sudo\n`)
  const { ATELIER_BACKUP_MANIFEST: manifest, STATE_DIRECTORY: state, NO_COLOR: plain } = process.env
  const flags = [
    ...(manifest ? ['--manifest', manifest] : []),
    ...(state ? ['--state-dir', state] : []),
    ...(plain && !argv.includes('--no-color') ? ['--no-color'] : []),
  ]
  const env = Object.fromEntries(Object.entries(process.env).map(([name, value = '']) => [name, value]))
  const again = ['sudo', '--', process.execPath, ...process.argv.slice(1, 2), ...flags, ...argv]
  return (await run(again, { terminal: true, cwd: '/proc/self/cwd', env })).exit
}

async function isOnPath(program: string): Promise<boolean> {
  const folders = (process.env.PATH ?? '').split(':').filter(Boolean)
  const found = await Promise.all(
    folders.map((folder) =>
      access(join(folder, program), constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  )
  return found.some(Boolean)
}
