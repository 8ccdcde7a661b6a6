// A restic server of a test's own, on the loopback: the repository of its world, over the network.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { start } from './cli.ts'
import { until } from './live.ts'
import type { World } from './world.ts'

export const serverProgram = '.cache/tools/restic-rest-server-trixie/restic-rest-server'
export const canServe = existsSync(serverProgram)

export interface Serving {
  /** The repository as it is reached, to be declared. */
  repository: string
  kill(): Promise<unknown>
}

/** `user`: who may enter; without it, everybody. */
export async function serve(
  w: World,
  { port = 0, user, args = [] }: { port?: number; user?: { name: string; password: string }; args?: string[] } = {},
): Promise<Serving> {
  const folder = w.repository.repository
  const entry = user && `${user.name}:{SHA}${createHash('sha1').update(user.password).digest('base64')}\n`
  const access = entry ? ['--htpasswd-file', w.write('htpasswd', entry)] : ['--no-auth']
  const { child, ended } = start([serverProgram, '--path', folder, '--listen', `127.0.0.1:${port}`, ...access, ...args])
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
  // The port that the system gave it: one that is looked for before may be taken by then.
  const [, at] = await until(() => /start server on 127\.0\.0\.1:(\d+)\n/.exec(said), 'it serves')
  const credentials = user ? `${user.name}:${encodeURIComponent(user.password)}@` : ''
  const kill = () => {
    child.kill('SIGKILL')
    return ended
  }
  return { repository: `rest:http://${credentials}127.0.0.1:${at}/`, kill }
}
